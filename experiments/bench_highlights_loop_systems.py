"""The simulated editor of `bench_highlights_loop`, round by round."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.files import write_text
from experiments.bench_highlights_loop import CHUNK_SECONDS, NUM_CHUNKS, Arguments
from experiments.bench_highlights_loop_clips import Sources, compose_stream
from experiments.clips.images import Box
from experiments.highlights.demo.quality import Span, read_cuts, read_truth, reel_quality
from experiments.highlights.demo.synthetic_stream import (
    LABELS_NAME,
    RECORDING_NAME,
    TRUTH_NAME,
    render_stream,
)
from experiments.highlights.labels import read_labels, write_labels
from experiments.highlights.review.decisions import review_file
from experiments.highlights.review.session import Session
from experiments.highlights.review.training_rows import add_to_labels
from experiments.highlights.selection.scores import Floats, ScoreTrack, read_scores
from experiments.highlights.selection.selection import SelectionOptions
from experiments.highlights.training.evaluation import average_precision, precision_at_length
from experiments.media.chunk_files import recording_chunks
from experiments.media.recording import Chunk, read_recording

_SIDE = 64  # pixels
_NUM_LABELLED = 5  # the first clips, of two streamers
_SHARE = 0.25  # of a part that the scorer proposes; the editor wants to see more than a reel
_LEAST_OVERLAP = 0.3  # of a proposed segment that must be true for it to be kept


@dataclass(frozen=True)
class Row:
    """Score of one round's scorer on the parts that are never reviewed."""

    round: int
    clips: int
    average_precision: float
    precision: float
    chance: float
    reel_seconds: float
    reel_precision: float
    extract_seconds: float
    train_seconds: float
    run_seconds: float


def run(arguments: Arguments) -> None:
    """Measure all rounds, print the table and write it."""
    data, out = arguments.data, arguments.out
    _make_stream(arguments)
    out.mkdir(parents=True, exist_ok=True)
    chunks = read_recording(recording_chunks(data / RECORDING_NAME))
    truth = read_truth(data / TRUTH_NAME)
    labels = out / "labels.csv"
    everything = read_labels(data / LABELS_NAME)
    write_labels(labels, everything[:_NUM_LABELLED])
    rows = []
    for number in range(arguments.rounds + 1):
        if number:
            _review(chunks[number - 1], truth, out / f"part{number}", labels, everything[0].box)
        scorer = out / f"round{number}"
        extracting = _command("extract", labels, out / "shards", "--side", _SIDE, *_jobs(arguments))
        before = ["--before", out / f"round{number - 1}"] if number else []
        training = _command(
            "train", labels, out / "shards", "--out", scorer, "--seed", arguments.seed, *before
        )
        kept = chunks[arguments.rounds :]
        row = _measured(scorer, kept, truth, out / f"kept{number}")
        row["extract_seconds"], row["train_seconds"] = extracting, training
        rows.append(Row(number, len(read_labels(labels)), **row))
        if number < arguments.rounds:
            _scores(scorer, [chunks[number]], out / f"part{number + 1}")
    text = _table(rows)
    print(text)
    write_text(out / "table.md", text + "\n")


def _make_stream(arguments: Arguments) -> None:
    """Render the stream, or compose it of real clips."""
    sizes: dict[str, Any] = {"num_clips": 6, "num_chunks": NUM_CHUNKS}
    sizes |= {"chunk_seconds": CHUNK_SECONDS, "seed": arguments.seed}
    if arguments.clips is None:
        render_stream(arguments.data, jobs=arguments.jobs, **sizes)
    elif not (arguments.data / TRUTH_NAME).exists():
        sources = Sources(
            arguments.clips, arguments.highlight, arguments.sounds, arguments.highlight_sounds
        )
        compose_stream(arguments.data, sources, **sizes)


def _command(*args: object) -> float:
    """Run a command of the highlights as a user does. Returns the seconds that it took."""
    command = [sys.executable, "-m", "experiments.highlights", *map(str, args)]
    started = time.monotonic()
    subprocess.run(command, check=True)
    return time.monotonic() - started


def _jobs(arguments: Arguments) -> list[object]:
    return [] if arguments.jobs is None else ["--jobs", arguments.jobs]


def _scores(scorer: Path, chunks: Sequence[Chunk], name: Path) -> Path:
    """Score files of the recording. Returns the CSV."""
    files = [chunk.path for chunk in chunks]
    reel = name.with_suffix(".mp4")
    _command("run", *files, "--model", scorer, "-o", reel, "--dry-run", "--no-snap")
    return name.with_suffix(".scores.csv")


def _inside(spans: Sequence[Span], chunk: Chunk) -> list[Span]:
    """Parts of spans of the recording that lie in a file, in seconds of the file."""
    edges = [
        (max(start - chunk.offset, 0.0), min(end - chunk.offset, chunk.duration))
        for start, end in spans
    ]
    return [(start, end) for start, end in edges if end - start > 1]


def _review(chunk: Chunk, truth: Sequence[Span], name: Path, labels: Path, box: Box) -> None:
    """Review one file of the recording, and add the decisions to the labels."""
    scores = name.with_suffix(".scores.csv")
    review_file(scores).unlink(missing_ok=True)
    options = SelectionOptions(share=_SHARE)
    session = Session(*read_scores(scores), chunk.duration, options, review_file(scores))
    known = _inside(truth, chunk)
    found: set[Span] = set()
    for one in session.shown():
        start, end = one.segment.start, one.segment.end
        shared = {span: min(end, span[1]) - max(start, span[0]) for span in known}
        best = max(shared, key=shared.__getitem__, default=None)
        if best is None or best in found or shared[best] < _LEAST_OVERLAP * (end - start):
            session.judge(one.key, kept=False)
            continue
        found.add(best)
        session.move(one.key, *best)
    for span in known:
        if span not in found and not _is_taken(session, span):
            session.add(*span)
    session.finish(finished=True)
    alone = read_recording([chunk.path])
    # The parts are of one streamer and of one evening, so they are one group.
    add_to_labels(
        labels,
        session.decisions,
        alone,
        box=box,
        group="recording",
        left_alone=session.left_alone(),
    )


def _is_taken(session: Session, span: Span) -> bool:
    return any(one.start < span[1] and span[0] < one.end for one in session.decisions)


def _measured(
    scorer: Path, chunks: Sequence[Chunk], truth: Sequence[Span], name: Path
) -> dict[str, float]:
    """Figures of a scorer on files that are never reviewed, and of the reel that it makes."""
    reel = name.with_suffix(".mp4")
    files = [chunk.path for chunk in chunks]
    running = _command("run", *files, "--model", scorer, "-o", reel, "--overwrite")
    times, probabilities = read_scores(name.with_suffix(".scores.csv"))
    width, duration = SelectionOptions.bin_size, sum(one.duration for one in chunks)
    smoothed = ScoreTrack(times, probabilities, duration, reach=width / 2).smoothed(width)
    labels = _labels(times + chunks[0].offset, truth)
    cuts = read_cuts(reel)
    offset = chunks[0].offset
    known = [(start - offset, end - offset) for start, end in truth if end > offset]
    return {
        "average_precision": average_precision(labels, smoothed),
        "precision": precision_at_length(labels, smoothed),
        "chance": float(labels.mean()),
        "reel_seconds": sum(end - start for start, end in cuts),
        "reel_precision": reel_quality(cuts, known, duration).precision or 0.0,
        "run_seconds": running,
    }


def _labels(times: Floats, truth: Sequence[Span]) -> np.ndarray:
    return np.any([(times >= start) & (times < end) for start, end in truth], axis=0).astype(int)


def _table(rows: Sequence[Row]) -> str:
    lines = [
        "| round | clips in the labels | precision at the reel's length | average precision | "
        "reel, s | of it right | extract, s | train, s | run, s |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row.round} | {row.clips} | {row.precision:.3f} | {row.average_precision:.3f} | "
        f"{row.reel_seconds:.1f} | {row.reel_precision:.3f} | {row.extract_seconds:.0f} | "
        f"{row.train_seconds:.0f} | {row.run_seconds:.0f} |"
        for row in rows
    ]
    return "\n".join([*lines, "", f"Chance: {rows[0].chance:.3f}."])
