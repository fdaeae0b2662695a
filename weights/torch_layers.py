"""Layouts of layers' weights in torch and in Keras, and the conversion of state dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from weights.errors import WeightsError
from weights.torch_reader.pickle_machine import shown

Axes = tuple[int, ...]
Place = tuple[str | None, Axes]
"""Keras's name, or None for what Keras does not have, and the order of torch's axes in Keras."""
Rules = Mapping[str, Place]
"""Place of each of a layer's variables, by torch's word for it."""

CONVOLUTION_2D: Rules = {
    "weight": ("kernel", (2, 3, 1, 0)),  # (out, in, h, w) -> (h, w, in, out)
    "bias": ("bias", (0,)),
}
CONVOLUTION_3D: Rules = {**CONVOLUTION_2D, "weight": ("kernel", (2, 3, 4, 1, 0))}
# A depthwise kernel of torch has one input channel: (channels, 1, h, w) -> (h, w, channels, 1).
DEPTHWISE_2D: Rules = {"weight": ("kernel", (2, 3, 0, 1))}
DENSE: Rules = {"weight": ("kernel", (1, 0)), "bias": ("bias", (0,))}
NORM: Rules = {
    "weight": ("gamma", (0,)),
    "bias": ("beta", (0,)),
    "running_mean": ("moving_mean", (0,)),
    "running_var": ("moving_variance", (0,)),
    "num_batches_tracked": (None, ()),  # Keras keeps no such count
}
MAX_NAMED = 3
PREFIX = "module."  # what torch.nn.DataParallel puts before every key


def placed(
    state: Mapping[str, np.ndarray], place: Callable[[str], Place | None], *, model: str
) -> dict[str, np.ndarray]:
    """Convert a state dict to arrays by layer/variable.

    A model that was trained inside another one, as a LightningModule's `self.model` or by
    torch.compile, has the other's name for it before every key; such prefixes are removed.

    Args:
        state: arrays by torch's key, with or without DataParallel's "module." before it.
        place: function of a key to its array's place; None for a key that the model does not have.
        model: name of the model, with an example of its keys, for the error.

    Returns:
        Views of the given arrays, axes in Keras's order.

    Raises:
        WeightsError: for a key without a place, two keys for one weight, or an array with a wrong
            number of axes.
    """
    arrays: dict[str, np.ndarray] = {}
    unknown = []
    inner_keys = _inner_keys(state, place)
    for (key, array), inner_key in zip(state.items(), inner_keys, strict=True):
        found = place(inner_key)
        if found is None:
            unknown.append(key)
            continue
        name, axes = found
        if name is None:
            continue
        if name in arrays:
            raise WeightsError(f"Every weight takes one array. {name} is there under two keys.")
        arrays[name] = _transposed(key, array, axes)
    _refuse(unknown, model)
    return arrays


def _inner_keys(state: Mapping[str, np.ndarray], place: Callable[[str], Place | None]) -> list[str]:
    """Remove common prefixes of all keys until a key is known."""
    own = [key.removeprefix(PREFIX) for key in state]
    keys = own
    # Only as long as no key at all is known: a name such as "fc." may be a layer's.
    while keys and not any(place(key) for key in keys):
        outer = keys[0].partition(".")[0] + "."
        if not all(key.startswith(outer) for key in keys):
            return own
        keys = [key.removeprefix(outer).removeprefix(PREFIX) for key in keys]
    return keys


def in_layer(layer: str, rules: Rules, word: str) -> Place | None:
    """Place of a layer's weight, by torch's word for it."""
    if word not in rules:
        return None
    variable, axes = rules[word]
    return (f"{layer}/{variable}" if variable else None), axes


def _transposed(key: str, array: np.ndarray, axes: Axes) -> np.ndarray:
    """Reorder an array's axes, after a check of their number."""
    if array.ndim != len(axes):
        raise WeightsError(
            f"{shown(key)} must have {len(axes)} axes. Received shape {array.shape}; is it another "
            "model's file?"
        )
    return array.transpose(axes)


def _refuse(unknown: list[str], model: str) -> None:
    """Raise WeightsError if there are unknown keys."""
    if unknown:
        named = ", ".join(shown(key) for key in sorted(unknown)[:MAX_NAMED])
        more = f" and {len(unknown) - MAX_NAMED} more" if len(unknown) > MAX_NAMED else ""
        raise WeightsError(
            f"Keys must be those of {model}. Received {len(unknown)} others: {named}{more}; is it "
            "another model's file?"
        )
