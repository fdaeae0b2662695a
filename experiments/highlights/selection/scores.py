"""Scores over time: samples, each of which stands for the stretch around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import InputError

Floats = NDArray[np.float64]


class ScoreTrack:
    """Probabilities at sampled times, read as a step function of time.

    A sample stands for the time from halfway to the sample before to halfway to the next, but
    reaches no farther than two usual steps: in the middle of a long gap, such as a stretch
    that could not be decoded, nothing is known, and means are taken over the rest.

    Args:
        times: when each sample was taken, ascending, in [0, duration] seconds.
        probabilities: of a highlight, in [0, 1].
        duration: length of the recording in seconds.
        reach: how far a sample reaches at least, in seconds.

    Raises:
        InputError: if the samples are not such.
    """

    def __init__(
        self, times: ArrayLike, probabilities: ArrayLike, duration: float, *, reach: float = 0.0
    ) -> None:
        self.times = np.asarray(times, np.float64)
        self.probabilities = np.asarray(probabilities, np.float64)
        self.duration = float(duration)
        check(self.times, self.probabilities, self.duration)
        self.starts, self.stops = self._cells(reach)
        self.weights = self.stops - self.starts
        edges = np.stack([self.starts, self.stops], axis=1).ravel()  # (2 N,)
        self.knots, places = np.unique(edges, return_index=True)
        self._known = _cumulated(self.weights)[places]
        self._mass = _cumulated(self.weights * self.probabilities)[places]

    def __len__(self) -> int:
        return len(self.times)

    def mass(self, points: ArrayLike) -> Floats:
        """Integral of the probability from 0 to each point, in seconds."""
        return _interpolated(points, self.knots, self._mass)

    def smoothed(self, width: float) -> Floats:
        """Mean probability in a window around each sample, (N,); of no width, the sample itself.

        The window is cut at both ends of the recording, and samples count by the time that
        they stand for, so neither edges nor uneven sampling pull the mean.
        """
        if width == 0:
            return self.probabilities.copy()
        left, right = self.times - width / 2, self.times + width / 2
        known = _interpolated(right, self.knots, self._known)
        known -= _interpolated(left, self.knots, self._known)
        return np.clip((self.mass(right) - self.mass(left)) / known, 0, 1)

    def percentile(self, values: Floats, share: float) -> float:
        """The value that `share` of the known time lies at or below."""
        order = np.argsort(values, kind="stable")
        below = np.cumsum(self.weights[order]) / self.weights.sum()
        place = int(np.searchsorted(below, share - 1e-12))
        return float(values[order][min(place, len(order) - 1)])

    def best_stretch(self, start: float, end: float, length: float, peak: float) -> float:
        """Where in [start, end] the stretch of a length begins whose mean is the highest.

        It holds the peak; among equals the one is taken whose middle is nearest to it. The
        highest mean begins or ends at a step.
        """
        low, high = max(start, peak - length), min(end - length, peak)
        candidates = np.concatenate([self.knots, self.knots - length, [peak - length / 2]])
        candidates = np.append(candidates[(candidates > low) & (candidates < high)], [low, high])
        mass = np.round(self.mass(candidates + length) - self.mass(candidates), 9)
        middle = np.abs(candidates + length / 2 - peak)
        return float(candidates[np.lexsort((candidates, middle, -mass))[0]])

    def _cells(self, reach: float) -> tuple[Floats, Floats]:
        if len(self) < 2:  # one sample is all that is known of the recording
            return np.zeros(len(self)), np.full(len(self), self.duration)
        steps = np.diff(self.times)
        farthest = max(2 * float(np.median(steps)), reach)
        halves = np.minimum(steps / 2, farthest)
        starts, stops = self.times.copy(), self.times.copy()
        starts[1:] = np.where(steps / 2 > farthest, self.times[1:] - halves, self._middles())
        stops[:-1] = np.where(steps / 2 > farthest, self.times[:-1] + halves, self._middles())
        starts[0] = max(0.0, self.times[0] - farthest)
        stops[-1] = min(self.duration, self.times[-1] + farthest)
        return starts, stops

    def _middles(self) -> Floats:
        """The same number as the end of one cell and the start of the next."""
        return (self.times[:-1] + self.times[1:]) / 2


def check(times: Floats, probabilities: Floats, duration: float) -> None:
    """Whether samples are what `ScoreTrack` says.

    Raises:
        InputError: if not.
    """
    if times.ndim != 1 or times.shape != probabilities.shape:
        raise InputError(
            "times and probabilities must be as many. "
            f"Received shapes {times.shape} and {probabilities.shape}."
        )
    if not 0 < duration < np.inf:
        raise InputError(f"duration must be positive and finite. Received {duration}.")
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise InputError("times must be finite and ascending, without two the same.")
    if len(times) and not 0 <= times[0] <= times[-1] <= duration:
        raise InputError(
            f"times must be in [0, duration]. Received {times[0]} to {times[-1]} "
            f"of {duration} seconds."
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise InputError("probabilities must be in [0, 1], and none NaN.")


def _cumulated(amounts: Floats) -> Floats:
    """What lies before each edge of cells, (N,) -> (2 N,): start, stop, start, stop ..."""
    total = np.cumsum(amounts)
    before = np.concatenate([np.zeros(1), total[:-1]])[: len(total)]
    return np.stack([before, total], axis=1).ravel()


def _interpolated(points: ArrayLike, knots: Floats, values: Floats) -> Floats:
    if not len(knots):
        return np.zeros(np.shape(points))
    return np.interp(np.asarray(points, np.float64), knots, values)
