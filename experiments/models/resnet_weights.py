"""Read and check the weights of a ResNet from files of several formats, without TensorFlow."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from common.errors import InputError
from weights.arrays import read_arrays
from weights.errors import WeightsError
from weights.resnet import resnet_arrays

KERAS_WEIGHTS = ".weights.h5"
_BLOCK_KERNEL = re.compile(r"layer[1-4]_[0-9]+_conv[1-3]/kernel")


def read_resnet_arrays(file: Path) -> dict[str, np.ndarray]:
    """Read a ResNet's arrays by layer/variable from any file but Keras's own.

    Raises:
        WeightsError: if the file cannot be read, or is that of another network.
    """
    arrays = read_arrays(file)
    # torchvision's names have dots; ours, layer/variable, need no conversion.
    return arrays if any("/" in name for name in arrays) else resnet_arrays(arrays)


def require_resnet(file: Path, depth: int) -> None:
    """Refuse a file that `keras_files.read_resnet` would refuse, before long work.

    Of a .weights.h5 file only the existence is checked.

    Raises:
        InputError: if it cannot be read, or is not that of a ResNet of this depth.
    """
    if not file.is_file():
        raise InputError(f"--weights must be a file. There is no {file}.")
    if file.name.endswith(KERAS_WEIGHTS):
        return
    try:
        arrays = read_resnet_arrays(file)
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
