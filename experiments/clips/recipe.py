"""Common flags, recipes, and line of the outcome of the jobs on views of clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from experiments.runs.run import (
    require_mlflow,
    require_positive,
    require_records,
    require_seed,
)
from experiments.training.recipes import VideoRecipe
from preprocess.batches.views import CropChoice, FrameChoice, Inputs, Sampling, Start, Views
from preprocess.errors import PreprocessError
from preprocess.shards.settings import FrameSettings, Interpolation
from preprocess.sources.catalog import Dataset

Size = tuple[int, int]
Strategy = Literal["group", "random", "official", "listed"]


@dataclass(frozen=True, kw_only=True)
class ClipRecipe(VideoRecipe):
    """Settings of a run besides the data, the split and the model."""

    schedule: Literal["constant", "cosine", "plateau"]
    """Schedule of the learning rate; plateau divides it by 10 after more than 15 epochs without a
    lower validation loss."""
    dropout: float
    frame_size: Size | None
    """Width and height of the stored frames; None for those of the clips' own pictures."""
    interpolation: Interpolation
    """Interpolation that scales frames; see `preprocess.video.transforms.FrameFit`."""
    grey: bool
    """Make frames grey before they are scaled."""
    crop_size: Size
    """Width and height of the part of a frame that the model sees."""
    inputs: Inputs
    """Input of the model: frames, or the difference of each to the clip's mean frame."""
    num_frames: int
    """Largest number of frames in a view."""
    stride: int
    """Step between the stored frames, counted in frames of the video."""
    sampling: Sampling
    start: Start
    """Start of a view; see `preprocess.batches.views.FrameChoice`, also for `sampling`."""
    largest_zoom: float
    mirror: bool
    short_sides: Size | None
    """Sides to which frames are scaled; see `preprocess.batches.views.CropChoice`, also for
    `largest_zoom` and `mirror`."""
    patience: int | None
    """Number of epochs without improvement after which training stops; None never stops."""
    views: str
    """Views of a clip in a test: places in time x crops, such as "10x3"."""

    def check(self) -> None:
        """Raise UserError for values that would fail only once frames are extracted."""
        super().check()
        if self.frame_size is not None:
            self.crops.require_fit(self.frame_size)
        # Frames of their own sizes only fit a crop after they are scaled.
        elif self.short_sides is None:
            raise PreprocessError(
                "frame_size must be a width and a height unless short_sides scales the pictures. "
                "Received null for both; give one of them."
            )
        self.places  # noqa: B018 - is read

    def settings(self) -> FrameSettings:
        """Settings of the extraction, only of a clip's start where views show nothing else.

        The frame size must be known; `experiments.clips.subsets.with_frame_size` finds it.
        """
        assert self.frame_size is not None
        # With several places in time, later frames are tested, too.
        seen = self.num_frames if self.start == "first" and self.places.temporal == 1 else None
        return FrameSettings(
            self.frame_size, self.stride, seen, interpolation=self.interpolation, grey=self.grey
        )

    def choice(self, *, varlen: bool = False) -> FrameChoice:
        """Choice of the frames of a view.

        Args:
            varlen: allow views with fewer than `num_frames` frames.
        """
        return FrameChoice(self.num_frames, self.sampling, self.start, exact=not varlen)

    @property
    def crops(self) -> CropChoice:
        """Choice of the part of a frame that a view shows."""
        return CropChoice(self.crop_size, self.largest_zoom, self.mirror, self.short_sides)

    @property
    def places(self) -> Views:
        """Views of a clip in a test. Raises PreprocessError if `views` cannot be parsed."""
        return Views.parse(self.views)


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
    tensorboard: bool = False
    """Write events for TensorBoard, in the run's directory: tensorboard --logdir runs."""
    mlflow: bool = False
    """Keep settings, epochs and report in MLflow's store as well: runs/mlflow.db, or what
    MLFLOW_TRACKING_URI names."""

    def check_common(self) -> None:
        """Raise UserError for impossible flags, before anything is read."""
        require_positive(self, ("epochs", "batch_size", "lr", "jobs"))
        require_seed(self.seed)
        require_records(self.record)
        require_mlflow(self.mlflow)

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


def recipe_name(arguments: Any, *, between: str = "-") -> str:
    """Name of the recipe with the changes to it, as in a run's name."""
    return between.join([arguments.recipe, *arguments.set])


def outcome(result: dict[str, Any]) -> str:
    """Summarize a result: its accuracy, the interval and chance beside it, and the report."""
    low, high = result["accuracy_interval"].values()
    precision = result.get("mean_average_precision")
    ranked = "" if precision is None else f"mean average precision {precision:.3f}, "
    return (
        f"{result['dataset']}: {ranked}"
        f"test accuracy {result['accuracy']:.3f} (95 % interval {low:.3f} to "
        f"{high:.3f}; chance {result['chance']:.3f}) on {result['num_test_clips']} clips, of which "
        f"{result['num_test_clips_with_sibling']} have a sibling of their scene in training.\n"
        f"Report: {Path(result['run_dir']) / 'report.html'}"
    )
