"""Measure the job on UCF11 at UCF11's size: extraction, reading, training steps, whole epochs.

    python -m experiments.bench_ucf11

The data set cannot be shipped, but its size is known: 1,600 MPEG-1 clips of 320x240 with about 200
frames on average and 900 at most. Clips like these are rendered (or take your own by --videos),
extracted to 160x120, and trained on for an epoch at the three settings of a published reproduction
of the paper, whose times and memory the table repeats: every 2nd frame up to 200, every frame up
to 450, and up to 900. They trained on 80 % of the clips, as the folds here do.

Each setting has a process of its own. The rendered clips and the shards stay in --data, for the
next run; without --data they are removed.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np

from common import formatting
from common.command_line import parse_arguments
from common.errors import InputError
from experiments.benchmarks import Remote, carry_out, keep_results
from experiments.process import runtime
from experiments.process.runtime import Threads
from experiments.runs.run import require_place

NUM_CLIPS = 1600
# Bytes on disk for a stored frame of 160x120 of the rendered clips, which compress little.
_FRAME_BYTES = 55_000


@dataclass(frozen=True)
class Arguments:
    """Time and memory of the job on UCF11, at UCF11's number, size and lengths of clips."""

    clips: int = NUM_CLIPS
    """Number of clips; fewer give the same rates sooner."""
    videos: Path | None = None
    """Folder of videos in a layout that the job knows, in place of rendered ones."""
    data: Path | None = None
    """Folder that keeps rendered videos and shards, 19 GB for 1,600 clips; by default a temporary
    one."""
    recipe: Literal["paper", "tuned"] = "tuned"
    """Recipe of the training."""
    policies: tuple[Literal["float32", "mixed_bfloat16"], ...] = ("float32", "mixed_bfloat16")
    """Arithmetic of the layers."""
    threads: str = "auto"
    """TensorFlow's pools: auto, or INTRA,INTER."""
    out: Path = Path("runs/bench_ucf11")
    """Folder for table.md and results.json."""


@dataclass(frozen=True)
class Setting:
    """Frames that are trained on, with the figures of the published reproduction."""

    stride: int
    maxlen: int
    published_seconds: int
    """Duration of an epoch, on a server whose 54 threads were set by hand."""
    published_memory: str


# From the write-up of a reproduction in Keras on a Linux server; docs/ucf11.md names it.
SETTINGS = (
    Setting(stride=2, maxlen=200, published_seconds=120, published_memory="30 GB"),
    Setting(stride=1, maxlen=450, published_seconds=400, published_memory="60 GB"),
    Setting(stride=1, maxlen=900, published_seconds=1700, published_memory="130 GB"),
)


@dataclass(frozen=True)
class Epoch:
    """Figures of one setting."""

    num_frames: int
    """Number of frames of the epoch."""
    seconds: float
    waiting_share: float
    """Fraction of the epoch spent waiting for data."""
    reading_rate: float
    """Frames per second of reading and augmentation alone."""
    step_rate: float
    """Frames per second of training steps on batches in memory."""
    peak_rss_bytes: int

    @property
    def rate(self) -> float:
        """Frames per second of the epoch."""
        return self.num_frames / self.seconds


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    setting: Setting
    policy: str
    epoch: Epoch


def run(arguments: Arguments) -> None:
    """Render, extract and train, and write the table.

    Raises:
        UserError, OSError, RuntimeError: for an impossible flag or folder, too little space, or a
            process that failed.
    """
    if arguments.clips < 20:
        raise InputError(f"--clips must be at least 20. Received {arguments.clips}.")
    if not arguments.policies:
        raise InputError("--policies must name at least one.")
    threads = runtime.choose_threads(arguments.threads, workload="tt-train")
    require_place(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    runtime.hush()
    kept = arguments.data
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = kept
        if folder is None:
            temporary = tempfile.TemporaryDirectory(prefix="bench-ucf11-")
            folder = Path(stack.enter_context(temporary))
        shards = folder / f"shards-{arguments.clips}"
        if arguments.videos is None and not shards.exists():
            _check_space(folder, arguments.clips)
        extracted = _ask(
            "experiments.bench_ucf11_systems:Clips",
            shards,
            arguments.videos,
            arguments.clips,
            threads=threads,
        )
        rows = []
        for setting, policy in product(SETTINGS, arguments.policies):
            print(f"{_name(setting)}, {policy} ...", flush=True)
            epoch = _ask(
                "experiments.bench_ucf11_systems:Job",
                shards,
                setting,
                policy,
                arguments.recipe,
                threads=threads,
            )
            rows.append(Row(setting, policy, epoch))
    keep_results(
        arguments.out,
        rows,
        table=table(rows),
        circumstances=f"{arguments.clips} clips, recipe {arguments.recipe}; {extracted}",
        threads=threads,
    )


def clip_lengths(num_clips: int) -> np.ndarray:
    """Draw lengths of UCF11's clips in frames, (num_clips,)."""
    # About 200 frames on average and 900 at most: a gamma distribution of mean 198.
    lengths = np.random.default_rng(0).gamma(3.2, 62.0, num_clips)
    return np.clip(lengths, 30, 900).astype(int)


def table(rows: list[Row]) -> str:
    """Make a Markdown table of the rows."""
    lines = [
        "| frames | arithmetic | epoch | published epoch | peak memory | published memory "
        "| frames/s | reading alone | step alone | waiting |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        epoch = row.epoch
        cells = [
            _name(row.setting),
            row.policy,
            f"{epoch.seconds:,.0f} s",
            f"{row.setting.published_seconds:,} s",
            formatting.size(epoch.peak_rss_bytes),
            row.setting.published_memory,
            f"{epoch.rate:,.0f}",
            f"{epoch.reading_rate:,.0f}",
            f"{epoch.step_rate:,.0f}",
            f"{epoch.waiting_share:.1%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _name(setting: Setting) -> str:
    every = "every frame" if setting.stride == 1 else "every 2nd frame"
    return f"{every}, at most {setting.maxlen}"


def _check_space(folder: Path, num_clips: int) -> None:
    """Refuse to render clips for which there is no room."""
    wanted = int(clip_lengths(num_clips).sum()) * _FRAME_BYTES
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise InputError(
            f"{num_clips} clips need {formatting.size(wanted)} in {folder}, where "
            f"{formatting.size(free)} are free. Name another --data, or fewer --clips."
        )


def _ask(make: str, *arguments: Any, threads: Threads) -> Any:
    """Have an object measure in a process of its own."""
    remote = Remote(make, *arguments, threads=threads)
    try:
        return remote.ask("measure")
    finally:
        remote.close()


def main() -> int:
    """Run the command, and return the exit code."""
    arguments = parse_arguments(
        Arguments, prog="python -m experiments.bench_ucf11", description=__doc__
    )
    return carry_out(lambda: run(arguments))


# Guarded, because spawned processes import this module, too.
if __name__ == "__main__":
    sys.exit(main())
