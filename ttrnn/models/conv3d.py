"""A 3D convolutional network over clips of one length: frames in, class probabilities out."""

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
"""Mean and deviation of pixels from 0 to 1, of each colour; grey takes the first of each."""
CONVOLUTIONS = ((32, 5), (48, 3))  # filters and size of each; both of stride 2
SMALLEST_SIDE = 9  # whose last convolution leaves one value
HIDDEN_UNITS = 256
NORM_MOMENTUM = 0.9
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

    Grey frames, less 0.5 and divided by 0.5 on a scale from 0 to 1, go through two convolutions
    with batch normalisation, ReLU and dropout of channels: conv1, bn1, conv2, bn2. All that is
    left goes to 256 units with ReLU, 256 with ReLU and dropout, and the classes: fc1 to fc3. At 28
    frames of 256 x 342 fc1 has 320 million weights: `conv3d_sizes` says what that takes before
    anything is allocated. `weights.ucf101_models` converts the original's files; those trained
    before 2019-05-30 need `normalization="imagenet"`.

    Args:
        num_classes: of the last layer.
        num_frames: of every clip, 9 or more.
        height, width: of the frames, 9 or more.
        channels: 1, grey as the original reads frames; 3, RGB, normalised each by its own.
        head: "dense", the original's; "gap", fc1 of each channel's mean in place of its values.
        normalization: "half", a mean and a deviation of 0.5, the original's since 2019-05-30;
            "imagenet", ImageNet's, of which grey frames take red's 0.485 and 0.229, as the original
            did before. None for "half" of grey frames and "imagenet" of RGB ones.
        dropout: share of what training drops; the original's script sets 0.
        dtype: policy of every layer, such as "mixed_bfloat16"; the softmax is float32.
        seed: of initial weights and dropout.
        name: of the model, or None for "conv3d".

    Returns:
        A model of {"frames": uint8 (batch * num_frames, height, width, 3), "num_frames": int32
        (batch,), each the same} to probabilities (batch, num_classes): RGB clips end to end. On
        TensorFlow a clip of another length raises InvalidArgumentError.

    Raises:
        ValueError: for sides that are too small, unknown `channels`, `head` or `normalization`.
    """
    _shapes(num_frames, height, width)
    _check(channels, head)
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
    """What a Conv3D network needs in float32; nothing is allocated to know it."""

    num_parameters: int
    """Trainable ones."""
    largest_kernel: int
    """Of these, how many are in one array: fc1's."""
    values_per_clip: int
    """Of the layers in a training step, forward and back."""

    def training_bytes(self, batch_size: int) -> int:
        """Bytes of a process that trains with Adam, at its peak: a cautious estimate.

        Each parameter has a value, a gradient and two moments, and Adam makes up to three arrays
        of the largest one's size on the way. At the original's sizes and batch 4 that is 10.7 GB;
        8.3 to 8.5 were seen.
        """
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
    """What the network of `build_conv3d` with these arguments needs.

    Raises:
        ValueError: as `build_conv3d`.
    """
    _check(channels, head)
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
    """Frames, height and width after each convolution."""
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


def _check(channels: int, head: str) -> None:
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1, grey, or 3, RGB. Received {channels!r}.")
    if head not in ("dense", "gap"):
        raise ValueError(f"head must be dense or gap. Received {head!r}.")


@keras.saving.register_keras_serializable(package="ttrnn")
class Grey(keras.layers.Layer):
    """RGB pixels to grey ones, whole numbers: Pillow's convert("L"), bit for bit.

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
        # exact, for no sum reaches 2^24
        return ops.floor((19595 * red + 38470 * green + 7471 * blue + 32768) / 65536)

    def compute_output_shape(self, input_shape) -> tuple:
        return (*input_shape[:-1], 1)


@keras.saving.register_keras_serializable(package="ttrnn")
class EqualClips(keras.layers.Layer):
    """Clips of one known length, end to end, with an axis of their own.

    Args:
        num_frames: of every clip.

    Input shape:
        (batch * num_frames, height, width, channels) and num_frames, integers (batch,).

    Output shape:
        (batch, num_frames, height, width, channels); whole numbers stay such.

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
