"""The changes that eqy/autotosis made to its training pictures, part by part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from experiments.highlights.scoring.pictures import PictureSettings

Picture = NDArray[np.uint8]
Range = tuple[float, float]
_CROP_TRIES, _ERASE_TRIES, _SOUND_TRIES = 10, 10, 1000


@dataclass(frozen=True)
class OriginalAugmentation:
    """Crop and erase what is seen; erase some of the spectrogram, always.

    Each part that is seen is cropped at random and brought back to its size (torchvision's
    RandomResizedCrop, which has Pillow scale it), then, half the time, a rectangle of it is
    blackened (RandomErasing). In the spectrogram a rectangle of 0.1 to 1.0 of its area is
    blackened every time, so that it is not relied on alone. Nothing is mirrored.

    Args:
        settings: of the pictures.
        crop_scale: share of a part's area that is kept.
        crop_ratio: width to height of the crop.
        erase_probability: how often a part that is seen has a rectangle blackened.
        erase_scale: share of its area that is blackened.
        erase_ratio: height to width of the rectangle.
        sound_scale: share of the spectrogram's area that is blackened.
        sound_ratio: height to width of the rectangle there.
    """

    settings: PictureSettings
    crop_scale: Range = (0.5, 1.0)
    crop_ratio: Range = (3 / 4, 4 / 3)
    erase_probability: float = 0.5
    erase_scale: Range = (0.02, 0.33)
    erase_ratio: Range = (0.3, 3.3)
    sound_scale: Range = (0.1, 1.0)
    sound_ratio: Range = (0.001, 100.0)

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """A changed copy of a picture, uint8 (parts * side, side, 3)."""
        side = self.settings.side
        changed = picture.copy()
        for number, part in enumerate(self.settings.parts):
            rows = slice(number * side, (number + 1) * side)
            if part == "sound":
                _erase(changed[rows], self._sound_rectangle(side, rng), rng)
                continue
            changed[rows] = self._cropped(changed[rows], rng)
            if rng.uniform() < self.erase_probability:
                _erase(changed[rows], self._seen_rectangle(side, rng), rng)
        return changed

    def _cropped(self, part: Picture, rng: np.random.Generator) -> Picture:
        from preprocess.video.transforms import pillow_resize

        side = len(part)
        height, width = side, side  # where no crop fits: all of it, which is square
        for _ in range(_CROP_TRIES):
            area = side**2 * rng.uniform(*self.crop_scale)
            ratio = math.exp(rng.uniform(*np.log(self.crop_ratio)))
            tried = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if max(tried) <= side:
                height, width = tried
                break
        top, left = rng.integers(side - height + 1), rng.integers(side - width + 1)
        crop = part[top : top + height, left : left + width]
        return pillow_resize(crop, (side, side))

    def _seen_rectangle(self, side: int, rng: np.random.Generator) -> tuple[int, int] | None:
        """Height and width; the ratio is drawn by its logarithm, and a few tries must do."""
        for _ in range(_ERASE_TRIES):
            ratio = math.exp(rng.uniform(*np.log(self.erase_ratio)))
            size = _sides(side**2 * rng.uniform(*self.erase_scale), ratio)
            if max(size) < side:
                return size
        return None

    def _sound_rectangle(self, side: int, rng: np.random.Generator) -> tuple[int, int] | None:
        """The original drew this ratio as it is, so that most rectangles are high and narrow."""
        for _ in range(_SOUND_TRIES):
            area = side**2 * rng.uniform(*self.sound_scale)
            size = _sides(area, rng.uniform(*self.sound_ratio))
            if max(size) < side:
                return size
        return None


def _sides(area: float, ratio: float) -> tuple[int, int]:
    return round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))


def _erase(part: Picture, size: tuple[int, int] | None, rng: np.random.Generator) -> None:
    """Blacken a rectangle of a size somewhere in a part."""
    if size is None:
        return
    height, width = size
    top = rng.integers(len(part) - height + 1)
    left = rng.integers(part.shape[1] - width + 1)
    part[top : top + height, left : left + width] = 0
