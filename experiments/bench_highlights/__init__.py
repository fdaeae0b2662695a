"""Highlights of a long recording: rendering against the original's way, scoring against its parts.

    python -m experiments.bench_highlights --minutes 60

A recording is made as streams are: 1280x720, 30 pictures a second, H.264 of 3 Mbit/s with a
keyframe every 2 s, AAC. Then, in one run:

- 10 highlights of 10 s, spread over it, become a reel: ours, and eqy/autotosis' way, which decodes
  from the start of the recording for each of them. Both encode with the same settings.
- it is scored with a ResNet-18 of random weights: ours, from the file to the CSV, and its two
  parts alone, decoding to the same pictures and the model on as many. Each of these lives in a
  process of its own; they take turns, round by round, and medians are compared.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from common.command_line import parse_arguments
from common.errors import InputError
from experiments.benchmarks import carry_out, keep_results
from experiments.process import runtime
from experiments.runs.run import require_place


@dataclass(frozen=True)
class Arguments:
    """Seconds of rendering a reel and of scoring, ours beside the original's way and bare work."""

    minutes: float = 60.0
    """Length of the recording."""
    rounds: int = 3
    """How often each is timed, but the original's way once; the median counts."""
    fps: float = 2.0
    """Pictures a second that are scored."""
    threads: str = "auto"
    """Of scoring: auto, or INTRA,INTER."""
    original: bool = True
    """Whether to measure the original's way, which takes long."""
    out: Path = Path("runs/bench_highlights")
    """Folder for table.md and results.json."""


def run(arguments: Arguments) -> None:
    """Measure, print and keep the table.

    Raises:
        ValueError, OSError: for a flag or folder that cannot be.
    """
    if not (arguments.minutes >= 1 and arguments.rounds >= 1 and arguments.fps > 0):
        raise InputError("--minutes and --rounds must be at least 1, and --fps above 0.")
    threads = runtime.choose_threads(arguments.threads, workload="resnet")
    require_place(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    runtime.hush()
    from experiments.bench_highlights.recording import make_recording
    from experiments.bench_highlights.rendering import measure_rendering
    from experiments.bench_highlights.scoring import measure_scoring
    from experiments.bench_highlights.table import table

    with tempfile.TemporaryDirectory(prefix="bench-highlights-") as name:
        recording = make_recording(Path(name), arguments.minutes)
        rows = measure_rendering(
            recording, rounds=arguments.rounds, with_original=arguments.original
        )
        rows += measure_scoring(
            recording, fps=arguments.fps, rounds=arguments.rounds, threads=threads
        )
        size_bytes = recording.stat().st_size
    keep_results(
        arguments.out,
        rows,
        table=table(rows),
        circumstances=(
            f"A recording of {arguments.minutes:g} minutes, {size_bytes / 1e9:.2f} GB; medians of "
            f"{arguments.rounds} rounds"
        ),
        threads=threads,
    )


def main() -> int:
    """Run the command; returns the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.bench_highlights")
    return carry_out(lambda: run(arguments))
