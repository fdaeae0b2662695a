"""Random changes to a training clip that do not change its class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from common.errors import InputError

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation:
    """Random crop in time, shift, mirroring and light, the same for all frames of a clip.

    Args:
        shortest_share: smallest fraction of the clip that is kept, as one run of frames. 1 keeps
            all.
        largest_shift: largest shift of the picture in pixels, each way; the border is repeated.
        contrast: the pixels' distance from mid-grey is scaled by up to 1 +- this.
        brightness: up to this many grey levels are added or subtracted.
        mirror: mirror a clip with probability 1/2. It turns one class into another where direction
            tells them apart.

    Raises:
        InputError: if a value is out of its range.
    """

    shortest_share: float = 1.0
    largest_shift: int = 0
    contrast: float = 0.0
    brightness: float = 0.0
    mirror: bool = False

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
        change = self.draw(len(frames), rng)
        changed = np.empty((change.num_frames, *frames.shape[1:]), np.uint8)
        change.write(frames[change.start : change.start + change.num_frames], changed, 0)
        change.finish(changed)
        return changed

    def draw(self, num_frames: int, rng: np.random.Generator) -> ClipChange:
        """Draw the change of a clip of so many frames."""
        share = rng.uniform(self.shortest_share, 1)
        length = max(1, round(share * num_frames))
        start = int(rng.integers(num_frames - length + 1))
        down, right = rng.integers(-self.largest_shift, self.largest_shift + 1, size=2).tolist()
        scale = 1 + self.contrast * rng.uniform(-1, 1)
        offset = self.brightness * rng.uniform(-1, 1)
        # Drawn last, and only where it counts: other changes are the same with and without it.
        mirrored = self.mirror and rng.random() < 0.5
        return ClipChange(length, start, down, right, _light(scale, offset), mirrored)


@dataclass(frozen=True)
class ClipChange:
    """Change of one clip, drawn before its frames are read.

    Args:
        num_frames: number of frames that are kept.
        start: first frame that is kept.
        down, right: shift of the picture in pixels; the border is repeated.
        light: function of pixels (rows, values) and of where to write them changed; None copies.
        mirrored: mirror the picture before it is shifted.
    """

    num_frames: int
    start: int = 0
    down: int = 0
    right: int = 0
    light: Callable[[Frames, Frames], Any] | None = None
    mirrored: bool = False

    def write(self, frames: Frames, changed: Frames, place: int) -> None:
        """Write some frames of the clip, changed, while they are in the processor's cache.

        The rows that a shift lays bare hold something else until `finish`.

        Args:
            frames: neighbouring frames, (n, H, W, 3), of those that are kept.
            changed: takes the whole changed clip, (num_frames, H, W, 3), contiguous.
            place: place of the first of `frames` among those that are kept.
        """
        height, width, channels = changed.shape[1:]
        # Frames stand one below the other, (n * H, W, 3): a few large operations instead of many.
        tall = frames.reshape(-1, width, channels)
        if self.mirrored:
            # `copyMakeBorder` below does not take the negative strides of a mirrored view.
            tall = cv2.flip(tall, 1)
        rows = tall.reshape(len(tall), -1)
        if self.right:
            left, beyond = max(self.right, 0), max(-self.right, 0)
            wide = cv2.copyMakeBorder(tall, 0, 0, left, beyond, cv2.BORDER_REPLICATE)
            rows = wide.reshape(len(tall), -1)[:, beyond * channels :][:, : width * channels]
        # A shift down is an offset. What it moves into another frame lies where that frame's border
        # will be, and what it moves out of the clip is left out.
        begin = place * height + self.down
        skipped = max(0, -begin)
        target = changed.reshape(-1, width * channels)[begin + skipped : begin + len(rows)]
        rows = rows[skipped : skipped + len(target)]
        if self.light is None:
            target[:] = rows
        elif len(rows):
            self.light(rows, target)

    def finish(self, changed: Frames) -> None:
        """Repeat the border of the whole changed clip where a shift laid rows bare."""
        if self.down > 0:
            changed[:, : self.down] = changed[:, self.down : self.down + 1]
        elif self.down < 0:
            changed[:, self.down :] = changed[:, self.down - 1 : self.down]


def _light(scale: float, offset: float) -> Callable[[Frames, Frames], Any] | None:
    """Build a function that makes 128 + scale * (level - 128) + offset of each level.

    The result is rounded to even and clipped to 0 to 255. OpenCV's arithmetic is faster than a
    look-up, in one of two forms, but may round a level otherwise: it is taken where it gives the
    table's 256 levels exactly.
    """
    if scale == 1 and offset == 0:
        return None
    levels = np.arange(256, dtype=np.uint8).reshape(1, -1)
    table = 128 + scale * (levels.astype(np.float64) - 128) + offset
    table = np.clip(np.round(table), 0, 255).astype(np.uint8)
    beta = 128 - 128 * scale + offset  # the new level of 0, before it is clipped

    def absolute(pixels: Frames, target: Frames) -> Any:
        return cv2.convertScaleAbs(pixels, dst=target, alpha=scale, beta=beta)

    def weighted(pixels: Frames, target: Frames) -> Any:
        return cv2.addWeighted(pixels, scale, pixels, 0, beta, dst=target)

    def looked_up(pixels: Frames, target: Frames) -> Any:
        return cv2.LUT(pixels, table, dst=target)

    for function in (absolute, weighted):
        if np.array_equal(function(levels, np.empty_like(levels)), table):
            return function
    return looked_up


def relighting(contrast: float, brightness: float) -> list[Augmentation]:
    """Changes of a training view's light alone: none if both are 0."""
    if not (contrast or brightness):
        return []
    return [Augmentation(contrast=contrast, brightness=brightness)]
