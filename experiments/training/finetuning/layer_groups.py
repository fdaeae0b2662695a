"""The layers of a model in groups, from its input to its output."""

from __future__ import annotations

import re
from collections.abc import Iterator

import keras

_BLOCK = re.compile(r"blocks_\d+")


def layer_groups(model: keras.Model) -> list[list[keras.layers.Layer]]:
    """The layers that have weights, of models in the model too.

    Returns:
        Of a transformer, whose blocks are called blocks_0 and so on, the embedding, each block,
        and what comes after, which are the norm and the head. Of another model, each layer by
        itself.
    """
    layers = [layer for layer in _layers(model) if layer.weights]
    blocks = [place for place, layer in enumerate(layers) if _BLOCK.fullmatch(layer.name)]
    if not blocks:
        return [[layer] for layer in layers]
    first, stop = blocks[0], blocks[-1] + 1
    return [layers[:first], *([layer] for layer in layers[first:stop]), layers[stop:]]


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer
