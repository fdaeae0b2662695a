"""Measure classification end to end, beside bare inference and a plain PyTorch loop.

    python -m experiments.bench_classify

AlexNet with random weights on 640x360 H.264. Every system lives in a process of its own; they
take turns, round by round, and medians are compared.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
from tqdm import tqdm
from tyro.conf import arg

from common.command_line import parse_arguments
from experiments.benchmarks import Remote, carry_out, closing_all, keep_results, with_peers
from experiments.media.videos import Video, find_videos
from experiments.models.image_models import inference_dtype
from experiments.process import environment, runtime
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
            torch=with_peers(arguments.torch, "torch"),
        )
    keep_results(
        arguments.out,
        rows,
        table=table(rows),
        circumstances=f"Batches of {arguments.batch_size}; medians of {arguments.rounds} rounds",
        threads=threads,
    )


# Measurements: every system in turn, several times; medians count.


REFERENCE = "bare, float32"
END_TO_END = "end to end, {}"


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
    torch: bool,
) -> list[Row]:
    """Measure every system on the same videos."""
    # Before the processes unpickle anything, which may import TensorFlow.
    runtime.hush()
    with tempfile.TemporaryDirectory() as scratch:
        systems = _start(videos, threads, Path(scratch), batch_size, jobs, torch=torch)
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
    # The default for one batch at a time, as a plain loop computes them.
    plain = runtime.choose_threads("auto")
    for policy in ("float32", "mixed_bfloat16"):
        for kind, fused in (("bare", False), ("bare, as we run it", True)):
            name = f"{kind}, {policy}"
            own = threads if fused else plain
            at_once = threads.inter_op if fused else 1
            systems[name] = Remote(BareKeras, policy, batch_size, fused, at_once, threads=own)
        systems[END_TO_END.format(policy)] = Remote(
            end_to_end,
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


# Measured systems. Each is made in a process of its own, and times itself.


NUM_BATCHES = 10
_SEED = 0


def end_to_end(*arguments: Any) -> Any:
    """Make an `EndToEnd`, whose module imports TensorFlow, in the process that measures it."""
    from experiments.threads.workloads import EndToEnd

    return EndToEnd(*arguments)


class BareKeras:
    """The Keras model alone, on batches in memory.

    Args:
        policy: dtype policy of its layers.
        batch_size: number of frames in a batch.
        fused: take the short cuts that classification takes.
        at_once: number of batches that are computed at the same time.
    """

    def __init__(self, policy: str, batch_size: int, fused: bool, at_once: int) -> None:
        import tensorflow as tf

        from experiments.threads.workloads import random_weights
        from ttrnn.models import build_alexnet

        dtype = inference_dtype(policy) if fused else policy
        model = build_alexnet(fused=fused, dtype=dtype)
        random_weights(model)
        shape = (batch_size, *model.input_shape[1:])
        frames = np.random.default_rng(_SEED).integers(0, 256, shape, np.uint8)
        self._frames = tf.constant(frames)
        self._model = tf.function(lambda frames: model(frames, training=False))
        self._at_once = at_once

    def frames_per_second(self) -> tuple[float, int]:
        """Measure frames per second, and the peak memory of the process in bytes."""
        started = time.perf_counter()
        with ThreadPoolExecutor(self._at_once) as pool:
            list(pool.map(lambda _: self._model(self._frames).numpy(), range(NUM_BATCHES)))
        seconds = time.perf_counter() - started
        return NUM_BATCHES * len(self._frames) / seconds, environment.peak_rss_bytes()


class TorchLoop:
    """AlexNet in PyTorch, in a plain loop: read a batch, then classify it.

    Args:
        batch_size: number of frames in a batch.
        paths: videos; empty for the model alone, on a batch in memory.
    """

    def __init__(self, batch_size: int, paths: list[Path]) -> None:
        import torch

        self._torch = torch
        self._model = build_torch_alexnet().eval()
        self._batch_size = batch_size
        self._paths = paths

    def frames_per_second(self) -> tuple[float, int]:
        """Measure frames per second, and the peak memory of the process in bytes."""
        started = time.perf_counter()
        num_frames = sum(map(self._classify, self._paths)) if self._paths else self._repeat()
        return num_frames / (time.perf_counter() - started), environment.peak_rss_bytes()

    def _repeat(self) -> int:
        pixels = np.zeros((self._batch_size, 3, 227, 227), np.float32)
        for _ in range(NUM_BATCHES):
            self._predict(pixels)
        return NUM_BATCHES * self._batch_size

    def _classify(self, path: Path) -> int:
        import cv2

        capture, waiting, num_frames = cv2.VideoCapture(str(path)), [], 0
        while True:
            found, image = capture.read()
            if found:
                # As Caffe's tools: 256x256, of which the middle 227x227 is seen, BGR less the
                # channel means.
                small = cv2.resize(image, (256, 256))[14:241, 14:241]
                waiting.append(small.astype(np.float32) - (104.0, 116.7, 122.7))
            if waiting and (len(waiting) == self._batch_size or not found):
                pixels = np.stack(waiting).astype(np.float32).transpose(0, 3, 1, 2)
                self._predict(np.ascontiguousarray(pixels))  # (B, 3, 227, 227)
                num_frames += len(waiting)
                waiting = []
            if not found:
                return num_frames

    def _predict(self, pixels: np.ndarray) -> Any:
        with self._torch.inference_mode():
            shares = self._model(self._torch.from_numpy(pixels)).softmax(dim=1)
            return self._torch.topk(shares, 5)


# Caffe's AlexNet in PyTorch, to which ours is compared.


def build_torch_alexnet(num_classes: int = 1000) -> Any:
    """Build AlexNet from BGR pixels less the mean, (B, 3, 227, 227), to logits (B, classes)."""
    from torch import nn

    def normalise_and_pool() -> list[Any]:
        # PyTorch divides alpha by the window's size, 5: TensorFlow's 2e-5.
        return [nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1), nn.MaxPool2d(3, 2)]

    def conv(*arguments: Any, **kwargs: Any) -> list[Any]:
        return [nn.Conv2d(*arguments, **kwargs), nn.ReLU()]

    return nn.Sequential(
        *conv(3, 96, 11, stride=4),
        *normalise_and_pool(),
        *conv(96, 256, 5, padding=2, groups=2),
        *normalise_and_pool(),
        *conv(256, 384, 3, padding=1),
        *conv(384, 384, 3, padding=1, groups=2),
        *conv(384, 256, 3, padding=1, groups=2),
        nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Linear(9216, 4096),
        nn.ReLU(),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Linear(4096, num_classes),
    )


def main() -> int:
    """Run the command, and return the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.bench_classify")
    return carry_out(lambda: run(arguments))


# Guarded, because spawned processes import this module, too.
if __name__ == "__main__":
    sys.exit(main())
