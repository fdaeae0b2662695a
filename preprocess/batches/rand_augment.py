"""RandAugment for clips: a few random operations, the same in all frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from common.errors import InputError

Frames = NDArray[np.uint8]
Operation = Callable[[Frames, float], Frames]
"""Function of frames (T, H, W, 3) and a strength from -1 to 1; the sign is the direction."""

MAX_MAGNITUDE = 10
"""Largest magnitude."""
# Effects at the largest magnitude, as in AutoAugment (Cubuk et al., CVPR 2019).
MAX_DEGREES = 30.0
MAX_SHEAR = 0.3
MAX_SHIFT = 0.45  # of the side
MAX_FACTOR = 0.9  # of colour, contrast, brightness, sharpness, added to or subtracted from 1
FEWEST_BITS = 4
FILL = (128, 128, 128)
"""Colour of pixels from outside of the picture."""


@dataclass(frozen=True)
class RandAugment:
    """Random operations on a training clip, the same for all its frames.

    Each operation is drawn from 14 with equal probability and replacement: identity, automatic
    contrast, equalization, rotation, solarization, posterization; more or less colour, contrast,
    brightness or sharpness; shear and translation along x or y. Operations on the distribution of
    pixels, such as equalization, use the pixels of all frames. Mirroring is left out: it turns one
    class into another where direction tells them apart.

    Args:
        num_operations: number of operations, one after the other.
        magnitude: strength of each, from 0 to 10, where 10 is 30 degrees, a shear of 0.3, 45 % of a
            side, 0.1 or 1.9 times the colour and so on, all pixels inverted, or 4 bits of 8. 0
            changes nothing, except by automatic contrast and equalization, which have no strength.

    Raises:
        InputError: if a value is out of its range.

    Reference: Cubuk et al., RandAugment, NeurIPS 2020; magnitudes as in AutoAugment, CVPR 2019.
    """

    num_operations: int = 2
    magnitude: float = 9.0

    def __post_init__(self) -> None:
        if self.num_operations < 0 or not 0 <= self.magnitude <= MAX_MAGNITUDE:
            raise InputError(
                "num_operations must not be negative, and magnitude must be from 0 to "
                f"{MAX_MAGNITUDE}. Received {self}."
            )

    def __call__(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """Return a changed copy of a clip, uint8 RGB (T, H, W, 3), of the same shape."""
        strength = self.magnitude / MAX_MAGNITUDE
        frames = np.array(frames, order="C")
        # Signs are drawn for all operations, also those without a direction, so that the draws
        # depend on the number of operations alone.
        chosen = rng.integers(len(OPERATIONS), size=self.num_operations)
        signs = rng.choice((-1, 1), size=self.num_operations)
        operations = list(OPERATIONS.values())
        for number, sign in zip(chosen.tolist(), signs.tolist(), strict=True):
            frames = operations[number](frames, sign * strength)
        return frames


def _autocontrast(frames: Frames) -> Frames:
    """Stretch each colour so that its darkest level becomes 0 and its lightest 255."""
    tables = [np.arange(256.0)] * 3
    for colour in range(3):
        low, high = int(frames[..., colour].min()), int(frames[..., colour].max())
        if high > low:
            scale = 255 / (high - low)
            tables[colour] = np.clip(np.arange(256) * scale - low * scale, 0, 255)
    return _looked_up(frames, np.stack(tables, axis=1))


def _equalize(frames: Frames) -> Frames:
    """Equalize each colour's histogram, with Pillow's arithmetic."""
    tables = []
    for colour in range(3):
        counts = np.bincount(frames[..., colour].ravel(), minlength=256)
        # Pillow leaves the lightest level out of the step, and changes nothing if the step is 0.
        step = (counts.sum() - counts[counts > 0][-1]) // 255
        below = np.cumsum(counts) - counts
        tables.append((below + step // 2) // step if step else np.arange(256))
    return _looked_up(frames, np.minimum(np.stack(tables, axis=1), 255))


def _solarize(frames: Frames, strength: float) -> Frames:
    """Invert the lightest levels, a fraction `strength` of all 256."""
    levels = np.arange(256)
    return _looked_up(frames, np.where(levels < 256 * (1 - strength), levels, 255 - levels))


def _posterize(frames: Frames, strength: float) -> Frames:
    """Keep only the highest bits of each level."""
    dropped = round((8 - FEWEST_BITS) * strength)
    return _looked_up(frames, np.arange(256) >> dropped << dropped)


def _color(frames: Frames, strength: float) -> Frames:
    return _blended(_grey(frames)[..., None], frames, strength)


def _contrast(frames: Frames, strength: float) -> Frames:
    mean = np.floor(_grey(frames).mean() + 0.5)
    return _looked_up(frames, _blended(mean, np.arange(256), strength))


def _brightness(frames: Frames, strength: float) -> Frames:
    return _looked_up(frames, _blended(0, np.arange(256), strength))


def _sharpness(frames: Frames, strength: float) -> Frames:
    """Blend with blurred frames, or away from them; the outermost pixels stay unchanged."""
    # The kernel of Pillow's SMOOTH filter, which leaves the border as it is.
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
    blurred = frames.copy()
    for frame, soft in zip(frames, blurred, strict=True):
        soft[1:-1, 1:-1] = cv2.filter2D(frame, -1, kernel)[1:-1, 1:-1]
    return _blended(blurred, frames, strength)


def _rotate(frames: Frames, strength: float) -> Frames:
    """Rotate about the centre, anticlockwise for a positive strength."""
    height, width = frames.shape[1:3]
    centre = ((width - 1) / 2, (height - 1) / 2)
    return _moved(frames, cv2.getRotationMatrix2D(centre, MAX_DEGREES * strength, 1))


def _shear_x(frames: Frames, strength: float) -> Frames:
    """Shear along x: the first row stays, each further row moves to the left."""
    # -shear / 2: OpenCV counts from the centre of the first pixel, not from its edge.
    shear = MAX_SHEAR * strength
    return _moved(frames, np.array([[1, -shear, -shear / 2], [0, 1, 0]]))


def _shear_y(frames: Frames, strength: float) -> Frames:
    shear = MAX_SHEAR * strength
    return _moved(frames, np.array([[1, 0, 0], [-shear, 1, -shear / 2]]))


def _translate_x(frames: Frames, strength: float) -> Frames:
    right = round(MAX_SHIFT * strength * frames.shape[2])
    return _moved(frames, np.array([[1, 0, right], [0, 1, 0]], np.float64))


def _translate_y(frames: Frames, strength: float) -> Frames:
    down = round(MAX_SHIFT * strength * frames.shape[1])
    return _moved(frames, np.array([[1, 0, 0], [0, 1, down]], np.float64))


def _looked_up(frames: Frames, table: NDArray) -> Frames:
    """Map each level by a table (256,), or by colour (256, 3); fractions are cut off."""
    table = np.broadcast_to(table.reshape(256, -1), (256, 3)).astype(np.uint8)
    return cv2.LUT(frames.reshape(1, -1, 3), table[None]).reshape(frames.shape)


def _blended(without: NDArray | float, levels: NDArray, strength: float) -> NDArray[np.uint8]:
    """Blend between `without` (factor 0) and the picture (factor 1), or beyond it.

    Args:
        without: the picture without the property, such as its grey version for colour.
        levels: the picture's levels.
        strength: from -1 to 1; the factor is 1 + 0.9 * strength. Fractions are cut off.
    """
    without = np.asarray(without, np.float32)
    factor = np.float32(1 + MAX_FACTOR * strength)
    mixed = without + factor * (levels.astype(np.float32) - without)
    return np.clip(mixed, 0, 255).astype(np.uint8)


def _grey(frames: Frames) -> NDArray[np.int64]:
    """Grey levels (T, H, W) by ITU-R 601, with Pillow's rounding."""
    return (frames @ np.array([19595, 38470, 7471]) + 0x8000) >> 16


def _moved(frames: Frames, matrix: NDArray[np.float64]) -> Frames:
    """Warp all frames by a matrix (2, 3) from old to new (x, y)."""
    size = (frames.shape[2], frames.shape[1])
    moved = np.empty_like(frames)
    for frame, new in zip(frames, moved, strict=True):
        new[:] = cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_LINEAR, borderValue=FILL)
    return moved


OPERATIONS: dict[str, Operation] = {
    "identity": lambda frames, strength: frames,
    "autocontrast": lambda frames, strength: _autocontrast(frames),
    "equalize": lambda frames, strength: _equalize(frames),
    "rotate": _rotate,
    "solarize": lambda frames, strength: _solarize(frames, abs(strength)),
    "posterize": lambda frames, strength: _posterize(frames, abs(strength)),
    "color": _color,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "shear-x": _shear_x,
    "shear-y": _shear_y,
    "translate-x": _translate_x,
    "translate-y": _translate_y,
}
"""Operations by the paper's names; a strength of 0 changes nothing except for the two after
identity."""
