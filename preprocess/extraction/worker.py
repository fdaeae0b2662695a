"""What a decoding process does: a few consecutive clips to one shard, or to several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from numpy.typing import NDArray

from common.files import SealedFile
from preprocess.errors import DecodeError
from preprocess.shards.schema import ClipRecord
from preprocess.shards.settings import StoredSettings
from preprocess.shards.writer import ShardWriter, chunk_frames
from preprocess.sources.clips import Clip
from preprocess.system.limits import STALL_SECONDS, Watch, ended_if_stalled, refusals_named
from preprocess.video.decode import FrameReader
from preprocess.video.messages import first_complaint
from preprocess.video.truncation import shortfall, what_is_missing
from preprocess.video.video_file import captured_messages

IDLE_SECONDS = 20
"""After which a process without work goes away."""


@dataclass(frozen=True)
class Unit:
    """The work of one task.

    Args:
        clips: consecutive clips.
        folder: where the shards are to lie.
        settings: of the frames.
        max_shard_bytes: a shard that has grown to this size takes no further clip.
        opencv_threads: that decode one video and scale its frames.
        stall_seconds: a decoder that gives nothing for so long is ended.
    """

    clips: tuple[Clip, ...]
    folder: Path
    settings: StoredSettings
    max_shard_bytes: int
    opencv_threads: int = 1
    stall_seconds: float = STALL_SECONDS

    def without(self, num_clips: int) -> Unit:
        """What is left of it after so many clips."""
        return replace(self, clips=self.clips[num_clips:])


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

    def add(self, other: UnitResult) -> None:
        """Count in what came of other clips."""
        self.shards += other.shards
        self.num_clips += other.num_clips
        self.num_frames += other.num_frames
        self.failures |= other.failures
        self.notices |= other.notices


@dataclass(frozen=True)
class Begun:
    """The next clip is being decoded."""


@dataclass(frozen=True)
class Ended:
    """There is no more to do."""


def serve_units(pipe: Connection) -> None:
    """Extract units as they come, and report each clip and each shard; see `.isolation`.

    An exception that is not the fault of a clip is sent, too, and ends the unit.
    """
    while pipe.poll(IDLE_SECONDS):
        unit = pipe.recv()
        try:
            for event in extract_unit(unit):
                pipe.send(event)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:
            pipe.send(error)
        else:
            pipe.send(Ended())


def extract_unit(unit: Unit) -> Iterator[Begun | UnitResult]:
    """Decode the clips of a unit into shards, and tell what came of each shard's clips.

    A clip is never whole in memory.

    Raises:
        WriteError: if the disk does not take them.
    """
    cv2.setNumThreads(unit.opencv_threads)
    waiting = list(unit.clips)
    while waiting:
        result = UnitResult()
        yield from _write_shard(unit, waiting, result)
        yield result


def _write_shard(unit: Unit, waiting: list[Clip], result: UnitResult) -> Iterator[Begun]:
    """One shard of the clips that wait, as many as fit; they are taken from the list."""
    with ShardWriter(unit.folder, unit.settings) as writer:
        while waiting and (not writer.num_clips or writer.num_bytes < unit.max_shard_bytes):
            clip = waiting.pop(0)
            yield Begun()
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
    with captured_messages() as messages, ended_if_stalled(unit.stall_seconds) as watch:
        try:
            with refusals_named():
                return _decode_clip(writer, clip, unit, messages, watch)
        except DecodeError as error:
            complaint = first_complaint(messages)
            raise DecodeError(f"{error} ({complaint})" if complaint else str(error)) from error


def _decode_clip(
    writer: ShardWriter, clip: Clip, unit: Unit, messages: IO[bytes], watch: Watch
) -> tuple[int, str]:
    settings = unit.settings
    with settings.open(clip, threads=unit.opencv_threads) as video:
        watch.follow(lambda: video.num_decoded)
        writer.begin_clip()
        try:
            times = _append_frames(writer, video, settings)
            failure = what_is_missing(clip.path, video, messages)
            if failure:
                raise DecodeError(failure)
        except BaseException:
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
        return video.num_given, video.complaint or shortfall(video, messages)


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
