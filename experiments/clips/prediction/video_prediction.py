"""What a model says of a video: window by window, smoothed over time, and as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class VideoPrediction:
    """The probabilities of a video's windows, W of them, and what follows from them.

    Args:
        class_names: C of them.
        start_seconds: (W,) when each window begins.
        end_seconds: (W,) when it ends; the last one with the video.
        probabilities: float32 (W, C).
        rolling_windows: over how many windows the rolling mean is taken.
        complaint: what was wrong with the file, which could be read all the same; else empty.
        is_cut_short: whether that means a part of the video is missing.
    """

    class_names: tuple[str, ...]
    start_seconds: NDArray[np.float64]
    end_seconds: NDArray[np.float64]
    probabilities: NDArray[np.float32]
    rolling_windows: int
    complaint: str = ""
    is_cut_short: bool = False

    @property
    def num_windows(self) -> int:
        """W."""
        return len(self.probabilities)

    @property
    def duration_seconds(self) -> float:
        """Of the video."""
        return float(self.end_seconds[-1])

    @cached_property
    def rolling(self) -> NDArray[np.float64]:
        """(W, C) the mean of each window and those before it; see `rolling_mean`."""
        return rolling_mean(self.probabilities, self.rolling_windows)

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """(C,) over all windows."""
        return self.probabilities.mean(axis=0, dtype=np.float64)

    @property
    def ranking(self) -> list[int]:
        """All classes, that of the highest mean first; of equals the first."""
        return [int(index) for index in np.argsort(-self.mean, kind="stable")]

    @property
    def votes(self) -> NDArray[np.int64]:
        """(C,) how many windows say each class."""
        return np.bincount(self.probabilities.argmax(axis=1), minlength=len(self.class_names))

    @property
    def vote(self) -> int:
        """The class that most windows say; of equals that of the higher mean."""
        votes = self.votes
        return max(self.ranking, key=lambda index: votes[index])


def rolling_mean(values: NDArray[np.floating], num_rows: int) -> NDArray[np.float64]:
    """The mean of each row (W, C) and those before it, `num_rows` in all; the first have fewer.

    Nothing that comes later changes it, as where a video is watched while it is recorded.
    """
    sums = np.cumsum(values, axis=0, dtype=np.float64)
    sums = np.concatenate([np.zeros_like(sums[:1]), sums])  # (W + 1, C)
    stops = np.arange(1, len(sums))
    starts = np.maximum(stops - num_rows, 0)
    means = (sums[stops] - sums[starts]) / (stops - starts)[:, None]
    return np.maximum(means, 0)
