"""The measurements: every system in turn, several times, medians."""

from __future__ import annotations

import csv
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from tqdm import tqdm

from experiments.bench_classify.systems import BareKeras, EndToEnd, TorchLoop
from experiments.media.videos import Video
from experiments.process import runtime
from experiments.remote import Remote

REFERENCE = "bare, float32"
END_TO_END = "end to end, {}"


@dataclass(frozen=True)
class Row:
    """One system."""

    system: str
    frames_per_second: float | None
    """Median; None where it failed."""
    spread: float | None
    """(Fastest - slowest round) / median."""
    ratio: float | None
    """To bare inference in float32."""
    peak_rss_bytes: int | None
    """Of the process that holds the model."""
    top1_agreement: float | None = None
    """Share of frames whose first class is that of float32, for an end-to-end run."""
    failure: str = ""


def measure(
    videos: list[Video],
    threads: runtime.Threads,
    *,
    batch_size: int,
    rounds: int,
    jobs: int,
    torch: bool,
) -> list[Row]:
    """Every system on the same videos; the first round only warms up."""
    runtime.hush()
    with tempfile.TemporaryDirectory() as scratch:
        systems = _start(videos, threads, Path(scratch), batch_size, jobs, torch=torch)
        try:
            rates, peaks, failures = _time(systems, rounds)
        finally:
            for system in systems.values():
                system.close()
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


def _start(
    videos: list[Video],
    threads: runtime.Threads,
    scratch: Path,
    batch_size: int,
    jobs: int,
    *,
    torch: bool,
) -> dict[str, Remote]:
    systems = {}
    plain = runtime.choose_threads("auto")
    for policy in ("float32", "mixed_bfloat16"):
        for kind, fused in (("bare", False), ("bare, as we run it", True)):
            name = f"{kind}, {policy}"
            own = threads if fused else plain
            at_once = threads.inter_op if fused else 1
            systems[name] = Remote(BareKeras, policy, batch_size, fused, at_once, threads=own)
        systems[END_TO_END.format(policy)] = Remote(
            EndToEnd,
            *(policy, batch_size, videos, scratch / policy, jobs, threads),
            threads=threads,
        )
    if torch:
        paths = [video.path for video in videos]
        systems["PyTorch, bare"] = Remote(TorchLoop, batch_size, [], threads=plain)
        systems["PyTorch, plain loop"] = Remote(TorchLoop, batch_size, paths, threads=plain)
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
            except RuntimeError as error:
                failures[name] = str(error)
                continue
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
    """Share of rows with the same first class in two folders of results."""
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
    """Markdown."""
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
