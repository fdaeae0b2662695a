"""Random changes to a training clip that do not change its class."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from common.errors import InputError

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation:
    """Random crop in time, shift, contrast and brightness, the same for all frames of a clip.

    Mirroring is left out: it turns one class into another where direction tells them apart.

    Args:
        shortest_share: smallest fraction of the clip that is kept, as one run of frames. 1 keeps
            all.
        largest_shift: largest shift of the picture in pixels, each way; the border is repeated.
        contrast: the pixels' distance from mid-grey is scaled by up to 1 +- this.
        brightness: up to this many grey levels are added or subtracted.

    Raises:
        InputError: if a value is out of its range.
    """

    shortest_share: float = 1.0
    largest_shift: int = 0
    contrast: float = 0.0
    brightness: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.shortest_share <= 1:
            raise InputError(f"shortest_share must be in (0, 1]. Received {self.shortest_share}.")
        if min(self.largest_shift, self.contrast, self.brightness) < 0 or self.contrast >= 1:
            raise InputError(
                "largest_shift and brightness must not be negative, and contrast must be in "
                f"[0, 1). Received {self}."
            )

    def __call__(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """Return a changed copy of a clip, uint8 (T, H, W, 3) to (T', H, W, 3), 1 <= T' <= T."""
        frames = self._stretch(frames, rng)
        frames = self._shifted(frames, rng)
        return self._relit(frames, rng)

    def _stretch(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """Keep a random run of frames."""
        share = rng.uniform(self.shortest_share, 1)
        length = max(1, round(share * len(frames)))
        start = int(rng.integers(len(frames) - length + 1))
        return frames[start : start + length]

    def _shifted(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """Shift all frames by the same random number of pixels, repeating the border."""
        max_shift = self.largest_shift
        down, right = rng.integers(-max_shift, max_shift + 1, size=2)
        if down == right == 0:
            return frames
        height, width = frames.shape[1:3]
        rows = slice(max(0, down), height + min(0, down))
        columns = slice(max(0, right), width + min(0, right))
        moved = np.empty_like(frames)
        moved[:, rows, columns] = frames[
            :, max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)
        ]
        # The gap is filled with the edge pixels: first beside the picture, then above and below it,
        # where the rows are complete by then.
        moved[:, rows, : columns.start] = moved[:, rows, columns.start : columns.start + 1]
        moved[:, rows, columns.stop :] = moved[:, rows, columns.stop - 1 : columns.stop]
        moved[:, : rows.start] = moved[:, rows.start : rows.start + 1]
        moved[:, rows.stop :] = moved[:, rows.stop - 1 : rows.stop]
        return moved

    def _relit(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """Change contrast and brightness of all frames alike."""
        scale = 1 + self.contrast * rng.uniform(-1, 1)
        offset = self.brightness * rng.uniform(-1, 1)
        if scale == 1 and offset == 0:
            return frames
        # A table of the 256 levels replaces arithmetic on every pixel.
        levels = 128 + scale * (np.arange(256) - 128) + offset
        table = np.clip(np.round(levels), 0, 255).astype(np.uint8)
        flat = np.ascontiguousarray(frames).reshape(len(frames), -1)
        return cv2.LUT(flat, table).reshape(frames.shape)
