"""Conversion of weights of EfficientNet-Lite and MobileNetV2, and those that packages hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from weights.arrays import read_arrays
from weights.registry import find_entry, require_installed
from weights.torch_layers import (
    CONVOLUTION_2D,
    DENSE,
    DEPTHWISE_2D,
    NORM,
    Place,
    Rules,
    in_layer,
    placed,
)

_State = Mapping[str, np.ndarray]
_CONVOLUTION: Rules = {"weight": CONVOLUTION_2D["weight"]}  # none has a bias
# Keys of the PyTorch port of EfficientNet-Lite; digits are bounded, so that no key reaches a layer
# that does not exist.
_LITE_BLOCK = re.compile(
    r"_blocks\.([0-9]|[1-9][0-9])\._(expand_conv|depthwise_conv|project_conv|bn[012])\.([a-z_]+)"
)
_LITE_OUTER = re.compile(r"_(conv_stem|conv_head|bn[01]|fc)\.([a-z_]+)")
_LITE_LAYERS = {
    "conv_stem": "stem_conv",
    "bn0": "stem_bn",
    "conv_head": "head_conv",
    "bn1": "head_bn",
    "fc": "fc",
}
_LITE_NORMS = {"bn0": "expand_bn", "bn1": "depthwise_bn", "bn2": "project_bn"}
# Keys of torchvision. features.0 is the stem, features.18 the head, each a Sequential of a
# convolution, 0, and its norm, 1. A block's `conv` is a Sequential of such Sequentials, then of a
# convolution and a norm.
_V2_OUTER = re.compile(r"features\.(0|18)\.([01])\.([a-z_]+)")
_V2_BLOCK = re.compile(r"features\.([1-9]|1[0-7])\.conv\.([0-3](?:\.[01])?)\.([a-z_]+)")
_V2_FIRST = {  # features.1 alone does not expand
    "0.0": "depthwise_conv",
    "0.1": "depthwise_bn",
    "1": "project_conv",
    "2": "project_bn",
}
_V2_OTHERS = {
    "0.0": "expand_conv",
    "0.1": "expand_bn",
    "1.0": "depthwise_conv",
    "1.1": "depthwise_bn",
    "2": "project_conv",
    "3": "project_bn",
}
_V2_CLASSIFIER = re.compile(r"classifier\.1\.([a-z_]+)")  # classifier.0 is dropout


def efficientnet_lite_arrays(state: _State) -> dict[str, np.ndarray]:
    """Convert the state dict of an EfficientNet-Lite in PyTorch to arrays by layer/variable.

    _blocks.1._expand_conv.weight becomes block_1_expand_conv/kernel. The result is for
    `assign_arrays`, which checks that nothing is missing and that shapes fit; for a model of
    features give it ignore=["fc"].

    Args:
        state: arrays by torch's key, with or without DataParallel's "module." before it.

    Returns:
        Views of the given arrays, axes in Keras's order.

    Raises:
        WeightsError: for a key that no EfficientNet-Lite has, two keys for one weight, or an array
            with a wrong number of axes.

    Example:
        >>> model = ttrnn.models.build_efficientnet_lite(2)
        >>> state = read_state_dict("efficientnet-lite2-9656183e.pth")
        >>> assign_arrays(model, efficientnet_lite_arrays(state))

    Reference: github.com/ml-illustrated/EfficientNet-Lite-PyTorch.
    """
    return placed(state, _lite_place, model="an EfficientNet-Lite, such as _conv_stem.weight")


def mobilenet_v2_arrays(state: _State) -> dict[str, np.ndarray]:
    """Convert the state dict of torchvision's MobileNetV2 to arrays by layer/variable.

    features.2.conv.0.0.weight becomes block_2_expand_conv/kernel. The result is for
    `assign_arrays`, as that of `efficientnet_lite_arrays`.

    Args:
        state: arrays by torch's key, with or without DataParallel's "module." before it.

    Returns:
        Views of the given arrays, axes in Keras's order.

    Raises:
        WeightsError: for a key that torchvision's MobileNetV2 does not have, two keys for one
            weight, or an array with a wrong number of axes.

    Example:
        >>> model = ttrnn.models.build_mobilenet_v2()
        >>> state = read_state_dict("mobilenet_v2-b0353104.pth")
        >>> assign_arrays(model, mobilenet_v2_arrays(state))

    Reference: Sandler et al., CVPR 2018; torchvision.models.mobilenetv2.
    """
    model = "torchvision's MobileNetV2, such as features.0.0.weight"
    return placed(state, _v2_place, model=model)


CONVERTERS = {
    **{f"efficientnet_lite{variant}": efficientnet_lite_arrays for variant in range(5)},
    "torchvision_mobilenetv2": mobilenet_v2_arrays,
}


def read_mobile_network(name: str, path: Path) -> dict[str, np.ndarray]:
    """Read a network's arrays by layer/variable.

    Args:
        name: name of the network, one of `CONVERTERS`.
        path: PyTorch's file, or one of arrays by layer/variable (.npz, .safetensors).

    Raises:
        WeightsError: if the file cannot be read, or is that of another network.
    """
    arrays = read_arrays(path)
    # torch's names have dots; ours, layer/variable, need no conversion.
    return arrays if any("/" in key for key in arrays) else CONVERTERS[name](arrays)


def read_installed(name: str) -> dict[str, np.ndarray]:
    """Read weights that a Python package holds, once its file is verified.

    The package is found by its metadata and is not imported.

    Args:
        name: name of the weights, such as efficientnet_lite0.

    Returns:
        Arrays by layer/variable, for `assign_arrays`.

    Raises:
        WeightsError: if there are no such weights, the package is not installed, or its file is
            not the one that was published.

    Example:
        >>> model = ttrnn.models.build_efficientnet_lite(normalize=True)
        >>> assign_arrays(model, read_installed("efficientnet_lite0"))
    """
    return read_mobile_network(name, require_installed(find_entry(name)))


def _lite_place(key: str) -> Place | None:
    """Place of a key of an EfficientNet-Lite."""
    if found := _LITE_BLOCK.fullmatch(key):
        number, layer, word = found.groups()
        return _place(f"block_{number}_{_LITE_NORMS.get(layer, layer)}", word)
    if found := _LITE_OUTER.fullmatch(key):
        return _place(_LITE_LAYERS[found[1]], found[2])
    return None


def _v2_place(key: str) -> Place | None:
    """Place of a key of torchvision's MobileNetV2."""
    if found := _V2_BLOCK.fullmatch(key):
        number, part, word = found.groups()
        layer = (_V2_FIRST if number == "1" else _V2_OTHERS).get(part)
        return _place(f"block_{number}_{layer}", word) if layer else None
    if found := _V2_OUTER.fullmatch(key):
        where = {"0": "stem", "18": "head"}[found[1]]
        return _place(f"{where}_{('conv', 'bn')[int(found[2])]}", found[3])
    if found := _V2_CLASSIFIER.fullmatch(key):
        return _place("fc", found[1])
    return None


def _place(layer: str, word: str) -> Place | None:
    """Place of a layer's weight, by the layer's name in Keras and torch's word for the weight."""
    if layer == "fc":
        return in_layer(layer, DENSE, word)
    if layer.endswith("_bn"):
        return in_layer(layer, NORM, word)
    return in_layer(layer, DEPTHWISE_2D if "depthwise" in layer else _CONVOLUTION, word)
