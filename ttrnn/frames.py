"""Layers over the frames of video clips laid end to end, without padding.

A batch is uint8 frames (sum of num_frames, height, width, 3) and int32 num_frames (batch,). Pixels
are x = (frame - 128) / scale; on TensorFlow they exist as floats for a few frames at a time only.
"""

from __future__ import annotations

import math

import keras
from keras import ops

from ttrnn.engine.clips import centred_pixels, clip_of_frames, pad_clips, seen_pixels
from ttrnn.engine.exporting import is_exporting
from ttrnn.shapes import check_frames, checked_frames, is_compatible

if keras.backend.backend() == "tensorflow":
    from ttrnn.engine.compiled import mean_pixels, pooled_state
elif keras.backend.backend() == "jax":
    from ttrnn.engine.clip_loop import clip_loop


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
            clip = clip_of_frames(num_frames, ops.shape(frames)[0])
            total = ops.segment_sum(pixels, clip, ops.shape(num_frames)[0])
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
        outputs = self._portable_state(frames, num_frames, mean, training=training)
        return ops.cast(outputs, self.compute_dtype)

    def _portable_state(self, frames, num_frames, mean, *, training: bool):
        """Last state of each clip or mean over its frames, (batch, units), on every backend."""
        cell, batch = self.rnn.cell, ops.shape(num_frames)[0]
        clip = clip_of_frames(num_frames, ops.shape(frames)[0])  # (N,)
        # Frames that no clip has occur where numbers cannot be checked. They belong to clip number
        # `batch`, read the last one's values here, and reach no result.
        row = ops.minimum(clip, batch - 1)
        if mean is not None:
            mean = ops.take(mean, row, axis=0)  # (N, H*W*3)
        seen = seen_pixels(frames, mean, inputs=self.inputs, scale=self.scale)
        states = list(cell.get_initial_state(batch))
        if training and cell.dropout > 0:
            # One mask a clip, the same at every frame.
            like = ops.ones((batch, seen.shape[1]), cell.compute_dtype)
            seen = seen * ops.take(cell.get_dropout_mask(like), row, axis=0)
        if training and cell.recurrent_dropout > 0:
            # Drawn before the loop, in which random numbers cannot be drawn on JAX.
            cell.get_recurrent_dropout_mask(states[0])
        # The frames are projected as they lie. Only their products, of far fewer columns, are
        # padded, and on JAX not even those.
        projected = cell.project(seen)  # (N, gates * units)
        is_pooled = self.rnn.return_sequences
        if keras.backend.backend() == "jax":
            step = cell.step_function(training=training)
            outputs = clip_loop(step, projected, num_frames, states)  # (N, units)
            if is_pooled:
                state = ops.segment_sum(outputs, clip, batch)
            else:
                # A clip without frames has no last row; it takes the zeros in front.
                outputs = ops.concatenate([ops.zeros_like(states[0][:1]), outputs])
                last = ops.where(num_frames > 0, ops.cumsum(num_frames), 0)
                state = ops.take(outputs, last, axis=0)
        else:
            padded, is_frame = pad_clips(projected, num_frames)  # (B, T, gates * units)
            state, outputs, _ = self.rnn.run_projected(
                padded, states, training=training, mask=is_frame, return_all_outputs=is_pooled
            )
            if is_pooled:
                # At masked steps the outputs are carried over, so they are left out of the mean.
                state = ops.sum(outputs * ops.cast(is_frame, outputs.dtype)[:, :, None], axis=1)
        # Keras caches a cell's masks until they are reset.
        cell.reset_dropout_mask()
        cell.reset_recurrent_dropout_mask()
        if is_pooled:
            state = state / ops.cast(ops.maximum(num_frames, 1), state.dtype)[:, None]
        return state

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
