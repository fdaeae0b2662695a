"""Compare tensor formats of a recurrent layer: weights, speed, and accuracy at equal budgets.

    python -m experiments.bench_formats --videos VIDEOS

Speed: a training step (forward, backward, Adam) and an inference step of every format at the
published sizes, UCF11's pixels (57,600 to 256) and features (2,048 to 2,048), in turn, in one
process, beside the dense layer.

Accuracy: the features of a frozen network are computed once. For every budget of weights, each
format takes the largest rank within it, and a GRU with such an input kernel is trained on every
fold and seed, all from one starting variance. Low rank and a smaller dense GRU of the same budget
stand beside them. The last epoch counts; the best one on the test clips, which papers print, has a
column of its own, and so has the random split over clips beside the split by scene. Last, a trained
dense GRU is compressed by each format to the largest budget, and trained on.

Writes table.md, results.json with one row a run, and pareto.png; rows.jsonl while it runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Literal, TypeVar

import tyro
from tqdm import tqdm

from common import formatting
from common.command_line import parse_arguments
from common.errors import InputError
from common.files import write_atomically
from experiments.benchmarks import Remote, carry_out, closing_all, keep_results
from experiments.process import runtime
from experiments.runs.run import require_place

FORMATS = ("tt", "tr", "bt", "tucker", "cp", "kcp", "ht")
BASELINES = ("low rank", "smaller dense", "dense")
SYSTEMS = "experiments.bench_formats_systems"


@dataclass(frozen=True)
class Arguments:
    """Compare tensor formats of a recurrent layer: weights, speed, and accuracy at equal budgets.

    Quick by default: one fold, one seed. For figures: --folds 0 1 2 3 4 --seeds 0 1 2 --epochs 40.
    """

    formats: tuple[str, ...] = FORMATS
    """Formats, of tt, tr, bt, tucker, cp, kcp, ht."""
    budgets: tuple[int, ...] = (1000, 4000, 16000)
    """Weights that an input kernel may have, the sweep of ranks."""
    cell: Literal["gru", "lstm", "rnn"] = "gru"
    """Kind of recurrent layer whose accuracy is measured."""
    videos: Path | None = None
    """Folder of videos, class/clip.ext; by default UCF11's or the built-in demo set."""
    shards: Path | None = None
    """Directory of extracted frames; made from --videos where it is not there yet."""
    features: str = "efficientnet-lite0"
    """Frozen network whose features are classified."""
    frames: int = 8
    """Frames of a clip, evenly spread over it."""
    splits: tuple[Literal["group", "random"], ...] = ("group", "random")
    """group: the clips of a scene stay together; random: over clips, as published."""
    folds: tuple[int, ...] = (0,)
    """Folds, 0 to 4, that are tested in turn."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the folds, the weights and the order of clips."""
    epochs: int = 20
    """Passes over the training clips."""
    rounds: int = 3
    """How often each speed is measured; the median counts."""
    speed: bool = True
    """Measure the speed at the published sizes."""
    accuracy: bool = True
    """Train on the clips."""
    threads: Annotated[str, tyro.conf.arg(metavar="auto|INTRA,INTER")] = "auto"
    """TensorFlow's thread pools."""
    out: Path = Path("runs/bench_formats")
    """Folder for results.json, table.md and pareto.png."""


@dataclass(frozen=True)
class SpeedRow:
    """Speed of one layer at a published size."""

    size: str
    format: str
    kernel_params: int
    layer_params: int
    training_frames_per_second: float
    inference_frames_per_second: float
    flops_per_frame: int
    """Forward operations of the input kernel's product."""
    steps: int
    """Steps of its plan; 1 is the merged, dense matrix."""


@dataclass(frozen=True)
class AccuracyRow:
    """One training run."""

    format: str
    budget: int
    rank: int | None
    kernel_params: int
    layer_params: int
    model_params: int
    split: str
    fold: int
    seed: int
    accuracy_last: float
    accuracy_best: float
    """The best epoch's on the test clips, as papers print it; not a fair figure."""
    num_test_clips: int
    seconds: float
    failure: str = ""


@dataclass(frozen=True)
class CompressionRow:
    """A trained dense kernel that was compressed and trained on."""

    format: str
    budget: int
    kernel_params: int
    split: str
    fold: int
    seed: int
    error: float
    """Relative Frobenius error of the kernel."""
    accuracy_before: float
    accuracy_after: float
    """Accuracy of the compressed model before any further training."""
    accuracy_tuned: float
    """Accuracy after a quarter of the epochs more, at a quarter of the rate."""


Run = TypeVar("Run", AccuracyRow, CompressionRow)


def run(arguments: Arguments) -> None:
    """Measure, and write the tables, the rows and the chart.

    Raises:
        UserError, OSError: for an impossible flag, folder or clips.
    """
    unknown = [name for name in arguments.formats if name not in FORMATS]
    if unknown:
        raise InputError(f"--formats must be of {', '.join(FORMATS)}. Received {unknown[0]}.")
    numbers = (*arguments.budgets, arguments.frames, arguments.epochs, arguments.rounds)
    if min(numbers) < 1:
        raise InputError("--budgets, --frames, --epochs and --rounds must be at least 1.")
    threads = runtime.choose_threads(arguments.threads, workload="tt-train")
    require_place(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    runtime.hush()
    speeds: list[SpeedRow] = []
    if arguments.speed:
        system = Remote(f"{SYSTEMS}:Speed", arguments.formats, threads=threads)
        with closing_all({"speed": system}):
            speeds = system.ask("measure", arguments.rounds)
    rows: list[AccuracyRow] = []
    compressed: list[CompressionRow] = []
    if arguments.accuracy:
        rows, compressed, chart = measure_accuracy(arguments, threads)
        write_atomically(arguments.out / "pareto.png", chart)
    tables = [speed_table(speeds)] if speeds else []
    tables += [accuracy_table(rows), compression_table(compressed)] if rows else []
    keep_results(
        arguments.out,
        [*speeds, *rows, *compressed],
        table="\n\n".join(tables),
        circumstances=(
            f"{arguments.cell.upper()} on features of {arguments.features}, {arguments.epochs} "
            f"epochs; speeds are medians of {arguments.rounds}"
        ),
        threads=threads,
    )


def measure_accuracy(
    arguments: Arguments, threads: runtime.Threads
) -> tuple[list[AccuracyRow], list[CompressionRow], bytes]:
    """Train every format, and every baseline, at every budget on all folds and seeds.

    Returns:
        A row for each run, one for each compression of a dense model, and the chart as a PNG.
    """
    system = Remote(f"{SYSTEMS}:Accuracy", arguments, threads=threads)
    with closing_all({"accuracy": system}):
        names = [*arguments.formats, *BASELINES[:2]]
        models = [(name, budget) for budget in arguments.budgets for name in names]
        # The dense layer has one size, whatever the budget.
        models.append((BASELINES[2], 0))
        runs = [
            (*model, split, fold, seed)
            for split in arguments.splits
            for seed in arguments.seeds
            for fold in arguments.folds
            for model in models
        ]
        rows = []
        # Each row is kept at once: a stop loses the run that is under way, not the hours before.
        with (arguments.out / "rows.jsonl").open("w", encoding="utf-8") as file:
            for one in tqdm(runs, unit="run", desc="accuracy"):
                rows.append(system.ask("train", *one))
                file.write(json.dumps(asdict(rows[-1])) + "\n")
                file.flush()
        dense = [
            (max(arguments.budgets), split, fold, seed)
            for split in arguments.splits
            for seed in arguments.seeds
            for fold in arguments.folds
        ]
        compressed = [
            row
            for one in tqdm(dense, unit="run", desc="compression")
            for row in system.ask("compress", *one)
        ]
        return rows, compressed, system.ask("chart", rows)


def speed_table(rows: Sequence[SpeedRow]) -> str:
    """Make a Markdown table; ratios are to the dense layer of the same size."""
    dense = {row.size: row for row in rows if row.format == "dense"}
    lines = [
        "| size | format | kernel | layer | MFLOP a frame | steps | training frames/s | of dense | "
        "inference frames/s | of dense |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        base = dense[row.size]
        training = row.training_frames_per_second / base.training_frames_per_second
        inference = row.inference_frames_per_second / base.inference_frames_per_second
        cells = [
            row.size,
            row.format,
            formatting.count(row.kernel_params),
            formatting.count(row.layer_params),
            f"{row.flops_per_frame / 1e6:.1f}",
            str(row.steps),
            formatting.count(row.training_frames_per_second),
            f"{training:.1f}x",
            formatting.count(row.inference_frames_per_second),
            f"{inference:.1f}x",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def accuracy_table(rows: Sequence[AccuracyRow]) -> str:
    """Make a Markdown table of means over folds and seeds, with their standard deviations."""
    lines = [
        "| format | budget | rank | kernel bytes | layer bytes | model bytes | split | runs | "
        "accuracy, last epoch | best epoch on the test clips |",
        "|---|--:|--:|--:|--:|--:|---|--:|--:|--:|",
    ]
    for key, group in grouped(rows).items():
        name, budget, split = key
        done = [row for row in group if not row.failure]
        first = group[0]
        failed = next((row.failure for row in group if row.failure), "")
        cells = [
            name + (f" (failed: {failed})" if failed else ""),
            formatting.count(budget) if budget else "-",
            "-" if first.rank is None else str(first.rank),
            # Weights are float32.
            *(
                formatting.count(4 * number)
                for number in (first.kernel_params, first.layer_params, first.model_params)
            ),
            split,
            str(len(done)),
            _spread([row.accuracy_last for row in done]),
            _spread([row.accuracy_best for row in done]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def compression_table(rows: Sequence[CompressionRow]) -> str:
    """Make a Markdown table of means over folds and seeds, with their standard deviations."""
    lines = [
        "| compressed by | weights | split | runs | kernel error | before | compressed | "
        "trained on |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    for (name, _, split), group in grouped(rows).items():
        cells = [
            name,
            formatting.count(group[0].kernel_params),
            split,
            str(len(group)),
            f"{mean(row.error for row in group):.3f}",
            _spread([row.accuracy_before for row in group]),
            _spread([row.accuracy_after for row in group]),
            _spread([row.accuracy_tuned for row in group]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def grouped(rows: Sequence[Run]) -> dict[tuple[str, int, str], list[Run]]:
    """Runs of one model and split, over folds and seeds."""
    groups: dict[tuple[str, int, str], list[Run]] = {}
    for row in rows:
        groups.setdefault((row.format, row.budget, row.split), []).append(row)
    return groups


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def main() -> int:
    """Run the command, and return the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.bench_formats")
    return carry_out(lambda: run(arguments))


# Guarded, because spawned processes import this module, too.
if __name__ == "__main__":
    sys.exit(main())
