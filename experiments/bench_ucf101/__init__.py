"""UCF101's models: stored features against computing them anew, the input's share, PyTorch.

    python -m experiments.bench_ucf101

In one run, on clips of the built-in set:

- epochs of the head of resnet-crnn on stored features, and of the whole model that runs its frozen
  ResNet over the frames again;
- epochs of crnn and conv3d with the recipe `tuned`, and how long of them is spent waiting for data;
- steps of training and inference of crnn and conv3d on a batch in memory, at the original's sizes
  and at ours, and of the same networks in PyTorch.

Each system lives in a process of its own; they take turns, round by round, and medians count.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.command_line import parse_arguments
from common.errors import InputError
from experiments.benchmarks import carry_out, keep_results, with_peers
from experiments.process import runtime
from experiments.runs.run import require_place


@dataclass(frozen=True)
class Arguments:
    """Clips a second of the UCF101 models."""

    clips: int = 48
    """Clips of an epoch."""
    depth: Literal[18, 34, 50, 101, 152] = 152
    """Of the frozen ResNet."""
    rounds: int = 3
    """How often each is timed; the median counts."""
    threads: str = "auto"
    """TensorFlow's pools: auto, or INTRA,INTER. PyTorch has as many threads as cores."""
    torch: bool = True
    """Whether to run PyTorch; pip install -e '.[benchmark]' first."""
    out: Path = Path("runs/bench_ucf101")
    """Folder for table.md and results.json."""


def run(arguments: Arguments) -> None:
    """Measure, print and keep the table.

    Raises:
        ValueError, OSError, RuntimeError: for a flag or folder that cannot be, or a system that
            failed.
    """
    if arguments.clips < 2 or arguments.rounds < 1:
        raise InputError("--clips must be at least 2, and --rounds at least 1.")
    threads = runtime.choose_threads(arguments.threads)
    require_place(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    runtime.hush()
    from experiments.bench_ucf101.measure import measure, table

    with tempfile.TemporaryDirectory(prefix="bench-ucf101-") as scratch:
        rows = measure(
            Path(scratch),
            threads,
            num_clips=arguments.clips,
            depth=arguments.depth,
            rounds=arguments.rounds,
            torch=with_peers(arguments.torch, "torch"),
        )
    keep_results(
        arguments.out,
        rows,
        table=table(rows),
        circumstances=f"{arguments.clips} clips an epoch; medians of {arguments.rounds} rounds",
        threads=threads,
    )


def main() -> int:
    """Run the command; returns the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.bench_ucf101")
    return carry_out(lambda: run(arguments))
