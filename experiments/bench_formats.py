"""Compare tensor formats of a recurrent layer: weights, speed, and accuracy at equal budgets.

    python -m experiments.bench_formats --videos VIDEOS

Speed: a training step (forward, backward, Adam) and an inference step of every format at the
published sizes, UCF11's pixels (57,600 to 256) and features (2,048 to 2,048), in turn, beside the
dense layer and, where it is installed, TedNet's layers in PyTorch. Memory: how far such steps raise
the peak of a fresh process.

Accuracy: heads on the features of a frozen network, by the code and the recipe of the UCF11 job. A
tensor train of each of --ranks sets a budget of weights; every format takes the largest rank within
it. A plain product of two matrices, a dense layer of as many weights with a smaller state, the
whole dense layer, a tensor-train layer of the mean over the frames (tt-mlp), and a linear
classifier of that mean stand beside them. All train on the four other
folds, and the last epoch counts; the best one on the test clips, which papers print, has a column
of its own, and so has the random split over clips beside the split by scene.

Compression: a trained dense layer is compressed by each format to the largest budget, and by what
needs no format: its largest weights kept, and int8. Then all of them are trained on.

Writes table.md, results.json and pareto.png, the accuracy over the bytes of the kernel. Finished
runs are kept and not repeated.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import Annotated, Literal, TypeVar

import tyro
from tqdm import tqdm

from common import formatting
from common.command_line import parse_arguments
from common.errors import InputError
from common.files import write_atomically
from experiments.benchmarks import Remote, carry_out, closing_all, keep_results, with_peers
from experiments.process import runtime
from experiments.runs.run import require_place, require_positive, require_records

FORMATS = ("tt", "tr", "bt", "tucker", "cp", "kcp", "ht")
# What a trained dense kernel is compressed by besides formats.
OTHER_COMPRESSIONS = ("low-rank", "pruned", "pruned int8", "int8", "nothing")
SYSTEMS = "experiments.bench_formats_systems"

# The published sizes at which layers are timed, with their modes and ranks; docs/formats.md names
# the papers. Gates multiply the first output mode.
PIXELS_DENSE_RECURRENT = "pixels, 57,600 to 256"
FEATURES_DENSE_RECURRENT = "features, 2,048 to 2,048"
# A state of 2,048 units makes the recurrent matrix as large: in a format, too.
FEATURES_BOTH = "features, both matrices"
SIZES = (PIXELS_DENSE_RECURRENT, FEATURES_DENSE_RECURRENT, FEATURES_BOTH)
PIXELS = (8, 20, 20, 18), (4, 4, 4, 4)
FEATURES = (64, 32), (32, 64)
# A ring's input and output nodes are separate, and so are their modes; its ranks.
RING_PIXELS = (4, 2, 5, 8, 6, 5, 3, 2), (4, 4, 2, 4, 2), (10, *[5] * 12)
RANKS = {
    PIXELS_DENSE_RECURRENT: {"tt": 4, "bt": 4, "tucker": 4, "cp": 40, "kcp": 4, "ht": 4},
    FEATURES_DENSE_RECURRENT: {
        "tt": 10,
        "tr": 20,
        "bt": 5,
        "tucker": 10,
        "cp": 400,
        "kcp": 10,
        "ht": 10,
    },
}
NUM_CLIPS = 16
NUM_STEPS = {PIXELS_DENSE_RECURRENT: 60, FEATURES_DENSE_RECURRENT: 8, FEATURES_BOTH: 8}
"""Frames of a clip."""


@dataclass(frozen=True)
class Arguments:
    """Compare tensor formats of a recurrent layer: weights, speed, and accuracy at equal budgets.

    Quick by default: one fold, one seed. For figures: --folds 0 1 2 3 4 --seeds 0 1 2.
    """

    formats: tuple[str, ...] = FORMATS
    """Formats, of tt, tr, bt, tucker, cp, kcp, ht."""
    ranks: tuple[int, ...] = (4, 8, 16)
    """Ranks of the tensor train whose weights are the budget of all formats."""
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
    epochs: int | None = None
    """Passes over the training clips; by default the recipe's."""
    policy: runtime.Policy = "auto"
    """Arithmetic of the trainings; auto is the machine's choice, and so other rows elsewhere."""
    rounds: int = 3
    """How often each speed is measured; the median counts."""
    speed: bool = True
    """Measure speed and memory at the published sizes."""
    tednet: bool = True
    """Whether to time TedNet's layers as well; pip install -e '.[benchmark]' first."""
    accuracy: bool = True
    """Train on the clips."""
    compression: bool = True
    """Compress trained dense layers, and train on."""
    record: bool = False
    """Append the results of the trainings to experiments/results.csv."""
    threads: Annotated[str, tyro.conf.arg(metavar="auto|INTRA,INTER")] = "auto"
    """TensorFlow's thread pools."""
    out: Path = Path("runs/bench_formats")
    """Folder for results.json, table.md and pareto.png, and the runs."""


@dataclass(frozen=True)
class SpeedRow:
    """Speed of one layer at a published size."""

    size: str
    format: str
    kernel_params: int
    layer_params: int
    training_frames_per_second: float
    inference_frames_per_second: float
    flops_per_frame: int | None = None
    """Forward operations of the input kernel's product, by its plan; None without a plan."""
    steps: int | None = None
    """Steps of its plan; 1 is the merged, dense matrix."""
    memory_bytes: int | None = None
    """How far training and inference steps, their clips included, raise a process's peak memory."""


@dataclass(frozen=True)
class AccuracyRow:
    """One training run."""

    format: str
    tt_rank: int | None
    """Rank of the tensor train that sets the budget; None for a model of one size."""
    kernel_params: int | None
    """Weights of the input kernel; None without a recurrent layer."""
    layer_params: int | None
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
    tt_rank: int
    kernel_params: int
    """Weights that are kept."""
    kernel_bytes: int
    """Bytes of the weights, and of what says where they are."""
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
# Format, rank of the budget's tensor train, and split of runs that differ in fold and seed.
Key = tuple[str, int | None, str]


def run(arguments: Arguments) -> None:
    """Measure, and write the tables, the rows and the chart.

    Raises:
        UserError, OSError: for an impossible flag, folder or clips.
    """
    unknown = [name for name in arguments.formats if name not in FORMATS]
    if unknown:
        raise InputError(f"--formats must be of {', '.join(FORMATS)}. Received {unknown[0]}.")
    require_positive(arguments, ("frames", "epochs", "rounds"))
    if min(arguments.ranks, default=0) < 1:
        raise InputError(f"--ranks must be at least 1. Received {arguments.ranks}.")
    require_records(arguments.record)
    threads = runtime.choose_threads(arguments.threads, workload="tt-train")
    require_place(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    runtime.hush()
    speeds: list[SpeedRow] = []
    tables = []
    if arguments.speed:
        speeds = measure_speed(arguments, threads)
        tables.append(speed_table(speeds))
    rows: list[AccuracyRow] = []
    compressed: list[CompressionRow] = []
    if arguments.accuracy or arguments.compression:
        system = Remote(f"{SYSTEMS}:Accuracy", arguments, threads=threads)
        with closing_all({"accuracy": system}):
            if arguments.accuracy:
                rows = measure_accuracy(arguments, system)
                write_atomically(arguments.out / "pareto.png", system.ask("chart", rows))
                tables.append(accuracy_table(rows, system.ask("differences", rows)))
            if arguments.compression:
                compressed = measure_compression(arguments, system)
                tables.append(compression_table(compressed))
    keep_results(
        arguments.out,
        [*speeds, *rows, *compressed],
        table="\n\n".join(tables),
        circumstances=(
            f"{arguments.cell.upper()} on features of {arguments.features}"
            + (f"; speeds are medians of {arguments.rounds}" if speeds else "")
        ),
        threads=threads,
    )


def measure_speed(arguments: Arguments, threads: runtime.Threads) -> list[SpeedRow]:
    """Time the layers of every format, and TedNet's, in turn; then measure the memory of ours."""
    systems = {"ours": Remote(f"{SYSTEMS}:Speed", arguments.formats, threads=threads)}
    if with_peers(arguments.tednet, "torch", "tednet"):
        make = "experiments.bench_tednet:TedNet"
        systems["TedNet"] = Remote(make, arguments.formats, threads=None)
    measured: dict[tuple[str, str], list[SpeedRow]] = {}
    with closing_all(systems):
        turns = [(size, each) for size in SIZES for each in range(arguments.rounds)]
        for size, _ in tqdm(turns, unit="round", desc="speed"):
            for system in systems.values():
                for row in system.ask("measure", size):
                    measured.setdefault((size, row.format), []).append(row)
    rows = [
        replace(
            group[0],
            training_frames_per_second=median(row.training_frames_per_second for row in group),
            inference_frames_per_second=median(row.inference_frames_per_second for row in group),
        )
        for group in measured.values()
    ]
    return [
        row if row.steps is None else measured_memory(row, threads)
        for row in tqdm(rows, desc="memory")
    ]


def seconds_of(call: Callable[[], object]) -> float:
    """Mean time of a call, of as many as half a second takes."""
    repeats, started = 0, time.perf_counter()
    while time.perf_counter() - started < 0.5:
        call()
        repeats += 1
    return (time.perf_counter() - started) / repeats


def measured_memory(row: SpeedRow, threads: runtime.Threads) -> SpeedRow:
    """Measure the memory of a row's layer, in a process of its own."""
    system = Remote(f"{SYSTEMS}:Memory", threads=threads)
    with closing_all({"memory": system}):
        return replace(row, memory_bytes=system.ask("measure", row.size, row.format))


def measure_accuracy(arguments: Arguments, system: Remote) -> list[AccuracyRow]:
    """Train every format, and every baseline, at every budget on all folds and seeds."""
    models = system.ask("models")
    runs = [(*model, *part) for part in _parts(arguments) for model in models]
    return [system.ask("train", *run) for run in tqdm(runs, unit="run", desc="accuracy")]


def measure_compression(arguments: Arguments, system: Remote) -> list[CompressionRow]:
    """Compress a dense layer of each fold and seed."""
    parts = tqdm(_parts(arguments), unit="run", desc="compression")
    return [row for part in parts for row in system.ask("compress", *part)]


def _parts(arguments: Arguments) -> list[tuple[str, int, int]]:
    """Split, fold and seed of all runs of a model."""
    return [
        (split, fold, seed)
        for split in arguments.splits
        for seed in arguments.seeds
        for fold in arguments.folds
    ]


def speed_table(rows: Sequence[SpeedRow]) -> str:
    """Make a Markdown table; ratios are to the dense layer of the same size."""
    dense = {row.size: row for row in rows if row.format == "dense"}
    lines = [
        "| size | format | kernel | layer | MFLOP a frame | steps | training frames/s | of dense | "
        "inference frames/s | us a frame | of dense | memory |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
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
            formatting.or_absent(row.flops_per_frame, lambda flops: f"{flops / 1e6:.1f}"),
            formatting.or_absent(row.steps, str),
            formatting.count(row.training_frames_per_second),
            f"{training:.1f}x",
            formatting.count(row.inference_frames_per_second),
            formatting.count(1e6 / row.inference_frames_per_second),
            f"{inference:.1f}x",
            formatting.or_absent(row.memory_bytes, formatting.size),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def accuracy_table(
    rows: Sequence[AccuracyRow], differences: Mapping[Key, tuple[float, float]]
) -> str:
    """Make a Markdown table of means over folds and seeds, with their standard deviations.

    Args:
        rows: the runs.
        differences: 95 % intervals of the difference to the tensor train of the same budget.
    """
    lines = [
        "| format | budget | kernel bytes | layer bytes | model bytes | split | runs | "
        "accuracy, last epoch | less that of tt, 95 % | best epoch on the test clips |",
        "|---|--:|--:|--:|--:|---|--:|--:|--:|--:|",
    ]
    for key, group in grouped(rows).items():
        name, tt_rank, split = key
        done = [row for row in group if not row.failure]
        first = group[0]
        failed = next((row.failure for row in group if row.failure), "")
        difference = differences.get(key)
        cells = [
            name + (f" (failed: {failed})" if failed else ""),
            f"tt of rank {tt_rank}" if tt_rank else "-",
            # Weights are float32.
            *(
                "-" if number is None else formatting.count(4 * number)
                for number in (first.kernel_params, first.layer_params, first.model_params)
            ),
            split,
            str(len(done)),
            _spread([row.accuracy_last for row in done]),
            f"{difference[0]:+.3f} to {difference[1]:+.3f}" if difference else "-",
            _spread([row.accuracy_best for row in done]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def compression_table(rows: Sequence[CompressionRow]) -> str:
    """Make a Markdown table of means over folds and seeds, with their standard deviations."""
    lines = [
        "| compressed by | kernel bytes | split | runs | kernel error | before | compressed | "
        "trained on |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    for (name, _, split), group in grouped(rows).items():
        cells = [
            name,
            formatting.count(group[0].kernel_bytes),
            split,
            str(len(group)),
            f"{mean(row.error for row in group):.3f}",
            _spread([row.accuracy_before for row in group]),
            _spread([row.accuracy_after for row in group]),
            _spread([row.accuracy_tuned for row in group]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def grouped(rows: Sequence[Run]) -> dict[Key, list[Run]]:
    """Runs of one model and split, over folds and seeds."""
    groups: dict[Key, list[Run]] = {}
    for row in rows:
        groups.setdefault((row.format, row.tt_rank, row.split), []).append(row)
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
