"""Which layers of a model are trained: all, the head, or all after some blocks."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import keras

from common.errors import InputError
from experiments.runs.formatting import count, percent
from experiments.training.finetuning.layer_groups import layer_groups

Frozen = Literal["none", "head"] | int


class Trained(NamedTuple):
    """How many parameters are trained, and how many there are."""

    trained: int
    total: int

    def __str__(self) -> str:
        share = percent(self.trained / self.total)
        return f"{count(self.trained)} of {count(self.total)} parameters are trained ({share})"


def freeze(model: keras.Model, frozen: Frozen) -> Trained:
    """Choose the layers that are trained; what was chosen before is forgotten.

    To be called before an optimizer is built. Frozen weights and moving statistics stay as they
    are, without weight decay too. Dropout and stochastic depth go on in frozen layers: the head
    then sees each clip otherwise every time. A model built with rates of 0 has features that
    stand still.

    Args:
        model: any; it is changed. A loaded copy of it has the same layers frozen.
        frozen: "none"; "head", all but the last layer; or a number of blocks, from 0: these, and
            the embedding before them. See `layer_groups`.

    Returns:
        What is left to train.

    Raises:
        InputError: if there are not so many blocks.
    """
    groups = layer_groups(model)
    layers = [layer for group in groups for layer in group]
    num_frozen = _num_frozen(groups, frozen)
    for place, layer in enumerate(layers):
        layer.trainable = place >= num_frozen
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    return Trained(trained, model.count_params())


def _num_frozen(groups: list[list[keras.layers.Layer]], frozen: Frozen) -> int:
    """Layers, from the first."""
    sizes = [len(group) for group in groups]
    if frozen == "none":
        return 0
    if frozen == "head":
        return sum(sizes) - 1
    num_blocks = len(groups) - 2
    if not isinstance(frozen, int) or not 0 <= frozen <= num_blocks:
        raise InputError(
            f"What is frozen must be none, head, or a number of blocks from 0 to {num_blocks}. "
            f"Received {frozen!r}."
        )
    return sum(sizes[: 1 + frozen])
