"""Layers over the frames of video clips laid end to end, without padding.

A batch is uint8 frames (sum of num_frames, height, width, 3) and int32 num_frames (batch,). Pixels
are x = (frame - 128) / scale; on TensorFlow they exist as floats for a few frames at a time only.
"""

from __future__ import annotations

import math

import keras
from keras import ops

from ttrnn.engine.clips import centred_pixels, pad_clips, seen_pixels
from ttrnn.engine.exporting import is_exporting
from ttrnn.shapes import check_frames, checked_frames, is_compatible

if keras.backend.backend() == "tensorflow":
    from ttrnn.engine.compiled import mean_pixels, pooled_state


@keras.saving.register_keras_serializable(package="ttrnn")
class MeanFrame(keras.layers.Layer):
    """Mean pixels of each clip: mean over its frames of (frame - 128) / scale.

    Args:
        scale: divisor of the centred pixels.

    Input shape:
        frames, uint8 (sum of num_frames, height, width, 3), and num_frames, integers (batch,).

    Output shape:
        (batch, height * width * 3); zeros for a clip without frames.

    Raises:
        ValueError: if the number of frames is not the sum of `num_frames`; on TensorFlow
            InvalidArgumentError.

    Example:
        >>> frames = keras.ops.zeros((5, 4, 6, 3), "uint8")  # clips of 2 and 3 frames
        >>> MeanFrame()(frames, keras.ops.array([2, 3])).shape
        (2, 72)
    """

    def __init__(self, scale: float = 1.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, frames, num_frames):
        num_frames = ops.cast(num_frames, "int32")
        frames = checked_frames(frames, num_frames)
        if keras.backend.backend() == "tensorflow" and not is_exporting():
            mean = mean_pixels(frames, num_frames, self.scale)
        else:
            pixels = centred_pixels(frames, self.scale)
            # The portable way holds all pixels as floats; `mean_pixels` never does.
            batch = ops.shape(num_frames)[0]
            clip = ops.repeat(ops.arange(batch, dtype="int32"), num_frames)
            total = ops.segment_sum(pixels, clip, batch)
            mean = total / ops.cast(ops.maximum(num_frames, 1), "float32")[:, None]
        return ops.cast(mean, self.compute_dtype)

    def compute_output_spec(self, frames, num_frames):
        check_frames(frames.shape, num_frames.shape)
        features = math.prod(frames.shape[1:])
        return keras.KerasTensor((num_frames.shape[0], features), self.compute_dtype)

    def get_config(self) -> dict:
        return super().get_config() | {"scale": self.scale}


@keras.saving.register_keras_serializable(package="ttrnn")
class FrameRNN(keras.layers.Layer):
    """Tensor-train recurrent layer over the pixels of clips of any lengths.

    The output of a clip is the recurrent layer's last one or, if that layer has
    `return_sequences`, the mean over the clip's frames. With x = (frame - 128) / scale the
    recurrent layer reads

        raw         x
        motion      x - mean of x over the clip
        foreground  |x - mean of x over the clip|

    Args:
        rnn: a TTSimpleRNN, TTGRU or TTLSTM.
        inputs: "raw", "motion" or "foreground".
        scale: divisor of the centred pixels.

    Input shape:
        frames, uint8 (sum of num_frames, height, width, 3); num_frames, integers (batch,); and,
        except for "raw", the output of `MeanFrame` for the same frames and scale.

    Output shape:
        (batch, units).

    Raises:
        ValueError: for unknown `inputs`, a recurrent layer that goes backwards, or missing or
            wrongly shaped mean pixels.

    Example:
        >>> frames = keras.ops.zeros((5, 4, 6, 3), "uint8")  # clips of 2 and 3 frames
        >>> FrameRNN(TTGRU((8, 9), (4, 4), 3))(frames, keras.ops.array([2, 3])).shape
        (2, 16)
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
        self._check_shapes(frames, num_frames, mean)
        num_frames = ops.cast(num_frames, "int32")
        frames = checked_frames(frames, num_frames)
        if self.rnn.is_compiled:
            return pooled_state(self, frames, num_frames, mean, training=training)
        # The portable way pads the clips to the longest one and masks the padding.
        padded, is_frame = pad_clips(frames, num_frames)  # (B, T, H, W, 3)
        time = ops.shape(padded)[1]
        if mean is not None:
            mean = ops.repeat(mean, time, axis=0)  # (B*T, H*W*3)
        flat = ops.reshape(padded, (-1, *frames.shape[1:]))
        seen = seen_pixels(flat, mean, inputs=self.inputs, scale=self.scale)
        seen = ops.reshape(seen, (-1, time, seen.shape[-1]))  # (B, T, H*W*3)
        outputs = self.rnn(seen, mask=is_frame, training=training)
        if not self.rnn.return_sequences:
            return outputs
        # At masked steps the outputs are carried over, so they are left out of the mean.
        total = ops.sum(outputs * ops.cast(is_frame, outputs.dtype)[:, :, None], axis=1)
        return total / ops.cast(ops.maximum(num_frames, 1), outputs.dtype)[:, None]

    def _check_shapes(self, frames, num_frames, mean) -> None:
        check_frames(frames.shape, num_frames.shape)
        if self.inputs == "raw":
            return
        wanted = (num_frames.shape[0], math.prod(frames.shape[1:]))
        if mean is None or not is_compatible(mean.shape, wanted):
            raise ValueError(
                f"A FrameRNN that sees {self.inputs!r} needs each clip's mean pixels, of shape "
                f"{wanted}. Received {None if mean is None else tuple(mean.shape)}; give it what "
                "MeanFrame makes of the same frames."
            )

    def compute_output_spec(self, frames, num_frames, mean=None, training=False):
        self._check_shapes(frames, num_frames, mean)
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
