"""Scores over time, each of which stands for the stretch around it, and their CSV file.

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


COLUMNS = ("time_seconds", "probability")
_PAST_END_SECONDS = 1.0


def read_scores(
    path: Path, *, duration: float = math.inf, say: Callable[[str], None] = print
) -> tuple[Floats, Floats]:
    """Times in seconds and probabilities, (N,) each; other columns are passed over.

    Programs disagree by a little on how long a recording lasts, as where sound goes on after the
    last picture. So scores up to a second past its end are left out, and that is said.

    Args:
        path: the file, CSV.
        duration: of the recording, in seconds, after which there must be no times.
        say: is given a line about scores that were left out.

    Raises:
        InputError: if the columns are not there, or a line holds no such numbers; it is named.
        OSError: if the file cannot be read.
    """
    rows: list[list[float]] = []
    try:
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
            f"{path}: {num_past} score{'s' * (num_past != 1)} up to {farthest:.3f} s past the end "
            f"of the recording, at {duration:.3f} s, left out."
        )
        table = table[inside]
    return table[:, 0], table[:, 1]
