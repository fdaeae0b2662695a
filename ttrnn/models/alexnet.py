"""AlexNet in the form of Caffe's reference model: frames in, 1,000 class probabilities out."""

from __future__ import annotations

from typing import Literal

import keras
from keras import ops

from ttrnn.engine.exporting import is_exporting

if keras.backend.backend() == "tensorflow":
    from ttrnn.engine.compiled import normalise

INPUT_SIZE = 227
CAFFE_MEAN_RGB = (122.7, 116.7, 104.0)  # of ImageNet's training pixels, as Caffe's model takes it
Variant = Literal["caffe", "seed"]


def build_alexnet(
    variant: Variant = "caffe",
    *,
    num_classes: int = 1000,
    fused: bool = False,
    dtype: str | None = None,
) -> keras.Model:
    """Build AlexNet, including the subtraction of the mean colour.

    Weight names and shapes are those of the published `bvlc_alexnet.npy`: conv1 (11, 11, 3, 96),
    conv2 (5, 5, 48, 256), conv3 (3, 3, 256, 384), conv4 (3, 3, 192, 384), conv5 (3, 3, 192, 256),
    fc6 (9216, 4096), fc7 (4096, 4096), fc8 (4096, 1000) and a bias each: 60,965,224 parameters.

    Args:
        variant: "caffe", the Caffe model: conv1 without padding, pixels minus the mean colour of
            ImageNet. "seed", the dyelax/NVIDIA_Challenge script: conv1 padded as in guerzhoy's
            code, pixels taken as they come, for that script subtracts each frame's own mean before
            resizing. Both work on BGR and reach 6 x 6 x 256, so that weights of one fit the other.
        num_classes: number of classes.
        fused: compile each normalisation by XLA into one pass over its values: the model is a tenth
            faster, on TensorFlow only, and cannot be exported to ONNX.
        dtype: policy of every layer, such as "mixed_bfloat16"; the softmax is float32.

    Returns:
        A model of RGB frames (batch, 227, 227, 3), 0 to 255, to probabilities (batch,
        num_classes). Frames are uint8 for "caffe" and float32, their own mean subtracted, for
        "seed".

    Raises:
        ValueError: for an unknown variant.

    Example:
        >>> model = build_alexnet()
        >>> model(np.zeros((2, 227, 227, 3), "uint8")).shape
        (2, 1000)

    Reference: Krizhevsky, Sutskever, Hinton, NIPS 2012; Caffe's bvlc_alexnet.
    """
    if variant not in ("caffe", "seed"):
        raise ValueError(f"variant must be caffe or seed. Received {variant!r}.")
    caffe = variant == "caffe"
    shape = (INPUT_SIZE, INPUT_SIZE, 3)
    frames = keras.Input(shape, dtype="uint8" if caffe else "float32", name="frames")

    def conv(name, filters, size, groups=1):
        return GroupedConv2D(filters, size, groups=groups, dtype=dtype, name=name)

    def normalise_and_pool(x, name):
        x = LocalResponseNormalization(fused=fused, dtype=dtype, name=f"norm{name}")(x)
        return keras.layers.MaxPooling2D(3, 2, dtype=dtype, name=f"pool{name}")(x)

    x = PixelConv2D(
        96,
        11,
        strides=4,
        padding="valid" if caffe else "same",
        mean_rgb=CAFFE_MEAN_RGB if caffe else None,
        dtype=dtype,
        name="conv1",
    )(frames)  # (B, 55 or 57, same, 96)
    x = normalise_and_pool(x, "1")  # (B, 27 or 28, same, 96)
    x = normalise_and_pool(conv("conv2", 256, 5, groups=2)(x), "2")  # (B, 13, 13, 256)
    x = conv("conv3", 384, 3)(x)
    x = conv("conv4", 384, 3, groups=2)(x)
    x = conv("conv5", 256, 3, groups=2)(x)
    x = keras.layers.MaxPooling2D(3, 2, dtype=dtype, name="pool5")(x)  # (B, 6, 6, 256)
    x = keras.layers.Flatten(dtype=dtype, name="flatten")(x)  # (B, 9216)
    for name in ("fc6", "fc7"):
        x = keras.layers.Dense(4096, activation="relu", dtype=dtype, name=name)(x)
    logits = keras.layers.Dense(num_classes, dtype=dtype, name="fc8")(x)
    outputs = keras.layers.Softmax(dtype="float32", name="probabilities")(logits)
    return keras.Model(frames, outputs, name="alexnet")


@keras.saving.register_keras_serializable(package="ttrnn")
class GroupedConv2D(keras.layers.Layer):
    """Grouped convolution with ReLU, as `groups` convolutions and a concatenation.

    `keras.layers.Conv2D(groups=2)` on TensorFlow's CPU backend does not survive export to ONNX.

    Args:
        filters: output channels, over all groups.
        kernel_size: height and width.
        strides: stride of both axes.
        padding: "same" or "valid".
        groups: number of equal parts of the channels, each convolved on its own.

    Input shape:
        (batch, height, width, channels).

    Output shape:
        (batch, new height, new width, filters).

    Raises:
        ValueError: if `groups` does not divide the channels or the filters.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        *,
        strides: int = 1,
        padding: str = "same",
        groups: int = 1,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.padding = padding
        self.groups = groups

    def build(self, input_shape) -> None:
        channels = input_shape[-1]
        if channels % self.groups or self.filters % self.groups:
            raise ValueError(
                f"groups must divide channels and filters. Received {self.groups} groups, "
                f"{channels} channels, {self.filters} filters."
            )
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={-1: channels})
        size = (self.kernel_size, self.kernel_size)
        self.kernel = self.add_weight((*size, channels // self.groups, self.filters), name="kernel")
        self.bias = self.add_weight((self.filters,), initializer="zeros", name="bias")

    def call(self, x):
        return self._convolve(x, self.kernel, self.bias)

    def compute_output_shape(self, input_shape) -> tuple:
        cut = 0 if self.padding == "same" else self.kernel_size - 1
        sides = (
            None if side is None else (side - cut - 1) // self.strides + 1
            for side in input_shape[1:3]
        )
        return (input_shape[0], *sides, self.filters)

    def _convolve(self, x, kernel, bias):
        parts = zip(
            ops.split(x, self.groups, axis=-1),
            ops.split(kernel, self.groups, axis=-1),
            strict=True,
        )
        options = {"strides": self.strides, "padding": self.padding}
        convolved = [ops.conv(part, piece, **options) for part, piece in parts]
        return ops.relu(ops.concatenate(convolved, axis=-1) + bias)

    def get_config(self) -> dict:
        names = ("filters", "kernel_size", "strides", "padding", "groups")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="ttrnn")
class PixelConv2D(GroupedConv2D):
    """First convolution on RGB pixels whose kernel was trained for BGR pixels minus a mean.

    The kernel's channels are reversed, and the mean's difference from 128 moves into the bias,
    because x - 128 is exact in bfloat16 and x - m is not:
    conv(BGR(x) - m, K) + b = conv(x - 128, RGB(K)) + b - sum((m - 128) K).

    Args:
        mean_rgb: the mean colour, or None for none. It needs padding="valid": a padded zero should
            stand for the mean and would stand for 128.
        filters, kernel_size, strides, padding: see `GroupedConv2D`.

    Input shape:
        (batch, height, width, 3), 0 to 255, of any type.

    Output shape:
        (batch, new height, new width, filters).

    Raises:
        ValueError: for a mean together with padding.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        *,
        mean_rgb: tuple[float, float, float] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(filters, kernel_size, autocast=False, **kwargs)
        if mean_rgb is not None and self.padding != "valid":
            raise ValueError(
                f'mean_rgb needs padding "valid". Received {self.padding!r}; subtract the mean '
                "before this layer instead."
            )
        self.mean_rgb = mean_rgb if mean_rgb is None else tuple(mean_rgb)

    def call(self, x):
        kernel = ops.flip(ops.cast(self.kernel, "float32"), axis=2)  # (h, w, RGB, filters)
        bias = ops.cast(self.bias, "float32")
        x = ops.cast(x, self.compute_dtype)
        if self.mean_rgb is not None:
            x = x - 128
            rest = ops.convert_to_tensor(self.mean_rgb, "float32") - 128
            bias = bias - ops.einsum("hwcf,c->f", kernel, rest)
        kernel, bias = (ops.cast(value, self.compute_dtype) for value in (kernel, bias))
        return self._convolve(x, kernel, bias)

    def get_config(self) -> dict:
        config = super().get_config() | {"mean_rgb": self.mean_rgb}
        del config["groups"]
        return config


@keras.saving.register_keras_serializable(package="ttrnn")
class LocalResponseNormalization(keras.layers.Layer):
    """Local response normalisation over neighbouring channels.

    y_c = x_c / (bias + alpha * sum of x_k^2 over |k - c| <= radius) ^ 0.75

    Args:
        radius: number of neighbours on each side.
        alpha: weight of the sum. Caffe's alpha of 1e-4 is divided by its 5 values: 2e-5.
        bias: constant added to the sum.
        fused: use one operation, compiled by XLA; see `build_alexnet`.

    Input shape:
        (batch, height, width, channels).

    Output shape:
        Same as the input.

    Reference: Krizhevsky, Sutskever, Hinton, NIPS 2012, section 3.3.
    """

    def __init__(
        self,
        radius: int = 2,
        *,
        alpha: float = 2e-5,
        bias: float = 1.0,
        fused: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.radius = radius
        self.alpha = alpha
        self.bias = bias
        self.fused = fused

    def call(self, x):
        if self.fused and keras.backend.backend() == "tensorflow" and not is_exporting():
            return normalise(x, self.radius, self.alpha, self.bias)
        # The sum over neighbours as a product with a band matrix: one matmul on every backend, and
        # an operation that ONNX has.
        position = ops.arange(x.shape[-1])
        near = ops.abs(position[:, None] - position[None, :]) <= self.radius
        weights = ops.cast(near, x.dtype) * self.alpha  # (C, C), a band
        sums = ops.matmul(ops.square(x), weights) + self.bias
        root = ops.rsqrt(sums)
        return x * root * ops.sqrt(root)  # sums ^ -0.75

    def compute_output_shape(self, input_shape) -> tuple:
        return tuple(input_shape)

    def get_config(self) -> dict:
        names = ("radius", "alpha", "bias", "fused")
        return super().get_config() | {name: getattr(self, name) for name in names}
