"""Selection of segments by the rule of eqy/autotosis (`generate_highlights_flex`).

Scores become one-second means. A window of `bin_size` seconds slides on by a second until its
mean reaches the threshold; it then grows by a second at a time while the mean of all of it does.
The segment ends a second after the one that broke the mean, and the next window starts there.

Two faults of the original are not repeated. It stopped a window short of the end, so that it never
found a highlight in the last seconds, and one that ran up to the end lost a second; here the rest
at the end is tested as one window. And a second without a sample has no mean in the original: a
window with such a second was skipped (until 2020-08-01 it counted as a highlight), and growing
ended there; here that second has the mean of the one before it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from common.errors import InputError
from common.formatting import plural
from experiments.highlights.selection.scores import Floats, check_scores
from experiments.highlights.selection.selection import Segment, Selection

SECONDS_PAST = 1
"""Seconds by which a segment reaches beyond the second that broke its mean."""


def select_original(
    times: ArrayLike,
    probabilities: ArrayLike,
    duration: float,
    *,
    threshold: float = 0.7,
    bin_size: int = 5,
) -> Selection:
    """Select the highlights of a recording as the original would.

    A segment's score is its mean, its peak the middle of its best second.

    Args:
        times: time of each sample, ascending, in [0, duration] seconds, (N,).
        probabilities: probability of a highlight at each, in [0, 1], (N,).
        duration: length of the recording in seconds.
        threshold: mean that a window has to reach.
        bin_size: length of the window in whole seconds.

    Raises:
        InputError: if the samples or options do not meet these conditions.
    """
    if bin_size < 1 or bin_size != int(bin_size):
        raise InputError(f"bin_size must be whole seconds, 1 or more. Received {bin_size}.")
    if not 0 < threshold <= 1:
        raise InputError(f"threshold must be in (0, 1]. Received {threshold}.")
    seconds = second_means(times, probabilities, duration)
    segments = [
        _segment(seconds, start, stop, duration)
        for start, stop in _spans(seconds, threshold, int(bin_size))
    ]
    number = plural(len(segments), "segment")
    note = f"{number} by the original's rule: {bin_size} s of mean {threshold:g}."
    return Selection(segments, [note])


def second_means(times: ArrayLike, probabilities: ArrayLike, duration: float) -> Floats:
    """Mean probability of each second, (ceil(duration),); the last second may be cut short.

    A second without a sample has the mean of the one before it. Such seconds at the start have
    the mean of the first second with a sample.
    """
    times, probabilities = np.asarray(times, np.float64), np.asarray(probabilities, np.float64)
    check_scores(times, probabilities, float(duration))
    number = math.ceil(duration)
    # A sample at the very end of a recording of whole seconds belongs to the last second.
    places = np.minimum(times.astype(np.int64), number - 1)
    counts = np.bincount(places, minlength=number)
    sums = np.bincount(places, weights=probabilities, minlength=number)
    filled = np.flatnonzero(counts)
    if not len(filled):
        return np.zeros(number)
    before = np.searchsorted(filled, np.arange(number), "right") - 1
    source = filled[np.maximum(before, 0)]
    return sums[source] / counts[source]


def _spans(seconds: Floats, threshold: float, bin_size: int) -> list[tuple[int, int]]:
    """Find spans [start, stop) of highlights, in whole seconds."""
    spans, start, number = [], 0, len(seconds)
    while start < number:
        stop = min(start + bin_size, number)
        if np.mean(seconds[start:stop]) >= threshold:
            # Ends with the second that broke the mean as the span's last, or at the end.
            while stop < number and np.mean(seconds[start:stop]) >= threshold:
                stop += 1
            ended = min(stop + SECONDS_PAST, number)
            spans.append((start, ended))
            start = ended
        elif stop == number:
            break  # what is left was tested as one window
        else:
            start += 1
    return spans


def _segment(seconds: Floats, start: int, stop: int, duration: float) -> Segment:
    inside = seconds[start:stop]
    best = start + int(np.argmax(inside))
    end = min(float(stop), duration)
    peak = min(best + 0.5, (best + end) / 2)
    return Segment(float(start), end, score=float(np.mean(inside)), peak=peak)
