"""A line through measurements that outliers and steps do not turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WARM_UP_SHARE = 0.1
NUM_BLOCKS = 40
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Trend:
    """How fast a quantity grows, in its unit an hour."""

    per_hour: float
    low: float
    """Of the 95 % interval."""
    high: float
    seconds: float
    """That the line is long."""

    @property
    def growth(self) -> float:
        """Over the time that was watched, in the quantity's unit."""
        return self.per_hour * self.seconds / SECONDS_PER_HOUR

    def exceeds(self, limit: float) -> bool:
        """Whether it grows by more than so much an hour, and does grow beyond the noise."""
        return self.per_hour > limit and self.low > 0


def trend(seconds: Sequence[float], values: Sequence[float]) -> Trend:
    """Theil and Sen's slope, without the first tenth of the time.

    Neighbouring samples of a process's memory are much alike, and each taken as a reading of its
    own would make the interval too narrow. So the medians of 40 equal blocks are what the line is
    drawn through.

    Args:
        seconds: times, growing.
        values: one a time.

    Raises:
        ValueError: if fewer than 5 samples are left.
    """
    from scipy.stats import theilslopes

    times, readings = np.asarray(seconds, float), np.asarray(values, float)
    kept = times >= times[0] + WARM_UP_SHARE * (times[-1] - times[0])
    times, readings = times[kept], readings[kept]
    if len(times) < 5:
        raise ValueError(f"A trend needs 5 samples after the warm-up. There are {len(times)}.")
    blocks = np.array_split(np.arange(len(times)), min(NUM_BLOCKS, len(times)))
    middles = [times[block].mean() for block in blocks]
    medians = [np.median(readings[block]) for block in blocks]
    slope, _, low, high = theilslopes(medians, middles, alpha=0.95)
    per_hour, low, high = (float(value) * SECONDS_PER_HOUR for value in (slope, low, high))
    return Trend(per_hour, low, high, seconds=float(times[-1] - times[0]))
