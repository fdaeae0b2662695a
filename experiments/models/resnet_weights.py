"""Read the weights of a ResNet from files of several formats."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError
from experiments.models.keras_files import KerasFileError, load_keras_weights
from weights.arrays import read_arrays
from weights.assign import model_arrays
from weights.errors import WeightsError
from weights.resnet import resnet_arrays

_KERAS_WEIGHTS = ".weights.h5"
_IMAGENET_CLASSES = 1000
_BLOCK_KERNEL = re.compile(r"layer[1-4]_[0-9]+_conv[1-3]/kernel")


def read_resnet(file: Path, depth: int, *, last_layer: bool = False) -> dict[str, np.ndarray]:
    """Read a ResNet's arrays by layer/variable, without those of its last layer.

    Args:
        file: file that `python -m weights convert` wrote (.weights.h5, .safetensors), torchvision's
            own file (.pth, .safetensors), or a checkpoint of such a network (.pth.tar).
        depth: depth of the ResNet in the file.
        last_layer: include those of its last layer, `fc/kernel` and `fc/bias`.

    Raises:
        WeightsError: if the file cannot be read, or is that of another network.
    """
    if file.name.endswith(_KERAS_WEIGHTS):
        arrays = _keras_arrays(file, depth)
    else:
        arrays = read_arrays(file)
        # torchvision's names have dots; ours, layer/variable, need no conversion.
        if not any("/" in name for name in arrays):
            arrays = resnet_arrays(arrays)
    if last_layer:
        return arrays
    return {name: array for name, array in arrays.items() if not name.startswith("fc/")}


def require_resnet(file: Path, depth: int) -> None:
    """Refuse a file that `read_resnet` would refuse, without TensorFlow, before long work.

    Of a .weights.h5 file only the existence is checked.

    Raises:
        InputError: if it cannot be read, or is not that of a ResNet of this depth.
    """
    if not file.is_file():
        raise InputError(f"--weights must be a file. There is no {file}.")
    if file.name.endswith(_KERAS_WEIGHTS):
        return
    try:
        arrays = read_resnet(file, depth)
    except WeightsError as error:
        raise InputError(f"--weights {file} do not fit a ResNet-{depth}: {error}") from error
    convolutions = [name for name in arrays if _BLOCK_KERNEL.fullmatch(name)]
    # The number in a ResNet's name counts its layers: conv1, the convolutions of its blocks, and
    # fc.
    found = len(convolutions) + 2
    if found != depth:
        raise InputError(
            f"--weights {file} do not fit a ResNet-{depth}: they have {found} layers. Give --depth "
            f"{found}, or another file."
        )


def _keras_arrays(file: Path, depth: int) -> dict[str, np.ndarray]:
    from ttrnn.models.resnet import build_resnet

    # Keras reads weights only into a whole model, the last layer included.
    model: Any = build_resnet(depth, _IMAGENET_CLASSES)
    try:
        load_keras_weights(model, file)
    except KerasFileError as error:
        raise WeightsError(str(error)) from error
    return model_arrays(model)
