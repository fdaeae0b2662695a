"""Quality of a reel against the known highlights of its recording, in seconds."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from preprocess.video.time_ranges import parse_time

Span = tuple[float, float]
TRUTH_COLUMNS = ("start", "end")


@dataclass(frozen=True)
class ReelQuality:
    """Quality of a reel against the truth, in seconds.

    Args:
        precision: fraction of the reel's seconds that are highlights; None for an empty reel.
        recall: fraction of the highlights' seconds that are in the reel; None without highlights.
        num_touched: number of highlights of which at least a part is in the reel.
        num_highlights: number of highlights; overlapping ones count as one.
    """

    precision: float | None
    recall: float | None
    num_touched: int
    num_highlights: int


def read_cuts(reel: Path) -> list[Span]:
    """Read starts and ends of a reel's parts, in seconds, from the cut list beside it."""
    with reel.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [(parse_time(row["recording_start"]), parse_time(row["recording_end"])) for row in rows]


def reel_quality(segments: Iterable[Span], truth: Iterable[Span], duration: float) -> ReelQuality:
    """Compare a reel with the known highlights.

    Args:
        segments: starts and ends of the reel's parts, in seconds of the recording, in any order.
            Time that several of them cover counts once.
        truth: starts and ends of the highlights, likewise.
        duration: length of the recording, in seconds; time beyond it does not count.

    Raises:
        InputError: if an end lies before its start, or a number is not finite.
    """
    if not 0 <= duration < math.inf:
        raise InputError(f"duration must be 0 seconds or more. Received {duration}.")
    # Without overlaps, so that the sum of lengths is the time that is covered.
    reel, highlights = _merged(segments, duration), _merged(truth, duration)
    shared = [sum(_overlap(one, part) for part in reel) for one in highlights]
    return ReelQuality(
        precision=_share(sum(shared), _seconds(reel)),
        recall=_share(sum(shared), _seconds(highlights)),
        num_touched=sum(seconds > 0 for seconds in shared),
        num_highlights=len(highlights),
    )


def read_truth(path: Path) -> list[Span]:
    """Read the highlights of a recording from a CSV with the columns start and end.

    Raises:
        InputError: if a column is missing, or a line holds invalid times; the line is named.
        OSError: if the file cannot be read.
    """
    spans: list[Span] = []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if not set(TRUTH_COLUMNS) <= set(reader.fieldnames or ()):
            raise InputError(
                f"{path} must have the columns {' and '.join(TRUTH_COLUMNS)}. It has "
                f"{', '.join(reader.fieldnames or ['none'])}."
            )
        for row in reader:
            try:
                spans.append((parse_time(row["start"] or ""), parse_time(row["end"] or "")))
                _check_span(*spans[-1])
            except ValueError as error:
                raise InputError(f"{path}, line {reader.line_num}: {error}") from error
    return spans


def _check_span(start: float, end: float) -> None:
    if not -math.inf < start <= end < math.inf:
        raise InputError(f"A stretch must not end before its start. Received {start} to {end}.")


def _merged(spans: Iterable[Span], duration: float) -> list[Span]:
    """Sort spans, join overlapping ones, and cut them at the recording's ends."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        _check_span(start, end)
        start, end = max(start, 0.0), min(end, duration)
        if start >= end:
            continue
        # Spans that only touch stay apart: two highlights in a row are counted as two.
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _overlap(one: Span, other: Span) -> float:
    return max(0.0, min(one[1], other[1]) - max(one[0], other[0]))


def _seconds(spans: Sequence[Span]) -> float:
    return sum(end - start for start, end in spans)


def _share(part: float, whole: float) -> float | None:
    return min(part / whole, 1.0) if whole else None  # two sums may differ in their last bit
