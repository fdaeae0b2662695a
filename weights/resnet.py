"""Conversion of torchvision's ResNet weights to the names and layouts of Keras."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from weights.torch_layers import CONVOLUTION_2D, DENSE, NORM, Place, Rules, in_layer, placed

_KEY = re.compile(
    r"(conv1|bn1|fc|layer[1-4]\.[0-9]+\.(?:conv[123]|bn[123]|downsample\.[01]))\.([a-z_]+)"
)
_CONVOLUTION: Rules = {"weight": CONVOLUTION_2D["weight"]}  # none has a bias


def resnet_arrays(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Convert the state dict of a torchvision ResNet to arrays by layer/variable.

    layer1.0.conv1.weight becomes layer1_0_conv1/kernel, bn1.running_var bn1/moving_variance.
    `num_batches_tracked` is dropped. The result is for `assign_arrays`, which checks that nothing
    is missing and that shapes fit; for a model of features give it ignore=["fc"].

    Args:
        state: arrays by torch's key, with or without DataParallel's "module." before it.

    Returns:
        Views of the given arrays, axes in Keras's order.

    Raises:
        WeightsError: for a key that no ResNet of torchvision has, two keys for one weight, or an
            array with a wrong number of axes.

    Example:
        >>> model = ttrnn.models.build_resnet(50)
        >>> assign_arrays(model, resnet_arrays(read_state_dict("resnet50.pth")))

    Reference: He, Zhang, Ren, Sun, CVPR 2016; torchvision.models.resnet.
    """
    return placed(state, resnet_place, model="a torchvision ResNet, such as layer1.0.conv1.weight")


def resnet_place(key: str) -> Place | None:
    """Place of the array of a torchvision key; None for a key of another model."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    layer, word = found.groups()
    return in_layer(layer.replace(".", "_"), _rules(layer), word)


def _rules(layer: str) -> Rules:
    """Rules of a layer by its last name: conv2, bn2, downsample's 0 and 1, fc."""
    # downsample is a Sequential of a convolution, 0, and its batch normalisation, 1.
    kind = layer.rpartition(".")[2]
    if kind == "0" or kind.startswith("conv"):
        return _CONVOLUTION
    if kind == "1" or kind.startswith("bn"):
        return NORM
    return DENSE
