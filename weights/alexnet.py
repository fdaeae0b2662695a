"""Reader of AlexNet's published weights, `bvlc_alexnet.npy`: Caffe's, converted by M. Guerzhoy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from weights.errors import WeightsError
from weights.torch_reader.pickle_machine import shown
from weights.torch_reader.unpickle import read_object_npy

Shape = tuple[int, ...]
# Two groups halve the input channels of conv2, conv4 and conv5.
_KERNELS: dict[str, Shape] = {
    "conv1": (11, 11, 3, 96),
    "conv2": (5, 5, 48, 256),
    "conv3": (3, 3, 256, 384),
    "conv4": (3, 3, 192, 384),
    "conv5": (3, 3, 192, 256),
    "fc6": (9216, 4096),
    "fc7": (4096, 4096),
    "fc8": (4096, 1000),
}
ALEXNET_SHAPES: dict[str, Shape] = {
    name: shape
    for layer, kernel in _KERNELS.items()
    for name, shape in ((f"{layer}/kernel", kernel), (f"{layer}/bias", kernel[-1:]))
}


def read_alexnet_npy(
    path: str | os.PathLike[str], *, shapes: Mapping[str, Shape] = ALEXNET_SHAPES
) -> dict[str, np.ndarray]:
    """Read AlexNet's arrays by layer/variable: conv1/kernel, conv1/bias, ... fc8/bias.

    The file is a pickled dict of [kernel, bias] by layer; nothing in it is run.

    Args:
        path: path of the file.
        shapes: exact shapes of its arrays, a kernel and a bias per layer.

    Returns:
        Read-only float32 arrays, for `assign_arrays`.

    Raises:
        WeightsError: if the file cannot be read, is hostile, or does not hold finite float32
            arrays of exactly those names and shapes.

    Example:
        >>> model = ttrnn.models.build_alexnet()
        >>> assign_arrays(model, read_alexnet_npy("weights/bvlc_alexnet.npy"))

    Reference: Krizhevsky, Sutskever, Hinton, NIPS 2012; www.cs.toronto.edu/~guerzhoy/tf_alexnet.
    """
    content = read_object_npy(path)
    layers = {name.partition("/")[0] for name in shapes}
    if type(content) is not dict or set(content) != layers:
        found = sorted(map(str, content)) if type(content) is dict else type(content).__name__
        raise WeightsError(
            f"{path} must hold the layers {sorted(layers)}. Received {shown(str(found), 200)}; "
            "is it another model's file?"
        )
    # No checksum of this file is published, so its content is checked to the last value.
    arrays = {}
    for layer, pair in content.items():
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise WeightsError(f"{path} must hold [kernel, bias] for {layer}. Received another.")
        arrays[f"{layer}/kernel"], arrays[f"{layer}/bias"] = pair
    for name, shape in shapes.items():
        _check_array(path, name, arrays[name], shape)
    return {name: arrays[name] for name in shapes}


def _check_array(path: Any, name: str, array: Any, shape: Shape) -> None:
    """Refuse an array of another type or shape, or with NaN or infinity."""
    is_array = isinstance(array, np.ndarray)
    if not is_array or array.dtype != np.float32 or array.shape != shape:
        found = f"{array.dtype} {array.shape}" if is_array else type(array).__name__
        raise WeightsError(
            f"{name} in {path} must be float32 {shape}. Received {found}; "
            "is it another model's file?"
        )
    # NaN in a weight would make every output NaN without an error.
    if not np.isfinite(array).all():
        raise WeightsError(
            f"{name} in {path} must hold finite numbers. Received NaN or infinity; the file is "
            "damaged, so fetch it again."
        )
