"""Training recipes and flags of the TimeSformer job: `original` as published, `tuned` as ours.

The original's values are those of fran6co/epic_kitchens: 50 epochs of Adam with one clip a step, 8
segments of a clip, and the epoch that is best by validation. Training draws a frame of each
segment, tests take the middle one. Frames keep their shape: training scales them to a short side of
256 to 320 pixels and sees crops of 224, tests scale them to a short side of 224.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from common.errors import InputError, did_you_mean
from experiments.clips.recipe import ClipArguments, ClipRecipe, takes_demo
from experiments.runs.run import require_fold
from preprocess.sources.catalog import Dataset

SizeName = Literal["base", "hr", "large", "small"]


@dataclass(frozen=True, kw_only=True)
class Recipe(ClipRecipe):
    """Training recipe of fine-tuning."""

    drop_path: float
    """Rate of stochastic depth in the last block; it rises linearly from 0 in the first."""
    layer_decay: float
    """Learning rate of a block relative to that of the block after it."""
    mixup: float
    """Alpha of mixup; 0 for none."""
    num_operations: int
    magnitude: float
    """Magnitude of RandAugment, from 0 to 10, for `num_operations` operations; see
    `preprocess.batches.rand_augment`."""
    balanced: bool
    """Draw equally many clips of each class for an epoch."""


@dataclass(frozen=True)
class Size:
    """Dimensions of a TimeSformer and of its input."""

    num_frames: int
    image_size: int
    patch_size: int = 16
    dim: int = 768
    depth: int = 12
    heads: int = 12
    short_sides: tuple[int, int] = (256, 320)
    """Range of short sides to which the original scales its training frames."""


# The three sizes of facebookresearch/TimeSformer, and one that trains from nothing on a CPU.
SIZES: dict[SizeName, Size] = {
    "base": Size(8, 224),
    "hr": Size(16, 448, short_sides=(448, 512)),
    "large": Size(96, 224),
    "small": Size(16, 64, patch_size=8, dim=96, depth=4, heads=4, short_sides=(73, 91)),
}

# fran6co/epic_kitchens' script; see the docstring of this file.
_ORIGINAL = Recipe(
    name="original",
    epochs=50,
    batch_size=1,
    learning_rate=1e-4,
    schedule="constant",
    warmup_share=0.0,
    weight_decay=0.0,
    clip_norm=None,
    epsilon=1e-8,
    label_smoothing=0.0,
    dropout=0.0,
    frame_size=None,
    interpolation="linear",
    grey=False,
    crop_size=(224, 224),
    inputs="frames",
    num_frames=8,
    stride=1,
    sampling="rounded segments",
    start="random",
    largest_zoom=1.0,
    mirror=True,
    short_sides=(256, 320),
    contrast=0.0,
    brightness=0.0,
    validation="held out",
    selection="best",
    patience=None,
    views="1x3",
    drop_path=0.1,
    layer_decay=1.0,
    mixup=0.0,
    num_operations=0,
    magnitude=0.0,
    balanced=False,
)
# Usual settings of the field, not the outcome of a search: no pretrained weights were at hand.
_TUNED = replace(
    _ORIGINAL,
    name="tuned",
    epochs=30,
    batch_size=8,
    learning_rate=5e-4,
    schedule="cosine",
    warmup_share=0.1,
    weight_decay=0.05,
    clip_norm=1.0,
    epsilon=1e-7,
    label_smoothing=0.1,
    frame_size=(341, 256),
    sampling="segments",
    largest_zoom=1.25,
    short_sides=None,
    # As in ELECTRA and BEiT: the earlier a block, the less it changes.
    layer_decay=0.75,
    num_operations=2,
    magnitude=5.0,
    balanced=True,
    patience=10,
)
RECIPES = {recipe.name: recipe for recipe in (_ORIGINAL, _TUNED)}


def sized(recipe: Recipe, size: SizeName) -> Recipe:
    """Return a recipe with the frames that a model of some size sees."""
    wanted = SIZES[size]
    recipe = replace(
        recipe,
        crop_size=(wanted.image_size, wanted.image_size),
        num_frames=wanted.num_frames,
    )
    if recipe.short_sides is not None:
        return replace(recipe, short_sides=wanted.short_sides)
    # A short side of 256 for a crop of 224, as the original has it, and frames of 4:3.
    short = round(wanted.image_size * 256 / 224)
    return replace(recipe, frame_size=(round(short * 4 / 3), short))


def for_demo(recipe: Recipe) -> Recipe:
    """Adapt a recipe to the built-in set and to training from nothing.

    The input is the foreground, because models learn the backgrounds by heart. Nothing is mirrored,
    which would change a class, and the model sees whole small frames.
    """
    return replace(
        sized(recipe, "small"),
        epochs=min(recipe.epochs, 20),
        batch_size=16,
        learning_rate=1e-3,
        frame_size=(64, 64),
        inputs="foreground",
        sampling="segments",
        largest_zoom=1.0,
        mirror=False,
        short_sides=None,
        layer_decay=1.0,
        num_operations=0,
        drop_path=0.0,
        views="1x1",
    )


# Flags of `train`, and the recipe that they make.


MODULE = "experiments.epic_kitchens"
DATASET = Dataset(
    name="epic_kitchens",
    title="a small subset of Epic Kitchens, as fran6co/epic_kitchens lays it out",
    class_names=(),
    num_clips=0,
    layout="train/P01/P01_09/frame_0000000036.jpg, with train_action_classes.csv",
    homepage="https://github.com/fran6co/epic_kitchens",
    default_videos_dir="data/epic_kitchens",
)


@dataclass(frozen=True, kw_only=True)
class EpicKitchensArguments(ClipArguments):
    """Fine-tune a TimeSformer on clips of a list, of Epic Kitchens, or of a folder of videos."""

    size: SizeName | None = None
    """base: 8 frames of 224x224; hr: 16 of 448x448; large: 96 of 224x224; small: 16 of 64x64, for
    training from nothing. By default base, on the built-in set small."""
    attention: Literal["divided", "joint", "space"] = "divided"
    """Over time, then over space; over both at once; over each frame alone."""
    weights: Path | None = None
    """To begin with: of a TimeSformer, the original's .pyth or Hugging Face's .safetensors, or of a
    plain ViT. A head of other classes starts anew."""
    freeze: str = "none"
    """What stays as it is: none; head, all but the head; or a number: so many blocks, and the
    embedding before them."""
    split: Literal["group", "random", "listed"] | None = None
    """listed: by the parts of the list, as Epic Kitchens has them; group: clips of a video stay
    together; random: over clips. By default listed for a list and Epic Kitchens, else group."""
    folds: int | None = None
    """Train and test so many folds in turn, and print mean and spread."""
    recipe: Literal["original", "tuned"] = "tuned"
    """original: as published; tuned: ours."""
    mixup: float | None = None
    """Alpha of mixup; by default the recipe's."""
    find_rate: bool = False
    """Try rising learning rates instead of training: prints the best, and draws rate_finder.png."""

    @property
    def on_demo(self) -> bool:
        """Whether the built-in set is used."""
        return takes_demo(DATASET, videos=self.videos, shards=self.shards)

    @property
    def num_folds(self) -> int:
        """Number of folds of the split."""
        return self.folds or 5

    @property
    def size_name(self) -> SizeName:
        """Name of the model's size, by default base, or small on the built-in set."""
        return self.size or ("small" if self.on_demo else "base")

    @property
    def frozen(self) -> Literal["none", "head"] | int:
        """Value of --freeze as `experiments.training.finetuning.freeze` takes it."""
        if self.freeze in ("none", "head"):
            return self.freeze  # type: ignore[return-value]
        if self.freeze.isdecimal():
            return int(self.freeze)
        message = f"--freeze must be none, head or a number of blocks. Received {self.freeze!r}."
        raise InputError(f"{message} {did_you_mean(self.freeze, ['none', 'head'])}".strip())

    def check(self) -> None:
        """Raise UserError for impossible flags, before anything is read."""
        self.check_common()
        self.frozen  # noqa: B018 - is read
        if self.folds is not None and self.folds < 2:
            raise InputError(f"--folds must be at least 2. Received {self.folds}.")
        if self.folds is not None and self.find_rate:
            raise InputError(
                "--folds trains on each fold, and --find-rate tries rates on one. Leave one of "
                "them out."
            )
        if self.folds is not None and self.split == "listed":
            raise InputError(
                "--folds deals the clips anew, and --split listed keeps the parts of the list. "
                "Leave one of them out."
            )
        if self.split != "listed":
            require_fold(self.fold, self.num_folds)
        if self.weights is not None and not self.weights.is_file():
            raise InputError(f"--weights must be a file. Received {self.weights}.")
        depth = SIZES[self.size_name].depth
        if isinstance(self.frozen, int) and self.frozen > depth:
            raise InputError(
                f"--freeze must be at most {depth}, the blocks of a TimeSformer of this size. "
                f"Received {self.frozen}."
            )
        if self.frozen != "none" and self.weights is None:
            raise InputError(
                "--freeze keeps weights that were learned elsewhere: give --weights too."
            )

    def plain_recipe(self) -> Recipe:
        """Return the recipe without the flags that override it."""
        recipe = RECIPES[self.recipe]
        return for_demo(recipe) if self.on_demo else sized(recipe, self.size_name)

    def made_recipe(self) -> Recipe:
        """Return the recipe with the flags that override it.

        Raises:
            ValueError, PreprocessError: if a flag does not fit.
        """
        recipe = self.overridden(self.plain_recipe(), {"mixup": self.mixup})
        side, patch = recipe.crop_size[0], SIZES[self.size_name].patch_size
        # Frames are cut into square patches that must cover them.
        if recipe.crop_size != (side, side) or side % patch:
            raise InputError(
                f"crop_size must be square for TimeSformer, and a multiple of {patch}. Received "
                f"{recipe.crop_size}."
            )
        return recipe
