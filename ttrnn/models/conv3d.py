"""3D convolutional network over clips of one length: frames in, class probabilities out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import keras
from keras import ops

from ttrnn.models.resnet import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB
from ttrnn.models.torch_layers import TorchLayers
from ttrnn.shapes import check_frames, checked_frames

Head = Literal["dense", "gap"]
Normalization = Literal["half", "imagenet"]
NORMALIZATIONS = {
    "half": ((0.5,) * 3, (0.5,) * 3),
    "imagenet": (IMAGENET_MEAN_RGB, IMAGENET_STD_RGB),
}
"""Mean and deviation of pixels from 0 to 1 for each colour; grey takes the first of each."""
CONVOLUTIONS = ((32, 5), (48, 3))  # filters and size of each; both of stride 2
SMALLEST_SIDE = 9  # shortest side that the two convolutions reduce to one value
HIDDEN_UNITS = 256
NORM_MOMENTUM = 0.9  # torch's default of 0.1, counted the other way
PROCESS_BYTES = 800_000_000  # of Python and TensorFlow themselves


def build_conv3d(
    num_classes: int,
    *,
    num_frames: int = 28,
    height: int = 256,
    width: int = 342,
    channels: int = 1,
    head: Head = "dense",
    normalization: Normalization | None = None,
    dropout: float = 0.0,
    dtype: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> keras.Model:
    """Build the Conv3D network of HHTseng/video-classification, layer for layer.

    Grey frames, minus 0.5 and divided by 0.5 on a scale from 0 to 1, go through two convolutions
    with batch normalisation, ReLU and dropout of channels: conv1, bn1, conv2, bn2. Their flattened
    output goes through 256 units with ReLU, 256 with ReLU and dropout, and the classes: fc1 to fc3.
    At 28 frames of 256 x 342 fc1 has 320 million weights; `conv3d_sizes` computes the memory before
    anything is allocated. `weights.ucf101_models` converts the original's files; those trained
    before 2019-05-30 need `normalization="imagenet"`.

    Args:
        num_classes: number of classes.
        num_frames: number of frames of every clip, 9 or more.
        height, width: size of the frames in pixels, 9 or more.
        channels: 1 for grey, as the original reads frames; 3 for RGB, normalised by colour.
        head: "dense", the original's; "gap", with fc1 on each channel's mean instead of all its
            values.
        normalization: "half", a mean and a deviation of 0.5, the original's since 2019-05-30;
            "imagenet", ImageNet's, of which grey frames take red's 0.485 and 0.229, as the original
            did before. None for "half" of grey frames and "imagenet" of RGB ones.
        dropout: fraction of the values that training drops; the original's script sets 0.
        dtype: policy of every layer, such as "mixed_bfloat16"; the softmax is float32.
        seed: seed of initial weights and dropout.
        name: name of the model, or None for "conv3d".

    Returns:
        A model of {"frames": uint8 (batch * num_frames, height, width, 3), "num_frames": int32
        (batch,), all equal} to probabilities (batch, num_classes): RGB clips end to end. On
        TensorFlow a clip of another length raises InvalidArgumentError.

    Raises:
        ValueError: for sides that are too small or unknown `channels`, `head` or `normalization`.

    Example:
        >>> model = build_conv3d(101, num_frames=9, height=32, width=32)
        >>> clips = {"frames": np.zeros((18, 32, 32, 3), "uint8"), "num_frames": np.array([9, 9])}
        >>> model(clips).shape
        (2, 101)

    Reference: github.com/HHTseng/video-classification.
    """
    _shapes(num_frames, height, width)
    _check_shape(channels, head)
    layers = TorchLayers(dtype, seed=seed)
    frames = keras.Input((height, width, 3), dtype="uint8", name="frames")
    lengths = keras.Input((), dtype="int32", name="num_frames")
    x = Grey(dtype="float32", name="grey")(frames) if channels == 1 else frames
    means, deviations = _statistics(normalization, channels)
    x = layers.normalized(x, means, deviations, "normalize")
    x = EqualClips(num_frames, dtype=layers.stored_dtype, name="clips")(x, lengths)
    for number, (filters, size) in enumerate(CONVOLUTIONS, 1):
        x = layers.convolved(x, filters, size, momentum=NORM_MOMENTUM, prefix="", number=number)
        x = layers.dropout(x, dropout, f"dropout{number}", channels=True)
    if head == "dense":
        x = layers.flatten(x, "flatten")  # (B, 1249920) of 28 x 256 x 342
    else:
        x = keras.layers.GlobalAveragePooling3D(dtype=dtype, name="gap")(x)  # (B, 48)
    for number in (1, 2):
        x = layers.dense(x, HIDDEN_UNITS, f"fc{number}")
        x = layers.relu(x, f"fc{number}_relu")
    x = layers.dropout(x, dropout, "fc2_dropout")
    outputs = layers.probabilities(x, num_classes, "fc3")
    return keras.Model({"frames": frames, "num_frames": lengths}, outputs, name=name or "conv3d")


@dataclass(frozen=True)
class Conv3DSizes:
    """Sizes of a Conv3D network in float32, computed without allocating anything."""

    num_parameters: int
    """Number of trainable parameters."""
    largest_kernel: int
    """Number of parameters in the largest array, fc1's kernel."""
    values_per_clip: int
    """Values per clip that the layers keep in a training step, forward and backward."""

    def training_bytes(self, batch_size: int) -> int:
        """Cautious estimate of the peak bytes of a process that trains with Adam.

        At the original's sizes and batch 4 it is 10.7 GB, where 8.3 to 8.5 GB were measured.
        """
        # Each parameter has a value, a gradient and two moments, and Adam's update makes up to
        # three temporary arrays of the largest one's size.
        parameters = 4 * self.num_parameters + 3 * self.largest_kernel
        return PROCESS_BYTES + 4 * (parameters + batch_size * self.values_per_clip)


def conv3d_sizes(
    num_classes: int,
    *,
    num_frames: int = 28,
    height: int = 256,
    width: int = 342,
    channels: int = 1,
    head: Head = "dense",
) -> Conv3DSizes:
    """Compute the sizes of the network that `build_conv3d` builds from the same arguments.

    Raises:
        ValueError: for the same arguments as `build_conv3d`.
    """
    _check_shape(channels, head)
    shapes = _shapes(num_frames, height, width)
    inputs, convolutions, values = channels, 0, 4 * num_frames * height * width
    for (filters, size), shape in zip(CONVOLUTIONS, shapes, strict=True):
        convolutions += (inputs * size**3 + 3) * filters  # a bias, gamma and beta each
        values += 5 * math.prod(shape) * filters  # as measured
        inputs = filters
    seen = inputs * (math.prod(shapes[-1]) if head == "dense" else 1)
    widths = (seen, HIDDEN_UNITS, HIDDEN_UNITS, num_classes)
    dense = [(before + 1) * after for before, after in pairwise(widths)]
    return Conv3DSizes(convolutions + sum(dense), seen * HIDDEN_UNITS, values)


def _shapes(num_frames: int, height: int, width: int) -> list[tuple[int, ...]]:
    """Number of frames, height and width after each convolution."""
    shape: tuple[int, ...] = (num_frames, height, width)
    if min(shape) < SMALLEST_SIDE:
        raise ValueError(
            f"num_frames, height and width must be {SMALLEST_SIDE} or more, for two convolutions "
            f"of stride 2. Received {num_frames}, {height} and {width}; use longer or larger clips."
        )
    shapes = []
    for _, size in CONVOLUTIONS:
        shape = tuple((side - size) // 2 + 1 for side in shape)
        shapes.append(shape)
    return shapes


def _statistics(
    normalization: str | None, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel, on a scale from 0 to 1."""
    if normalization is None:
        normalization = "half" if channels == 1 else "imagenet"
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"normalization must be one of {', '.join(NORMALIZATIONS)}. Received {normalization!r}."
        )
    means, deviations = NORMALIZATIONS[normalization]
    return means[:channels], deviations[:channels]


def _check_shape(channels: int, head: str) -> None:
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1, grey, or 3, RGB. Received {channels!r}.")
    if head not in ("dense", "gap"):
        raise ValueError(f"head must be dense or gap. Received {head!r}.")


@keras.saving.register_keras_serializable(package="ttrnn")
class Grey(keras.layers.Layer):
    """Convert RGB pixels to grey integers, bit for bit as Pillow's convert("L").

    grey = floor((19595 R + 38470 G + 7471 B + 32768) / 65536)

    Input shape:
        (..., 3), 0 to 255, of any type.

    Output shape:
        (..., 1), float32.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(autocast=False, **kwargs)
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: 3})

    def call(self, pixels):
        red, green, blue = ops.split(ops.cast(pixels, "float32"), 3, axis=-1)
        # Exact in float32, for no sum reaches 2^24.
        return ops.floor((19595 * red + 38470 * green + 7471 * blue + 32768) / 65536)

    def compute_output_shape(self, input_shape) -> tuple:
        return (*input_shape[:-1], 1)


@keras.saving.register_keras_serializable(package="ttrnn")
class EqualClips(keras.layers.Layer):
    """Give clips of one known length, laid end to end, an axis of their own.

    Args:
        num_frames: number of frames of every clip.

    Input shape:
        (batch * num_frames, height, width, channels) and num_frames, integers (batch,).

    Output shape:
        (batch, num_frames, height, width, channels); integers stay integers.

    Raises:
        ValueError: for clips of another length; on TensorFlow InvalidArgumentError.
    """

    def __init__(self, num_frames: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.num_frames = num_frames

    def call(self, frames, num_frames):
        frames = checked_frames(frames, num_frames, self.num_frames)
        return ops.reshape(frames, (-1, self.num_frames, *frames.shape[1:]))

    def compute_output_spec(self, frames, num_frames):
        check_frames(frames.shape, num_frames.shape)
        shape = (num_frames.shape[0], self.num_frames, *frames.shape[1:])
        is_float = keras.backend.is_float_dtype(frames.dtype)
        return keras.KerasTensor(shape, self.compute_dtype if is_float else frames.dtype)

    def get_config(self) -> dict:
        return super().get_config() | {"num_frames": self.num_frames}
