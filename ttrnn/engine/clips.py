"""Padding and pixels of clips laid end to end, on every backend.

These functions stand below `ttrnn.frames` because the layers there and TensorFlow's fast path
(`ttrnn.engine.compiled`) must compute the same pixels.
"""

from __future__ import annotations

import math

import keras
from keras import ops

if keras.backend.backend() == "jax":
    import jax


def is_traced(array) -> bool:
    """Return True if JAX traces a program at the moment, and does not know the array's values."""
    return keras.backend.backend() == "jax" and isinstance(array, jax.core.Tracer)


def centred_pixels(frames, scale: float):
    """Centre and flatten frames: (frame - 128) / scale.

    Args:
        frames: uint8 (n, height, width, 3).
        scale: divisor; 1 gives the published code's -128 to 127.

    Returns:
        float32 (n, height * width * 3).
    """
    flat = ops.reshape(ops.cast(frames, "float32"), (-1, math.prod(frames.shape[1:])))
    return (flat - 128) * (1 / scale)


def clip_of_frames(num_frames, total):
    """Clip of each frame of clips that lie end to end, int32 (total,).

    Args:
        num_frames: number of frames of each clip, int32 (batch,).
        total: number of all frames. It is an argument because JAX must know the size of every
            array before it knows `num_frames`.
    """
    # A frame belongs to the clip that follows all those that end at it or before.
    has_ended = ops.cumsum(num_frames) <= ops.arange(total, dtype="int32")[:, None]  # (N, B)
    return ops.sum(ops.cast(has_ended, "int32"), axis=1)


def pad_clips(rows, num_frames):
    """Pad clips that lie end to end to the longest one, with a mask.

    Args:
        rows: frames of all clips, (sum of num_frames, ...).
        num_frames: number of frames of each clip, int32 (batch,).

    Returns:
        Clips (batch, longest, ...), with arbitrary rows in the padding, and a mask (batch,
        longest), True at frames. Where JAX traces, which must know all sizes before the numbers,
        clips are as long as all frames together.
    """
    longest = rows.shape[0] if is_traced(num_frames) else ops.max(num_frames)
    step = ops.arange(longest, dtype="int32")
    is_frame = step < num_frames[:, None]  # (B, T)
    first = ops.cumsum(num_frames) - num_frames
    # Padding takes row 0, any row that exists: only the mask says what is a frame.
    row = ops.where(is_frame, first[:, None] + step, 0)
    return ops.take(rows, row, axis=0), is_frame


def seen_pixels(frames, mean, *, inputs: str, scale: float):
    """Features that a FrameRNN computes of frames, float32 (n, height * width * 3).

    Args:
        frames: uint8 (n, height, width, 3).
        mean: mean pixels of each frame's clip, (n, features); unused for "raw".
        inputs: "raw", x; "motion", x - mean; "foreground", |x - mean|.
        scale: divisor of the centred pixels.
    """
    pixels = centred_pixels(frames, scale)
    if inputs == "raw":
        return pixels
    motion = pixels - ops.cast(mean, "float32")
    return ops.abs(motion) if inputs == "foreground" else motion
