"""Segments of a reel, and the options of their selection."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from common.errors import InputError

ROUNDING = 1e-9
"""Difference of two times or probabilities below which they count as equal."""


@dataclass(frozen=True)
class SelectionOptions:
    """Options of the selection. Lengths are in seconds and include the padding.

    Args:
        threshold: smoothed probability that a segment has to reach.
        low_threshold: what it has to stay above; by default 0.7 of the threshold.
        percentile: share of the recording that lies below the threshold, such as 0.996, which
            then takes the threshold's place.
        bin_size: width of the smoothing window; 0 for none.
        min_length: shorter segments are dropped.
        max_length: longer segments are shortened.
        too_long: "cut" keeps the best stretch of them around their peak, "split" parts them
            where their score is lowest and keeps all.
        padding: added before and after each segment.
        max_gap: segments so close are joined.
        top: how many are kept, best first.
        max_duration: of the reel; it is filled with the best segments first.

    Raises:
        InputError: if an option is out of its range.
    """

    threshold: float = 0.7
    low_threshold: float | None = None
    percentile: float | None = None
    bin_size: float = 5.0
    min_length: float = 2.0
    max_length: float | None = None
    too_long: Literal["cut", "split"] = "cut"
    padding: float = 0.0
    max_gap: float = 2.0
    top: int | None = None
    max_duration: float | None = None

    def __post_init__(self) -> None:
        low = self.threshold if self.low_threshold is None else self.low_threshold
        # A length of 0 would allow no segment at all.
        least = max(self.min_length, ROUNDING)
        rules: list[tuple[str, str, bool]] = [
            ("threshold", "in (0, 1]", 0 < self.threshold <= 1),
            ("low_threshold", "in (0, threshold]", 0 < low <= self.threshold),
            ("percentile", "in (0, 1)", 0 < _given(self.percentile, 0.5) < 1),
            ("bin_size", "0 or more", 0 <= self.bin_size < math.inf),
            ("min_length", "0 or more", 0 <= self.min_length < math.inf),
            ("max_length", "min_length or more", _given(self.max_length, least) >= least),
            ("too_long", "'cut' or 'split'", self.too_long in ("cut", "split")),
            ("padding", "0 or more", 0 <= self.padding < math.inf),
            ("max_gap", "0 or more", 0 <= self.max_gap < math.inf),
            ("top", "1 or more", _given(self.top, 1) >= 1),
            ("max_duration", "min_length or more", _given(self.max_duration, least) >= least),
        ]
        for name, rule, kept in rules:
            if not kept:
                raise InputError(f"{name} must be {rule}. Received {getattr(self, name)}.")


@dataclass(frozen=True)
class Segment:
    """One segment [start, end) of a reel.

    Args:
        start: start in seconds of the recording.
        end: end in seconds of the recording.
        score: highest smoothed probability in the segment.
        peak: time of that probability, in seconds of the recording.
    """

    start: float
    end: float
    score: float
    peak: float

    @property
    def length(self) -> float:
        """Length of the segment in seconds."""
        return self.end - self.start


@dataclass(frozen=True)
class Selection:
    """Segments in order of time, and a sentence on what each option did."""

    segments: list[Segment]
    notes: list[str] = field(default_factory=list)


def _given(value: float | None, default: float) -> float:
    return default if value is None else value
