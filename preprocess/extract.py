"""The parallel job: a folder of videos to a directory of shards."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from preprocess.catalog import identify
from preprocess.clips import Clip, find_clips
from preprocess.errors import PreprocessError
from preprocess.index import DatasetIndex, read_index, write_index, write_text
from preprocess.lock import exclusive
from preprocess.plan import (
    Plan,
    check_settings,
    make_plan,
    remove_all,
    remove_temporary_files,
    require_directory,
)
from preprocess.settings import FrameSettings
from preprocess.worker import Unit, UnitResult, extract_unit, split_units

MAX_SHARD_BYTES = 256 * 2**20


class Progress(Protocol):
    """Told how an extraction gets on; `preprocess.progress` has one for a terminal."""

    def start(self, num_clips: int, num_done: int) -> None:
        """The work begins: clips in all, and those that were there already."""

    def advance(self, num_clips: int, num_frames: int) -> None:
        """So many more clips and frames are done."""

    def say(self, text: str) -> None:
        """A line for the person who watches."""


class Silent:
    """Progress that nobody watches."""

    def start(self, num_clips: int, num_done: int) -> None:
        """Nothing."""

    def advance(self, num_clips: int, num_frames: int) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""


@dataclass(frozen=True)
class ExtractionSummary:
    """What an extraction came to.

    Args:
        dataset: name of the data set.
        num_clips: clips found in the videos folder.
        num_kept: clips whose frames were there already.
        num_extracted: clips decoded in this run.
        num_frames_extracted: frames stored in this run.
        failures: reason by source, for the clips that could not be read.
    """

    dataset: str
    num_clips: int
    num_kept: int
    num_extracted: int
    num_frames_extracted: int
    failures: dict[str, str]


def extract(
    videos: str | os.PathLike[str],
    shards: str | os.PathLike[str],
    settings: FrameSettings | None = None,
    *,
    jobs: int | None = None,
    dataset: str | None = None,
    overwrite: bool = False,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    command: str | None = None,
    progress: Progress | None = None,
) -> ExtractionSummary:
    """Decode all videos of a folder into shards. What is there already is kept.

    Args:
        videos: the folder of videos, in a layout that `find_clips` knows.
        shards: the directory to write to.
        settings: of the frames; None for `FrameSettings()`.
        jobs: worker processes; None for one a processor. One job works in this very process.
        dataset: name of the data set; None tells it from the classes found.
        overwrite: whether to remove what the directory holds first.
        max_shard_bytes: a shard that has grown to this size takes no further clip.
        command: the shell command that repeats this call, for messages.
        progress: told how the work gets on.

    Raises:
        PreprocessError: if there are no videos, the directory holds other frames, the disk is
            full or a worker died. Finished shards are kept.
    """
    clips = find_clips(videos)
    settings = settings or FrameSettings()
    progress = progress or Silent()
    folder = Path(shards)
    require_directory(folder)
    known, class_names = identify({clip.class_name for clip in clips}, Path(videos).resolve().name)
    index = DatasetIndex(
        dataset=dataset or known,
        class_names=class_names,
        settings=settings,
        complete=False,
        num_failed=0,
        command=command or f"python -m preprocess folder {videos} {folder}",
    )
    waiting = f"Another extraction is writing to {folder}; waiting for it to end."
    with exclusive(folder, on_wait=lambda: progress.say(waiting)):
        remove_temporary_files(folder)
        if overwrite:
            remove_all(folder)
        there = read_index(folder)
        if there is not None:
            check_settings(there, settings, folder)
        plan = make_plan(clips, folder)
        for shard in plan.stale:
            shard.unlink()
        if plan.todo or there is None:
            write_index(folder, index)
        progress.start(len(clips), len(plan.kept))
        result = _run(plan, clips, folder, settings, jobs, max_shard_bytes, progress)
        write_failures(folder, result.failures)
        write_index(folder, replace(index, complete=True, num_failed=len(result.failures)))
    return ExtractionSummary(
        dataset=index.dataset,
        num_clips=len(clips),
        num_kept=len(plan.kept),
        num_extracted=result.num_clips - len(result.failures),
        num_frames_extracted=result.num_frames,
        failures=result.failures,
    )


def _run(
    plan: Plan,
    clips: Sequence[Clip],
    folder: Path,
    settings: FrameSettings,
    jobs: int | None,
    max_shard_bytes: int,
    progress: Progress,
) -> UnitResult:
    """Work through the plan; the sum of what came of its units."""
    units = [
        Unit(unit, folder, settings, max_shard_bytes, os.getpid())
        for unit in split_units(plan.todo, len(clips))
    ]
    total = UnitResult()
    for result in _results(units, jobs or os.cpu_count() or 1):
        if result.write_error:
            free = shutil.disk_usage(folder).free / 2**20
            raise PreprocessError(
                f"Cannot write to {folder}: {result.write_error} ({free:.0f} MiB free there). "
                "Finished shards are kept: make room and run the same command again."
            )
        total.num_clips += result.num_clips
        total.num_frames += result.num_frames
        total.failures |= result.failures
        progress.advance(result.num_clips, result.num_frames)
    total.failures = dict(sorted(total.failures.items()))
    return total


def _results(units: Sequence[Unit], jobs: int) -> Iterator[UnitResult]:
    """What comes of the units, in the order in which they end."""
    jobs = min(jobs, len(units))
    if jobs <= 1:
        yield from map(extract_unit, units)
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch="2*n_jobs")
    try:
        yield from parallel(delayed(extract_unit)(unit) for unit in units)
    except TerminatedWorkerError as error:
        raise PreprocessError("A worker process died") from error
    finally:
        with suppress(Exception):
            get_reusable_executor().shutdown(wait=False, kill_workers=True)


def write_failures(folder: Path, failures: dict[str, str]) -> None:
    """`failures.csv` with the columns source and reason, or no such file if all went well."""
    path = folder / "failures.csv"
    if not failures:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["source", "reason"])
    rows.writerows(failures.items())
    write_text(path, text.getvalue())
