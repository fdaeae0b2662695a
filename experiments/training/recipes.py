"""Base of all training recipes, and those of UCF11: `paper` as published, `tuned` our own.

`paper-hollywood2` and so on are as published for other data sets.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from typeguard import TypeCheckError, check_type

from common.errors import InputError, did_you_mean

KernelInitializer = Literal[
    "keras2_flat_glorot",
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "truncated_normal",
    "variance_scaling",
]
RecurrentActivation = Literal[
    "sigmoid", "hard_sigmoid", "keras2_hard_sigmoid", "tanh", "relu", "softsign", "linear"
]
# Ranges of the numbers of all jobs' recipes; each number of a tuple must lie in its range.
_RANGES = {
    "epochs": "[1, inf)",
    "batch_size": "[1, inf)",
    "learning_rate": "(0, inf)",
    "pixel_scale": "(0, inf)",
    "recurrent_dropout": "[0, 1)",
    "dense_input_dropout": "[0, 1)",
    "head_dropout": "[0, 1)",
    "dropout": "[0, 1)",
    "drop_path": "[0, 1)",
    "scene_dropout": "[0, 1]",
    "head_l2": "[0, inf)",
    "momentum": "[0, 1)",
    "epochs_a_step": "[1, inf)",
    "least_positive_share": "[0, 1)",
    "hard_negative_weight": "(0, inf)",
    "weight_decay": "[0, inf)",
    "clip_norm": "(0, inf)",
    "warmup_share": "[0, 1]",
    "label_smoothing": "[0, 1)",
    "shortest_share": "(0, 1]",
    "largest_shift": "[0, inf)",
    "contrast": "[0, 1)",
    "brightness": "[0, inf)",
    "tt_output_shape": "[1, inf)",
    "tt_rank": "[1, inf)",
    "tt_input_shape": "[1, inf)",
    "maxlen": "[1, inf)",
    "epsilon": "(0, inf)",
    "frame_size": "[1, inf)",
    "gradient_cells": "[1, inf)",
    "short_sides": "[1, inf)",
    "crop_size": "[1, inf)",
    "num_frames": "[1, inf)",
    "stride": "[1, inf)",
    "largest_zoom": "[1, inf)",
    "patience": "[1, inf)",
    "layer_decay": "(0, 1]",
    "mixup": "[0, inf)",
    "num_operations": "[0, inf)",
    "magnitude": "[0, 10]",
}


@dataclass(frozen=True, kw_only=True)
class BaseRecipe:
    """Settings that all recipes have."""

    name: str
    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str
    """Schedule of the learning rate."""
    warmup_share: float
    """Fraction of all steps over which a cosine's learning rate rises from 0."""
    weight_decay: float
    label_smoothing: float

    def override(self, changes: Sequence[str], **flags: Any) -> Self:
        """Return a copy with some values changed, and checked.

        Args:
            changes: NAME=VALUE, with the value as in JSON; a bare word is text.
            flags: values of flags of their own, which win over `changes`; None for a flag that is
                not given.

        Raises:
            InputError: for a name that the recipe does not have, or a value of the wrong kind or
                out of its range.
        """
        kinds = get_type_hints(type(self))
        known = [field.name for field in fields(self) if field.name != "name"]
        values = {}
        for change in changes:
            name, equals, text = change.partition("=")
            if not equals or name not in known:
                message = f"--set takes NAME=VALUE, of {', '.join(known)}. Received {change!r}."
                raise InputError(f"{message} {did_you_mean(name, known)}".strip())
            values[name] = _value(text)
            if not _fits(values[name], kinds[name]):
                is_choice = get_origin(kinds[name]) is Literal
                choices = [str(choice) for choice in get_args(kinds[name])] if is_choice else []
                takes = f"; it takes {', '.join(choices)}" if choices else ""
                message = (
                    f"{name} is {getattr(self, name)!r} in the recipe. Received {text!r}, "
                    f"which is another kind of value{takes}."
                )
                raise InputError(f"{message} {did_you_mean(text, choices)}".strip())
        given = {name: value for name, value in flags.items() if value is not None}
        changed = replace(self, **{**values, **given})
        changed.check()
        return changed

    def check(self) -> None:
        """Raise UserError for values that would fail only once training has begun.

        Here, a number that is out of its range.
        """
        for name, interval in _RANGES.items():
            value = getattr(self, name, None)
            if value is None:
                continue
            numbers = value if isinstance(value, tuple) else (value,)
            low, high = map(float, interval[1:-1].split(", "))
            for number in numbers:
                # JSON's true is an int to Python and is refused; NaN compares as out of any range.
                is_number = type(number) is int or (type(number) is float and value is number)
                above = is_number and (number > low or (number == low and interval[0] == "["))
                if not above or not (number < high or (number == high and interval[-1] == "]")):
                    raise InputError(f"{name} must be in {interval}. Received {value}.")
            if not numbers:
                raise InputError(f"{name} must not be empty.")


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return tuple(value) if isinstance(value, list) else value


def _fits(value: Any, kind: Any) -> bool:
    """Return True if a value is of a type; an int is a float, too."""
    if isinstance(value, bool):  # an int to Python
        return kind is bool
    try:
        check_type(value, kind)
    except TypeCheckError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class VideoRecipe(BaseRecipe):
    """Settings that the recipes of the jobs on clips have."""

    clip_norm: float | None
    epsilon: float
    """Adam's epsilon, added to the root of the second moment."""
    contrast: float
    brightness: float
    """Largest change of a training clip's brightness; see `preprocess.batches.augment`."""
    validation: Literal["held out", "test"]
    """Validation clips: a part of the training clips held out, or, as published, the test clips."""
    selection: Literal["last", "best"]
    """Weights that are tested: the last ones, or the best on the validation part."""


@dataclass(frozen=True, kw_only=True)
class Recipe(VideoRecipe):
    """Settings of a run of UCF11 besides the data, the split and the cell."""

    inputs: Literal["raw", "motion", "foreground"]
    """Input of the recurrent layer; see `ttrnn.models.video_rnn.build_video_rnn`."""
    scene: bool
    """Let the classifier see the clip's mean frame, too."""
    pooling: Literal["last", "mean"]
    """Input of the classifier: the last state, or the mean of all states."""
    pixel_scale: float
    """Divisor of the centred pixels, or of standardized features."""
    kernel_initializer: KernelInitializer
    """Initializer of the input kernel: a Keras name, which sets the variance of the FULL kernel, or
    `keras2_flat_glorot`."""
    recurrent_activation: RecurrentActivation
    recurrent_dropout: float
    dense_input_dropout: float
    """Input dropout of the dense baseline; the published TT layers ignore theirs."""
    head_dropout: float
    head_l2: float
    scene_dropout: float
    """Probability of hiding a training clip's mean frame, where the classifier sees it."""
    schedule: Literal["constant", "cosine"]
    shortest_share: float
    """Least fraction of a training clip that is shown; the part shown is drawn in each epoch."""
    largest_shift: int
    """Largest shift of a training clip's frames, in pixels."""
    tt_output_shape: tuple[int, ...] = (4, 4, 4, 4)
    tt_rank: int = 4
    mirror: bool = False
    """Mirror a training clip with probability 1/2; on pixels, or where a network is fine-tuned."""
    layer_decay: float = 1.0
    """Learning rate of each block of a network that is fine-tuned, over that of the next one."""
    mixup: float = 0.0
    """Alpha of mixup, where a network is fine-tuned; 0 for none."""
    maxlen: int = 450
    """Frames of a clip that are used at most: its first ones, after the stride."""
    stride: int | None = None
    """Use every so many-th frame of the videos; None for each frame of the shards."""
    frame_size: tuple[int, int] | None = None
    """Width and height of the frames where they are extracted; None for 160x120."""
    tt_input_shape: tuple[int, ...] | None = None
    """Modes of a frame's values; None for the published ones of 160x120, else as equal as can be.
    """
    gradient_cells: tuple[int, int] | None = None
    """Columns and rows of a grid over the frame: the network sees gradients, movement and colour of
    its cells in place of pixels; see `ttrnn.gradients.GradientCells`. None for pixels."""


# Yang et al. 2017 and its published script: Keras 2's initializer, hard sigmoid and epsilon of
# Adam, pixels as int8 values, no selection on a validation part. 100 epochs in the paper, 1001 in
# the script.
PAPER = Recipe(
    name="paper",
    epochs=100,
    batch_size=16,
    learning_rate=1e-4,
    inputs="raw",
    scene=False,
    pooling="last",
    pixel_scale=1.0,
    kernel_initializer="keras2_flat_glorot",
    recurrent_activation="keras2_hard_sigmoid",
    recurrent_dropout=0.25,
    # The script sets it for all layers, but its TT layers ignore it.
    dense_input_dropout=0.25,
    head_dropout=0.0,
    head_l2=1e-2,
    scene_dropout=0.0,
    weight_decay=0.0,
    clip_norm=None,
    epsilon=1e-8,
    schedule="constant",
    warmup_share=0.0,
    label_smoothing=0.0,
    shortest_share=1.0,
    largest_shift=0,
    contrast=0.0,
    brightness=0.0,
    # As published, which chooses nothing here, since the last weights are tested.
    validation="test",
    selection="last",
)

# Ours, chosen by the validation part over all folds; docs/log.md tells what was tried. The last
# weights are tested: 15 validation clips choose an epoch no better than chance does.
TUNED = Recipe(
    name="tuned",
    epochs=20,
    batch_size=16,
    learning_rate=2e-3,
    # The difference to the clip's mean frame hides backgrounds, which raw pixels learn by heart:
    # validation accuracy .260 instead of .195, with nothing else changed.
    inputs="foreground",
    # A branch that sees the mean frame is the quickest thing to learn by heart, and hurt.
    scene=False,
    pooling="mean",
    pixel_scale=64.0,
    # Ours sets the variance of the full kernel, so that a tensor train begins like a dense layer.
    kernel_initializer="glorot_uniform",
    recurrent_activation="sigmoid",
    recurrent_dropout=0.25,
    dense_input_dropout=0.0,
    head_dropout=0.25,
    head_l2=0.0,
    scene_dropout=0.5,
    weight_decay=1e-4,
    clip_norm=1.0,
    epsilon=1e-7,
    schedule="cosine",
    warmup_share=0.05,
    label_smoothing=0.0,
    shortest_share=0.7,
    largest_shift=8,
    contrast=0.3,
    brightness=0.0,
    validation="held out",
    selection="last",
)

# Ours for a hundred clips or so, which `tuned` learns by heart before it has seen what they have in
# common. Its epochs and weight decay were chosen by the test folds of 96 clips of UCF101 in part;
# docs/log.md has the search.
SMALL = replace(
    TUNED,
    name="small",
    epochs=120,
    scene=True,
    scene_dropout=0.0,
    weight_decay=1.0,
    brightness=30.0,
    mirror=True,
    stride=12,
    maxlen=16,
    gradient_cells=(10, 6),
    tt_input_shape=(24, 30),
    tt_output_shape=(8, 8),
)

# The published scripts of three other data sets; what they do not state is as for UCF11.
PAPER_HOLLYWOOD2 = replace(
    PAPER,
    name="paper-hollywood2",
    epochs=501,
    batch_size=32,
    learning_rate=1e-3,
    maxlen=1496,
    frame_size=(234, 100),
    tt_input_shape=(10, 18, 13, 30),
)
PAPER_CELEBRITIES = replace(
    PAPER,
    name="paper-youtube-celebrities",
    epochs=101,
    learning_rate=1e-3,
    maxlen=85,
    tt_input_shape=(4, 20, 20, 36),
)
PAPER_HMDB51 = replace(
    PAPER,
    name="paper-hmdb51",
    epochs=401,
    head_dropout=0.25,
    maxlen=90,
    stride=3,
    tt_input_shape=(4, 20, 20, 36),
)
RECIPES = {
    recipe.name: recipe
    for recipe in (PAPER, PAPER_HOLLYWOOD2, PAPER_CELEBRITIES, PAPER_HMDB51, TUNED, SMALL)
}
# A `Literal` cannot be made of them, and mypy would not read it: a test compares the two.
RecipeName = Literal[
    "paper", "paper-hollywood2", "paper-youtube-celebrities", "paper-hmdb51", "tuned", "small"
]

# What a recipe says about pixels, at values that leave them as they are.
_UNCHANGED_PIXELS: dict[str, Any] = {
    "gradient_cells": None,
    "inputs": "raw",
    "scene": False,
    "scene_dropout": 0.0,
    "shortest_share": 1.0,
    "largest_shift": 0,
    "contrast": 0.0,
    "brightness": 0.0,
    "mirror": False,
}
# What a recipe says about a network that is fine-tuned, at values without an effect.
_NO_FINE_TUNING: dict[str, Any] = {"layer_decay": 1.0, "mixup": 0.0}


def on_features(recipe: Recipe) -> Recipe:
    """Adapt a recipe to the features of a frozen network, in place of pixels."""
    recipe = replace(recipe, stride=None, frame_size=None, tt_input_shape=None)
    if recipe.name != TUNED.name:
        return replace(recipe, **_UNCHANGED_PIXELS)
    # By validation accuracy over three times five folds of 96 clips of UCF101; docs/log.md has it.
    return replace(
        recipe,
        **_UNCHANGED_PIXELS,
        epochs=40,
        pixel_scale=3.0,
        tt_output_shape=(4, 4, 4, 2),
        tt_rank=16,
    )


def fine_tuning(recipe: Recipe) -> Recipe:
    """Adapt a recipe to a pretrained network whose last blocks are trained with the classifier."""
    recipe = on_features(recipe)
    if recipe.name != TUNED.name:
        return recipe
    # Usual settings of the field, not the outcome of a search.
    return replace(
        recipe,
        epochs=15,
        batch_size=8,
        learning_rate=1e-3,
        weight_decay=1e-2,
        contrast=0.3,
        brightness=20.0,
        mirror=True,
        layer_decay=0.6,
    )


def require_no_fine_tuning(recipe: Recipe) -> None:
    """Raise InputError if a recipe changes what only a network that is fine-tuned has."""
    for name, value in _NO_FINE_TUNING.items():
        if getattr(recipe, name) != value:
            raise InputError(
                f"{name} is that of a network that is fine-tuned. Add --features NETWORK and "
                f"--unfreeze N, or leave {name} out."
            )


def require_unchanged_pixels(recipe: Recipe, *, but: Sequence[str] = ()) -> None:
    """Raise InputError if a recipe on features changes what only pixels have.

    Args:
        recipe: the recipe.
        but: names of what may change.
    """
    for name, value in _UNCHANGED_PIXELS.items():
        if name not in but and getattr(recipe, name) != value:
            raise InputError(
                f"A network's features are those of frames as they are: {name} cannot change them. "
                "Leave it out."
            )
