"""The UCF101 job, from flags to a run that is trained, tested and reported."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import formatting
from common.errors import InputError, did_you_mean
from experiments.clips.datasets import described, result_fields
from experiments.clips.recipe import recipe_name
from experiments.clips.subsets import Subsets, open_clips, with_frame_size
from experiments.models.resnet_weights import require_resnet
from experiments.process import runtime
from experiments.runs.run import begin_run, check_run
from experiments.training.history import next_rate, stop
from experiments.training.tasks import Task, read_task
from experiments.ucf101.recipes import MODULE, RANDOM_WEIGHTS, Recipe, Ucf101Arguments
from preprocess.shards.reader import Shards
from preprocess.sources.catalog import UCF101
from preprocess.sources.splits import Split
from preprocess.system.machine import read_machine


def run(arguments: Ucf101Arguments) -> dict[str, Any] | None:
    """Run the whole experiment: data, model, training, test.

    Returns:
        The content of result.json, with the run's directory; None in a worker that is not the
        chief.

    Raises:
        PreprocessError, RunError, ValueError, OSError: if clips, directory or a flag are not
            what they should be; the message says what to do.
    """
    started = time.perf_counter()
    recipe, task, subsets = _check_arguments(arguments)

    # Data
    recipe = with_frame_size(UCF101, arguments, recipe)
    shards = open_clips(UCF101, arguments, recipe)
    split = subsets.split(shards)
    resolved = {"shards": shards.folder, "maxlen": recipe.num_frames}
    settings = {**asdict(arguments), **asdict(recipe), **resolved}
    run_dir, finished = begin_run(
        _run_name(arguments, shards.dataset), arguments, settings, is_chief=task.is_chief
    )
    if finished:
        return finished
    for line in _notes(arguments, recipe, shards, split):
        print(line)

    # Imported now: these load TensorFlow, whose threads `begin_run` has set.
    from experiments.clips import evaluation
    from experiments.ucf101.models import Ucf101Model

    # Model, and what it sees: pixels, or the features of a frozen ResNet
    built = Ucf101Model(arguments, recipe, shards, split, task=task, settings=settings)
    classifier = built.classifier()
    batches = built.batches()
    return evaluation.train_and_test(
        classifier,
        batches,
        shards,
        split,
        arguments,
        recipe,
        run_dir=run_dir,
        started=started,
        # Several views of each test clip, where validation takes one.
        test_batches=batches.with_views(recipe.places),
        input_spec=evaluation.describe_input(
            shards,
            recipe.choice(varlen=arguments.varlen),
            recipe.crops,
            inputs=recipe.inputs,
        ),
        fields=result_fields(
            MODULE,
            arguments,
            recipe,
            shards,
            split,
            # The three official lists count as folds.
            fold=arguments.list - 1 if arguments.split == "official" else arguments.fold,
            num_folds=3 if arguments.split == "official" else arguments.num_folds,
            model=_model_name(arguments),
            maxlen=recipe.num_frames,
            recipe_epochs=arguments.plain_recipe().epochs,
            params=classifier.model.count_params(),
        ),
        # Where only the part above a ResNet is trained, the two are joined for predictions.
        whole=built.whole,
        stop=stop(recipe),
        next_rate=next_rate(recipe),
    )


def _check_arguments(arguments: Ucf101Arguments) -> tuple[Recipe, Task, Subsets]:
    """Check all flags before extraction, which may take hours.

    Returns:
        The recipe, this process's place among the workers, and the rule of the split.
    """
    arguments.check()
    recipe = arguments.made_recipe()
    runtime.choose_threads(arguments.threads)
    task = read_task(arguments.distribute, arguments.out)
    require_memory(arguments, recipe, len(arguments.classes or UCF101.class_names))
    _check_weights(arguments)

    subsets = Subsets(
        UCF101,
        arguments.split,
        arguments,
        recipe.validation,
        arguments.num_folds,
        lists=(arguments.lists, arguments.list),
    )
    check_run(
        _run_name(arguments, subsets.check()),
        arguments,
        {**asdict(arguments), **asdict(recipe)},
        # Settled only when the shards are open.
        unknown=["shards", *(["frame_size"] if recipe.frame_size is None else [])],
        is_chief=task.is_chief,
    )
    return recipe, task, subsets


def _check_weights(arguments: Ucf101Arguments) -> None:
    """Raise UserError for a file of weights that does not fit; reads it without Keras."""
    if arguments.weights in (None, RANDOM_WEIGHTS):
        return
    file = Path(str(arguments.weights))
    if not file.exists() and (meant := did_you_mean(file.name, [RANDOM_WEIGHTS])):
        raise InputError(f"--weights must be a file or {RANDOM_WEIGHTS}. Received {file}. {meant}")
    require_resnet(file, arguments.resnet_depth)


def require_memory(arguments: Ucf101Arguments, recipe: Recipe, num_classes: int) -> str:
    """Check that conv3d's dense layer fits into memory, before anything is extracted or allocated.

    Returns:
        Sentence about the memory that it needs; an empty text for other models.

    Raises:
        InputError: if the machine does not have it.
    """
    if arguments.model != "conv3d" or recipe.head != "dense":
        return ""
    # With the dense head, one layer has 320 million weights at the original's frame size.
    from ttrnn.models.conv3d import conv3d_sizes

    width, height = recipe.crop_size
    sizes = conv3d_sizes(
        num_classes,
        num_frames=recipe.num_frames,
        height=height,
        width=width,
        channels=recipe.channels,
        head=recipe.head,
    )
    needed, there = sizes.training_bytes(recipe.batch_size), read_machine().memory_bytes
    line = (
        f"conv3d with {sizes.num_parameters:,} parameters needs about {formatting.size(needed)} at "
        f"batch {recipe.batch_size}"
    )
    if there and needed > there:
        raise InputError(
            f"{line}; this machine grants {formatting.size(there)}. Use a smaller --batch-size (1 "
            f"needs {formatting.size(sizes.training_bytes(1))}), --head gap, which does without "
            "the large layer, or smaller frames: --set frame_size=[171,128] crop_size=[112,112]."
        )
    return f"{line}."


def _notes(arguments: Ucf101Arguments, recipe: Recipe, shards: Shards, split: Split) -> list[str]:
    """Lines to print before training."""
    lines = [described(shards, split)]
    if needed := require_memory(arguments, recipe, len(shards.class_names)):
        lines.append(needed)
    if arguments.model == "resnet-crnn" and arguments.weights in (None, RANDOM_WEIGHTS):
        lines.append(
            f"The ResNet-{arguments.resnet_depth} has {RANDOM_WEIGHTS} weights: give --weights for "
            "a trained one."
        )
    return lines


def _model_name(arguments: Ucf101Arguments) -> str:
    is_resnet = arguments.model == "resnet-crnn"
    name = f"resnet{arguments.resnet_depth}-crnn" if is_resnet else str(arguments.model)
    if arguments.head == "gap":
        name += "-gap"
    return f"{name}-varlen" if arguments.varlen else name


def _part_name(arguments: Ucf101Arguments) -> str:
    number = f"list{arguments.list}" if arguments.split == "official" else f"fold{arguments.fold}"
    return f"{arguments.split}-{number}-seed{arguments.seed}"


def _run_name(arguments: Ucf101Arguments, dataset: str) -> str:
    parts = [_model_name(arguments), recipe_name(arguments), _part_name(arguments)]
    return "-".join(["ucf101", dataset, *parts])
