"""Scores over time, read as a step function, and their CSV file.

The file's columns are time_seconds and probability.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import InputError
from common.formatting import plural

Floats = NDArray[np.float64]


class ScoreTrack:
    """Probabilities at sampled times, read as a step function of time.

    A sample stands for the time from halfway to the sample before to halfway to the next, but
    reaches no farther than two usual steps: in the middle of a long gap, such as a stretch
    that could not be decoded, nothing is known, and means are taken over the rest.

    Args:
        times: time of each sample, ascending, in [0, duration] seconds, (N,).
        probabilities: probability of a highlight at each, in [0, 1], (N,).
        duration: length of the recording in seconds.
        reach: smallest distance that a sample reaches before a gap, in seconds.

    Raises:
        InputError: if the samples do not meet these conditions.
    """

    def __init__(
        self, times: ArrayLike, probabilities: ArrayLike, duration: float, *, reach: float = 0.0
    ) -> None:
        self.times = np.asarray(times, np.float64)
        self.probabilities = np.asarray(probabilities, np.float64)
        self.duration = float(duration)
        check_scores(self.times, self.probabilities, self.duration)
        self.starts, self.stops = self._cells(reach)
        self.weights = self.stops - self.starts
        # The integrals of a step function are straight between its edges, so values at the edges
        # and a linear interpolation give them exactly.
        edges = np.stack([self.starts, self.stops], axis=1).ravel()  # (2 N,)
        self.knots, places = np.unique(edges, return_index=True)
        self._known = _cumulated(self.weights)[places]
        self._mass = _cumulated(self.weights * self.probabilities)[places]

    def __len__(self) -> int:
        return len(self.times)

    def mass(self, points: ArrayLike) -> Floats:
        """Integral of the probability from time 0 to each point, in seconds."""
        return _interpolated(points, self.knots, self._mass)

    def smoothed(self, width: float) -> Floats:
        """Mean probability in a window around each sample, (N,).

        The window is cut at both ends of the recording, and samples count by the time that they
        stand for, so neither edges nor uneven sampling bias the mean.

        Args:
            width: width of the window in seconds; 0 returns the samples themselves.
        """
        if width == 0:
            return self.probabilities.copy()
        left, right = self.times - width / 2, self.times + width / 2
        known = _interpolated(right, self.knots, self._known)
        known -= _interpolated(left, self.knots, self._known)
        return np.clip((self.mass(right) - self.mass(left)) / known, 0, 1)

    def percentile(self, values: Floats, share: float) -> float:
        """Value at or below which a fraction `share` of the known time lies."""
        order = np.argsort(values, kind="stable")
        below = np.cumsum(self.weights[order]) / self.weights.sum()
        # Less a little, so that the rounding of a sum does not skip the exact place.
        place = int(np.searchsorted(below, share - 1e-12))
        return float(values[order][min(place, len(order) - 1)])

    def best_stretch(self, start: float, end: float, length: float, peak: float) -> float:
        """Start of the stretch in [start, end] of a given length that has the highest mean.

        It contains the peak. Among equals, the one whose middle is nearest to the peak is taken.
        """
        low, high = max(start, peak - length), min(end - length, peak)
        # The mean of a step function is the highest where the stretch begins or ends at a step. The
        # stretch around the peak decides where the function is flat.
        candidates = np.concatenate([self.knots, self.knots - length, [peak - length / 2]])
        candidates = np.append(candidates[(candidates > low) & (candidates < high)], [low, high])
        # Rounded, so that sums that are equal but for their last bits count as equal.
        mass = np.round(self.mass(candidates + length) - self.mass(candidates), 9)
        middle = np.abs(candidates + length / 2 - peak)
        return float(candidates[np.lexsort((candidates, middle, -mass))[0]])

    def _cells(self, reach: float) -> tuple[Floats, Floats]:
        if len(self) < 2:  # one sample is all that is known of the recording
            return np.zeros(len(self)), np.full(len(self), self.duration)
        steps = np.diff(self.times)
        # The median: a few long gaps do not change the usual step.
        farthest = max(2 * float(np.median(steps)), reach)
        halves = np.minimum(steps / 2, farthest)
        starts, stops = self.times.copy(), self.times.copy()
        starts[1:] = np.where(steps / 2 > farthest, self.times[1:] - halves, self._middles())
        stops[:-1] = np.where(steps / 2 > farthest, self.times[:-1] + halves, self._middles())
        starts[0] = max(0.0, self.times[0] - farthest)
        stops[-1] = min(self.duration, self.times[-1] + farthest)
        return starts, stops

    def _middles(self) -> Floats:
        """Middles between samples: one number for the end of a cell and the start of the next."""
        return (self.times[:-1] + self.times[1:]) / 2


def check_scores(times: Floats, probabilities: Floats, duration: float) -> None:
    """Check that samples meet the conditions of `ScoreTrack`.

    Raises:
        InputError: if they do not.
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
    """Sum of the amounts before each edge of the cells, (N,) -> (2 N,): start, stop, start ..."""
    total = np.cumsum(amounts)
    before = np.concatenate([np.zeros(1), total[:-1]])[: len(total)]
    return np.stack([before, total], axis=1).ravel()


def _interpolated(points: ArrayLike, knots: Floats, values: Floats) -> Floats:
    if not len(knots):
        return np.zeros(np.shape(points))
    return np.interp(np.asarray(points, np.float64), knots, values)


COLUMNS = ("time_seconds", "probability")
_PAST_END_SECONDS = 1.0  # scores later than this past the end are those of another recording


def read_scores(
    path: Path, *, duration: float = math.inf, say: Callable[[str], None] = print
) -> tuple[Floats, Floats]:
    """Read times in seconds and probabilities, (N,) each, from a CSV file.

    Other columns are ignored. Programs disagree a little on how long a recording lasts, for
    example where sound goes on after the last frame. So scores up to a second past its end are
    left out, with a notice.

    Args:
        path: the CSV file.
        duration: length of the recording, in seconds.
        say: called with a line about scores that were left out.

    Raises:
        InputError: if a column is missing, or a line holds invalid numbers; the line is named.
        OSError: if the file cannot be read.
    """
    rows: list[list[float]] = []
    try:
        # Spreadsheets write a byte order mark before the first column's name.
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be text in UTF-8: {error.reason}.") from error
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if not set(COLUMNS) <= set(reader.fieldnames or ()):
            raise InputError(
                f"{path} must have the columns {' and '.join(COLUMNS)}. It has "
                f"{', '.join(reader.fieldnames or ['none'])}."
            )
        for row in reader:
            cells = ", ".join(repr(row[name]) for name in COLUMNS)
            try:
                time, probability = (float(row[name]) for name in COLUMNS)
            except (TypeError, ValueError):
                raise InputError(
                    f"{path}, line {reader.line_num}: a time and a probability must be numbers. "
                    f"Received {cells}."
                ) from None
            after = rows[-1][0] if rows else -math.inf
            if not (after < time < math.inf and 0 <= probability <= 1):
                raise InputError(
                    f"{path}, line {reader.line_num}: times must ascend, and probabilities lie in "
                    f"[0, 1]. Received {cells}, after a time of {after:g}."
                )
            if not 0 <= time <= duration + _PAST_END_SECONDS:
                raise InputError(
                    f"{path}, line {reader.line_num}: a time must lie in the recording, which has "
                    f"{duration:g} s. Received {time:g}; these are the scores of another one."
                )
            rows.append([time, probability])
    except csv.Error as error:
        raise InputError(
            f"{path} cannot be parted into cells: {error}. Mend its quotes."
        ) from error
    table = np.array(rows, np.float64).reshape(-1, 2)
    inside = table[:, 0] <= duration
    if rows and not inside.any():
        raise InputError(
            f"{path}: scores must lie in the recording, which has {duration:g} s. The first is at "
            f"{rows[0][0]:g} s; these are the scores of another one."
        )
    if not inside.all():
        num_past, farthest = int((~inside).sum()), table[-1, 0] - duration
        say(
            f"{path}: {plural(num_past, 'score')} up to {farthest:.3f} s past the end "
            f"of the recording, at {duration:.3f} s, left out."
        )
        table = table[inside]
    return table[:, 0], table[:, 1]
