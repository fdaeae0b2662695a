"""Training recipes of the TimeSformer job, as data: `original` as published, `tuned` as ours.

The original's values are those of fran6co/epic_kitchens: 50 epochs of Adam with one clip a step, 8
segments of a clip, and the epoch that is best by validation. Training draws a frame of each
segment, tests take the middle one. Frames keep their shape: training scales them to a short side of
256 to 320 pixels and sees crops of 224, tests scale them to a short side of 224.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from experiments.clips.recipe import ClipRecipe

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
