"""Layers over the frames of video clips laid end to end, without padding.

A batch is uint8 frames (sum of num_frames, height, width, 3) and int32 num_frames (batch,). Pixels
are x = (frame - 128) / scale; on TensorFlow they exist as floats for a few frames at a time only.
"""

from __future__ import annotations

import math

import keras
from keras import ops


def centred_pixels(frames, scale: float):
    """uint8 frames (n, height, width, 3) to float32 (n, height * width * 3): (frame - 128) / scale.

    A scale of 1 gives the published code's -128 to 127.
    """
    flat = ops.reshape(ops.cast(frames, "float32"), (-1, math.prod(frames.shape[1:])))
    return (flat - 128) * (1 / scale)


def seen_pixels(frames, mean, *, inputs: str, scale: float):
    """What a FrameRNN sees of frames (n, ...), float32 (n, features).

    Args:
        frames: uint8.
        mean: (n, features), the mean pixels of each frame's clip; not looked at for "raw".
        inputs: "raw", x; "motion", x - mean; "foreground", |x - mean|.
        scale: of the pixels.
    """
    pixels = centred_pixels(frames, scale)
    if inputs == "raw":
        return pixels
    motion = pixels - ops.cast(mean, "float32")
    return ops.abs(motion) if inputs == "foreground" else motion


@keras.saving.register_keras_serializable(package="ttrnn")
class MeanFrame(keras.layers.Layer):
    """The mean pixels of each clip.

    Args:
        scale: of the pixels.

    Input shape:
        frames and num_frames.

    Output shape:
        (batch, height * width * 3).
    """

    def __init__(self, scale: float = 1.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, frames, num_frames):
        num_frames = ops.cast(num_frames, "int32")
        if keras.backend.backend() == "tensorflow":
            from ttrnn.compiled_frames import mean_pixels

            mean = mean_pixels(frames, num_frames, self.scale)
        else:
            pixels = centred_pixels(frames, self.scale)
            total = ops.segment_sum(pixels, _clip_of_frame(num_frames), len(num_frames))
            mean = total / ops.cast(num_frames, "float32")[:, None]
        return ops.cast(mean, self.compute_dtype)

    def compute_output_spec(self, frames, num_frames):
        features = math.prod(frames.shape[1:])
        return keras.KerasTensor((num_frames.shape[0], features), self.compute_dtype)

    def get_config(self) -> dict:
        return super().get_config() | {"scale": self.scale}


@keras.saving.register_keras_serializable(package="ttrnn")
class FrameRNN(keras.layers.Layer):
    """A tensor-train recurrent layer over the pixels of clips.

    What comes out of a clip is its last output, or with `return_sequences` of the recurrent layer
    the mean over its frames.

    Args:
        rnn: a TTSimpleRNN, TTGRU or TTLSTM.
        inputs: what it sees: "raw", the pixels; "motion", the pixels less their clip's mean;
            "foreground", the absolute values of that.
        scale: of the pixels.

    Input shape:
        frames, num_frames and, but for "raw", what `MeanFrame` gives.

    Output shape:
        (batch, units).

    Raises:
        ValueError: for unknown `inputs`, or a recurrent layer that goes backwards.
    """

    def __init__(self, rnn, *, inputs: str = "raw", scale: float = 1.0, **kwargs) -> None:
        super().__init__(**kwargs)
        if rnn.go_backwards:
            raise ValueError(
                "rnn must go forwards over the frames. Received one with go_backwards=True; turn "
                "the clips round instead."
            )
        if inputs not in ("raw", "motion", "foreground"):
            raise ValueError(f"inputs must be raw, motion or foreground. Received {inputs!r}.")
        self.rnn = rnn
        self.inputs = inputs
        self.scale = scale

    def build(self, frames_shape, *other_shapes) -> None:
        self.rnn.build((None, None, math.prod(frames_shape[1:])))
        self.built = True

    def call(self, frames, num_frames, mean=None, training=False):
        num_frames = ops.cast(num_frames, "int32")
        if self.rnn.is_compiled:
            from ttrnn.compiled_frames import pooled_state

            return pooled_state(self, frames, num_frames, mean, training=training)
        clip = _clip_of_frame(num_frames)
        mean = None if mean is None else ops.take(mean, clip, axis=0)
        seen = seen_pixels(frames, mean, inputs=self.inputs, scale=self.scale)
        first = ops.cumsum(num_frames) - num_frames
        step = ops.arange(len(clip), dtype="int32") - ops.take(first, clip)
        shape = (len(num_frames), int(ops.max(num_frames)), seen.shape[1])
        padded = ops.scatter(ops.stack([clip, step], axis=1), seen, shape)  # (B, T, H*W*3)
        mask = ops.arange(shape[1], dtype="int32") < num_frames[:, None]
        outputs = self.rnn(padded, mask=mask, training=training)
        if not self.rnn.return_sequences:
            return outputs
        total = ops.sum(outputs * ops.cast(mask, outputs.dtype)[:, :, None], axis=1)
        return total / ops.cast(num_frames, outputs.dtype)[:, None]

    def compute_output_spec(self, frames, num_frames, mean=None, training=False):
        return keras.KerasTensor((num_frames.shape[0], self.rnn.units), self.compute_dtype)

    def get_config(self) -> dict:
        return super().get_config() | {
            "rnn": keras.saving.serialize_keras_object(self.rnn),
            "inputs": self.inputs,
            "scale": self.scale,
        }

    @classmethod
    def from_config(cls, config: dict) -> FrameRNN:
        config = dict(config)
        return cls(keras.saving.deserialize_keras_object(config.pop("rnn")), **config)


def _clip_of_frame(num_frames):
    return ops.repeat(ops.arange(len(num_frames), dtype="int32"), num_frames)
