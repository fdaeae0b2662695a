"""A recurrent network over the raw pixels of a video: frames in, class probabilities out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import keras
from keras import ops

from ttrnn.dense import TTDense
from ttrnn.rnn import TTGRU, TTLSTM, TTSimpleRNN

CELLS = {"rnn": TTSimpleRNN, "gru": TTGRU, "lstm": TTLSTM}


def build_video_rnn(
    frame_shape: tuple[int, int, int],
    num_classes: int,
    *,
    cell: str = "gru",
    tt_input_shape: Sequence[int],
    tt_output_shape: Sequence[int],
    tt_ranks: int | Sequence[int],
    inputs: str = "raw",
    scene: bool = False,
    pooling: str = "last",
    pixel_scale: float = 1.0,
    head_l2: float = 0.0,
    head_dropout: float = 0.0,
    scene_dropout: float = 0.5,
    dtype: str | None = None,
    seed: int | None = None,
    **rnn_kwargs,
) -> keras.Model:
    """Build the classifier of Yang et al. 2017: pixels, recurrent layer, softmax.

    Args:
        frame_shape: (height, width, 3) of a frame.
        num_classes: number of classes.
        cell: "rnn", "gru" or "lstm".
        tt_input_shape: modes of a frame's height * width * 3 values. One mode alone,
            `(height * width * 3,)`, is the dense layer.
        tt_output_shape, tt_ranks: see `ttrnn.TTGRU`.
        inputs: what the recurrent layer sees: "raw", the pixels; "motion", the pixels less the
            clip's mean frame; "foreground", the absolute values of that.
        scene: whether the classifier also sees the mean frame, through a tensor-train layer.
        scene_dropout: how often a training clip's mean frame is hidden.
        pooling: what the classifier sees of the states: the "last" one, or their "mean" over time.
        pixel_scale: divisor of the centred pixels (pixel - 128).
        head_l2: L2 penalty on the output kernel.
        head_dropout: dropout before the output layer.
        dtype: policy of every layer, such as "mixed_bfloat16"; the softmax is float32.
        seed: seed of initializers and dropout.
        **rnn_kwargs: further arguments of the recurrent layer.

    Returns:
        A model of {"frames": uint8 (batch, time, height, width, 3), "num_frames": int32 (batch,)}
        to probabilities (batch, num_classes). Frames from `num_frames` on are padding.

    Raises:
        ValueError: for an unknown `cell`, `inputs` or `pooling`.
    """
    _require_one_of("cell", cell, CELLS)
    _require_one_of("inputs", inputs, ("raw", "motion", "foreground"))
    _require_one_of("pooling", pooling, ("last", "mean"))
    frames = keras.Input((None, *frame_shape), dtype="uint8", name="frames")
    num_frames = keras.Input((), dtype="int32", name="num_frames")
    mask = LengthMask(name="mask")(frames, num_frames)
    pixels = CentredPixels(pixel_scale, dtype=dtype, name="pixels")(frames)
    rnn = CELLS[cell](
        tt_input_shape,
        tt_output_shape,
        tt_ranks,
        return_sequences=pooling == "mean",
        dtype=dtype,
        seed=seed,
        name=cell,
        **rnn_kwargs,
    )
    mean = MeanFrame(dtype=dtype, name="mean_frame")(pixels, mask)
    seen = pixels
    if inputs != "raw":
        seen = keras.layers.Subtract(dtype=dtype, name="motion")([pixels, mean])
    if inputs == "foreground":
        seen = AbsoluteValue(dtype=dtype, name="foreground")(seen)
    state = rnn(seen, mask=mask)
    if pooling == "mean":
        state = keras.layers.GlobalAveragePooling1D(dtype=dtype, name="mean_state")(
            state, mask=mask
        )
    if scene:
        gist = TTDense(
            tt_input_shape,
            tt_output_shape,
            tt_ranks,
            activation="tanh",
            kernel_initializer=rnn_kwargs.get("kernel_initializer", "glorot_uniform"),
            dtype=dtype,
            name="scene",
        )(keras.layers.Flatten(dtype=dtype, name="flat_mean_frame")(mean))
        gist = keras.layers.Dropout(
            scene_dropout, noise_shape=(None, 1), seed=seed, dtype=dtype, name="scene_dropout"
        )(gist)
        state = keras.layers.Concatenate(dtype=dtype, name="motion_and_scene")([state, gist])
    state = keras.layers.Dropout(head_dropout, seed=seed, dtype=dtype, name="head_dropout")(state)
    outputs = keras.layers.Dense(
        num_classes,
        activation="softmax",
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        kernel_regularizer=keras.regularizers.L2(head_l2) if head_l2 else None,
        dtype="float32",
        name="probabilities",
    )(state)
    return keras.Model({"frames": frames, "num_frames": num_frames}, outputs, name=f"video_{cell}")


def _require_one_of(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}. Received {value!r}.")


@keras.saving.register_keras_serializable(package="ttrnn")
class CentredPixels(keras.layers.Layer):
    """uint8 frames to flat vectors: (pixel - 128) / scale.

    Args:
        scale: divisor; 1 gives the published code's values of -128 to 127.

    Input shape:
        uint8 (batch, time, height, width, 3).

    Output shape:
        (batch, time, height * width * 3), in the compute dtype.
    """

    def __init__(self, scale: float = 1.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, frames):
        batch, time = ops.shape(frames)[:2]
        height, width, channels = frames.shape[2:]
        pixels = ops.cast(frames, self.compute_dtype) - 128
        pixels = ops.reshape(pixels, (batch, time, height * width * channels))  # (B, T, H*W*3)
        return pixels if self.scale == 1 else pixels * (1 / self.scale)

    def compute_output_spec(self, frames):
        batch, time, height, width, channels = frames.shape
        return keras.KerasTensor((batch, time, height * width * channels), self.compute_dtype)

    def get_config(self) -> dict:
        return super().get_config() | {"scale": self.scale}


@keras.saving.register_keras_serializable(package="ttrnn")
class AbsoluteValue(keras.layers.Layer):
    """|x|, elementwise."""

    def call(self, inputs):
        return ops.abs(inputs)


@keras.saving.register_keras_serializable(package="ttrnn")
class LengthMask(keras.layers.Layer):
    """Which steps are frames and which are padding: step < num_frames.

    Input shape:
        frames (batch, time, ...) and num_frames (batch,).

    Output shape:
        boolean (batch, time).
    """

    def call(self, frames, num_frames):
        steps = ops.arange(ops.shape(frames)[1], dtype="int32")
        return steps[None, :] < ops.cast(num_frames, "int32")[:, None]

    def compute_output_spec(self, frames, num_frames):
        return keras.KerasTensor(frames.shape[:2], "bool")


@keras.saving.register_keras_serializable(package="ttrnn")
class MeanFrame(keras.layers.Layer):
    """Mean of a clip's frames, padding left out.

    Input shape:
        pixels (batch, time, features) and mask (batch, time).

    Output shape:
        (batch, 1, features).
    """

    def call(self, pixels, mask):
        weights = ops.cast(mask, pixels.dtype)  # (B, T)
        total = ops.matmul(weights[:, None, :], pixels)  # (B, 1, features)
        return total / ops.maximum(ops.sum(weights, axis=1), 1)[:, None, None]

    def compute_output_spec(self, pixels, mask):
        return keras.KerasTensor((pixels.shape[0], 1, pixels.shape[2]), pixels.dtype)
