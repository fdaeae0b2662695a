"""Common flags of the jobs on views of clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from experiments.clips.recipe import ClipRecipe
from experiments.runs.run import require_positive, require_records, require_seed
from preprocess.sources.catalog import Dataset

Strategy = Literal["group", "random", "official", "listed"]
RecipeType = TypeVar("RecipeType", bound=ClipRecipe)


@dataclass(frozen=True, kw_only=True)
class ClipArguments:
    """Which clips, which part of them is tested, and how a run is carried out."""

    videos: Path | None = None
    """Folder of videos, in class folders or named v_Class_gNN_cNN; a folder of frame000001.jpg and
    on counts as a video. Or a list of stretches, .csv, or a folder in Epic Kitchens' layout; see
    docs/data.md."""
    shards: Path | None = None
    """Directory of extracted frames; made from --videos where it is not there yet."""
    classes: tuple[str, ...] | None = None
    """Only these classes."""
    fold: int = 0
    """With a split by group or random: which of its folds is tested, from 0."""
    epochs: int | None = None
    """Passes over the training clips; by default the recipe's."""
    batch_size: int | None = None
    """Clips a step; by default the recipe's."""
    lr: float | None = None
    """Learning rate; by default the recipe's."""
    views: str | None = None
    """How often a clip is tested: places in time x crops, such as 1x1 or 10x3."""
    set: tuple[str, ...] = ()
    """Changes to the recipe, NAME=VALUE, such as dropout=0.5; see recipes.py of this job."""
    seed: int = 0
    """Of the split, the initial weights, the order of clips and all that is drawn."""
    threads: str = "auto"
    """TensorFlow's thread pools: INTRA,INTER, or auto: what python -m experiments.threads has found
    best on this machine, else a default for its cores."""
    policy: Literal["float32", "mixed_bfloat16"] = "float32"
    """Arithmetic of the layers."""
    jobs: int | None = None
    """Worker processes that read videos; by default one a core."""
    scheduler: str | None = None
    """tcp://HOST:8786 of a Dask cluster whose workers read them instead; see docs/cluster.md."""
    deterministic: bool = True
    """The same seed and threads give the same weights, bit for bit. On a GPU it costs time."""
    allow_failures: bool = False
    """Go on without the clips that cannot be read."""
    out: Path | None = None
    """The run's directory; by default runs/ and a name made of the settings."""
    resume: bool = False
    """Continue a run that was stopped, to the same numbers."""
    record: bool = False
    """Append the result to experiments/results.csv."""

    def check_common(self) -> None:
        """Raise UserError for impossible flags, before anything is read."""
        require_positive(self, ("epochs", "batch_size", "lr", "jobs"))
        require_seed(self.seed)
        require_records(self.record)

    def overridden(self, recipe: RecipeType, flags: Mapping[str, Any]) -> RecipeType:
        """Return a recipe with the flags that override it.

        Args:
            recipe: the recipe to change.
            flags: values of further flags by the recipe's names; None for a flag that is not given.

        Raises:
            ValueError, PreprocessError: if a value does not fit.
        """
        return recipe.override(
            self.set,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.lr,
            views=self.views,
            **flags,
        )


def takes_demo(dataset: Dataset, *, videos: Path | None, shards: Path | None) -> bool:
    """Whether `experiments.clips.datasets.open_dataset` would take the built-in set."""
    is_named = videos is not None or shards is not None
    return not is_named and not Path(dataset.default_videos_dir).is_dir()
