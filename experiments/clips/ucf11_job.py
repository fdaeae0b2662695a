"""The job of recurrent networks on pixels or frozen features, from flags to a tested model."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from experiments.clips.ucf11 import (
    Ucf11Arguments,
    check_arguments,
    frame_settings,
    is_compressed,
    run_name,
    stored_stride,
)
from experiments.runs.run import begin_run


def run(arguments: Ucf11Arguments) -> dict[str, Any] | None:
    """Run the whole experiment: data, model, training, test.

    Returns:
        What result.json holds, and the run's directory; None in a worker that is not the chief.

    Raises:
        PreprocessError, RunError, ValueError, OSError: if clips, directory or a flag are not
            what they should be; the message says what to do.
    """
    started = time.perf_counter()
    arguments, recipe, task, subsets = check_arguments(arguments)

    # Data
    shards = subsets.open(frame_settings(arguments, recipe))
    split = subsets.split(shards)
    stride = stored_stride(arguments, shards)
    settings = {
        **asdict(arguments),
        **asdict(recipe),
        "shards": shards.folder,
        "stride": stride,
    }
    run_dir, finished = begin_run(
        run_name(arguments, shards.dataset),
        arguments,
        settings,
        workload="tt-train" if is_compressed(arguments) and arguments.features is None else None,
        is_chief=task.is_chief,
    )
    if finished:
        return finished

    # Imported now: these load TensorFlow, whose threads `begin_run` has set.
    from experiments.clips import datasets, evaluation, ucf11_model

    print(f"arithmetic {arguments.policy}")
    print(datasets.described(shards, split))
    # Of pixels, or of the features of a frozen network.
    model = ucf11_model.make_model(arguments, recipe, shards, split, task, settings)
    return evaluation.train_and_test(
        model.classifier,
        model.batches,
        shards,
        split,
        arguments,
        recipe,
        run_dir=run_dir,
        started=started,
        # Goes with the model, so that predictions make new videos into the same input.
        input_spec=evaluation.describe_input(
            shards,
            model.choice,
            model.crops,
            stride=stride // shards.stride,
        ),
        fields=ucf11_model.describe_result(arguments, recipe, model, shards, split),
        # Where only a classifier of features is trained, the two are joined for predictions.
        whole=model.whole,
    )
