"""Extraction of a few consecutive clips to one or several shards, in a process that may die.

A decoding process that crashes, stalls or asks for too much memory costs one clip, not the job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from common.files import SealedFile
from preprocess.errors import DecodeError, PreprocessError
from preprocess.shards.schema import ClipRecord
from preprocess.shards.settings import StoredSettings
from preprocess.shards.writer import ShardWriter, chunk_frames
from preprocess.sources.clips import Clip
from preprocess.video.decode import FrameReader, refusals_named, shortfall, what_is_missing
from preprocess.video.ffmpeg import first_complaint
from preprocess.video.video_file import captured_messages
from preprocess.workers.child_process import (
    STALL_SECONDS,
    STALLED,
    describe_death,
    ended_if_stalled,
)
from preprocess.workers.pool import DecoderLoader, WorkerDiedError, WorkerPool

# Processes that may die before they begin a clip. More is no clip's fault: a missing library, say.
_FALSE_STARTS = 3


@dataclass(frozen=True)
class ClipTask:
    """Consecutive clips for one worker to decode into shards.

    Args:
        clips: consecutive clips.
        folder: folder of the shards.
        settings: settings of the frames.
        max_shard_bytes: a shard that has grown to this size takes no further clip.
        opencv_threads: threads that decode one video and scale its frames.
        stall_seconds: seconds without a frame after which a decoder is ended.
    """

    clips: tuple[Clip, ...]
    folder: Path
    settings: StoredSettings
    max_shard_bytes: int
    opencv_threads: int = 1
    stall_seconds: float = STALL_SECONDS

    def without(self, num_clips: int) -> ClipTask:
        """Copy of the task without its first clips."""
        return replace(self, clips=self.clips[num_clips:])


@dataclass
class TaskResult:
    """Shards, counts and failures of a task, or the sum of several.

    Args:
        shards: shards that are written and wait to be published.
        num_clips: clips processed, including failed ones.
        num_frames: frames stored.
        failures: reason by source.
        notices: missing part by source, for clips that were stored nevertheless.
    """

    shards: list[SealedFile] = field(default_factory=list)
    num_clips: int = 0
    num_frames: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    notices: dict[str, str] = field(default_factory=dict)

    def add(self, other: TaskResult) -> None:
        """Add the result of other clips."""
        self.shards += other.shards
        self.num_clips += other.num_clips
        self.num_frames += other.num_frames
        self.failures |= other.failures
        self.notices |= other.notices


@dataclass(frozen=True)
class Begun:
    """Message that the next clip is being decoded."""


def decode_clips(task: ClipTask, pool: WorkerPool, is_wanted: Callable[[], bool]) -> TaskResult:
    """Have a process decode the clips of a task into shards.

    A clip at which the process dies is tried once more, in a fresh one, since memory may have been
    short or an earlier clip to blame; a clip at which it stalls is not.

    Args:
        task: the clips.
        pool: processes, of which one works on the task at a time.
        is_wanted: if it returns False at the end, the shards are removed.

    Raises:
        PreprocessError: if no decoding process can be started, or the pool is closed.
        WriteError: if a shard cannot be written.
    """
    total, tried, false_starts = TaskResult(), set(), 0
    while task.clips:
        # Clips begun since the last finished shard: the last of them is the one in work.
        begun = 0
        try:
            for event in pool.answers(DecoderLoader(extract_task), task):
                if isinstance(event, Begun):
                    begun += 1
                else:
                    total.add(event)
                    task, begun = task.without(event.num_clips), 0
        except WorkerDiedError as death:
            if not begun:
                false_starts += 1
                if false_starts == _FALSE_STARTS:
                    raise PreprocessError(
                        f"Decoding processes end as they start ({death.cause})."
                    ) from death
                continue
            clip = task.clips[begun - 1]
            if death.cause == STALLED or clip.source in tried:
                # The clip fails; the clips of its unfinished shard are decoded again without it.
                reason = describe_death(death.cause, task.stall_seconds)
                total.add(TaskResult(num_clips=1, failures={clip.source: reason}))
                task = replace(task, clips=tuple(other for other in task.clips if other != clip))
            tried.add(clip.source)
    # The owner may have been killed meanwhile; nobody else would remove these shards.
    if not is_wanted():
        for shard in total.shards:
            shard.temporary.unlink(missing_ok=True)
    return total


def extract_task(task: ClipTask) -> Iterator[Begun | TaskResult]:
    """Decode the clips of a task into shards, and yield the result of each shard's clips.

    A clip is never whole in memory.

    Raises:
        WriteError: if a shard cannot be written.
    """
    cv2.setNumThreads(task.opencv_threads)
    waiting = list(task.clips)
    while waiting:
        result = TaskResult()
        with ShardWriter(task.folder, task.settings) as writer:
            while waiting and (not writer.num_clips or writer.num_bytes < task.max_shard_bytes):
                clip = waiting.pop(0)
                # Sent before decoding: should this process die, the owner knows at which clip.
                yield Begun()
                try:
                    num_frames, notice = _write_clip(writer, clip, task)
                    result.num_frames += num_frames
                    result.notices |= {clip.source: notice} if notice else {}
                except DecodeError as error:
                    result.failures[clip.source] = str(error)
                result.num_clips += 1
            if writer.num_clips:
                result.shards.append(writer.seal())
        yield result


def _write_clip(writer: ShardWriter, clip: Clip, task: ClipTask) -> tuple[int, str]:
    """Append one clip to the shard; return its number of frames and a notice of missing ones.

    Raises:
        DecodeError: if the clip cannot be read to its end.
    """
    settings = task.settings
    # FFmpeg prints its reasons to standard error only, hence the capture. Progress is the number of
    # decoded frames and not of kept ones: a large stride may decode for long without keeping any.
    with captured_messages() as messages, ended_if_stalled(task.stall_seconds) as watch:
        try:
            with refusals_named(), settings.open(clip, threads=task.opencv_threads) as video:
                watch.follow(lambda: video.num_decoded)
                writer.begin_clip()
                try:
                    times = _append_frames(writer, video, settings)
                    # Only now it is known whether the file was cut short.
                    failure = what_is_missing(clip.path, video, messages)
                    if failure:
                        raise DecodeError(failure)
                except BaseException:
                    # Frames of a failed clip must not stay in a shard that other clips share.
                    writer.drop_clip()
                    raise
                record = _record_of(clip, video)
                writer.end_clip(record, times if settings.keeps_times else None)
                return video.num_given, video.complaint or shortfall(video, messages)
        except DecodeError as error:
            complaint = first_complaint(messages)
            raise DecodeError(f"{error} ({complaint})" if complaint else str(error)) from error


def _append_frames(
    writer: ShardWriter, video: FrameReader, settings: StoredSettings
) -> list[float]:
    """Append all frames of a video, a chunk at a time; return their times in seconds."""
    # One buffer is used again for all chunks: first touches of new memory are dear.
    chunk = np.empty((chunk_frames(settings), *settings.frame_shape), np.uint8)  # (n, H, W, 3)
    times: list[float] = []
    more = True
    while more:
        filled = 0
        for frame in chunk:
            more = video.read_into(frame)
            if not more:
                break
            times.append(video.time_seconds)
            filled += 1
        if filled:
            writer.append(chunk, filled)
    return times


def _record_of(clip: Clip, video: FrameReader) -> ClipRecord:
    """Row of the shard's table for a clip that was read."""
    return ClipRecord(
        source=clip.source,
        class_name=clip.class_name,
        group=clip.group,
        size_bytes=video.info.size_bytes,
        mtime_ns=video.info.mtime_ns,
        num_frames=video.num_given,
        fps=video.info.fps,
        original_width=video.info.width,
        original_height=video.info.height,
        detail=clip.detail,
    )
