"""Network that scores a picture: one ResNet, or one for images and one for sound.

Normalisation is in the model, so that training, scoring and export take the same bytes. Training
may begin from the weights of a ResNet of ImageNet, or of the original.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from common.errors import InputError
from experiments.clips.features import load_network
from experiments.clips.images import ImageSettings
from experiments.models.keras_files import read_resnet
from ttrnn.models.resnet import build_resnet
from weights.assign import assign_arrays
from weights.errors import WeightsError

Layout = Literal["stacked", "two-inputs", "pretrained"]
NUM_CLASSES = 2
"""Number of classes: no highlight, and highlight, in this order."""
SOUND_DEPTH = 18  # of the spectrogram's ResNet, whatever the depth of the other
PRETRAINED = "efficientnet_lite0"
_PRETRAINED_SIDE = 128  # below it, a network that was trained on 224x224 sees little


def build_scorer(
    depth: int,
    settings: ImageSettings,
    *,
    layout: Layout = "stacked",
    dropout: float = 0.0,
    dtype: str | None = None,
) -> keras.Model:
    """Build the model of a picture's probabilities.

    Args:
        depth: depth of the ResNet: 18, 34, 50, 101 or 152.
        settings: how the pictures are made.
        layout: "stacked": one ResNet sees the parts as one tall picture, as the original's does.
            "two-inputs": one sees the box and the frame, another, of depth 18, the spectrogram;
            the features of both are classified together. "pretrained": the first of the two is a
            frozen EfficientNet-Lite0 with the weights of ImageNet, whatever the depth.
        dropout: dropout rate of the features.
        dtype: dtype policy of every layer, such as "mixed_bfloat16"; probabilities are float32.

    Returns:
        A model of RGB pixels uint8 (B, parts * side, side, 3) to probabilities (B, 2).

    Raises:
        InputError: for an unknown depth or layout, or two inputs where sound is missing or alone.
    """
    pixels = keras.Input(settings.frame_shape, dtype="uint8", name="picture")
    if layout == "stacked":
        features = _tower(depth, pixels, "all", dtype)
    elif layout in ("two-inputs", "pretrained"):
        seen = _cut(pixels, settings, sound=False)
        heard = _cut(pixels, settings, sound=True)
        is_frozen = layout == "pretrained"
        towers = [
            _frozen(seen, dtype) if is_frozen else _tower(depth, seen, "seen", dtype),
            _tower(SOUND_DEPTH, heard, "heard", dtype),
        ]
        # From here on in float32: few operations, and the precision of the probabilities.
        features = keras.layers.Concatenate(dtype="float32", name="features")(towers)
    else:
        raise InputError(f"layout must be stacked, two-inputs or pretrained. Received {layout!r}.")
    if dropout:
        features = keras.layers.Dropout(dropout, dtype="float32", name="dropout")(features)
    outputs = keras.layers.Dense(
        NUM_CLASSES, activation="softmax", dtype="float32", name="probabilities"
    )(features)
    return keras.Model(pixels, outputs, name=f"{layout}_resnet{depth}")


def _tower(depth: int, pixels, name: str, dtype: str | None):
    """Apply a ResNet; its features are (B, 512), or (B, 2048) from depth 50 on."""
    shape = tuple(pixels.shape[1:])
    return build_resnet(depth, None, input_shape=shape, normalize=True, dtype=dtype, name=name)(
        pixels
    )


def _frozen(pixels, dtype: str | None):
    """Apply the pretrained network to enlarged pixels; its features are (B, 1280)."""
    height, side = pixels.shape[1:3]
    scale = max(1, math.ceil(_PRETRAINED_SIDE / side))
    shape = (height * scale, side * scale, 3)
    larger = keras.layers.Resizing(*shape[:2], dtype="float32", name="larger")(pixels)
    network = load_network(PRETRAINED, None, input_shape=shape, policy=dtype or "float32")
    network.trainable = False
    return network(larger, training=False)


def _cut(pixels, settings: ImageSettings, *, sound: bool):
    """Crop a picture to its last part, which is the spectrogram, or to those above it."""
    height, side = settings.frame_shape[:2]
    if "sound" not in settings.parts or height == side:
        raise InputError(
            "A layout of two networks needs pictures of sound and of something seen. Received "
            f"pictures of {' '.join(settings.parts)}; extract --parts box sound, or choose stacked."
        )
    # Rows cut off at the top and at the bottom; the spectrogram is the lowest square.
    rows = (height - side, 0) if sound else (0, side)
    name = "sound" if sound else "sight"
    return keras.layers.Cropping2D((rows, (0, 0)), dtype="uint8", name=name)(pixels)


def begin_from(model: keras.Model, file: Path, depth: int) -> str:
    """Assign the weights of a trained ResNet to the ResNets of a scorer.

    The last layer is assigned too if the file's has the same shape: it has two classes, and the
    scorer is one ResNet. eqy/autotosis's model_best.pth.tar is such a file.

    Args:
        model: scorer from `build_scorer`.
        file: file of weights that `read_resnet` can read.
        depth: depth of the ResNet in the file.

    Returns:
        A sentence that names the layers that got weights.

    Raises:
        InputError: if the file cannot be read, or is that of another network.
    """
    # A ResNet is a model within the model; the other layers have no layers of their own.
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
