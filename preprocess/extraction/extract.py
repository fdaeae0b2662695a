"""Parallel extraction of a folder or a list of videos to a directory of shards."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import WriteError
from common.files import exclusive, publish, write_text
from preprocess.errors import PreprocessError, ShardError
from preprocess.extraction.plan import (
    Plan,
    check_settings,
    make_plan,
    remove_all,
    remove_temporary_files,
    require_directory,
    split_clips,
)
from preprocess.extraction.worker import ClipTask, TaskResult, decode_clips
from preprocess.shards.index import DatasetIndex, read_index, write_index, write_labels
from preprocess.shards.settings import FrameSettings, StoredSettings
from preprocess.sources.clip_sets import choose_clip_set
from preprocess.sources.clips import Clip
from preprocess.system.machine import available_cpus
from preprocess.system.progress import Progress, Silent
from preprocess.workers.cluster import open_workers

# Size at which a shard is closed: large enough for few files, small enough to lose little when one
# of its videos changes and the shard is made again.
MAX_SHARD_BYTES = 256 * 2**20


@dataclass(frozen=True)
class ExtractionSummary:
    """Counts and failures of an extraction.

    Args:
        dataset: name of the data set.
        num_clips: clips found in the videos folder.
        num_kept: clips whose frames were there already.
        num_extracted: clips decoded in this run.
        num_frames: frames stored in this run.
        failures: reason by source, for the clips that could not be read.
        notices: missing part by source, for clips that were stored nevertheless.
    """

    dataset: str
    num_clips: int
    num_kept: int
    num_extracted: int
    num_frames: int
    failures: dict[str, str]
    notices: dict[str, str]

    @property
    def num_stored(self) -> int:
        """Number of clips that the shards hold now."""
        return self.num_kept + self.num_extracted


def extract(
    videos: str | os.PathLike[str],
    shards: str | os.PathLike[str],
    settings: FrameSettings | None = None,
    *,
    dataset: str | None = None,
    classes: Sequence[str] | None = None,
    command: str | None = None,
    **options: Any,
) -> ExtractionSummary:
    """Decode all videos of a folder, or of a list, into shards; clips stored already are kept.

    Args:
        videos: the folder of videos, in a layout that `find_clips` or `read_epic_kitchens` knows,
            or a list, for `read_list`.
        shards: the directory to write to.
        settings: settings of the frames; None for `FrameSettings()`.
        dataset: name of the data set; a name of the catalogue counts only if the classes found are
            that data set's. None names it after its folder or list.
        classes: classes to extract; None for all.
        command: the shell command that repeats this call, for messages.
        **options: options of `extract_clips`.

    Raises:
        PreprocessError: if there are no videos, or none of a class asked for, or the directory
            holds more classes than are asked for, or for a reason of `extract_clips`.
    """
    clip_set = choose_clip_set(Path(videos), dataset=dataset, classes=classes)
    if clip_set.notice and (progress := options.get("progress")) is not None:
        progress.say(f"{videos}: {clip_set.notice}")
    if not options.get("overwrite"):
        _refuse_to_shrink(Path(shards), clip_set.left_out)
    return extract_clips(
        clip_set.clips,
        shards,
        settings or FrameSettings(),
        dataset=clip_set.dataset,
        class_names=clip_set.class_names,
        command=command or f"python -m preprocess folder {videos} {shards}",
        **options,
    )


def _refuse_to_shrink(folder: Path, unwanted: frozenset[str]) -> None:
    """Refuse to remove the shards of classes that are merely not asked for.

    Raises:
        ShardError: if the directory was made with an unwanted class.
    """
    # An extraction removes the shards of videos that no longer exist. Without this check `classes`
    # would make all others look like that.
    there = read_index(folder) if unwanted else None
    others = unwanted.intersection(there.class_names if there else ())
    if others:
        raise ShardError(
            f"{folder} holds {len(others)} classes more than are asked for, {min(others)} for "
            "instance. Use these shards as they are, name another directory, or pass --overwrite."
        )


def extract_clips(
    clips: Sequence[Clip],
    shards: str | os.PathLike[str],
    settings: StoredSettings,
    *,
    dataset: str,
    class_names: tuple[str, ...],
    command: str,
    jobs: int | None = None,
    scheduler: str | None = None,
    opencv_threads: int = 1,
    overwrite: bool = False,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Progress | None = None,
) -> ExtractionSummary:
    """Decode clips into shards; clips stored already are kept.

    Args:
        clips: the clips, sorted by source.
        shards: the directory to write to.
        settings: settings of the frames.
        dataset: name of the data set.
        class_names: the classes, in label order.
        command: the shell command that repeats this call, for messages.
        jobs: number of decoding processes; None for one per CPU.
        scheduler: address of a Dask cluster whose workers decode instead.
        opencv_threads: threads of each worker to decode a video and scale its frames.
        overwrite: remove what the directory holds first.
        max_shard_bytes: a shard that has grown to this size takes no further clip.
        progress: receives the numbers of clips and frames.

    Returns:
        Counts and failures.

    Raises:
        PreprocessError: if the directory holds other frames or the disk is full. Finished shards
            are kept.
    """
    for count, value in (("jobs", jobs), ("opencv_threads", opencv_threads)):
        if value is not None and value < 1:
            raise PreprocessError(f"{count} must be at least 1. Received {value}.")
    folder = Path(shards)
    require_directory(folder)
    index = DatasetIndex(
        dataset=dataset,
        class_names=class_names,
        settings=settings,
        complete=False,
        num_clips=0,
        num_failed=0,
        command=command,
    )
    progress = progress or Silent()
    waiting = f"Another extraction is writing to {folder}; waiting for it to end."
    # With the lock held no other extraction writes here, so temporary files are a killed run's.
    with exclusive(folder, on_wait=lambda: progress.say(waiting)):
        remove_temporary_files(folder)
        if overwrite:
            remove_all(folder)
        try:
            return _extract_locked(
                clips,
                folder,
                index,
                jobs=jobs or available_cpus(),
                scheduler=scheduler,
                opencv_threads=opencv_threads,
                max_shard_bytes=max_shard_bytes,
                progress=progress,
            )
        except WriteError as error:
            # The free space tells a full disk from a missing permission.
            free = shutil.disk_usage(folder).free / 2**20
            raise PreprocessError(
                f"Cannot write to {folder}: {error} ({free:.0f} MiB free there). Finished shards "
                "are kept: make room, then run the same command again."
            ) from error
        finally:
            remove_temporary_files(folder)


def _extract_locked(
    clips: Sequence[Clip],
    folder: Path,
    index: DatasetIndex,
    *,
    jobs: int,
    scheduler: str | None,
    opencv_threads: int,
    max_shard_bytes: int,
    progress: Progress,
) -> ExtractionSummary:
    """Extract into a directory that no other process writes to."""
    plan = _prepare(clips, folder, index)
    # Workers of a cluster have working directories of their own.
    todo = [replace(clip, path=clip.path.absolute()) for clip in plan.todo]
    tasks = [
        ClipTask(run, folder.absolute(), index.settings, max_shard_bytes, opencv_threads)
        for run in split_clips(todo, len(clips))
    ]
    progress.start(len(clips), len(plan.kept))
    with open_workers(decode_clips, scheduler, folder, jobs=jobs) as submit:
        result = _run_tasks(tasks, submit, progress)
    failures = dict(sorted(result.failures.items()))
    _write_failures(folder, failures)
    summary = ExtractionSummary(
        dataset=index.dataset,
        num_clips=len(clips),
        num_kept=len(plan.kept),
        num_extracted=result.num_clips - len(failures),
        num_frames=result.num_frames,
        failures=failures,
        notices=dict(sorted(result.notices.items())),
    )
    write_labels(folder, {clip.source: clip.labels for clip in clips if clip.labels})
    # Last: the index is complete only if all shards have been published.
    write_index(
        folder,
        replace(index, complete=True, num_clips=summary.num_stored, num_failed=len(failures)),
    )
    return summary


def _prepare(clips: Sequence[Clip], folder: Path, index: DatasetIndex) -> Plan:
    """Plan what is left to do, mark the directory incomplete, and remove stale shards."""
    there = read_index(folder, type(index.settings))
    if there is not None:
        check_settings(there, index.settings, folder)
    plan = make_plan(clips, folder)
    if plan.todo or plan.stale or there is None:
        # Before any shard is removed, so that no reader takes the rest for the whole.
        write_index(folder, index)
    for shard in plan.stale:
        shard.unlink()
    return plan


def _run_tasks(
    tasks: Sequence[ClipTask], submit: Callable[[ClipTask], Future[TaskResult]], progress: Progress
) -> TaskResult:
    """Have workers do the tasks; return the sum of their results.

    Raises:
        PreprocessError: if a task cannot be worked on.
        WriteError: if a shard cannot be written.
    """
    total = TaskResult()
    # Shards are published from here, in a thread beside the decoding: waiting for the disk takes no
    # CPU time, and a worker that outlives this process cannot put anything among the shards.
    with ThreadPoolExecutor(1) as publisher:
        published = []
        for done in as_completed([submit(task) for task in tasks]):
            result = done.result()
            published += [publisher.submit(publish, shard) for shard in result.shards]
            total.add(result)
            progress.advance(result.num_clips, result.num_frames)
        for shard in published:
            shard.result()
    return total


def _write_failures(folder: Path, failures: dict[str, str]) -> None:
    """Write `failures.csv` with the columns source and reason; remove it if all went well."""
    path = folder / "failures.csv"
    if not failures:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["source", "reason"])
    rows.writerows(failures.items())
    write_text(path, text.getvalue())
