"""The measurements: every system in turn, several times, medians."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import numpy as np
from tqdm import tqdm

from experiments.bench_tt.worker import Worker
from experiments.bench_tt.workloads import (
    SYSTEMS,
    TRAINING_CLIPS,
    Case,
    clip_lengths,
)
from experiments.process import runtime


@dataclass(frozen=True)
class Row:
    """One system on one case."""

    system: str
    lengths: str
    maxlen: int
    batch_size: int
    frames_per_second: float | None
    """Frames of clips, padding not counted; None where it failed."""
    ratio: float | None
    """To the stepwise reference."""
    spread: float | None
    """(Slowest - fastest round) / median."""
    epoch_seconds: float | None
    """Of 1,280 training clips."""
    peak_rss_bytes: int | None
    """Of the process up to here."""
    projection_gflops: float | None
    """Of the product with the tensor train, forward and backward."""
    peak_share: float | None
    """Of a 2048 x 2048 x 2048 product in the same type."""
    failure: str = ""


def start_workers(threads: runtime.Threads, padded_threads: runtime.Threads) -> dict[str, Worker]:
    """One process a system."""
    runtime.hush()  # before the processes unpickle anything
    return {
        system: Worker(system, threads if system.startswith("engine") else padded_threads)
        for system in SYSTEMS
    }


def measure(
    workers: dict[str, Worker], cases: list[Case], *, rounds: int, num_batches: int
) -> list[Row]:
    """Every system on every case."""
    products = _products(workers, rounds)
    rows = []
    for case in tqdm(cases, unit="case", desc="training steps"):
        batches = next(iter(workers.values())).ask(
            "batches", case, 1 if case.lengths == "full" else num_batches
        )
        epochs: dict[str, list[float]] = {system: [] for system in workers}
        peaks, failures = {}, {}
        for round_number in range(rounds + 1):  # the first one compiles
            for system, worker in workers.items():
                if system in failures:
                    continue
                try:
                    seconds, peaks[system] = _epoch_seconds(worker, system, case, batches)
                except RuntimeError as error:
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
    """What an epoch takes by these batches, and the process's peak memory."""
    if not system.startswith("engine"):  # every padded batch is like every other
        timing = worker.ask("time", case, batches[0])
        frames = TRAINING_CLIPS * case.maxlen
        return timing.seconds / timing.num_frames * frames, timing.peak_rss_bytes
    timings = [worker.ask("time", case, batch) for batch in batches]
    seconds = sum(timing.seconds for timing in timings)
    frames = clip_lengths(case).sum() / sum(timing.num_frames for timing in timings)
    return seconds * frames, timings[-1].peak_rss_bytes


def _products(workers: dict[str, Worker], rounds: int) -> dict[str, tuple[float, float]]:
    """GFLOP/s of each engine's projection, and its share of the peak."""
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for system, worker in workers.items():
            if system.startswith("engine"):
                dtype = system.split()[1]
                # the peak with threads that share one product
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
