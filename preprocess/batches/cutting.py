"""Frames of stored clips: read by position, cut to a view, scaled."""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocess.batches.views import Crop, IntArray


def cut(frames: NDArray[np.uint8], crop: Crop, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Cut a part out of frames, uint8 (T, H, W, 3), and scale it to a width and height."""
    if crop.scaled_width:
        frames = _scaled(frames, (crop.scaled_width, crop.scaled_height))
    part = frames[:, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    if crop.mirrored:
        part = part[:, :, ::-1]
    if (crop.width, crop.height) != size:
        # OpenCV does not take the negative strides of a mirrored view.
        part = np.stack([cv2.resize(np.ascontiguousarray(frame), size) for frame in part])
    return part


def _scaled(frames: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale whole frames bilinearly without antialiasing, as torch's interpolate does."""
    # In floats, rounded once: OpenCV's integer arithmetic is a level off at times.
    if frames.shape[2:0:-1] == size:
        return frames
    scaled = [cv2.resize(frame.astype(np.float32), size) for frame in frames]
    return np.rint(np.stack(scaled)).astype(np.uint8)


def foreground(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Absolute difference of each frame to the mean of all, uint8 (T, H, W, 3)."""
    # int16 holds the differences, from -255 to 255.
    mean = np.rint(frames.mean(axis=0, dtype=np.float32)).astype(np.int16)
    return np.abs(frames.astype(np.int16) - mean).astype(np.uint8)


class StoredClip(Protocol):
    """Stored rows of a clip's frames: pixels, or a network's features."""

    def read(self, *, start: int = 0, max_frames: int | None = None) -> NDArray[Any]:
        """Read at most `max_frames` consecutive rows from frame `start` on."""


def read_frames(clip: StoredClip, frames: IntArray) -> NDArray[Any]:
    """Read frames of a clip by their positions, in the order asked for."""
    # One read from the first to the last frame, which decompresses each chunk once.
    first = int(frames.min())
    return clip.read(start=first, max_frames=int(frames.max()) + 1 - first)[frames - first]
