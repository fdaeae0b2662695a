"""Layers as torch has them: how weights start, batches are normalised, values are flattened."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import keras


class TorchLayers:
    """The layers of one network that was made for torch, with what they have in common.

    Kernels and biases start uniform up to 1 / sqrt(inputs of a unit), as torch.nn.Linear and
    Conv start them; those of an LSTM up to 1 / sqrt(units).

    Args:
        dtype: policy of every layer, such as "mixed_bfloat16".
        seed: of what weights start with and of dropout, another for each; None for Keras's own.
    """

    def __init__(self, dtype: str | None, *, seed: int | None = None) -> None:
        self._dtype = dtype
        self._seeds: Iterator[int | None] = (
            itertools.repeat(None) if seed is None else itertools.count(seed)
        )

    @property
    def stored_dtype(self) -> str:
        """The type of the weights: float32 under mixed policies."""
        return keras.dtype_policies.get(self._dtype).variable_dtype

    def normalized(self, pixels, means: Sequence[float], deviations: Sequence[float], name: str):
        """(pixels / 255 - mean) / deviation, each channel by its own."""
        scale = [1 / (255 * deviation) for deviation in deviations]
        offset = [-mean / deviation for mean, deviation in zip(means, deviations, strict=True)]
        return keras.layers.Rescaling(scale, offset, dtype=self.stored_dtype, name=name)(pixels)

    def convolved(self, x, filters: int, size: int, *, momentum: float, prefix: str, number: int):
        """Convolution of stride 2 without padding, batch normalisation, ReLU; in 2 or 3 axes."""
        axes = len(x.shape) - 2
        layer = {2: keras.layers.Conv2D, 3: keras.layers.Conv3D}[axes]
        x = layer(
            filters,
            size,
            2,
            **self._start(x.shape[-1] * size**axes),
            dtype=self._dtype,
            name=f"{prefix}conv{number}",
        )(x)
        return self.relu(self.norm(x, momentum, f"{prefix}bn{number}"), f"{prefix}relu{number}")

    def norm(self, x, momentum: float, name: str):
        """Batch normalisation. Its momentum is what is kept of the statistics, torch's the rest;
        its moving variances take the batch's variance over n, torch's over n - 1."""
        return keras.layers.BatchNormalization(
            momentum=momentum, epsilon=1e-5, dtype=self._dtype, name=name
        )(x)

    def relu(self, x, name: str):
        return keras.layers.ReLU(dtype=self._dtype, name=name)(x)

    def flatten(self, x, name: str):
        """All values of a sample, channels first, so that a torch Linear's columns fit."""
        rank = len(x.shape)
        x = keras.layers.Permute((rank - 1, *range(1, rank - 1)), dtype=self._dtype, name=name)(x)
        return keras.layers.Flatten(dtype=self._dtype, name=f"{name}_flat")(x)

    def dense(self, x, units: int, name: str):
        return self._dense(x, units, name, self._dtype)

    def probabilities(self, x, num_classes: int, name: str):
        """The last dense layer, whose logits are torch's outputs, and their softmax; float32."""
        x = self._dense(x, num_classes, name, self.stored_dtype)
        return keras.layers.Softmax(dtype="float32", name="probabilities")(x)

    def dropout(self, x, rate: float, name: str, *, channels: bool = False):
        """Dropout of single values or, of clips (B, T, H, W, C), of whole channels."""
        layer = keras.layers.SpatialDropout3D if channels else keras.layers.Dropout
        return layer(rate, seed=next(self._seeds), dtype=self._dtype, name=name)(x)

    def lstm(self, x, units: int, mask, name: str, *, return_sequences: bool):
        """Keras's LSTM; its one bias starts as one of torch's two, which are only ever added."""
        return keras.layers.LSTM(
            units,
            return_sequences=return_sequences,
            unit_forget_bias=False,
            recurrent_initializer=self._uniform(units),
            **self._start(units),
            dtype=self._dtype,
            name=name,
        )(x, mask=mask)

    def _dense(self, x, units: int, name: str, dtype: str | None):
        start = self._start(x.shape[-1])
        return keras.layers.Dense(units, **start, dtype=dtype, name=name)(x)

    def _start(self, num_inputs: int) -> dict[str, keras.initializers.Initializer]:
        return {
            "kernel_initializer": self._uniform(num_inputs),
            "bias_initializer": self._uniform(num_inputs),
        }

    def _uniform(self, num_inputs: int) -> keras.initializers.Initializer:
        limit = 1 / math.sqrt(num_inputs)
        return keras.initializers.RandomUniform(-limit, limit, seed=next(self._seeds))
