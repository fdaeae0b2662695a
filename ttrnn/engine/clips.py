"""Clips laid end to end: their padding, and the pixels that layers see of them; on every backend.

These stand below `ttrnn.frames` because the layers there and TensorFlow's fast path
(`ttrnn.engine.compiled`) must see the same pixels.
"""

from __future__ import annotations

import math

from keras import ops


def centred_pixels(frames, scale: float):
    """uint8 frames (n, height, width, 3) to float32 (n, height * width * 3): (frame - 128) / scale.

    A scale of 1 gives the published code's -128 to 127.
    """
    flat = ops.reshape(ops.cast(frames, "float32"), (-1, math.prod(frames.shape[1:])))
    return (flat - 128) * (1 / scale)


def pad_clips(rows, num_frames):
    """Clips end to end, as rows of one length and a mask of what is a frame.

    Args:
        rows: (sum of num_frames, ...).
        num_frames: int32 (batch,).

    Returns:
        (batch, longest, ...), with any rows in the padding, and booleans (batch, longest).
    """
    step = ops.arange(ops.max(num_frames), dtype="int32")
    is_frame = step < num_frames[:, None]  # (B, T)
    first = ops.cumsum(num_frames) - num_frames
    row = ops.where(is_frame, first[:, None] + step, 0)
    return ops.take(rows, row, axis=0), is_frame


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
