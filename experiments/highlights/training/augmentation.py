"""Changes to a training picture that leave its meaning: of light, framing, loudness and pitch.

What is seen and what is heard are changed apart, each within its own square.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError

if TYPE_CHECKING:
    from experiments.highlights.scoring.pictures import PictureSettings

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a picture. Nothing is mirrored: time in a spectrogram has a direction.

    Args:
        settings: of the pictures.
        shift: what is seen moves by up to this share of its side, each way.
        zoom: it is scaled by up to 1 +- this. What comes in at the edges is the edge, repeated.
        contrast: its pixels' distance from mid-grey is scaled by up to 1 +- this.
        brightness: up to this many grey levels are added or taken.
        colour: grey levels by which red, green and blue are moved apart at most.
        gain: decibels by which the sound is louder or softer at most; silence stays black.
        time_shift: seconds by which it comes sooner or later at most.
        pitch_shift: semitones by which it is higher or lower at most.
        mask: largest share of the columns, and of the rows, that is blackened in one block each;
            after Park et al., SpecAugment, Interspeech 2019.

    Raises:
        InputError: if a value is out of its range.
    """

    settings: PictureSettings
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
            value, most = getattr(self, name), 1 if name in shares else np.inf
            if not 0 <= value < most:
                raise InputError(f"{name} must be in [0, {most:g}). Received {value}.")

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """A changed copy of a picture, uint8 (parts * side, side, 3)."""
        side = self.settings.side
        changed = [
            (self._heard if part == "sound" else self._seen)(
                picture[number * side : (number + 1) * side], rng
            )
            for number, part in enumerate(self.settings.parts)
        ]
        return np.concatenate(changed)

    def _seen(self, part: Picture, rng: np.random.Generator) -> Picture:
        import cv2

        side = len(part)
        scale = 1 + self.zoom * rng.uniform(-1, 1)
        right, down = self.shift * side * rng.uniform(-1, 1, size=2)
        middle = (side - 1) / 2 * (1 - scale)  # the centre stays where it is
        move = np.array([[scale, 0, middle + right], [0, scale, middle + down]])
        moved = cv2.warpAffine(
            part, move, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return self._relit(moved, rng)

    def _relit(self, part: Picture, rng: np.random.Generator) -> Picture:
        import cv2

        contrast = 1 + self.contrast * rng.uniform(-1, 1)
        offsets = self.brightness * rng.uniform(-1, 1) + self.colour * rng.uniform(-1, 1, size=3)
        levels = 128 + contrast * (np.arange(256)[:, None] - 128) + offsets  # (256, 3)
        table = np.clip(np.round(levels), 0, 255).astype(np.uint8)
        return cv2.LUT(part, table[None])

    def _heard(self, part: Picture, rng: np.random.Generator) -> Picture:
        spectrogram = self.settings.spectrogram
        columns = _steps(self.time_shift, spectrogram.columns / spectrogram.window_seconds, rng)
        octaves = np.log2(spectrogram.cutoff_hz / spectrogram.low_hz)
        rows = _steps(self.pitch_shift, spectrogram.num_bins / (12 * octaves), rng)
        part = _moved(_moved(part, columns, axis=1), rows, axis=0)
        part = self._amplified(part, -255 / spectrogram.floor_db * rng.uniform(-1, 1))
        return self._masked(part, rng)

    def _amplified(self, part: Picture, levels_a_decibel: float) -> Picture:
        levels = np.arange(256) + self.gain * levels_a_decibel
        table = np.clip(np.round(levels), 0, 255).astype(np.uint8)
        table[0] = 0  # what is below the darkest level is not known
        return table[part]

    def _masked(self, part: Picture, rng: np.random.Generator) -> Picture:
        for axis, side in enumerate(part.shape[:2]):
            width = int(self.mask * side * rng.uniform() + 0.5)
            start = int(rng.integers(side - width + 1))
            part[(slice(None),) * axis + (slice(start, start + width),)] = 0
        return part


def _steps(most: float, steps_a_unit: float, rng: np.random.Generator) -> int:
    return round(most * steps_a_unit * rng.uniform(-1, 1))


def _moved(part: Picture, steps: int, *, axis: int) -> Picture:
    """Moved along an axis; what comes in is the edge, repeated."""
    places = np.clip(np.arange(part.shape[axis]) - steps, 0, part.shape[axis] - 1)
    return np.take(part, places, axis=axis)
