"""Classification end to end against bare inference and against a plain PyTorch loop.

    python -m experiments.bench_classify

AlexNet with random weights on 640x360 H.264. Every system lives in a process of its own; they
take turns, round by round, and medians are compared.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from common.command_line import parse_arguments
from experiments.benchmarks import carry_out, keep_results, with_peers
from experiments.media.videos import find_videos
from experiments.process import runtime
from experiments.runs.run import require_place, require_positive


@dataclass(frozen=True)
class Arguments:
    """Frames a second of AlexNet: bare, end to end, and in a PyTorch loop."""

    data_dir: Annotated[Path | None, arg(aliases=["-d"])] = None
    """Folder of videos; by default rendered ones, 640x360 H.264."""
    batch_size: int = 64
    """Frames a model sees at once."""
    rounds: int = 5
    """How often each is timed; the median counts."""
    jobs: int = 2
    """Videos decoded at the same time."""
    threads: str = "auto"
    """Of classification: auto, or INTRA,INTER."""
    torch: bool = True
    """Whether to run the PyTorch loop; pip install -e '.[benchmark]' first."""
    out: Path = Path("runs/bench_classify")
    """Folder for table.md and results.json."""


def run(arguments: Arguments) -> None:
    """Measure, print and keep the table."""
    require_positive(arguments, ("batch_size", "rounds", "jobs"))
    threads = runtime.choose_threads(arguments.threads, workload="classify")
    if arguments.data_dir is not None:
        find_videos([arguments.data_dir], arguments.out)
    require_place(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    from experiments.bench_classify.measure import measure, table
    from experiments.bench_classify.render import render_videos

    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.data_dir or render_videos(Path(scratch) / "videos")
        rows = measure(
            find_videos([folder], arguments.out).videos,
            threads,
            batch_size=arguments.batch_size,
            rounds=arguments.rounds,
            jobs=arguments.jobs,
            torch=with_peers(arguments.torch, "torch"),
        )
    keep_results(
        arguments.out,
        rows,
        table=table(rows),
        circumstances=f"Batches of {arguments.batch_size}; medians of {arguments.rounds} rounds",
        threads=threads,
    )


def main() -> int:
    """Run the command; returns the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.bench_classify")
    return carry_out(lambda: run(arguments))
