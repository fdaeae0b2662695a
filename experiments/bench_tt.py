"""Measure how fast the Tensor-Train engine trains, beside what it replaces.

    python -m experiments.bench_tt

One training step (forward, backward, Adam) of a TT-GRU with UCF11's modes, 11 classes, on uint8
frames of 160x120, by each of these, in turn, in one run:

- stepwise: the published code's order of work, `keras.layers.RNN` over the plain cell with its
  cores contracted one by one inside the time loop, every clip padded to the maximum length;
- dense: `keras.layers.GRU(256)` on the same 57,600-wide input, padded likewise;
- engine float32, engine bfloat16: `FrameRNN` over `TTGRU` under each policy.

Each runs in a process of its own, waiting while the others work. Writes a table, results.json and
speed.png.
"""

from __future__ import annotations

import io
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from common import formatting
from common.command_line import parse_arguments
from common.errors import InputError, UserError
from common.files import write_atomically
from experiments.benchmarks import Remote, carry_out, closing_all
from experiments.process import environment, runtime
from experiments.runs.run import require_place
from preprocess.batches.planning import plan_batches


@dataclass(frozen=True)
class Arguments:
    """How fast the Tensor-Train engine trains, beside the published order of work and dense layers.

    Ratios come from one run: the systems take turns, each in its own process.
    """

    maxlen: tuple[int, ...] = (200, 450, 900, 1492)
    """Maximum lengths of clips."""
    batch_size: tuple[int, ...] = (16, 64)
    """Clips a batch."""
    rounds: int = 3
    """How often each is measured; the median counts."""
    num_batches: int = 5
    """Batches of an epoch that are timed, from small to large, with UCF11's lengths."""
    threads: Annotated[str, tyro.conf.arg(metavar="auto|INTRA,INTER")] = "auto"
    """Thread pools of the engine. The padded systems always get one intra-op thread a core."""
    layers: bool = True
    """Also compare layers of many sizes with Keras's dense ones."""
    out: Path = Path("runs/bench_tt")
    """Folder for results.json, table.md and speed.png."""


def run(arguments: Arguments) -> None:
    """Measure all systems, and write the table, the figures and the chart.

    Raises:
        ValueError, OSError: for an impossible flag or folder.
    """
    counts = (*arguments.maxlen, *arguments.batch_size, arguments.rounds, arguments.num_batches)
    if min(counts) < 1:
        raise InputError("--maxlen, --batch-size, --rounds and --num-batches must be at least 1.")
    threads = runtime.choose_threads(arguments.threads, workload="tt-train")
    padded_threads = runtime.choose_threads("auto")
    require_place(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)

    cases = [
        Case(lengths, maxlen, batch_size)
        for lengths in ("full", "ucf11")
        for batch_size in arguments.batch_size
        for maxlen in arguments.maxlen
    ]
    workers = start_workers(threads, padded_threads)
    with closing_all(workers):
        rows = measure(workers, cases, rounds=arguments.rounds, num_batches=arguments.num_batches)
    layer_rows = measure_layers(padded_threads, rounds=arguments.rounds) if arguments.layers else []
    startup = {system: worker.startup_seconds for system, worker in workers.items()}
    lines = [
        f"Engine: {threads}; padded: {padded_threads}. Medians of {arguments.rounds}.",
        "",
        table(rows),
        "",
        "Start of the process to the end of the first step: "
        + ", ".join(f"{system} {seconds:.1f} s" for system, seconds in startup.items())
        + ".",
    ]
    lines += ["", layer_table(layer_rows)] if layer_rows else []
    text = "\n".join(lines) + "\n"
    result = {
        "command": sys.argv[1:],
        "commit": environment.git_commit(),
        **environment.describe_environment(),
        "threads": asdict(threads),
        "padded_threads": asdict(padded_threads),
        "startup_seconds": startup,
        "rows": [asdict(row) for row in rows],
        "layers": [asdict(row) | {"ratio": row.ratio} for row in layer_rows],
    }
    write_atomically(arguments.out / "results.json", json.dumps(result, indent=1).encode())
    write_atomically(arguments.out / "table.md", text.encode())
    write_atomically(arguments.out / "speed.png", chart_png(rows))
    print(f"\n{text}\nWritten to {arguments.out}/: results.json, table.md, speed.png")


# Batches of clips, and a training step of each system on them.


FRAME_SHAPE = (120, 160, 3)
MODES = ((8, 20, 20, 18), (4, 4, 4, 4), 4)
UNITS = 256
NUM_CLASSES = 11
# Four fifths of UCF11.
TRAINING_CLIPS = 1280
SYSTEMS = ("stepwise", "dense", "engine float32", "engine bfloat16")
# A loop takes the same time for every step, so that long batches can be counted up from shorter
# ones: (steps, frames) timed at most. The stepwise loop keeps 0.4 MB a frame for its backward pass,
# keras.layers.GRU a gradient of the whole kernel, 0.18 GB, for every step.
_TIMED = {
    "stepwise": (150, 2400),
    "dense": (20, 1280),
    "engine float32": (1492, 14400),
    "engine bfloat16": (1492, 14400),
}


@dataclass(frozen=True)
class Case:
    """Kind of batch that is timed."""

    lengths: str
    """Lengths of clips. "full": all as long as the longest; "ucf11": UCF11's distribution."""
    maxlen: int
    batch_size: int


def clip_lengths(case: Case, num_clips: int = TRAINING_CLIPS) -> np.ndarray:
    """Draw the lengths of clips in frames, (num_clips,)."""
    if case.lengths == "full":
        return np.full(num_clips, case.maxlen)
    # UCF11's clips have about 200 frames on average and 900 at most: a gamma distribution of mean
    # 198.
    lengths = np.random.default_rng(0).gamma(3.2, 62.0, num_clips)
    return np.minimum(np.clip(lengths, 30, 900).astype(int), case.maxlen)


def sample_batches(case: Case, num_batches: int) -> list[np.ndarray]:
    """Lengths of the clips of a few batches, as training would plan them."""
    lengths = clip_lengths(case)
    rng = np.random.default_rng(1)
    plan = plan_batches(lengths, np.arange(len(lengths)), case.batch_size, rng=rng)
    plan = sorted(plan, key=lambda batch: lengths[batch].sum())
    # From small to large batches, each from the middle of an equal part of the sorted epoch.
    middles = (np.arange(num_batches) + 0.5) * len(plan) / num_batches
    return [lengths[plan[int(middle)]] for middle in middles]


def timed_lengths(system: str, case: Case, lengths: np.ndarray) -> np.ndarray:
    """Lengths that a system really computes on: all alike if padded, and cut to what is timed."""
    if not system.startswith("engine"):
        lengths = np.full(len(lengths), case.maxlen)
    steps, frames = _TIMED[system]
    return np.minimum(lengths, min(steps, frames // len(lengths)))


# Processes that each hold one system and time it when asked.


@dataclass(frozen=True)
class Timing:
    """Timing of one training step."""

    seconds: float
    num_frames: int
    """Number of frames computed on, padding included."""
    peak_rss_bytes: int
    """Peak memory of the process so far."""


class Worker(Remote):
    """A system in its own process; its methods wait for the answer.

    Args:
        system: one of `SYSTEMS`.
        threads: TensorFlow's pools in that process.
    """

    def __init__(self, system: str, threads: runtime.Threads) -> None:
        started = time.perf_counter()
        super().__init__("experiments.bench_tt_systems:Bench", system, threads=threads)
        self.ask("time", Case("full", 200, 16), np.full(16, 200))
        self.startup_seconds = time.perf_counter() - started
        """Seconds from the start of the process to the end of its first step, imports included."""


# Measurements: every system in turn, several times; medians count.


@dataclass(frozen=True)
class Row:
    """Figures of one system on one case."""

    system: str
    lengths: str
    maxlen: int
    batch_size: int
    frames_per_second: float | None
    """Rate in frames of clips, padding not counted; None if it failed."""
    ratio: float | None
    """Rate relative to the stepwise reference."""
    spread: float | None
    """Relative spread of the rounds, (slowest - fastest) / median."""
    epoch_seconds: float | None
    """Seconds of an epoch of 1,280 training clips."""
    peak_rss_bytes: int | None
    """Peak memory of the process up to here."""
    projection_gflops: float | None
    """GFLOP/s of the product with the tensor train, forward and backward."""
    peak_share: float | None
    """Rate relative to a 2048 x 2048 x 2048 product in the same type."""
    failure: str = ""


def start_workers(threads: runtime.Threads, padded_threads: runtime.Threads) -> dict[str, Worker]:
    """Start one process for each system."""
    # Before the processes unpickle anything.
    runtime.hush()
    return {
        system: Worker(system, threads if system.startswith("engine") else padded_threads)
        for system in SYSTEMS
    }


def measure(
    workers: dict[str, Worker], cases: list[Case], *, rounds: int, num_batches: int
) -> list[Row]:
    """Measure every system on every case."""
    products = _products(workers, rounds)
    rows = []
    for case in tqdm(cases, unit="case", desc="training steps"):
        batches = sample_batches(case, 1 if case.lengths == "full" else num_batches)
        epochs: dict[str, list[float]] = {system: [] for system in workers}
        peaks, failures = {}, {}
        # The first round compiles, and does not count.
        for round_number in range(rounds + 1):
            for system, worker in workers.items():
                if system in failures:
                    continue
                try:
                    seconds, peaks[system] = _epoch_seconds(worker, system, case, batches)
                except (RuntimeError, UserError) as error:
                    failures[system] = str(error)
                    continue
                if round_number:
                    epochs[system].append(seconds)
        reference = median(epochs["stepwise"]) if epochs.get("stepwise") else None
        for system in workers:
            rows.append(_row(system, case, epochs[system], reference, peaks, products, failures))
    return rows


def _epoch_seconds(
    worker: Worker, system: str, case: Case, batches: list[np.ndarray]
) -> tuple[float, int]:
    """Extrapolate the seconds of an epoch from some batches; returns the peak memory, too."""
    if not system.startswith("engine"):
        # Every padded batch is like every other.
        timing = worker.ask("time", case, batches[0])
        frames = TRAINING_CLIPS * case.maxlen
        return timing.seconds / timing.num_frames * frames, timing.peak_rss_bytes
    timings = [worker.ask("time", case, batch) for batch in batches]
    seconds = sum(timing.seconds for timing in timings)
    frames = clip_lengths(case).sum() / sum(timing.num_frames for timing in timings)
    return seconds * frames, timings[-1].peak_rss_bytes


def _products(workers: dict[str, Worker], rounds: int) -> dict[str, tuple[float, float]]:
    """Measure the GFLOP/s of each engine's projection, and its share of the peak."""
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for system, worker in workers.items():
            if system.startswith("engine"):
                dtype = system.split()[1]
                # The peak is that of threads that share one product.
                peak = workers["stepwise"].ask("matmul_flops", dtype)
                pair = worker.ask("projection_flops", dtype), peak
                found.setdefault(system, []).append(pair)
    return {
        system: (
            median(mine for mine, _ in pairs) / 1e9,
            median(mine / peak for mine, peak in pairs),
        )
        for system, pairs in found.items()
    }


def _row(system, case: Case, epochs, reference, peaks, products, failures) -> Row:
    gflops, share = products.get(system, (None, None))
    seconds = median(epochs) if epochs else None
    return Row(
        system=system,
        lengths=case.lengths,
        maxlen=case.maxlen,
        batch_size=case.batch_size,
        frames_per_second=None if seconds is None else float(clip_lengths(case).sum()) / seconds,
        ratio=None if seconds is None or reference is None else reference / seconds,
        spread=None if seconds is None else (max(epochs) - min(epochs)) / seconds,
        epoch_seconds=seconds,
        peak_rss_bytes=peaks.get(system),
        projection_gflops=gflops,
        peak_share=share,
        failure=failures.get(system, ""),
    )


# Layers of many sizes beside Keras's dense ones: is a tensor train ever slower?


@dataclass(frozen=True)
class LayerRow:
    """Timings of a training step of two layers on the same input."""

    layer: str
    features: int
    units: int
    batch: str
    dense_milliseconds: float
    tt_milliseconds: float

    @property
    def ratio(self) -> float:
        """Speed of the tensor train relative to the dense layer."""
        return self.dense_milliseconds / self.tt_milliseconds


def measure_layers(threads: runtime.Threads, *, rounds: int) -> list[LayerRow]:
    """Measure both layers in turn, in a process of their own."""
    worker = Remote("experiments.bench_tt_systems:Layers", threads=threads)
    try:
        return worker.ask("measure", rounds)
    finally:
        worker.close()


# Table and chart.


_COLUMNS = (
    "lengths", "maxlen", "batch", "system", "frames/s", "ratio", "spread", "epoch s", "peak RSS",
    "GFLOP/s", "of peak",
)  # fmt: skip


def table(rows: list[Row]) -> str:
    """Make a Markdown table; ratios are to the stepwise reference on the same batch."""
    lines = [f"| {' | '.join(_COLUMNS)} |", "|---|--:|--:|---|" + "--:|" * (len(_COLUMNS) - 4)]
    for row in rows:
        cells = [
            row.lengths,
            formatting.count(row.maxlen),
            str(row.batch_size),
            row.system + (f" (failed: {row.failure})" if row.failure else ""),
            formatting.or_absent(row.frames_per_second, formatting.count),
            formatting.or_absent(row.ratio, lambda x: f"{x:.2f}x"),
            formatting.or_absent(row.spread, lambda x: f"{x:.0%}"),
            formatting.or_absent(row.epoch_seconds, lambda x: f"{x:,.1f}"),
            formatting.or_absent(row.peak_rss_bytes, lambda x: f"{x / 1e9:.2f} GB"),
            formatting.or_absent(row.projection_gflops, formatting.count),
            formatting.or_absent(row.peak_share, lambda x: f"{x:.0%}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def layer_table(rows: list[LayerRow]) -> str:
    """Make a Markdown table of the milliseconds of a training step."""
    lines = [
        "| layer | features | units | batch | dense ms | tensor train ms | times faster |",
        "|---|--:|--:|---|--:|--:|--:|",
    ]
    lines += [
        f"| {row.layer} | {row.features:,} | {row.units:,} | {row.batch} | "
        f"{row.dense_milliseconds:,.2f} | {row.tt_milliseconds:,.2f} | {row.ratio:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def chart_png(rows: list[Row]) -> bytes:
    """Plot the seconds of an epoch by maximum length, with a panel for each batch size."""
    from experiments.runs.plots import LIGHT, new_figure

    rows = [row for row in rows if row.lengths == "ucf11"] or rows
    sizes = sorted({row.batch_size for row in rows})
    figure, theme = new_figure(5 * len(sizes), 4, LIGHT), LIGHT
    colours = (theme.validation, theme.grid, theme.train, theme.accent)
    for axes, size in zip(
        figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0], sizes, strict=True
    ):
        lengths = sorted({row.maxlen for row in rows})
        for k, system in enumerate(SYSTEMS):
            for place, maxlen in enumerate(lengths):
                seconds = next(
                    row.epoch_seconds
                    for row in rows
                    if (row.system, row.maxlen, row.batch_size) == (system, maxlen, size)
                )
                if seconds is None:
                    continue
                bar = axes.bar(
                    place + (k - 1.5) * 0.21,
                    seconds,
                    width=0.2,
                    color=colours[k],
                    label=system if place == 0 else None,
                )
                axes.bar_label(bar, fmt="{:,.0f}", fontsize=6, padding=1, color=theme.text)
        axes.set_yscale("log")
        axes.set_xticks(range(len(lengths)), [f"L{maxlen}" for maxlen in lengths])
        axes.set_title(f"batch {size}", color=theme.text)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("seconds an epoch of 1,280 clips")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center",
                  ncols=len(SYSTEMS), frameon=False, fontsize=8)  # fmt: skip
    content = io.BytesIO()
    figure.savefig(content, format="png", facecolor=theme.background)
    return content.getvalue()


def main() -> int:
    """Run the command, and return the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.bench_tt")
    return carry_out(lambda: run(arguments))


# Guarded, because spawned processes import this module, too.
if __name__ == "__main__":
    sys.exit(main())
