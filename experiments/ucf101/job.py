"""The UCF101 job: from flags to a run that is trained, tested and reported."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from experiments.clips.command import described, split_fields
from experiments.process import runtime
from experiments.runs.run import begin_run, check_run, typed_command
from experiments.training.distribution import Task, open_distribution, read_task
from experiments.ucf101.arguments import RANDOM_WEIGHTS, Arguments
from experiments.ucf101.memory import require_memory
from experiments.ucf101.recipes import Recipe
from preprocess.sources.catalog import UCF101

if TYPE_CHECKING:
    from experiments.clips.subsets import Parts
    from preprocess.shards.reader import Shards
    from preprocess.sources.splits import Split

MODULE = "experiments.ucf101"


def run(arguments: Arguments) -> dict[str, Any] | None:
    """The whole experiment. Returns what result.json holds, and the run's directory.

    Of several workers, only the first one returns anything.

    Raises:
        PreprocessError, RunError, ValueError, OSError: if clips, directory or a flag are not
            what they should be; the message says what to do.
    """
    started = time.perf_counter()
    recipe, task, parts = _checked(arguments)

    from experiments.clips.subsets import open_clips, with_frame_size

    recipe = with_frame_size(UCF101, arguments, recipe)
    shards = open_clips(UCF101, arguments, recipe)
    split = parts.split(shards)
    resolved = {"shards": shards.folder, "maxlen": recipe.num_frames}
    settings = {**asdict(arguments), **asdict(recipe), **resolved}
    run_dir, finished = begin_run(
        *(_run_name(arguments, shards.dataset), arguments, settings), is_chief=task.is_chief
    )
    if finished:
        return finished
    for line in _told(arguments, recipe, shards, split):
        print(line)

    from experiments.clips.job import ClipJob
    from experiments.training.schedules import next_rate, stop
    from experiments.ucf101.models import Ucf101Model

    distribution = open_distribution(arguments.distribute, task, settings)
    made = Ucf101Model(arguments, recipe, shards, split, distribution=distribution)
    classifier = made.classifier()
    fields = {
        **_settings(arguments, recipe, shards, split),
        "params": classifier.model.count_params(),
    }
    job = ClipJob.of(arguments, recipe, run_dir, shards, split, fields=fields, started=started)
    batches = made.batches()
    history = job.train(classifier, batches, stop=stop(recipe), next_rate=next_rate(recipe))
    if not task.is_chief:
        return None
    choice = recipe.choice(varlen=arguments.varlen)
    job.keep(choice, recipe.crops, inputs=recipe.inputs, whole=made.whole)
    return job.test(history, batches.with_views(recipe.places))


def _checked(arguments: Arguments) -> tuple[Recipe, Task, Parts]:
    """What the flags make, once all that can be refused has been: extraction may take hours."""
    arguments.check()
    recipe = arguments.made_recipe()
    runtime.choose_threads(arguments.threads)
    task = read_task(arguments.distribute, arguments.out)
    require_memory(arguments, recipe, len(arguments.classes or UCF101.class_names))
    arguments.check_weights()

    from experiments.clips.subsets import Parts

    parts = Parts(
        UCF101,
        arguments.split,
        arguments,
        recipe.validation,
        arguments.num_folds,
        lists=(arguments.lists, arguments.list),
    )
    check_run(
        _run_name(arguments, parts.check()),
        arguments,
        {**asdict(arguments), **asdict(recipe)},
        unknown=["shards", *(["frame_size"] if recipe.frame_size is None else [])],
        is_chief=task.is_chief,
    )
    return recipe, task, parts


def _told(arguments: Arguments, recipe: Recipe, shards: Shards, split: Split) -> list[str]:
    """What is told before training."""
    lines = [described(shards, split)]
    if needed := require_memory(arguments, recipe, len(shards.class_names)):
        lines.append(needed)
    if arguments.model == "resnet-crnn" and arguments.weights in (None, RANDOM_WEIGHTS):
        lines.append(
            f"The ResNet-{arguments.resnet_depth} has {RANDOM_WEIGHTS} weights: give --weights for "
            "a trained one."
        )
    return lines


def _model_name(arguments: Arguments) -> str:
    is_resnet = arguments.model == "resnet-crnn"
    name = f"resnet{arguments.resnet_depth}-crnn" if is_resnet else str(arguments.model)
    if arguments.head == "gap":
        name += "-gap"
    return f"{name}-varlen" if arguments.varlen else name


def _part_name(arguments: Arguments) -> str:
    number = f"list{arguments.list}" if arguments.split == "official" else f"fold{arguments.fold}"
    return f"{arguments.split}-{number}-seed{arguments.seed}"


def _run_name(arguments: Arguments, dataset: str) -> str:
    recipe = "-".join([arguments.recipe, *arguments.set])
    return "-".join(["ucf101", dataset, _model_name(arguments), recipe, _part_name(arguments)])


def _settings(arguments: Arguments, recipe: Recipe, shards: Shards, split: Split) -> dict[str, Any]:
    is_official = arguments.split == "official"
    return {
        "experiment": "ucf101",
        "command": typed_command(MODULE),
        **split_fields(shards, split),
        "split": arguments.split,
        "fold": arguments.list - 1 if is_official else arguments.fold,
        "num_folds": 3 if is_official else arguments.num_folds,
        "seed": arguments.seed,
        "recipe": " ".join([arguments.recipe, *arguments.set]),
        "model": _model_name(arguments),
        "maxlen": recipe.num_frames,
        "stride": shards.stride,
        "policy": arguments.policy,
        "epochs": recipe.epochs,
        "recipe_epochs": arguments.plain_recipe().epochs,
        "batch_size": recipe.batch_size,
    }
