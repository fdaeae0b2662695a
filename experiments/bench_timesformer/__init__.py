"""TimeSformer in Keras, ONNX Runtime and PyTorch: frames a second, and what each costs.

    python -m experiments.bench_timesformer [--run runs/NAME] [--video VIDEO]

Without a run it is the base model with random weights, 8 frames of 224x224: its speed is that of
trained ones, its answers say little. Each system lives in a process of its own; they take turns,
round by round, on the same clips, and medians count. PyTorch runs `transformers`'
TimesformerForVideoClassification of the same size with weights of its own.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from common.command_line import parse_arguments
from common.errors import InputError
from experiments.benchmarks import carry_out, keep_results, with_peers
from experiments.process import runtime
from experiments.runs.run import require_model, require_place


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
    """Measure, print and keep the table.

    Raises:
        ValueError, OSError, RuntimeError, PreprocessError: for a flag, run or video that cannot
            be, or a system that failed.
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
    from experiments.bench_timesformer.measure import measure, table

    with tempfile.TemporaryDirectory(prefix="bench-timesformer-") as scratch:
        rows, origin = measure(
            *(arguments.run, arguments.video, Path(scratch), threads),
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


def main() -> int:
    """Run the command; returns the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.bench_timesformer")
    return carry_out(lambda: run(arguments))
