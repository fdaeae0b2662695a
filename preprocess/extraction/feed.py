"""Frames of many videos, decoded by worker processes while the caller does something else.

A worker decodes one video at a time into blocks of shared memory; the caller takes the blocks as
they come. Memory is bounded, whatever the videos' lengths. A worker that crashes or hangs costs
its video alone: another takes its place.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from preprocess.errors import DecodeError
from preprocess.video.decode import (
    FrameReader,
    VideoInfo,
    VideoReader,
    refusals_named,
    what_is_missing,
)
from preprocess.video.ffmpeg import first_complaint
from preprocess.video.frame_reader import FrameFolderReader
from preprocess.video.transforms import FrameFit
from preprocess.video.video_file import captured_messages
from preprocess.workers.child_process import (
    STALL_SECONDS,
    STALLED,
    ChildProcess,
    anonymous_file,
    death_told,
)

_LOOK_SECONDS = 1.0
BLOCK_FRAMES = 16
_WORD_EVERY = 500  # frames passed over between two signs of life


@dataclass(frozen=True)
class VideoOpened:
    """The first event of a video that can be opened.

    Args:
        video: number of its task, from 0.
        info: what its header says.
    """

    video: int
    info: VideoInfo


@dataclass(frozen=True)
class FrameBlock:
    """Some consecutive frames of one video.

    Args:
        video: number of its task, from 0.
        first: which of the video's kept frames the first one is.
        times: when each is shown, in seconds.
        frames: (n, H, W, 3), RGB; good until the next event is asked for.
    """

    video: int
    first: int
    times: list[float]
    frames: NDArray


@dataclass(frozen=True)
class VideoEnded:
    """The last event of a video.

    Args:
        video: number of its task, from 0.
        num_frames: that there are in all, those passed over included.
        failure: why it could not be read, or not to its end; empty if it could.
        crashed: whether that was the decoder's end rather than the video's.
        notice: what could not be read before the video's end; empty if nothing.
        refused: whether the system did not give the file or the memory, and may another time.
    """

    video: int
    num_frames: int
    failure: str
    crashed: bool = False
    notice: str = ""
    refused: bool = False


Event = VideoOpened | FrameBlock | VideoEnded


def feed_frames(
    tasks: Iterable[Task],
    fit: FrameFit,
    *,
    stride: int = 1,
    jobs: int = 1,
    frames_ahead: int = 128,
    stall_seconds: float = STALL_SECONDS,
) -> Generator[Event]:
    """Decode videos in worker processes; close the generator to end them early.

    Videos are begun in order. The events of one come in order; those of videos decoded at the
    same time alternate as they happen to.

    Args:
        tasks: what to decode; each is asked for when a worker is free for it.
        fit: what pictures are made into.
        stride: every how many frames one is kept.
        jobs: worker processes, each with a video of its own.
        frames_ahead: how many frames all workers together decode before they wait.
        stall_seconds: a worker that has room, but gives nothing for so long, is ended.
    """
    slots = max(2, -(-frames_ahead // (BLOCK_FRAMES * jobs)))
    waiting = enumerate(tasks)
    workers: list[Worker] = []
    try:
        for number, task in islice(waiting, jobs):
            workers.append(Worker(fit, stride, slots))
            workers[-1].begin(number, task)
        while any(worker.video is not None for worker in workers):
            for worker in _ready(workers):
                event = _receive(worker, stall_seconds)
                if event is None:
                    continue
                yield event
                if isinstance(event, FrameBlock):
                    worker.give_back()
                if not isinstance(event, VideoEnded):
                    continue
                following = next(waiting, None)
                if following and (event.crashed or not worker.begin(*following)):
                    workers.remove(worker)
                    worker.close()
                    workers.append(Worker(fit, stride, slots))
                    workers[-1].begin(*following)
    finally:
        for worker in workers:
            worker.close()


def _ready(workers: Sequence[Worker]) -> list[Worker]:
    """Busy workers that have something to say, died, or have been silent for a while."""
    busy = [worker for worker in workers if worker.video is not None]
    spoke = connection.wait([worker.pipe for worker in busy], timeout=_LOOK_SECONDS)
    return [worker for worker in busy if worker.pipe in spoke] or busy


def _receive(worker: Worker, stall_seconds: float) -> Event | None:
    """What a worker has to say; None if nothing yet."""
    assert worker.video is not None
    video, failure = worker.video, ""
    try:
        if not worker.pipe.poll():
            stalled = worker.has_room() and time.monotonic() - worker.last_word > stall_seconds
            if not stalled:
                return None
            worker.kill()
            failure = death_told(STALLED, stall_seconds)
        else:
            message = worker.receive()
            match message:
                case Opened(info):
                    return VideoOpened(video, info)
                case Block(_, first, times):
                    return FrameBlock(video, first, times, worker.frames_of(message))
                case Finished(num_frames, failure, notice, refused):
                    worker.video = None
                    return VideoEnded(video, num_frames, failure, notice=notice, refused=refused)
            return None
    except EOFError:
        failure = death_told(worker.cause_of_death(), stall_seconds)
    worker.video = None
    return VideoEnded(video, worker.num_frames, failure, crashed=True)


@dataclass(frozen=True)
class Task:
    """A video to decode.

    Args:
        path: the file, or the folder of its frames.
        skip: kept frames at its start that are passed over.
    """

    path: Path
    skip: int = 0


@dataclass(frozen=True)
class Opened:
    """The decoder knows the file."""

    info: VideoInfo


@dataclass(frozen=True)
class Block:
    """A block of shared memory is filled, from frame `first` on."""

    slot: int
    first: int
    times: list[float]


@dataclass(frozen=True)
class Finished:
    """There are no more frames."""

    num_frames: int
    failure: str
    notice: str = ""
    """What could not be read of a video that goes on all the same."""
    refused: bool = False
    """Whether the failure is the system's, which may give the same file another time."""


class Alive:
    """A sign of life."""


@dataclass(frozen=True)
class _Setup:
    """What a process is told first."""

    memory: int
    """Descriptor of the shared memory."""
    fit: FrameFit
    stride: int
    num_slots: int


class Worker:
    """The owner's end: starts the process, and keeps count of its blocks.

    Args:
        fit: what pictures are made into.
        stride: every how many frames one is kept.
        num_slots: blocks of shared memory.
    """

    def __init__(self, fit: FrameFit, stride: int, num_slots: int) -> None:
        with anonymous_file() as file:
            setup = _Setup(file.fileno(), fit, stride, num_slots)
            self._blocks = _map_blocks(file.fileno(), fit, num_slots)
            self._process = ChildProcess(_serve, descriptors=[file.fileno()])
            self._process.send(setup)
        self._taken: list[int] = []
        self._num_slots = num_slots
        self.pipe = self._process.pipe
        self.video: int | None = None
        self.num_frames = 0
        self.last_word = time.monotonic()

    def begin(self, video: int, task: Task) -> bool:
        """Let the process decode a video; False if it is dead, which `receive` says as well."""
        self.video, self.num_frames, self.last_word = video, task.skip, time.monotonic()
        return self._process.send(task)

    def receive(self) -> Opened | Block | Finished | Alive:
        """The next message; EOFError if the process died."""
        message = self._process.receive()
        self.last_word = time.monotonic()
        if isinstance(message, Block):
            self._taken.append(message.slot)
            self.num_frames = message.first + len(message.times)
        return message

    def frames_of(self, block: Block) -> NDArray[Any]:
        """(n, H, W, 3), in shared memory."""
        return self._blocks[block.slot, : len(block.times)]

    def give_back(self) -> None:
        """Let the process fill the block received last again."""
        self._process.send(self._taken.pop())
        self.last_word = time.monotonic()

    def has_room(self) -> bool:
        """Whether the process has a free block, and so no reason to be silent."""
        return len(self._taken) < self._num_slots

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    def cause_of_death(self) -> str:
        """For a message: the signal or exit code."""
        return self._process.cause_of_death()

    def kill(self) -> None:
        """End the process."""
        self._process.kill()

    def close(self) -> None:
        """End the process; the memory is freed with the last array of it."""
        self._process.close()


def _map_blocks(descriptor: int, fit: FrameFit, num_slots: int) -> NDArray[Any]:
    """Shared memory as blocks of frames (num_slots, BLOCK_FRAMES, H, W, 3)."""
    shape = (num_slots, BLOCK_FRAMES, *fit.frame_shape)
    num_bytes = int(np.prod(shape)) * fit.dtype.itemsize
    os.ftruncate(descriptor, num_bytes)
    return np.ndarray(shape, fit.dtype, mmap.mmap(descriptor, num_bytes))


def _serve(pipe: Connection) -> None:
    """The process's end: decode what is asked for until the owner is gone."""
    setup = pipe.recv()
    blocks = _map_blocks(setup.memory, setup.fit, setup.num_slots)
    free = list(range(setup.num_slots))
    while True:
        message = pipe.recv()
        if isinstance(message, int):
            free.append(message)
        else:
            pipe.send(_decode(pipe, message, setup.fit, setup.stride, blocks, free))


def _decode(
    pipe: Connection, task: Task, fit: FrameFit, stride: int, blocks: NDArray, free: list[int]
) -> Finished:
    """Send a video's frames; returns how it ended."""
    given = 0
    with captured_messages() as messages:
        try:
            with refusals_named(), _open(task.path, fit, stride) as video:
                pipe.send(Opened(video.info))
                _pass_over(pipe, video, task.skip)
                given = _send_frames(pipe, video, blocks, free)
                missing = what_is_missing(task.path, video, messages)
                return Finished(given, _complaint(missing, messages), video.complaint)
        except DecodeError as error:
            refused = isinstance(error.__cause__, OSError | MemoryError)
            return Finished(given, _complaint(str(error), messages), refused=refused)


def _open(path: Path, fit: FrameFit, stride: int) -> VideoReader | FrameFolderReader:
    reader = FrameFolderReader if path.is_dir() else VideoReader
    return reader(path, fit=fit, stride=stride)


def _complaint(failure: str, messages: IO[bytes]) -> str:
    """The reason with what FFmpeg had to say of it."""
    said = first_complaint(messages) if failure else ""
    return f"{failure} ({said})" if said else failure


def _pass_over(pipe: Connection, video: VideoReader | FrameFolderReader, num_frames: int) -> None:
    for number in range(num_frames):
        if not video.pass_over():
            return
        if number % _WORD_EVERY == 0:
            pipe.send(Alive())


def _send_frames(pipe: Connection, video: FrameReader, blocks: NDArray, free: list[int]) -> int:
    """All frames that are left, a block at a time; returns how many the video has."""
    more = True
    while more:
        while not free:
            free.append(pipe.recv())
        slot, first = free.pop(), video.num_given
        times = []
        for frame in blocks[slot]:
            more = video.read_into(frame)
            if not more:
                break
            times.append(video.time_seconds)
        if times:
            pipe.send(Block(slot, first, times))
        else:
            free.append(slot)
    return video.num_given
