"""Extraction against a bare loop of OpenCV: `python -m preprocess.benchmark VIDEOS`.

The bare loop uses another decoder: extraction reads by PyAV, so the two differ in more than the
work around the decoder. Bare means: read, resize, convert to RGB, write nothing; with one decoder
thread a process, as the extraction has, and with as many as OpenCV takes by itself. The same clips
are then extracted, shards written and published. Rounds take turns, so that a slow spell of the
machine meets all; the medians are compared.
"""

from __future__ import annotations

import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

import cv2
from tyro.conf import Positional

from common.command_line import parse_arguments
from common.errors import InputError
from preprocess.extraction.extract import extract
from preprocess.shards.settings import Compression, FrameSettings
from preprocess.sources.clips import Clip, find_clips
from preprocess.system.command import run_command
from preprocess.system.machine import available_cpus


@dataclass(frozen=True)
class Arguments:
    """Frames a second of extraction and of a bare OpenCV loop, at one worker and at several."""

    videos: Positional[Path]
    """Folder of videos, in a layout that the extraction knows."""
    jobs: int = available_cpus()
    """Number of workers of the second measurement."""
    rounds: int = 3
    """How often each is timed; the median counts."""
    compression: Compression = "lz4"
    """Compression of the shards."""


Work = Callable[[Path], int]
"""Work that may write to a folder, which does not exist; it returns a number of frames."""


def bare_loop(paths: Sequence[Path], size: tuple[int, int], *, one_thread: bool = True) -> int:
    """Read, resize and convert all frames of some videos; return their number."""
    # Decoder threads and OpenCV's own threads are set apart from each other.
    options = [cv2.CAP_PROP_N_THREADS, 1] if one_thread else []
    cv2.setNumThreads(1 if one_thread else -1)
    num_frames = 0
    for path in paths:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, options)
        while True:
            found, frame = capture.read()
            if not found:
                break
            cv2.cvtColor(cv2.resize(frame, size), cv2.COLOR_BGR2RGB)
            num_frames += 1
    return num_frames


def _bare(
    _: Path, clips: Sequence[Clip], settings: FrameSettings, jobs: int, *, one_thread: bool
) -> int:
    """Run the bare loop in `jobs` processes, each with every `jobs`-th clip."""
    paths = [[clip.path for clip in clips[start::jobs]] for start in range(jobs)]
    loop = partial(bare_loop, size=settings.size, one_thread=one_thread)
    if jobs == 1:
        return loop(paths[0])
    # Spawned, for a fork would inherit OpenCV's threads in an unknown state.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return sum(pool.map(loop, paths))


def _extraction(shards: Path, videos: Path, settings: FrameSettings, jobs: int) -> int:
    """Extract into a directory; return the number of frames."""
    return extract(videos, shards, settings, jobs=jobs).num_frames


def _take_turns(*works: Work, rounds: int) -> list[float]:
    """Median rate of each work, in frames per second."""
    rates: list[list[float]] = [[] for _ in works]
    # In turns, and not each work's rounds in a row: a slow spell of the machine then meets all.
    for _ in range(rounds):
        for work, found in zip(works, rates, strict=True):
            # The folder is removed outside the time that counts.
            with tempfile.TemporaryDirectory() as folder:
                started = time.perf_counter()
                found.append(work(Path(folder) / "shards") / (time.perf_counter() - started))
    return [statistics.median(found) for found in rates]


def main() -> int:
    """Time extraction and bare loops, and print a line for each number of workers."""
    options = parse_arguments(Arguments, prog="python -m preprocess.benchmark", description=__doc__)
    return run_command(
        lambda: _run(options),
        resume_hint=lambda: "Nothing is kept; the same command measures anew.",
    )


def _run(options: Arguments) -> int:
    for name in ("jobs", "rounds"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} must be at least 1. Received {getattr(options, name)}.")
    settings = FrameSettings(compression=options.compression)
    clips = find_clips(options.videos)
    # OpenCV's reader of image sequences is another program than the one that is compared.
    if any(clip.path.is_dir() for clip in clips):
        raise InputError(
            f"Video files are timed. {options.videos} holds folders of frames; name another folder."
        )
    print(
        f"{len(clips)} clips, {available_cpus()} processors, {platform.machine()}, "
        f"OpenCV {cv2.__version__}, h5py {metadata.version('h5py')}, {options.compression}"
    )
    for jobs in sorted({1, options.jobs}):
        bare, as_it_comes, extraction = _take_turns(
            partial(_bare, clips=clips, settings=settings, jobs=jobs, one_thread=True),
            partial(_bare, clips=clips, settings=settings, jobs=jobs, one_thread=False),
            partial(_extraction, videos=options.videos, settings=settings, jobs=jobs),
            rounds=options.rounds,
        )
        print(
            f"{jobs} workers: extraction {extraction:,.0f} frames/s, "
            f"{extraction / bare:.2f} of the bare loop with one thread ({bare:,.0f}), "
            f"{extraction / as_it_comes:.2f} of it with OpenCV's threads ({as_it_comes:,.0f})",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
