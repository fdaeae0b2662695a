"""Robust line through measurements, which outliers and steps do not tilt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WARM_UP_SHARE = 0.1
NUM_BLOCKS = 40
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Trend:
    """Growth of a quantity, in its unit per hour."""

    per_hour: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    seconds: float
    """Length of the line in time."""

    @property
    def growth(self) -> float:
        """Growth over the time of the line, in the quantity's unit."""
        return self.per_hour * self.seconds / SECONDS_PER_HOUR

    def exceeds(self, limit: float) -> bool:
        """Return whether it grows by more than a limit per hour, and beyond the noise."""
        return self.per_hour > limit and self.low > 0


def trend(seconds: Sequence[float], values: Sequence[float]) -> Trend:
    """Compute Theil and Sen's slope, without the first tenth of the time.

    Neighbouring samples of a process's memory are much alike, and counting each as a reading of
    its own would make the interval too narrow. So the line goes through the medians of 40 equal
    blocks.

    Args:
        seconds: times, ascending.
        values: one value for each time.

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
