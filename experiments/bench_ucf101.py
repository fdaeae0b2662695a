"""Measure UCF101's models: stored or recomputed features, waiting for data, and PyTorch.

    python -m experiments.bench_ucf101

In one run, on clips of the built-in set:

- epochs of the head of resnet-crnn on stored features, and of the whole model that runs its frozen
  ResNet over the frames again;
- epochs of crnn and conv3d with the recipe `tuned`, and the time in them that is spent waiting for
  data;
- steps of training and inference of crnn and conv3d on a batch in memory, at the original's sizes
  and at ours, and of the same networks in PyTorch.

Each system lives in a process of its own; they take turns, round by round, and medians count.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Literal

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
from experiments.runs.run import require_place
from experiments.ucf101 import recipes as ucf101
from experiments.ucf101.recipes import ModelName, recipe_for


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
    """Measure all systems, print the table and write it.

    Raises:
        ValueError, OSError, RuntimeError: for an impossible flag or folder, or a system that
            failed.
    """
    if arguments.clips < 2 or arguments.rounds < 1:
        raise InputError("--clips must be at least 2, and --rounds at least 1.")
    threads = runtime.choose_threads(arguments.threads)
    require_place(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    runtime.hush()

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


# The systems in turn, and the table of their figures.


System = Callable[[], Remote]

# Frames, height and width of a clip, and the batch: of the original, and of the recipe `tuned`.
_SIZES = {"original": ((28, 256, 342), 4), "tuned": ((16, 112, 112), 16)}


@dataclass(frozen=True)
class Row:
    """Figures of one system at one work."""

    work: str
    system: str
    clips_per_second: float
    """Median rate of the rounds."""
    spread: float | None
    """Relative spread of the rounds, (fastest - slowest) / median; None for one round."""
    ratio: float | None
    """Rate relative to the first system of the work."""
    waiting_share: float | None
    """Fraction of an epoch spent waiting for data."""
    peak_rss_bytes: int


def measure(
    scratch: Path, threads: Threads, *, num_clips: int, depth: int, rounds: int, torch: bool
) -> list[Row]:
    """Measure one kind of work after the other; the systems of a kind take turns."""
    epochs = partial(_epochs, scratch, threads, num_clips=num_clips)
    work = {
        f"epoch of resnet{depth}-crnn, original recipe": epochs(
            "resnet-crnn", "original", depth=depth
        ),
        "epoch of crnn, tuned recipe": epochs("crnn", "tuned"),
        "epoch of conv3d, tuned recipe": epochs("conv3d", "tuned"),
    }
    for model, training, size in product(("crnn", "conv3d"), (True, False), _SIZES):
        shape, batch_size = _SIZES[size]
        # A bfloat16 model beside the float32 one would take 11 GB more there.
        fits = (model, training, size) != ("conv3d", True, "original")
        what = "training" if training else "inference"
        name = f"{what} of {model}, {size} sizes, batch {batch_size}"
        work[name] = _steps(
            (model, shape, batch_size, training), threads, bfloat16=fits, torch=torch
        )
    return [row for name, systems in work.items() for row in _in_turn(name, systems, rounds)]


def table(rows: Sequence[Row]) -> str:
    """Make a Markdown table of the rows."""
    lines = [
        "| work | system | clips/s | spread | of the first | waiting for data | peak RSS |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [
            *(row.work, row.system, f"{row.clips_per_second:.2f}"),
            formatting.or_absent(row.spread, lambda value: f"{value:.0%}"),
            formatting.or_absent(row.ratio, lambda value: f"{value:.2f}"),
            formatting.or_absent(row.waiting_share, lambda value: f"{value:.0%}"),
            formatting.size(row.peak_rss_bytes),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _in_turn(work: str, systems: dict[str, System], rounds: int) -> list[Row]:
    """Measure the systems of one work, round by round."""
    # Only the systems of one work are in memory at the same time.
    made = {name: make() for name, make in systems.items()}
    with closing_all(made):
        taken: dict[str, list[Measured]] = take_turns(made, "measure", rounds, work=work)
    reference = median(rate for rate, *_ in taken[next(iter(systems))])
    return [_row(work, name, found, reference) for name, found in taken.items()]


def _row(work: str, system: str, found: list[Measured], reference: float) -> Row:
    rates = [rate for rate, *_ in found]
    middle, waiting = median(rates), median(share for *_, share in found)
    return Row(
        work,
        system,
        middle,
        (max(rates) - min(rates)) / middle if len(rates) > 1 else None,
        middle / reference,
        waiting if work.startswith("epoch") else None,
        max(peak for _, peak, _ in found),
    )


def _steps(arguments: tuple, threads: Threads, *, bfloat16: bool, torch: bool) -> dict[str, System]:
    """Our model and PyTorch's, on a batch in memory."""
    ours = partial(Remote, "experiments.bench_ucf101_systems:KerasSteps", *arguments)
    systems: dict[str, System] = {"ours": partial(ours, threads=threads)}
    if bfloat16:
        systems["ours, bfloat16"] = partial(ours, "mixed_bfloat16", threads=threads)
    if torch:
        systems["PyTorch"] = partial(
            Remote, "experiments.bench_torch:TorchSteps", *arguments, threads=None
        )
    return systems


def _epochs(
    scratch: Path,
    threads: Threads,
    model: ModelName,
    recipe_name: str,
    *,
    num_clips: int,
    depth: int | None = None,
) -> dict[str, System]:
    """Epochs of a model of the job, with a ResNet also without stored features."""
    recipe = recipe_for(recipe_name, model, varlen=False)
    arguments = ucf101.Ucf101Arguments(
        model=model,
        depth=depth,  # type: ignore[arg-type]
        weights=ucf101.RANDOM_WEIGHTS if depth else None,
    )
    epochs = partial(
        Remote,
        "experiments.bench_ucf101_systems:Epochs",
        arguments,
        recipe,
        scratch,
        num_clips,
    )
    make = partial(epochs, threads=threads)
    if depth is None:
        return {"ours": make}
    anew = partial(epochs, True, threads=threads)
    return {"features stored": make, "features computed anew": anew}


NUM_CLASSES = 101
NUM_STEPS = 3
SEED = 0

Measured = tuple[float, int, float]
"""Clips per second, peak memory in bytes, and fraction of the time spent waiting for data."""


def batch(shape: tuple[int, int, int], batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw frames, uint8 (batch * frames, height, width, 3), and labels, int32 (batch,)."""
    rng = np.random.default_rng(SEED)
    frames = rng.integers(0, 256, (batch_size * shape[0], *shape[1:], 3), np.uint8)
    return frames, rng.integers(0, NUM_CLASSES, batch_size).astype(np.int32)


def main() -> int:
    """Run the command, and return the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.bench_ucf101")
    return carry_out(lambda: run(arguments))


# Guarded, because spawned processes import this module, too.
if __name__ == "__main__":
    sys.exit(main())
