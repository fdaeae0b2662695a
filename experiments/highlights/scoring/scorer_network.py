"""The network that scores a picture: a ResNet of all of it, or one for each sense.

Normalisation is in the model, so that training, scoring and export take the same bytes. Training
may begin from the weights of a ResNet of ImageNet, or of the original.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import keras
import numpy as np

from common.errors import InputError
from experiments.clips.pictures import PictureSettings
from experiments.models.resnet_weights import read_resnet
from ttrnn.models.resnet import build_resnet
from weights.assign import assign_arrays
from weights.errors import WeightsError

Layout = Literal["stacked", "two-inputs"]
NUM_CLASSES = 2
"""No highlight, and highlight, in this order."""
SOUND_DEPTH = 18


def build_scorer(
    depth: int,
    settings: PictureSettings,
    *,
    layout: Layout = "stacked",
    dropout: float = 0.0,
    dtype: str | None = None,
) -> keras.Model:
    """Build the model of a picture's probabilities.

    Args:
        depth: of the ResNet: 18, 34, 50, 101 or 152.
        settings: of the pictures.
        layout: "stacked": one ResNet sees the parts as one tall picture, as the original's does.
            "two-inputs": one sees the box and the frame, another, of depth 18, the spectrogram;
            the features of both are classified together.
        dropout: share of the features that is hidden in training.
        dtype: policy of every layer, such as "mixed_bfloat16"; the probabilities are float32.

    Returns:
        A model of RGB pixels uint8 (B, parts * side, side, 3) to probabilities (B, 2).

    Raises:
        InputError: for an unknown depth or layout, or two inputs where sound is missing or alone.
    """
    pixels = keras.Input(settings.frame_shape, dtype="uint8", name="picture")
    if layout == "stacked":
        features = _tower(depth, pixels, "all", dtype)
    elif layout == "two-inputs":
        features = keras.layers.Concatenate(dtype="float32", name="features")(
            [
                _tower(depth, _cut(pixels, settings, sound=False), "seen", dtype),
                _tower(SOUND_DEPTH, _cut(pixels, settings, sound=True), "heard", dtype),
            ]
        )
    else:
        raise InputError(f"layout must be stacked or two-inputs. Received {layout!r}.")
    if dropout:
        features = keras.layers.Dropout(dropout, dtype="float32", name="dropout")(features)
    outputs = keras.layers.Dense(
        NUM_CLASSES, activation="softmax", dtype="float32", name="probabilities"
    )(features)
    return keras.Model(pixels, outputs, name=f"{layout}_resnet{depth}")


def _tower(depth: int, pixels, name: str, dtype: str | None):
    """Features of a ResNet: (B, 512), or (B, 2048) from depth 50 on."""
    shape = tuple(pixels.shape[1:])
    return build_resnet(depth, None, input_shape=shape, normalize=True, dtype=dtype, name=name)(
        pixels
    )


def _cut(pixels, settings: PictureSettings, *, sound: bool):
    """Crop a picture to its last part, which is the spectrogram, or to those above it."""
    height, side = settings.frame_shape[:2]
    if "sound" not in settings.parts or height == side:
        raise InputError(
            "two-inputs needs pictures of sound and of something seen. Received pictures of "
            f"{' '.join(settings.parts)}; extract --parts box sound, or choose stacked."
        )
    rows = (height - side, 0) if sound else (0, side)
    name = "sound" if sound else "sight"
    return keras.layers.Cropping2D((rows, (0, 0)), dtype="uint8", name=name)(pixels)


def begin_from(model: keras.Model, file: Path, depth: int) -> str:
    """Give the ResNets of a scorer the weights of a ResNet that was trained on other pictures.

    The last layer is taken too where the file's tells highlights as the scorer's does: it is of
    two classes, and the scorer is one ResNet. eqy/autotosis's model_best.pth.tar is such a file.

    Args:
        model: from `build_scorer`.
        file: of its weights, as `read_resnet` takes it.
        depth: of the ResNet in the file.

    Returns:
        In words, which ResNets were given them.

    Raises:
        InputError: if the file cannot be read, or is that of another network.
    """
    towers = [layer for layer in model.layers if hasattr(layer, "layers")]
    fitting = [tower for tower in towers if tower.name != "heard" or depth == SOUND_DEPTH]
    try:
        arrays = read_resnet(file, depth, last_layer=True)
        head = [arrays.pop(f"fc/{name}", np.empty(0)) for name in ("kernel", "bias")]
        for tower in fitting:
            assign_arrays(tower, arrays)
    except WeightsError as error:
        raise InputError(f"--weights {file} do not fit a ResNet-{depth}: {error}") from error
    given = " and ".join(tower.name for tower in fitting)
    last = model.get_layer("probabilities")
    if [array.shape for array in head] == [tuple(weight.shape) for weight in last.weights]:
        last.set_weights(head)
        given += f" and {last.name}"
    rest = ", ".join(tower.name for tower in towers if tower not in fitting)
    return f"{file}: weights of {given}" + (f"; {rest} starts from scratch" if rest else "")
