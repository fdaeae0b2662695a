"""torchvision's names and layouts of a ResNet's weights, and ours."""

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
    """Arrays by layer/variable from the state dict of a torchvision ResNet.

    layer1.0.conv1.weight becomes layer1_0_conv1/kernel, bn1.running_var bn1/moving_variance.
    `num_batches_tracked` is dropped. What comes out is for `assign_arrays`, which checks that
    nothing is missing and that shapes fit; for a model of features give it ignore=["fc"].

    Args:
        state: arrays by torch's key, with or without DataParallel's "module." before it.

    Returns:
        Views of the given arrays, axes in Keras's order.

    Raises:
        WeightsError: for a key that no ResNet of torchvision has, two keys for one weight, or an
            array with another number of axes than such a weight has.
    """
    return placed(state, resnet_place, model="a torchvision ResNet, such as layer1.0.conv1.weight")


def resnet_place(key: str) -> Place | None:
    """Where the array of a torchvision key goes; None for a key of another model."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    layer, word = found.groups()
    return in_layer(layer.replace(".", "_"), _rules(layer), word)


def _rules(layer: str) -> Rules:
    """What a layer holds, by its last name: conv2, bn2, downsample's 0 and 1, fc."""
    kind = layer.rpartition(".")[2]
    if kind == "0" or kind.startswith("conv"):
        return _CONVOLUTION
    if kind == "1" or kind.startswith("bn"):
        return NORM
    return DENSE
