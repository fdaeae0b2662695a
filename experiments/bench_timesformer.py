"""Measure TimeSformer in Keras, ONNX Runtime and PyTorch: speed, accuracy and memory.

    python -m experiments.bench_timesformer [--run runs/NAME] [--video VIDEO]

Without a run it measures the base model with random weights, 8 frames of 224x224: it is as fast as
a trained one, but its predictions say little. Each system lives in a process of its own; they take
turns, round by round, on the same clips, and medians count. PyTorch runs the model
TimesformerForVideoClassification of `transformers`, of the same size but with other weights.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from common import formatting
from common.command_line import parse_arguments
from common.errors import InputError
from experiments.benchmarks import (
    Remote,
    carry_out,
    closing_all,
    keep_results,
    take_turns,
    with_peers,
)
from experiments.process import runtime
from experiments.process.runtime import Threads
from experiments.runs.run import require_model, require_place

if TYPE_CHECKING:
    from experiments.clips.export.write import Sample


@dataclass(frozen=True)
class Arguments:
    """Frames a second of a TimeSformer, and how far its answers move."""

    run: Path | None = None
    """Directory of a run of experiments.epic_kitchens; by default random weights."""
    video: Path | None = None
    """Whose frames are taken; by default the run's test clips, else the built-in set's."""
    batch: int = 4
    """Clips at once."""
    rounds: int = 5
    """How often each is timed; the median counts."""
    threads: str = "auto"
    """TensorFlow's pools: auto, or INTRA,INTER. The others have as many threads as cores."""
    torch: bool = True
    """Whether to run PyTorch; pip install -e '.[benchmark]' first."""
    out: Path = Path("runs/bench_timesformer")
    """Folder for table.md and results.json."""


def run(arguments: Arguments) -> None:
    """Measure all systems, print the table and write it.

    Raises:
        ValueError, OSError, RuntimeError, PreprocessError: for an impossible flag, run or video, or
            a system that failed.
    """
    if arguments.batch < 1 or arguments.rounds < 1:
        raise InputError("--batch and --rounds must be at least 1.")
    threads = runtime.choose_threads(arguments.threads)
    if arguments.run is not None:
        require_model(arguments.run)
    if arguments.video is not None and not arguments.video.exists():
        raise InputError(f"--video must be a video. There is no {arguments.video}.")
    require_place(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    runtime.configure(threads, seed=0)

    with tempfile.TemporaryDirectory(prefix="bench-timesformer-") as scratch:
        rows, origin = measure(
            arguments.run,
            arguments.video,
            Path(scratch),
            threads,
            batch=arguments.batch,
            rounds=arguments.rounds,
            torch=with_peers(arguments.torch, "torch", "transformers"),
        )
    keep_results(
        arguments.out,
        rows,
        table=table(rows),
        circumstances=(
            f"Batches of {arguments.batch} clips, of {origin}; medians of {arguments.rounds} rounds"
        ),
        threads=threads,
    )


# The systems in turn, their predictions, and the table of both.


_REFERENCE = "Keras, float32"
_SYSTEMS = "experiments.bench_timesformer_systems"


@dataclass(frozen=True)
class Row:
    """Figures of one system."""

    system: str
    frames_per_second: float
    """Median rate of the rounds."""
    spread: float | None
    """Relative spread of the rounds, (fastest - slowest) / median; None for one round."""
    ratio: float
    """Rate relative to Keras in float32."""
    same_class: float | None
    """Fraction of clips with the best class of Keras in float32; None for other weights."""
    largest_difference: float | None
    """Largest difference of a probability from Keras in float32; None for other weights."""
    accuracy: float | None
    """Accuracy on the clips; None if their classes are not known."""
    peak_rss_bytes: int


def measure(
    run: Path | None,
    video: Path | None,
    scratch: Path,
    threads: Threads,
    *,
    batch: int,
    rounds: int,
    torch: bool,
) -> tuple[list[Row], str]:
    """Measure all systems; returns the rows, and a description of the clips."""
    # It imports TensorFlow, whose threads are set by now.
    from experiments.bench_timesformer_systems import prepare, torch_size

    exported, quantized = scratch / "model.onnx", scratch / "int8.onnx"
    run, sample = prepare(run, video, scratch, exported, quantized)
    # Each system reads the same views from this file, in its own process.
    clips = scratch / "clips.npy"
    np.save(clips, np.stack(sample.rows))
    made: dict[str, tuple[Any, ...]] = {
        _REFERENCE: (f"{_SYSTEMS}:KerasClips", run),
        "Keras, bfloat16": (f"{_SYSTEMS}:KerasClips", run, True),
        "ONNX Runtime, float32": (f"{_SYSTEMS}:OnnxClips", exported),
        "ONNX Runtime, int8": (f"{_SYSTEMS}:OnnxClips", quantized),
    }
    if torch:
        made["PyTorch, float32, other weights"] = (
            "experiments.bench_torch:TorchClips",
            torch_size(run),
        )
    systems = {
        name: Remote(
            kind,
            clips,
            batch,
            *arguments,
            threads=threads,
        )
        for name, (kind, *arguments) in made.items()
    }
    with closing_all(systems):
        return _in_turn(systems, sample, rounds), sample.origin


def table(rows: Sequence[Row]) -> str:
    """Make a Markdown table of the rows."""
    lines = [
        "| system | frames/s | spread | of Keras, float32 | same class | largest difference of a "
        "probability | accuracy | peak RSS |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [
            *(row.system, f"{row.frames_per_second:.1f}"),
            formatting.or_absent(row.spread, lambda value: f"{value:.0%}"),
            f"{row.ratio:.2f}",
            formatting.or_absent(row.same_class, lambda value: f"{value:.1%}"),
            formatting.or_absent(row.largest_difference, lambda value: f"{value:.2g}"),
            formatting.or_absent(row.accuracy, lambda value: f"{value:.3f}"),
            formatting.size(row.peak_rss_bytes),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _in_turn(systems: dict[str, Remote], sample: Sample, rounds: int) -> list[Row]:
    measured = take_turns(systems, "measure", rounds)
    rates = {name: [rate for rate, _ in pairs] for name, pairs in measured.items()}
    peaks = {name: pairs[-1][1] for name, pairs in measured.items()}
    # PyTorch's weights are others, so that its predictions cannot be compared.
    answers = {
        name: system.ask("answers")
        for name, system in systems.items()
        if not name.startswith("PyTorch")
    }
    return [
        _row(name, found, peaks[name], median(rates[_REFERENCE]), answers, sample.labels)
        for name, found in rates.items()
    ]


def _row(
    name: str,
    rates: list[float],
    peak: int,
    reference: float,
    answers: dict[str, np.ndarray],
    labels: np.ndarray | None,
) -> Row:
    middle = median(rates)
    same_class = difference = accuracy = None
    if name in answers:
        ours, theirs = answers[_REFERENCE], answers[name]
        same_class = float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())
        difference = float(np.abs(ours - theirs).max())
        if labels is not None:
            accuracy = float((theirs.argmax(axis=1) == labels).mean())
    spread = (max(rates) - min(rates)) / middle if len(rates) > 1 else None
    return Row(name, middle, spread, middle / reference, same_class, difference, accuracy, peak)


def main() -> int:
    """Run the command, and return the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.bench_timesformer")
    return carry_out(lambda: run(arguments))


# Guarded, because spawned processes import this module, too.
if __name__ == "__main__":
    sys.exit(main())
