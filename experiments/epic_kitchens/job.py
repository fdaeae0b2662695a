"""The TimeSformer job: from flags to a run that is trained, tested and reported."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.clips.command import described, split_fields
from experiments.epic_kitchens.arguments import DATASET, Arguments
from experiments.epic_kitchens.recipes import Recipe
from experiments.process import runtime
from experiments.runs.run import begin_run, check_run, typed_command

if TYPE_CHECKING:
    from experiments.clips.subsets import Parts
    from experiments.training.step import Classifier
    from preprocess.batches.view_batches import ViewBatches
    from preprocess.shards.reader import Shards
    from preprocess.sources.splits import Split

MODULE = "experiments.epic_kitchens"


def run(arguments: Arguments) -> dict[str, Any] | None:
    """The whole experiment.

    Returns:
        What result.json holds, and the run's directory; None where learning rates were tried.

    Raises:
        PreprocessError, RunError, WeightsError, ValueError, OSError: if clips, weights, directory
            or a flag are not what they should be; the message says what to do.
    """
    started = time.perf_counter()
    recipe, parts = checked(arguments)

    from experiments.clips.subsets import open_clips, with_frame_size

    recipe = with_frame_size(DATASET, arguments, recipe)
    shards = open_clips(DATASET, arguments, recipe)
    strategy, split = parts.strategy, parts.split(shards)
    resolved = {"shards": shards.folder, "maxlen": recipe.num_frames, "split": strategy}
    settings = {**asdict(arguments), **asdict(recipe), **resolved}
    name = _run_name(arguments, shards.dataset, strategy)
    run_dir, finished = begin_run(name, arguments, settings)
    if finished:
        return finished
    print(described(shards, split))

    from experiments.clips.job import ClipJob
    from experiments.epic_kitchens.models import build_classifier
    from experiments.training.schedules import next_rate, stop

    classifier = build_classifier(
        arguments, recipe, len(shards.class_names), num_train_clips=len(split.train)
    )
    batches = make_batches(arguments, recipe, shards)
    clips = _Clips(shards, split, recipe, arguments.seed)
    if arguments.find_rate:
        _find_rate(classifier, batches, clips, run_dir)
        return None
    fields = {
        **_settings(arguments, recipe, shards, split, strategy),
        "params": classifier.model.count_params(),
    }
    job = ClipJob.of(arguments, recipe, run_dir, shards, split, fields=fields, started=started)
    history = job.train(
        classifier, batches, clips=clips, stop=stop(recipe), next_rate=next_rate(recipe)
    )
    job.keep(recipe.choice(), recipe.crops, inputs=recipe.inputs)
    return job.test(history, batches.with_views(recipe.places))


def checked(arguments: Arguments) -> tuple[Recipe, Parts]:
    """What the flags make, once all that can be refused has been: extraction may take hours.

    Raises:
        PreprocessError, RunError, WeightsError, ValueError: as `run` does.
    """
    arguments.check()
    recipe = arguments.made_recipe()
    runtime.choose_threads(arguments.threads)
    arguments.check_weights(recipe)

    from experiments.clips.subsets import Parts

    strategy = arguments.split or _usual_split(arguments)
    parts = Parts(DATASET, strategy, arguments, recipe.validation, arguments.num_folds)
    check_run(
        _run_name(arguments, parts.check(), strategy),
        arguments,
        {**asdict(arguments), **asdict(recipe), "split": strategy},
        unknown=["shards", *(["frame_size"] if recipe.frame_size is None else [])],
    )
    return recipe, parts


def make_batches(arguments: Arguments, recipe: Recipe, shards: Shards) -> ViewBatches:
    """The clips as the recipe wants them."""
    from preprocess.batches.rand_augment import RandAugment
    from preprocess.batches.view_batches import PixelViews, ViewBatches

    changes: list[Any] = [recipe.relighting] if recipe.relighting else []
    if recipe.num_operations:
        changes.append(RandAugment(recipe.num_operations, recipe.magnitude))
    return ViewBatches(
        PixelViews(shards, recipe.crops, changes=changes, inputs=recipe.inputs),
        recipe.choice(),
        batch_size=recipe.batch_size,
        seed=arguments.seed,
    )


class _Clips:
    """The training clips of each epoch."""

    def __init__(self, shards: Shards, split: Split, recipe: Recipe, seed: int) -> None:
        self._labels, self._train = shards.labels, split.train
        self._is_balanced, self._seed = recipe.balanced, seed

    def __call__(self, epoch: int) -> np.ndarray:
        from experiments.training.finetuning.balance import balanced

        if not self._is_balanced:
            return self._train
        return balanced(self._labels, self._train, np.random.default_rng([self._seed, epoch, 1]))


def _find_rate(classifier: Classifier, batches: ViewBatches, clips: _Clips, run_dir: Path) -> None:
    from experiments.runs.directory import write_atomically
    from experiments.training.finetuning.rate_finder import find_rate
    from experiments.training.finetuning.rate_plot import rate_finder_png

    curve = find_rate(classifier, lambda epoch: batches.shuffled(clips(epoch), epoch))
    write_atomically(run_dir / "rate_finder.png", rate_finder_png(curve))
    print(f"{curve}\nPicture: {run_dir / 'rate_finder.png'}")


def _usual_split(arguments: Arguments) -> Any:
    from preprocess.sources.epic_kitchens import is_epic_kitchens

    videos = arguments.videos
    if videos is None and not arguments.on_demo and arguments.shards is None:
        videos = Path(DATASET.default_videos_dir)
    is_list = videos is not None and (videos.suffix == ".csv" or is_epic_kitchens(videos))
    return "listed" if is_list and arguments.folds is None else "group"


def _run_name(arguments: Arguments, dataset: str, strategy: str) -> str:
    recipe = "-".join([arguments.recipe, *arguments.set])
    parts = [_model_name(arguments), recipe, f"freeze-{arguments.freeze}", strategy]
    parts.append(f"fold{arguments.fold}-seed{arguments.seed}")
    if arguments.find_rate:
        parts.append("rates")
    return "-".join(["epic_kitchens", dataset, *parts])


def _model_name(arguments: Arguments) -> str:
    return f"timesformer-{arguments.size_name}-{arguments.attention}"


def _settings(
    arguments: Arguments, recipe: Recipe, shards: Shards, split: Split, strategy: str
) -> dict[str, Any]:
    return {
        "experiment": "epic_kitchens",
        "command": typed_command(MODULE),
        **split_fields(shards, split),
        "split": strategy,
        "fold": arguments.fold,
        "num_folds": arguments.num_folds,
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
