"""torchvision's names and layouts of a ResNet's weights, and ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from weights.errors import WeightsError
from weights.pickle_machine import shown

_Axes = tuple[int, ...]
_Rules = Mapping[str, tuple[str | None, _Axes]]
MAX_NAMED = 3
PREFIX = "module."  # what torch.nn.DataParallel puts before every key
_KEY = re.compile(
    r"(conv1|bn1|fc|layer[1-4]\.[0-9]+\.(?:conv[123]|bn[123]|downsample\.[01]))\.([a-z_]+)"
)
# torch's word -> ours, and which of torch's axes becomes our first, second, ...
_CONVOLUTION: _Rules = {"weight": ("kernel", (2, 3, 1, 0))}  # (out, in, h, w) -> (h, w, in, out)
_DENSE: _Rules = {"weight": ("kernel", (1, 0)), "bias": ("bias", (0,))}
_NORM: _Rules = {
    "weight": ("gamma", (0,)),
    "bias": ("beta", (0,)),
    "running_mean": ("moving_mean", (0,)),
    "running_var": ("moving_variance", (0,)),
    "num_batches_tracked": (None, ()),  # Keras keeps no such count
}


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
    arrays: dict[str, np.ndarray] = {}
    unknown = []
    for key, array in state.items():
        layer, word = _parts(key.removeprefix(PREFIX))
        if word not in (rules := _rules(layer)):
            unknown.append(key)
            continue
        variable, axes = rules[word]
        if variable is None:
            continue
        name = f"{layer.replace('.', '_')}/{variable}"
        if name in arrays:
            raise WeightsError(f"Every weight takes one array. {name} is there under two keys.")
        arrays[name] = _transposed(key, array, axes)
    _refuse(unknown)
    return arrays


def _parts(name: str) -> tuple[str, str]:
    """Layer and word of a key of torchvision's, of another two empty texts."""
    found = _KEY.fullmatch(name)
    return (found[1], found[2]) if found else ("", "")


def _rules(layer: str) -> _Rules:
    """What a layer holds, by its last name: conv2, bn2, downsample's 0 and 1, fc."""
    kind = layer.rpartition(".")[2]
    if kind == "0" or kind.startswith("conv"):
        return _CONVOLUTION
    if kind == "1" or kind.startswith("bn"):
        return _NORM
    return _DENSE


def _transposed(key: str, array: np.ndarray, axes: _Axes) -> np.ndarray:
    if array.ndim != len(axes):
        raise WeightsError(
            f"{shown(key)} must have {len(axes)} axes. Received shape {array.shape}; is it another "
            "model's file?"
        )
    return array.transpose(axes)


def _refuse(unknown: list[str]) -> None:
    if unknown:
        named = ", ".join(shown(key) for key in sorted(unknown)[:MAX_NAMED])
        more = f" and {len(unknown) - MAX_NAMED} more" if len(unknown) > MAX_NAMED else ""
        raise WeightsError(
            "Keys must be those of a torchvision ResNet, such as layer1.0.conv1.weight. Received "
            f"{len(unknown)} others: {named}{more}; is it another model's file?"
        )
