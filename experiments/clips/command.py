"""What a job on clips prints and records about its data and its outcome."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.process.command import typed_command

if TYPE_CHECKING:
    from experiments.training.recipes import VideoRecipe
    from preprocess.shards.reader import Shards
    from preprocess.sources.splits import Split


def recipe_name(arguments: Any, *, between: str = "-") -> str:
    """Name of the recipe with the changes to it, as in a run's name."""
    return between.join([arguments.recipe, *arguments.set])


def result_fields(
    module: str,
    arguments: Any,
    recipe: VideoRecipe,
    shards: Shards,
    subsets: Split,
    **others: Any,
) -> dict[str, Any]:
    """Fields of a result that are known before training; `others` add to them or replace them."""
    from preprocess.sources.splits import num_with_sibling

    return {
        "experiment": module.removeprefix("experiments."),
        "command": typed_command(module),
        "dataset": shards.dataset,
        "num_clips": len(shards),
        "num_classes": len(shards.class_names),
        "chance": 1 / len(shards.class_names),
        "num_test_clips": len(subsets.test),
        "num_test_clips_with_sibling": num_with_sibling(subsets, shards.groups),
        "split": arguments.split,
        "fold": arguments.fold,
        "seed": arguments.seed,
        "recipe": recipe_name(arguments, between=" "),
        "stride": shards.stride,
        "policy": arguments.policy,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        **others,
    }


def described(shards: Shards, split: Split) -> str:
    """Sentence about the subsets of a split, printed before training."""
    from common.formatting import percent
    from preprocess.sources.splits import num_with_sibling

    share = percent(num_with_sibling(split, shards.groups) / len(split.test))
    return (
        f"{shards.dataset}: {len(split.train)} clips to train on, {len(split.validation)} to "
        f"validate, {len(split.test)} to test, of which {share} have a sibling of their scene in "
        "training"
    )


def outcome(result: dict[str, Any]) -> str:
    """Summarize a result: its accuracy, the interval and chance beside it, and the report."""
    low, high = result["accuracy_interval"].values()
    return (
        f"{result['dataset']}: test accuracy {result['accuracy']:.3f} (95 % interval {low:.3f} to "
        f"{high:.3f}; chance {result['chance']:.3f}) on {result['num_test_clips']} clips, of which "
        f"{result['num_test_clips_with_sibling']} have a sibling of their scene in training.\n"
        f"Report: {Path(result['run_dir']) / 'report.html'}"
    )
