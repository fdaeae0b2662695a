"""Training recipes of the UCF101 job, as data: `original` as published, `tuned` as ours.

The original's values are those of HHTseng/video-classification's scripts. They scale frames to the
model's size by Pillow, without regard to their shape, after making them grey for conv3d. The model
sees the first frames of a clip; validation and test use the same clips, and the best epoch counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from common.errors import InputError
from experiments.clips.recipe import ClipRecipe, Size

ModelName = Literal["conv3d", "crnn", "resnet-crnn"]


@dataclass(frozen=True, kw_only=True)
class Recipe(ClipRecipe):
    """Training recipe of the job's three models."""

    channels: Literal[1, 3]
    """Channels of conv3d's input: grey or RGB."""
    head: Literal["dense", "gap"]
    """Head of conv3d: dense layers over all values, or over each channel's mean."""
    normalization: Literal["half", "imagenet"]
    """Normalization of conv3d's pixels; see `ttrnn.models.build_conv3d`."""


# HHTseng/video-classification's CRNN; `_original` states where the other models differ.
_ORIGINAL = Recipe(
    name="original",
    epochs=120,
    batch_size=30,
    learning_rate=1e-4,
    schedule="constant",
    warmup_share=0.0,
    weight_decay=0.0,
    clip_norm=None,
    epsilon=1e-8,
    label_smoothing=0.0,
    dropout=0.0,
    frame_size=(342, 256),
    interpolation="pillow",
    grey=False,
    crop_size=(342, 256),
    inputs="frames",
    num_frames=28,
    stride=1,
    sampling="window",
    start="first",
    channels=1,
    head="dense",
    normalization="half",
    largest_zoom=1.0,
    mirror=False,
    short_sides=None,
    contrast=0.0,
    brightness=0.0,
    validation="test",
    selection="best",
    patience=None,
    views="1x1",
)
# Usual settings of the field, not the outcome of a search on UCF101: smaller frames spread over the
# whole clip, augmentation, and a validation by clips held out.
_TUNED = replace(
    _ORIGINAL,
    name="tuned",
    epochs=40,
    batch_size=16,
    learning_rate=3e-4,
    schedule="cosine",
    warmup_share=0.05,
    weight_decay=1e-2,
    clip_norm=1.0,
    epsilon=1e-7,
    label_smoothing=0.1,
    dropout=0.3,
    frame_size=(171, 128),
    interpolation="linear",
    crop_size=(112, 112),
    num_frames=16,
    stride=4,
    sampling="segments",
    start="random",
    channels=3,
    normalization="imagenet",
    largest_zoom=1.25,
    mirror=True,
    contrast=0.3,
    brightness=20.0,
    validation="held out",
    patience=10,
    views="5x1",
)


def recipe_for(name: str, model: ModelName, *, varlen: bool) -> Recipe:
    """Return the recipe of a model.

    Args:
        name: "original" or "tuned".
        model: name of the model.
        varlen: clips of their own lengths, for the recurrent models.

    Raises:
        InputError: for conv3d with `varlen`.
    """
    if model == "conv3d" and varlen:
        raise InputError(
            "--varlen needs a recurrent model: conv3d's dense layer takes clips of one length. "
            "Choose --model crnn or resnet-crnn."
        )
    return (_original if name == "original" else _tuned)(model, varlen)


def reduced(recipe: Recipe, model: ModelName) -> Recipe:
    """Adapt a recipe to the built-in set: small frames, fewer epochs, no mirroring.

    Mirroring would change the classes, which are directions of motion. Without the foreground as
    input, models learn the backgrounds by heart.
    """
    small: Size = (64, 48) if model == "resnet-crnn" else (80, 60)
    return replace(
        recipe,
        epochs=min(recipe.epochs, 20),
        batch_size=16,
        learning_rate=1e-3,
        frame_size=small,
        interpolation="linear",
        grey=False,
        crop_size=small,
        inputs="foreground",
        num_frames=24,
        stride=1,
        sampling="segments",
        start="random",
        channels=1,
        normalization="imagenet",
        mirror=False,
        largest_zoom=1.0,
        dropout=0.0,
        patience=None,
        views="1x1",
    )


def _original(model: ModelName, varlen: bool) -> Recipe:
    if model == "conv3d":
        # Grey before they are scaled, as in the original.
        return replace(_ORIGINAL, epochs=15, grey=True)
    if model == "crnn" and not varlen:
        return _ORIGINAL
    # The scripts for the ResNet and for clips of their own lengths take other batches and rates.
    recipe = replace(_ORIGINAL, batch_size=40, learning_rate=1e-3)
    if model == "resnet-crnn":
        recipe = replace(recipe, frame_size=(224, 224), crop_size=(224, 224))
    if varlen:
        # Frames 1 to 100, every second one.
        recipe = replace(
            recipe, epochs=150, batch_size=120, num_frames=50, stride=2, schedule="plateau"
        )
    return recipe


def _tuned(model: ModelName, varlen: bool) -> Recipe:
    recipe = _TUNED
    if model == "conv3d":
        # A 3D CNN sees motion between neighbours: a window of them instead of one frame a segment.
        recipe = replace(recipe, stride=2, sampling="window")
    if model == "resnet-crnn":
        # Its features are stored, so that only the choice of frames can be drawn in training.
        recipe = replace(
            recipe,
            batch_size=32,
            frame_size=(298, 224),
            crop_size=(224, 224),
            stride=8,
            largest_zoom=1.0,
            mirror=False,
            contrast=0.0,
            brightness=0.0,
        )
    if varlen:
        recipe = replace(recipe, num_frames=48, sampling="window")
    return recipe
