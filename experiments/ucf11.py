"""UCF11 with Tensor-Train recurrent networks: raw pixels in, one of 11 actions out.

    python -m experiments.ucf11 --tt --maxlen 450

Yang, Krompass, Tresp, "Tensor-Train Recurrent Neural Networks for Video Classification", ICML
2017, section 4.1 (arXiv 1707.01786). Published accuracy (unverified): TT-GRU .813, TT-LSTM .796,
GRU .488, LSTM .492. docs/results.md has ours, with hardware and wall time, from recorded runs.

Two recipes (`experiments/training/recipes.py`): `paper` repeats the published script, `tuned` is
ours. The flags are in `experiments/clips/ucf11.py`.
Without videos the built-in demo set runs through the same path.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import Any

from experiments.clips.prediction.command import main as predict
from experiments.clips.recipe import outcome
from experiments.clips.ucf11 import (
    HELP,
    MODULE,
    NUM_FOLDS,
    Ucf11Arguments,
    check_arguments,
    frame_settings,
    is_compressed,
    model_name,
    plain_recipe,
    run_name,
    stored_stride,
)
from experiments.process.command import command
from experiments.runs.run import begin_run


def main() -> int:
    """Run the command line; returns the exit code."""
    if sys.argv[1:2] == ["predict"]:
        return predict(f"python -m {MODULE} predict", sys.argv[2:])
    return command(
        Ucf11Arguments, run, module=MODULE, outcome=outcome, description=HELP, commands=["predict"]
    )


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
    shards = subsets.open(frame_settings(arguments))
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
        fields={
            **datasets.result_fields(
                MODULE,
                arguments,
                recipe,
                shards,
                split,
                num_folds=NUM_FOLDS,
                model=model_name(arguments),
                maxlen=model.choice.num_frames,
                stride=stride,
                # README's table leaves out runs of other lengths than their recipe's.
                recipe_epochs=plain_recipe(arguments).epochs,
            ),
            **evaluation.model_sizes(
                model.classifier.model, arguments.cell, compressed=is_compressed(arguments)
            ),
        },
        # Where only a classifier of features is trained, the two are joined for predictions.
        whole=model.whole,
    )


if __name__ == "__main__":
    sys.exit(main())
