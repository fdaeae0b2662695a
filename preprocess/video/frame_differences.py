"""Difference of each frame of a video to the one before, measured while the video is decoded.

It is the measure of ffmpeg's `scdet`: the mean absolute difference of the brightness of small
frames, in percent of the full range. A small frame here holds fewer of the pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocess.video.transforms import ImageArray

SIZE = (64, 36)
"""Width and height of the frames that are compared, in pixels."""
_PERCENT = 100 / (SIZE[0] * SIZE[1] * 256)  # of the sum of differences, as `scdet` counts

_ROUNDING_SECONDS = 1e-6  # times are kept to the microsecond


class FrameDifferences(NamedTuple):
    """Differences of frames to the frames before them.

    Args:
        times: times of the frames in seconds, ascending, (N,).
        values: differences in percent, (N,); 0 for a file's first frame, NaN where frames were
            skipped before this one. The end of a file counts as a frame like the last.
    """

    times: NDArray[np.float64]
    values: NDArray[np.float32]

    def cover(self, start: float, end: float) -> bool:
        """Return whether all differences within [start, end] are known."""
        first = int(np.searchsorted(self.times, start, side="right"))
        last = int(np.searchsorted(self.times, end - _ROUNDING_SECONDS))
        if last >= len(self.times):
            return False
        return not np.isnan(self.values[first : last + 1]).any()

    def within(self, start: float, end: float) -> FrameDifferences:
        """Return the differences of the frames shown in [start, end]."""
        first = np.searchsorted(self.times, start)
        last = np.searchsorted(self.times, end, side="right")
        return FrameDifferences(self.times[first:last], self.values[first:last])


NO_DIFFERENCES = FrameDifferences(np.zeros(0), np.zeros(0, np.float32))


def join_differences(parts: Iterable[FrameDifferences]) -> FrameDifferences:
    """Join differences of one video in any order; of those of one frame, one that is known."""
    found = [NO_DIFFERENCES, *parts]
    times = np.concatenate([one.times for one in found])
    values = np.concatenate([one.values for one in found])
    order = np.lexsort((values, times))  # NaN comes last
    times, first = np.unique(times[order], return_index=True)
    return FrameDifferences(times, values[order][first])


class DifferenceMeter:
    """Measures the differences of frames as they are decoded; give it to a `VideoReader`."""

    def __init__(self) -> None:
        self._before: ImageArray | None = None
        self._is_first = True
        self._times: list[float] = []
        self._values: list[float] = []

    def see(self, seconds: float, luma: ImageArray | None) -> None:
        """Measure the next frame.

        Args:
            seconds: time at which it is shown.
            luma: its brightness, uint8 (36, 64); None if that cannot be known.
        """
        if self._before is not None and luma is not None:
            value = cv2.norm(luma, self._before, cv2.NORM_L1) * _PERCENT
        else:
            value = 0.0 if self._is_first else np.nan
        self._note(seconds, value)
        self._before, self._is_first = luma, False

    def skip(self) -> None:
        """Note that the next frame does not follow on the last one."""
        self._before = None

    def end(self, seconds: float) -> None:
        """Note that the file ends at a time in seconds."""
        self._note(seconds, 0.0)

    def take(self, zero: float = 0.0) -> FrameDifferences:
        """Return what was measured since the last call.

        Args:
            zero: time of the file's first frame, which is added to all times.
        """
        times = np.round(np.array(self._times, np.float64) + zero, 6)
        found = FrameDifferences(times, np.array(self._values, np.float32))
        self._times, self._values = [], []
        return found

    def _note(self, seconds: float, value: float) -> None:
        self._times.append(seconds)
        self._values.append(value)
