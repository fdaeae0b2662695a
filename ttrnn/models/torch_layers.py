"""Keras layers with torch's conventions: initial weights, padding, normalisation, flattening."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import keras


class TorchLayers:
    """Layers of one network that was written for torch, with a common dtype and seed.

    Kernels and biases start uniform up to 1 / sqrt(inputs of a unit), as torch.nn.Linear and
    Conv start them; those of an LSTM up to 1 / sqrt(units).

    Args:
        dtype: policy of every layer, such as "mixed_bfloat16".
        seed: first seed of initial weights and dropout, which each take the next one; None for
            seeds from Keras's global generator.
    """

    def __init__(self, dtype: str | None, *, seed: int | None = None) -> None:
        self._dtype = dtype
        self._seeds: Iterator[int | None] = (
            itertools.repeat(None) if seed is None else itertools.count(seed)
        )

    @property
    def stored_dtype(self) -> str:
        """Dtype of the weights: float32 under mixed policies."""
        return keras.dtype_policies.get(self._dtype).variable_dtype

    def image_input(
        self,
        input_shape: tuple[int | None, ...],
        statistics: tuple[Sequence[float], Sequence[float]] | None,
    ):
        """Make the input "pixels", and normalise it by means and deviations unless they are None.

        Returns:
            The input, and the normalised pixels.

        Raises:
            ValueError: for statistics of RGB and other than 3 channels.
        """
        pixels = keras.Input(input_shape, dtype=self.stored_dtype, name="pixels")
        if statistics is None:
            return pixels, pixels
        if input_shape[-1] != 3:
            raise ValueError(
                f"normalize needs the 3 channels of RGB. Received input_shape {input_shape}; "
                "normalise other pixels before the model."
            )
        return pixels, self.normalized(pixels, *statistics, "normalize")

    def normalized(self, pixels, means: Sequence[float], deviations: Sequence[float], name: str):
        """Normalise pixels from 0 to 255: (pixels / 255 - mean) / deviation, channel by channel."""
        # One multiplication and one addition, in float32 also under mixed policies.
        scale = [1 / (255 * deviation) for deviation in deviations]
        offset = [-mean / deviation for mean, deviation in zip(means, deviations, strict=True)]
        return keras.layers.Rescaling(scale, offset, dtype=self.stored_dtype, name=name)(pixels)

    def convolved(self, x, filters: int, size: int, *, momentum: float, prefix: str, number: int):
        """Apply a convolution of stride 2 without padding, batch normalisation and ReLU.

        The convolution has 2 or 3 axes, as x has.
        """
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

    def conv(
        self, x, filters: int | None, size: int, stride: int, name: str, *, symmetric: bool = True
    ):
        """Apply a convolution without a bias that divides each side by the stride, rounded up.

        Args:
            x: images (B, H, W, C).
            filters: number of filters over all channels; None for one filter a channel (depthwise).
            size: height and width of the filters, odd.
            stride: stride of both axes.
            name: name of the layer.
            symmetric: pad both sides equally, as torch does; otherwise as TensorFlow's "same",
                which pads the end more where the stride is 2 and the side even.
        """
        # Keras's "same" pads both sides equally at stride 1 alone.
        padding = "valid" if symmetric and stride > 1 else "same"
        if padding == "valid" and size > 1:
            x = self.pad(x, size // 2, f"{name}_pad")
        start = keras.initializers.VarianceScaling(
            2.0, mode="fan_out", distribution="untruncated_normal"
        )
        options = {"padding": padding, "use_bias": False, "dtype": self._dtype, "name": name}
        if filters is None:
            return keras.layers.DepthwiseConv2D(
                size, stride, depthwise_initializer=start, **options
            )(x)
        return keras.layers.Conv2D(filters, size, stride, kernel_initializer=start, **options)(x)

    def pad(self, x, padding: int, name: str):
        return keras.layers.ZeroPadding2D(padding, dtype=self._dtype, name=name)(x)

    def norm(self, x, momentum: float, name: str, *, gamma: str = "ones", epsilon: float = 1e-5):
        """Apply batch normalisation; `momentum` is Keras's, 1 minus torch's."""
        # The moving variances take the batch's variance over n, where torch takes that over n - 1.
        # An epsilon of 1e-5 is torch's; Keras's default is 1e-3.
        return keras.layers.BatchNormalization(
            momentum=momentum,
            epsilon=epsilon,
            gamma_initializer=gamma,
            dtype=self._dtype,
            name=name,
        )(x)

    def relu(self, x, name: str):
        return keras.layers.ReLU(dtype=self._dtype, name=name)(x)

    def flatten(self, x, name: str):
        """Flatten each sample with the channels first, so that a torch Linear's columns fit."""
        rank = len(x.shape)
        x = keras.layers.Permute((rank - 1, *range(1, rank - 1)), dtype=self._dtype, name=name)(x)
        return keras.layers.Flatten(dtype=self._dtype, name=f"{name}_flat")(x)

    def dense(self, x, units: int, name: str):
        return self._dense(x, units, name, self._dtype)

    def scores(self, x, num_classes: int, name: str):
        """Apply the last dense layer, whose logits are torch's outputs, in float32."""
        return self._dense(x, num_classes, name, self.stored_dtype)

    def probabilities(self, x, num_classes: int, name: str):
        """Apply the last dense layer, whose logits are torch's outputs, and softmax, in float32."""
        x = self.scores(x, num_classes, name)
        return keras.layers.Softmax(dtype="float32", name="probabilities")(x)

    def dropout(self, x, rate: float, name: str, *, channels: bool = False):
        """Apply dropout to single values or, for clips (B, T, H, W, C), to whole channels."""
        layer = keras.layers.SpatialDropout3D if channels else keras.layers.Dropout
        return layer(rate, seed=next(self._seeds), dtype=self._dtype, name=name)(x)

    def lstm(self, x, units: int, mask, name: str, *, return_sequences: bool):
        """Apply an LSTM with a mask and torch's initial weights."""
        # torch has two biases that are only ever added; the one here starts as one of them. Without
        # unit_forget_bias, which torch does not have.
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
        """Apply a dense layer of the given dtype policy."""
        start = self._start(x.shape[-1])
        return keras.layers.Dense(units, **start, dtype=dtype, name=name)(x)

    def _start(self, num_inputs: int) -> dict[str, keras.initializers.Initializer]:
        """Initializers of kernel and bias for units of `num_inputs` inputs."""
        return {
            "kernel_initializer": self._uniform(num_inputs),
            "bias_initializer": self._uniform(num_inputs),
        }

    def _uniform(self, num_inputs: int) -> keras.initializers.Initializer:
        limit = 1 / math.sqrt(num_inputs)
        return keras.initializers.RandomUniform(-limit, limit, seed=next(self._seeds))
