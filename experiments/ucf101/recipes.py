"""Training recipes and flags of the UCF101 job: `original` as published, `tuned` as ours.

The original's values are those of HHTseng/video-classification's scripts. They scale frames to the
model's size by Pillow, without regard to their shape, after making them grey for conv3d. The model
sees the first frames of a clip; validation and test use the same clips, and the best epoch counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from common.errors import InputError
from experiments.clips.recipe import ClipArguments, ClipRecipe, Size, Strategy, takes_demo
from experiments.clips.ucf11 import Ucf11Arguments
from experiments.runs.run import require_fold
from preprocess.sources.catalog import UCF101, Dataset

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


# Flags of the job, and the recipe that they make.


MODULE = "experiments.ucf101"
RANDOM_WEIGHTS = "random"


@dataclass(frozen=True, kw_only=True)
class Ucf101Arguments(ClipArguments):
    """Train and evaluate a model on UCF101's videos, or any others."""

    model: ModelName = "crnn"
    """conv3d: 3D convolutions; crnn: convolutions of each frame, then an LSTM; resnet-crnn: a
    frozen ResNet's features, computed once, then an LSTM."""
    varlen: bool = False
    """Clips of their own lengths in place of one; not for conv3d."""
    split: Strategy = "group"
    """group: the clips of a scene stay together; random: over clips, as published; official: the
    data set's own train and test lists; listed: by the column part of a list."""
    list: Literal[1, 2, 3] = 1
    """With official: which pair of lists."""
    lists: Path = Path(UCF101.default_lists_dir or "")
    """Folder of the official lists, trainlist01.txt and so on."""
    recipe: Literal["original", "tuned"] = "tuned"
    """original: as published; tuned: ours."""
    head: Literal["dense", "gap"] | None = None
    """Of conv3d; gap does without the layer of 320 million weights."""
    depth: Literal[18, 34, 50, 101, 152] | None = None
    """Of the ResNet; by default 152, on the built-in set 18."""
    weights: str | None = None
    """Of the ResNet: a file that python -m weights convert wrote, or torchvision's own (.pth,
    .safetensors); or random, for trials."""
    distribute: Literal["workers", "gpus"] | None = None
    """workers: the machines of the variable TF_CONFIG share each step, with --out for all; gpus:
    those of this machine do. See docs/launch.md."""

    @property
    def on_demo(self) -> bool:
        """Whether the built-in set is used."""
        return takes_demo(UCF101, videos=self.videos, shards=self.shards)

    @property
    def num_folds(self) -> int:
        """Number of folds of the split; the original tests a quarter of the clips."""
        return 4 if self.split == "random" and self.recipe == "original" else 5

    @property
    def resnet_depth(self) -> int:
        """Depth of the ResNet, by default 152, or 18 on the built-in set."""
        return self.depth or (18 if self.on_demo else 152)

    def check(self) -> None:
        """Raise UserError for impossible flags, before anything is read."""
        self.check_common()
        if self.split in ("group", "random"):
            require_fold(self.fold, self.num_folds)
        is_resnet = self.model == "resnet-crnn"
        if not is_resnet and (self.depth or self.weights):
            raise InputError("--depth and --weights are resnet-crnn's. Leave them out.")
        if self.head and self.model != "conv3d":
            raise InputError("--head is conv3d's. Leave it out.")
        if is_resnet and self.weights is None and not self.on_demo:
            raise InputError(
                "resnet-crnn needs a trained ResNet, whose features it classifies: --weights FILE. "
                "torchvision's resnet152-394f9c45.pth from https://download.pytorch.org/models/ is "
                "such a file; --weights random is for trials only."
            )

    def plain_recipe(self) -> Recipe:
        """Return the recipe without the flags that override it."""
        recipe = recipe_for(self.recipe, self.model, varlen=self.varlen)
        return reduced(recipe, self.model) if self.on_demo else recipe

    def made_recipe(self) -> Recipe:
        """Return the recipe with the flags that override it.

        Raises:
            ValueError, PreprocessError: if a flag does not fit.
        """
        recipe = self.overridden(self.plain_recipe(), {"head": self.head})
        if self.model == "conv3d" and recipe.grey and recipe.channels == 3:
            raise InputError(
                "channels=3 needs frames in colour, and the recipe stores grey ones. Add --set "
                "grey=false."
            )
        # Stored features are those of one crop of unchanged frames; only the choice of frames can
        # still be drawn.
        moved = recipe.mirror or recipe.largest_zoom > 1 or recipe.contrast or recipe.brightness
        if self.model == "resnet-crnn" and moved:
            raise InputError(
                "resnet-crnn's features are computed once: mirror, largest_zoom, contrast and "
                "brightness cannot change them. Leave these as they are."
            )
        return recipe


@dataclass(frozen=True)
class Ucf101FeatureArguments(Ucf11Arguments):
    """Train and evaluate a classifier of a frozen network's features of UCF101, or any videos.

    It is the job of experiments.ucf11 --features, with the splits of UCF101.
    """

    module: ClassVar[str] = MODULE
    dataset: ClassVar[Dataset] = UCF101

    lists: Path | None = Path(UCF101.default_lists_dir or "")
    """Folder of the official lists, trainlist01.txt and so on."""
