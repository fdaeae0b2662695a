"""Measure classification end to end, beside bare inference and other libraries.

    python -m experiments.bench_classify
    python -m experiments.bench_classify --model efficientnet_lite0

AlexNet with random weights beside a plain PyTorch loop, or EfficientNet-Lite0 with its own beside
ONNX Runtime, on 640x360 H.264. Every system lives in a process of its own; they take turns, round
by round, and medians are compared.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Literal, get_args

import numpy as np
from tqdm import tqdm
from tyro.conf import arg

from common.command_line import parse_arguments
from common.errors import UserError
from experiments.benchmarks import Remote, carry_out, closing_all, keep_results, with_peers
from experiments.media.videos import Video, find_videos
from experiments.models.image_models import ModelOptions, Policy
from experiments.process import runtime
from experiments.runs.run import require_place, require_positive


@dataclass(frozen=True)
class Arguments:
    """Frames a second of an image model: bare, end to end, and by another library."""

    model: Literal["alexnet", "efficientnet_lite0"] = "alexnet"
    """alexnet, beside PyTorch; efficientnet_lite0, beside ONNX Runtime."""
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
    """Whether to run AlexNet's PyTorch loop; pip install -e '.[benchmark]' first."""
    out: Path = Path("runs/bench_classify")
    """Folder for table.md and results.json."""


def run(arguments: Arguments) -> None:
    """Measure all systems, print the table and write it."""
    require_positive(arguments, ("batch_size", "rounds", "jobs"))
    threads = runtime.choose_threads(arguments.threads, workload="classify")
    if arguments.data_dir is not None:
        find_videos([arguments.data_dir], arguments.out)
    require_place(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)

    from experiments.threads.inputs import render_videos

    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.data_dir or render_videos(Path(scratch) / "videos")
        rows = measure(
            find_videos([folder], arguments.out).videos,
            threads,
            batch_size=arguments.batch_size,
            rounds=arguments.rounds,
            jobs=arguments.jobs,
            model=arguments.model,
            torch=arguments.model == "alexnet" and with_peers(arguments.torch, "torch"),
        )
    keep_results(
        arguments.out,
        rows,
        table=table(rows),
        circumstances=(
            f"{arguments.model}; batches of {arguments.batch_size}; medians of {arguments.rounds} "
            "rounds"
        ),
        threads=threads,
    )


NUM_BATCHES = 10
"""Number of batches of one timing of a model alone."""
# Measurements: every system in turn, several times; medians count.


REFERENCE = "bare, float32"
END_TO_END = "end to end, {}"
_SYSTEMS = "experiments.bench_classify_systems"


@dataclass(frozen=True)
class Row:
    """Figures of one system."""

    system: str
    frames_per_second: float | None
    """Median rate; None if it failed."""
    spread: float | None
    """Relative spread of the rounds, (fastest - slowest) / median."""
    ratio: float | None
    """Rate relative to bare inference in float32."""
    peak_rss_bytes: int | None
    """Peak memory of the process that holds the model."""
    top1_agreement: float | None = None
    """Fraction of frames whose first class is that of float32, for an end-to-end run."""
    failure: str = ""


def measure(
    videos: list[Video],
    threads: runtime.Threads,
    *,
    batch_size: int,
    rounds: int,
    jobs: int,
    model: str,
    torch: bool,
) -> list[Row]:
    """Measure every system on the same videos."""
    # Before the processes unpickle anything, which may import TensorFlow.
    runtime.hush()
    with tempfile.TemporaryDirectory() as scratch:
        if model == "alexnet":
            systems = _start_alexnet(videos, threads, Path(scratch), batch_size, jobs, torch=torch)
        else:
            systems = _start_published(model, videos, threads, Path(scratch), batch_size, jobs)
        with closing_all(systems):
            rates, peaks, failures = _time(systems, rounds)
        agreement = _top1_agreement(
            Path(scratch) / "float32", Path(scratch) / "mixed_bfloat16", videos
        )
    reference = median(rates[REFERENCE]) if rates[REFERENCE] else None
    return [
        _row(
            name,
            rates[name],
            reference,
            peaks.get(name),
            agreement if name == END_TO_END.format("mixed_bfloat16") else None,
            failures.get(name, ""),
        )
        for name in systems
    ]


def _start_published(
    model: str,
    videos: list[Video],
    threads: runtime.Threads,
    scratch: Path,
    batch_size: int,
    jobs: int,
) -> dict[str, Remote]:
    """Start a model with published weights, and its export, as classification runs them."""
    onnx = scratch / "model.onnx"
    variants = {policy: ModelOptions(model=model, policy=policy) for policy in get_args(Policy)}
    variants["ONNX Runtime"] = ModelOptions(model=str(onnx))
    systems = {}
    for name, options in variants.items():
        systems[f"bare, {name}"] = Remote(
            f"{_SYSTEMS}:BareModel", options, batch_size, threads, threads=threads
        )
        if name == "float32":
            systems[REFERENCE].ask("export", onnx)
        systems[END_TO_END.format(name)] = Remote(
            "experiments.threads.workloads:EndToEnd",
            options.policy,
            batch_size,
            videos,
            scratch / name,
            jobs,
            threads,
            options,
            threads=threads,
        )
    return systems


def _start_alexnet(
    videos: list[Video],
    threads: runtime.Threads,
    scratch: Path,
    batch_size: int,
    jobs: int,
    *,
    torch: bool,
) -> dict[str, Remote]:
    systems = {}
    # The default for one batch at a time, as a plain loop computes them.
    plain = runtime.choose_threads("auto")
    for policy in ("float32", "mixed_bfloat16"):
        for kind, fused in (("bare", False), ("bare, as we run it", True)):
            name = f"{kind}, {policy}"
            own = threads if fused else plain
            at_once = threads.inter_op if fused else 1
            systems[name] = Remote(
                f"{_SYSTEMS}:BareKeras", policy, batch_size, fused, at_once, threads=own
            )
        systems[END_TO_END.format(policy)] = Remote(
            "experiments.threads.workloads:EndToEnd",
            policy,
            batch_size,
            videos,
            scratch / policy,
            jobs,
            threads,
            threads=threads,
        )
    if torch:
        paths = [video.path for video in videos]
        loop = "experiments.bench_torch:TorchLoop"
        systems["PyTorch, bare"] = Remote(loop, batch_size, [], threads=None)
        systems["PyTorch, plain loop"] = Remote(loop, batch_size, paths, threads=None)
    return systems


def _time(
    systems: dict[str, Remote], rounds: int
) -> tuple[dict[str, list[float]], dict[str, int], dict[str, str]]:
    rates: dict[str, list[float]] = {name: [] for name in systems}
    peaks: dict[str, int] = {}
    failures: dict[str, str] = {}
    for round_number in tqdm(range(rounds + 1), unit="round", desc="classification"):
        for name, system in systems.items():
            if name in failures:
                continue
            try:
                rate, peaks[name] = system.ask("frames_per_second")
            except (RuntimeError, UserError) as error:
                failures[name] = str(error)
                continue
            # The first round compiles and fills the disk's cache: it does not count.
            if round_number:
                rates[name].append(rate)
    return rates, peaks, failures


def _row(name, rates, reference, peak, agreement, failure) -> Row:
    if not rates:
        return Row(name, None, None, None, peak, agreement, failure)
    middle = median(rates)
    return Row(
        system=name,
        frames_per_second=middle,
        spread=(max(rates) - min(rates)) / middle,
        ratio=middle / reference if reference else None,
        peak_rss_bytes=peak,
        top1_agreement=agreement,
        failure=failure,
    )


def _top1_agreement(first: Path, second: Path, videos: list[Video]) -> float | None:
    """Fraction of rows with the same first class in two folders of results."""
    same = []
    for video in videos:
        pair = [folder / f"{video.results}.csv" for folder in (first, second)]
        if all(path.exists() for path in pair):
            same.append(np.equal(*(_first_labels(path) for path in pair)))
    return float(np.concatenate(same).mean()) if same else None


def _first_labels(path: Path) -> np.ndarray:
    with path.open(encoding="utf-8", newline="") as file:
        return np.array([row["label_1"] for row in csv.DictReader(file)])


def table(rows: list[Row]) -> str:
    """Make a Markdown table of the rows."""
    lines = [
        "| system | frames/s | spread | to bare float32 | peak RSS | top-1 as float32 |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        if row.frames_per_second is None:
            lines.append(f"| {row.system} | failed: {row.failure} | | | | |")
            continue
        cells = [
            row.system,
            f"{row.frames_per_second:,.0f}",
            f"{row.spread:.0%}",
            f"{row.ratio:.2f}" if row.ratio else "",
            f"{row.peak_rss_bytes / 1e9:.2f} GB" if row.peak_rss_bytes else "",
            "" if row.top1_agreement is None else f"{row.top1_agreement:.1%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Run the command, and return the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.bench_classify")
    return carry_out(lambda: run(arguments))


# Guarded, because spawned processes import this module, too.
if __name__ == "__main__":
    sys.exit(main())
