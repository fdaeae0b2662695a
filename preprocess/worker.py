"""What one worker process does: a few consecutive clips to one shard, or to several."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocess.clips import Clip
from preprocess.decode import FrameReader
from preprocess.errors import DecodeError
from preprocess.files import SealedFile
from preprocess.messages import captured_stderr, first_complaint
from preprocess.settings import StoredSettings
from preprocess.shards import ClipRecord, ShardWriter, chunk_frames
from preprocess.truncation import what_is_missing


@dataclass(frozen=True)
class Unit:
    """The work of one task.

    Args:
        clips: consecutive clips.
        folder: where the shards are to lie.
        settings: of the frames.
        max_shard_bytes: a shard that has grown to this size takes no further clip.
        owner: process id of the command; without it the work is pointless.
        opencv_threads: that decode one video and scale its frames.
    """

    clips: tuple[Clip, ...]
    folder: Path
    settings: StoredSettings
    max_shard_bytes: int
    owner: int
    opencv_threads: int = 1


@dataclass
class UnitResult:
    """What came of a unit.

    Args:
        shards: written, and waiting to be published.
        num_clips: clips gone through, failed ones included.
        num_frames: frames stored.
        failures: reason by source.
        notices: by source, what was missing of clips that were stored all the same.
    """

    shards: list[SealedFile] = field(default_factory=list)
    num_clips: int = 0
    num_frames: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    notices: dict[str, str] = field(default_factory=dict)


def extract_unit(unit: Unit) -> UnitResult:
    """Decode the clips of a unit into shards. A clip is never whole in memory.

    Raises:
        WriteError: if the disk does not take them.
    """
    cv2.setNumThreads(unit.opencv_threads)
    if os.getpid() != unit.owner:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's to answer
    result = UnitResult()
    waiting = list(unit.clips)
    while waiting:
        _write_shard(unit, waiting, result)
    return result


def _write_shard(unit: Unit, waiting: list[Clip], result: UnitResult) -> None:
    """One shard of the clips that wait, as many as fit; they are taken from the list."""
    with ShardWriter(unit.folder, unit.settings) as writer:
        while waiting and (not writer.num_clips or writer.num_bytes < unit.max_shard_bytes):
            if unit.owner not in (os.getpid(), os.getppid()):
                os._exit(1)  # the command that started this worker is gone
            clip = waiting.pop(0)
            try:
                num_frames, notice = _write_clip(writer, clip, unit)
                result.num_frames += num_frames
                result.notices |= {clip.source: notice} if notice else {}
            except DecodeError as error:
                result.failures[clip.source] = str(error)
            result.num_clips += 1
        if writer.num_clips:
            result.shards.append(writer.seal())


def _write_clip(writer: ShardWriter, clip: Clip, unit: Unit) -> tuple[int, str]:
    """Append one clip to the shard; returns the number of its frames and what was missing else.

    Raises:
        DecodeError: with the true reason, if the clip cannot be read to its end.
    """
    with captured_stderr() as messages:
        try:
            return _decode_clip(writer, clip, unit, messages)
        except DecodeError as error:
            complaint = first_complaint(messages)
            raise DecodeError(f"{error} ({complaint})" if complaint else str(error)) from error


def _decode_clip(
    writer: ShardWriter, clip: Clip, unit: Unit, messages: IO[bytes]
) -> tuple[int, str]:
    settings = unit.settings
    with settings.open(clip, threads=unit.opencv_threads) as video:
        writer.begin_clip()
        try:
            times = _append_frames(writer, video, settings)
            failure = what_is_missing(clip.path, video, messages)
            if failure:
                raise DecodeError(failure)
        except DecodeError:
            writer.drop_clip()
            raise
        writer.end_clip(
            ClipRecord(
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
            ),
            times if settings.keeps_times else None,
        )
        return video.num_given, video.complaint


def _append_frames(
    writer: ShardWriter, video: FrameReader, settings: StoredSettings
) -> list[float]:
    """All frames of the video, a chunk at a time; returns when each is shown."""
    chunk = np.empty((chunk_frames(settings), *settings.frame_shape), np.uint8)
    times: list[float] = []
    filled = len(chunk)
    while filled == len(chunk):
        before = len(times)
        times += _fill(chunk, video)
        filled = len(times) - before
        if filled:
            writer.append(chunk, filled)
    return times


def _fill(block: NDArray[np.uint8], video: FrameReader) -> list[float]:
    """Decode as many frames as the block holds; returns when those that there were are shown."""
    times: list[float] = []
    for frame in block:
        if not video.read_into(frame):
            break
        times.append(video.time_seconds)
    return times
