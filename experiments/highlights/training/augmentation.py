"""Random changes to training pictures: ours, and those of eqy/autotosis.

They keep a picture's meaning: light, framing, loudness and pitch change. Images and spectrograms
are changed separately, each within its own square of the tall picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from experiments.highlights.training.recipes import Recipe
from preprocess.video.transforms import pillow_resize

if TYPE_CHECKING:
    from experiments.clips.images import ImageSettings

ImageArray = NDArray[np.uint8]
Change = Callable[[ImageArray, np.random.Generator], ImageArray]


@dataclass(frozen=True)
class Augmentation:
    """Random changes of light, framing, loudness and pitch.

    Nothing is mirrored: time in a spectrogram has a direction.

    Args:
        settings: how the pictures are made.
        shift: largest shift of an image each way, as a fraction of its side.
        zoom: images are scaled by up to 1 +- this. At the edges the outermost pixels are repeated.
        contrast: the pixels' distance from mid-grey is scaled by up to 1 +- this.
        brightness: largest number of grey levels that are added or subtracted.
        colour: largest number of grey levels by which red, green and blue are moved apart.
        gain: largest change of the sound's loudness, in decibels; silence stays black.
        time_shift: largest shift of the sound in time, in seconds.
        pitch_shift: largest shift of the sound's pitch, in semitones.
        mask: largest fraction of the columns, and of the rows, that is blackened in one block
            each; after Park et al., SpecAugment, Interspeech 2019.

    Raises:
        InputError: if a value is out of its range.
    """

    settings: ImageSettings
    shift: float = 0.0
    zoom: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    colour: float = 0.0
    gain: float = 0.0
    time_shift: float = 0.0
    pitch_shift: float = 0.0
    mask: float = 0.0

    def __post_init__(self) -> None:
        shares = ("shift", "zoom", "contrast", "mask")
        for name in (*shares, "brightness", "colour", "gain", "time_shift", "pitch_shift"):
            value, limit = getattr(self, name), 1 if name in shares else np.inf
            if not 0 <= value < limit:
                raise InputError(f"{name} must be in [0, {limit:g}). Received {value}.")

    def __call__(self, image: ImageArray, rng: np.random.Generator) -> ImageArray:
        """Return a changed copy of a picture, uint8 (parts * side, side, 3)."""
        side = self.settings.side
        changed = [
            (self._heard if part == "sound" else self._seen)(
                image[number * side : (number + 1) * side], rng
            )
            for number, part in enumerate(self.settings.parts)
        ]
        return np.concatenate(changed)

    def _seen(self, part: ImageArray, rng: np.random.Generator) -> ImageArray:
        side = len(part)
        scale = 1 + self.zoom * rng.uniform(-1, 1)
        right, down = self.shift * side * rng.uniform(-1, 1, size=2)
        middle = (side - 1) / 2 * (1 - scale)  # the centre stays where it is
        move = np.array([[scale, 0, middle + right], [0, scale, middle + down]])
        moved = cv2.warpAffine(
            part, move, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return self._relit(moved, rng)

    def _relit(self, part: ImageArray, rng: np.random.Generator) -> ImageArray:
        # One contrast and brightness for all channels, and an offset for each colour.
        contrast = 1 + self.contrast * rng.uniform(-1, 1)
        offsets = self.brightness * rng.uniform(-1, 1) + self.colour * rng.uniform(-1, 1, size=3)
        # One look-up table for each colour instead of arithmetic on all pixels.
        levels = 128 + contrast * (np.arange(256)[:, None] - 128) + offsets  # (256, 3)
        table = np.clip(np.round(levels), 0, 255).astype(np.uint8)
        return cv2.LUT(part, table[None])

    def _heard(self, part: ImageArray, rng: np.random.Generator) -> ImageArray:
        spectrogram = self.settings.spectrogram
        # Seconds to columns, and semitones to rows: frequency is logarithmic, 12 semitones an
        # octave.
        columns = _steps(self.time_shift, spectrogram.columns / spectrogram.window_seconds, rng)
        octaves = np.log2(spectrogram.cutoff_hz / spectrogram.low_hz)
        rows = _steps(self.pitch_shift, spectrogram.num_bins / (12 * octaves), rng)
        part = _moved(_moved(part, columns, axis=1), rows, axis=0)
        # `floor_db`, which is negative, is level 0 and 0 dB is level 255.
        part = self._amplified(part, -255 / spectrogram.floor_db * rng.uniform(-1, 1))
        return self._masked(part, rng)

    def _amplified(self, part: ImageArray, levels_a_decibel: float) -> ImageArray:
        levels = np.arange(256) + self.gain * levels_a_decibel
        table = np.clip(np.round(levels), 0, 255).astype(np.uint8)
        table[0] = 0  # what is below the darkest level is not known
        return table[part]

    def _masked(self, part: ImageArray, rng: np.random.Generator) -> ImageArray:
        for axis, side in enumerate(part.shape[:2]):
            width = int(self.mask * side * rng.uniform() + 0.5)
            start = int(rng.integers(side - width + 1))
            part[(slice(None),) * axis + (slice(start, start + width),)] = 0
        return part


def _steps(limit: float, steps_a_unit: float, rng: np.random.Generator) -> int:
    return round(limit * steps_a_unit * rng.uniform(-1, 1))


def _moved(part: ImageArray, steps: int, *, axis: int) -> ImageArray:
    """Move a picture along an axis; at the edge the outermost pixels are repeated."""
    places = np.clip(np.arange(part.shape[axis]) - steps, 0, part.shape[axis] - 1)
    return np.take(part, places, axis=axis)


Range = tuple[float, float]
# Draws until a crop or a rectangle fits: torchvision's 10. Most of the sound's do not fit.
_CROP_TRIES, _ERASE_TRIES, _SOUND_TRIES = 10, 10, 1000


@dataclass(frozen=True)
class OriginalAugmentation:
    """Random crops and erased rectangles, as eqy/autotosis trained.

    Each image is cropped at random and scaled back to its size (torchvision's RandomResizedCrop,
    which lets Pillow scale it). Then, half the time, a rectangle of it is blackened
    (RandomErasing). In the spectrogram a rectangle of 0.1 to 1.0 of its area is blackened every
    time, so that the network does not rely on it alone. Nothing is mirrored.

    Args:
        settings: how the pictures are made.
        crop_scale: range of the fraction of an image's area that is kept.
        crop_ratio: range of the crop's width divided by its height.
        erase_probability: probability that a rectangle of an image is blackened.
        erase_scale: range of the fraction of its area that is blackened.
        erase_ratio: range of the rectangle's height divided by its width.
        sound_scale: range of the fraction of the spectrogram's area that is blackened.
        sound_ratio: range of that rectangle's height divided by its width.
    """

    settings: ImageSettings
    crop_scale: Range = (0.5, 1.0)
    crop_ratio: Range = (3 / 4, 4 / 3)
    erase_probability: float = 0.5
    erase_scale: Range = (0.02, 0.33)
    erase_ratio: Range = (0.3, 3.3)
    sound_scale: Range = (0.1, 1.0)
    sound_ratio: Range = (0.001, 100.0)

    def __call__(self, image: ImageArray, rng: np.random.Generator) -> ImageArray:
        """Return a changed copy of a picture, uint8 (parts * side, side, 3)."""
        side = self.settings.side
        changed = image.copy()
        for number, part in enumerate(self.settings.parts):
            rows = slice(number * side, (number + 1) * side)
            if part == "sound":
                _erase(changed[rows], self._sound_rectangle(side, rng), rng)
                continue
            changed[rows] = self._cropped(changed[rows], rng)
            if rng.uniform() < self.erase_probability:
                _erase(changed[rows], self._seen_rectangle(side, rng), rng)
        return changed

    def _cropped(self, part: ImageArray, rng: np.random.Generator) -> ImageArray:
        side = len(part)
        height, width = side, side  # where no crop fits: all of it, which is square
        for _ in range(_CROP_TRIES):
            area = side**2 * rng.uniform(*self.crop_scale)
            # The logarithm is uniform, so that 3:4 is as likely as 4:3.
            ratio = math.exp(rng.uniform(*np.log(self.crop_ratio)))
            tried = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if max(tried) <= side:
                height, width = tried
                break
        top, left = rng.integers(side - height + 1), rng.integers(side - width + 1)
        crop = part[top : top + height, left : left + width]
        return pillow_resize(crop, (side, side))

    def _seen_rectangle(self, side: int, rng: np.random.Generator) -> tuple[int, int] | None:
        """Draw height and width of a rectangle in an image; None if no draw fits.

        The logarithm of the ratio is uniform.
        """
        for _ in range(_ERASE_TRIES):
            ratio = math.exp(rng.uniform(*np.log(self.erase_ratio)))
            size = _sides(side**2 * rng.uniform(*self.erase_scale), ratio)
            if max(size) < side:
                return size
        return None

    def _sound_rectangle(self, side: int, rng: np.random.Generator) -> tuple[int, int] | None:
        """Draw height and width of a rectangle in the spectrogram; None if no draw fits.

        The ratio itself is uniform, as in the original, so most rectangles are high and narrow.
        """
        for _ in range(_SOUND_TRIES):
            area = side**2 * rng.uniform(*self.sound_scale)
            size = _sides(area, rng.uniform(*self.sound_ratio))
            if max(size) < side:
                return size
        return None


def _sides(area: float, ratio: float) -> tuple[int, int]:
    return round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))


def _erase(part: ImageArray, size: tuple[int, int] | None, rng: np.random.Generator) -> None:
    """Blacken a rectangle of the given height and width at a random place."""
    if size is None:
        return
    height, width = size
    top = rng.integers(len(part) - height + 1)
    left = rng.integers(part.shape[1] - width + 1)
    part[top : top + height, left : left + width] = 0


def build_change(recipe: Recipe, settings: ImageSettings) -> Change:
    """Build the random change that a recipe makes to each training picture.

    Raises:
        InputError: if one of its values is out of its range.
    """
    if recipe.augmentation == "original":
        return OriginalAugmentation(settings)
    names = ("shift", "zoom", "contrast", "brightness", "colour", "gain", "time_shift", "mask")
    values = {name: getattr(recipe, name) for name in (*names, "pitch_shift")}
    return Augmentation(settings, **values)
