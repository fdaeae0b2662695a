"""The data sets, and how long their clips are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAXLEN = 450
TRAINING_SHARE = 0.64  # four fifths of the folds that are not tested


@dataclass(frozen=True)
class ClipSet:
    """So many clips, whose lengths are log-normal.

    Args:
        name: for tables.
        num_clips: how many.
        mean_frames: before the longest are cut.
        longest: frames.
        spread: standard deviation of the logarithm of a length.
    """

    name: str
    num_clips: int
    mean_frames: float
    longest: int
    spread: float

    def lengths(self, num_clips: int, random: np.random.Generator) -> NDArray[np.float64]:
        """Frames of so many clips, (num_clips,)."""
        middle = math.log(self.mean_frames) - self.spread**2 / 2
        return np.minimum(random.lognormal(middle, self.spread, num_clips), self.longest).round()

    @property
    def expected_frames(self) -> float:
        """Of a clip, the mean of what `lengths` draws."""
        return _expected_minimum(self.mean_frames, self.spread, self.longest)

    @property
    def expected_seen(self) -> float:
        """Of a clip, the frames that training looks at."""
        return _expected_minimum(self.mean_frames, self.spread, min(MAXLEN, self.longest))


def _expected_minimum(mean: float, spread: float, limit: float) -> float:
    """Of a log-normal variable and a limit."""
    middle = math.log(mean) - spread**2 / 2
    if spread == 0:
        return min(mean, limit)
    z = (math.log(limit) - middle) / spread
    return mean * _normal(z - spread) + limit * (1 - _normal(z))


def _normal(z: float) -> float:
    """The normal distribution function."""
    return (1 + math.erf(z / math.sqrt(2))) / 2


# UCF11: docs/engine.md and its benchmark (experiments/bench_tt.py), whose gamma
# distribution has the spread of this log-normal one. UCF101: its authors' 7.21 s at 25 frames/s
# (Soomro, Zamir, Shah, 2012); the number of clips is preprocess/sources/catalog.py's.
UCF11 = ClipSet("UCF11, 1,600 clips", 1_600, 200, 900, 0.52)
UCF101 = ClipSet("UCF101, 13,320 clips", 13_320, 180, 1_776, 0.52)
TEN_MILLION = ClipSet("ten million clips", 10_000_000, 180, 1_776, 0.52)
CLIP_SETS = (UCF11, UCF101, TEN_MILLION)
