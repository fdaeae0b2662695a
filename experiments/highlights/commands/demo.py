"""`demo`: runs all steps on a rendered stream, and measures how good its reel is."""

from __future__ import annotations

import csv
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from experiments.highlights.commands.arguments import Demo
from experiments.highlights.demo.synthetic_stream import (
    LABELS_NAME,
    RECORDING_NAME,
    TRUTH_NAME,
    render_stream,
)
from experiments.media.chunk_files import recording_chunks
from experiments.media.recording import read_recording, recording_duration
from preprocess.video.time_ranges import parse_time

_WANTED = 0.9  # precision and recall in seconds below which the exit code is EXIT_MISSED
EXIT_MISSED = 1
Span = tuple[float, float]
TRUTH_COLUMNS = ("start", "end")


def run(options: Demo) -> int:
    """Run all steps. Returns the exit code, which says whether the reel has the highlights."""
    _check_folders(options)
    print(
        "The demo's stream is rendered, with its face and its voice: its scores say nothing "
        "about real streams."
    )
    render_stream(options.data, seed=options.seed, jobs=options.jobs)
    labels, shards = options.data / LABELS_NAME, options.data / "shards"
    recording, reel = options.data / RECORDING_NAME, options.out / "reel.mp4"
    # `--resume` and kept shards make a second demo quick; the reel is always made anew.
    steps = [
        ["extract", labels, shards, "--side", 64],
        ["train", labels, shards, "--out", options.out, "--seed", options.seed, "--resume"],
        ["run", recording, "--model", options.out, "-o", reel, "--overwrite"],
    ]
    for args in steps:
        code = _run([str(arg) for arg in args])
        if code:
            return code
    return _judge(options, recording, reel)


def _check_folders(options: Demo) -> None:
    """Check the two directories, before minutes of rendering and training."""
    if options.jobs is not None and options.jobs < 1:
        raise InputError(f"jobs must be at least 1. Received {options.jobs}.")
    for name, path in (("out", options.out), ("data", options.data)):
        # The nearest folder that exists decides whether the others can be made in it.
        there = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
        if not there.is_dir():
            raise InputError(f"--{name} {path} must be a directory; {there} is a file.")
        if not os.access(there, os.W_OK | os.X_OK):
            raise InputError(f"--{name} {path}: {there} may not be written. Name another.")


def _judge(options: Demo, recording: Path, reel: Path) -> int:
    duration = recording_duration(read_recording(recording_chunks(recording)))
    quality = reel_quality(_cuts(reel), read_truth(options.data / TRUTH_NAME), duration)
    precision, recall = quality.precision or 0.0, quality.recall or 0.0
    print(
        f"\n{reel}: {precision:.3f} of its seconds are highlights, and it holds {recall:.3f} "
        f"of the highlights' seconds ({quality.num_touched} of {quality.num_highlights} "
        f"highlights).\nReport: {options.out / 'report.html'}"
    )
    return 0 if min(precision, recall) >= _WANTED else EXIT_MISSED


def _run(args: list[str]) -> int:
    """Run one command in a process of its own, as a user would. Returns its exit code."""
    command = ["-m", "experiments.highlights", *args]
    print(f"\n$ {shlex.join(['python', *command])}", flush=True)
    return subprocess.run([sys.executable, *command], check=False).returncode


def _cuts(reel: Path) -> list[Span]:
    """Read starts and ends of a reel's parts, in seconds, from the cut list beside it."""
    with reel.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [(parse_time(row["recording_start"]), parse_time(row["recording_end"])) for row in rows]


# Precision and recall of a reel against the known highlights, in seconds.


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
