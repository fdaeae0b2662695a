"""Frames of many videos, decoded by worker processes beside the caller's own work.

A worker decodes one video at a time into blocks of shared memory; the caller takes the blocks as
they come. Memory is bounded, whatever the videos' lengths. A worker that crashes or hangs costs
its video alone: another takes its place.

The protocol: the owner sends a `_Setup`, then `Task`s and the numbers of blocks that are free
again; the worker sends `Opened`, `Block`s and `Finished` for each task.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Generator, Iterable
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
    ChildProcess,
    Watch,
    anonymous_file,
    describe_death,
    ended_if_stalled,
)

# Frames of a block: enough to make messages rare, few enough for blocks to be ready early.
BLOCK_FRAMES = 16


@dataclass(frozen=True)
class VideoOpened:
    """First event of a video that can be opened.

    Args:
        video: number of its task, from 0.
        info: data of its header.
    """

    video: int
    info: VideoInfo


@dataclass(frozen=True)
class FrameBlock:
    """Event with some consecutive frames of one video.

    Args:
        video: number of its task, from 0.
        first: number of the first frame among the video's kept frames.
        times: presentation time of each frame, in seconds.
        frames: (n, H, W, 3), RGB; valid until the next event is asked for.
    """

    video: int
    first: int
    times: list[float]
    frames: NDArray


@dataclass(frozen=True)
class VideoEnded:
    """Last event of a video.

    Args:
        video: number of its task, from 0.
        num_frames: number of frames in all, including those passed over.
        failure: reason why it could not be read to its end; empty if it could.
        crashed: True if the decoding process ended, and not the video.
        notice: description of frames that could not be read before the end; empty if none.
        refused: True if the system refused the file or the memory, which may change.
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
        tasks: videos to decode; each is asked for when a worker is free for it.
        fit: size and format of the frames.
        stride: keep every `stride`-th frame.
        jobs: number of worker processes, each with a video of its own.
        frames_ahead: number of frames that all workers together decode before they wait.
        stall_seconds: seconds without a decoded frame after which a worker is ended.

    Yields:
        VideoOpened, FrameBlock and VideoEnded events.
    """
    # Two blocks at least, so that one is filled while the caller works on the other.
    slots = max(2, -(-frames_ahead // (BLOCK_FRAMES * jobs)))
    waiting = enumerate(tasks)
    workers: list[Worker] = []
    try:
        for number, task in islice(waiting, jobs):
            workers.append(Worker(fit, stride, slots, stall_seconds))
            workers[-1].begin(number, task)
        while any(worker.video is not None for worker in workers):
            busy = [worker for worker in workers if worker.video is not None]
            ready = connection.wait([worker.pipe for worker in busy])
            for worker in (worker for worker in busy if worker.pipe in ready):
                event = _receive(worker, stall_seconds)
                yield event
                # The caller is back for the next event, so it is done with this block.
                if isinstance(event, FrameBlock):
                    worker.give_back()
                if not isinstance(event, VideoEnded):
                    continue
                following = next(waiting, None)
                # A worker that crashed, or died since its last video, is replaced.
                if following and (event.crashed or not worker.begin(*following)):
                    workers.remove(worker)
                    worker.close()
                    workers.append(Worker(fit, stride, slots, stall_seconds))
                    workers[-1].begin(*following)
    finally:
        for worker in workers:
            worker.close()


def _receive(worker: Worker, stall_seconds: float) -> Event:
    """Event of a worker's next message, or of its death."""
    assert worker.video is not None
    video = worker.video
    try:
        message = worker.receive()
    except EOFError:
        failure = describe_death(worker.cause_of_death(), stall_seconds)
        message = Finished(worker.num_frames, failure, crashed=True)
    match message:
        case Opened(info):
            return VideoOpened(video, info)
        case Block(_, first, times):
            return FrameBlock(video, first, times, worker.frames_of(message))
    worker.video = None
    return VideoEnded(video, **vars(message))


@dataclass(frozen=True)
class Task:
    """Video to decode.

    Args:
        path: the file, or the folder of its frames.
        skip: number of kept frames to pass over at its start.
    """

    path: Path
    skip: int = 0


@dataclass(frozen=True)
class Opened:
    """Message that the decoder has opened the file."""

    info: VideoInfo


@dataclass(frozen=True)
class Block:
    """Message that a block of shared memory is filled, from frame `first` on."""

    slot: int
    first: int
    times: list[float]


@dataclass(frozen=True)
class Finished:
    """Message that there are no more frames."""

    num_frames: int
    failure: str
    notice: str = ""
    """Description of frames that could not be read before the end."""
    refused: bool = False
    """True if the failure is the system's and may not occur another time."""
    crashed: bool = False
    """True if the process ended; then its owner makes this message."""


@dataclass(frozen=True)
class _Setup:
    """First message to a process."""

    memory: int
    """File descriptor of the shared memory."""
    fit: FrameFit
    stride: int
    num_slots: int
    stall_seconds: float


class Worker(ChildProcess):
    """Decoding process, seen from its owner, with its blocks of shared memory.

    The memory is freed with the last array on it.

    Args:
        fit: size and format of the frames.
        stride: keep every `stride`-th frame.
        num_slots: number of blocks.
        stall_seconds: seconds without a decoded frame after which the process ends.
    """

    def __init__(self, fit: FrameFit, stride: int, num_slots: int, stall_seconds: float) -> None:
        # The file may be closed at once: the mappings of both processes keep the memory alive.
        with anonymous_file() as file:
            setup = _Setup(file.fileno(), fit, stride, num_slots, stall_seconds)
            self._blocks = _map_blocks(file.fileno(), fit, num_slots)
            super().__init__(_serve, descriptors=[file.fileno()])
            self.send(setup)
        self._taken: list[int] = []
        self.video: int | None = None
        self.num_frames = 0

    def begin(self, video: int, task: Task) -> bool:
        """Let the process decode a video; return False if it is dead."""
        self.video, self.num_frames = video, task.skip
        return self.send(task)

    def receive(self) -> Opened | Block | Finished:
        """Receive the next message; EOFError if the process died."""
        message = super().receive()
        if isinstance(message, Block):
            self._taken.append(message.slot)
            self.num_frames = message.first + len(message.times)
        return message

    def frames_of(self, block: Block) -> NDArray[Any]:
        """Frames of a block, (n, H, W, 3), in shared memory."""
        return self._blocks[block.slot, : len(block.times)]

    def give_back(self) -> None:
        """Let the process fill the block received last again."""
        self.send(self._taken.pop())


def _map_blocks(descriptor: int, fit: FrameFit, num_slots: int) -> NDArray[Any]:
    """Map shared memory as blocks of frames (num_slots, BLOCK_FRAMES, H, W, 3)."""
    shape = (num_slots, BLOCK_FRAMES, *fit.frame_shape)
    num_bytes = int(np.prod(shape)) * fit.dtype.itemsize
    os.ftruncate(descriptor, num_bytes)
    return np.ndarray(shape, fit.dtype, mmap.mmap(descriptor, num_bytes))


def _serve(pipe: Connection) -> None:
    """Run the process: decode videos until the owner has ended."""
    setup = pipe.recv()
    blocks = _map_blocks(setup.memory, setup.fit, setup.num_slots)
    free = list(range(setup.num_slots))
    while True:
        message = pipe.recv()
        # Blocks of the video before may come back after its end.
        if isinstance(message, int):
            free.append(message)
        else:
            pipe.send(_decode(pipe, message, setup, blocks, free))


def _decode(
    pipe: Connection, task: Task, setup: _Setup, blocks: NDArray, free: list[int]
) -> Finished:
    """Send a video's frames; return how it ended."""
    given = 0
    with captured_messages() as messages, ended_if_stalled(setup.stall_seconds) as watch:
        try:
            with refusals_named(), _open(task.path, setup.fit, setup.stride) as video:
                watch.follow(lambda: video.num_decoded)
                pipe.send(Opened(video.info))
                for _ in range(task.skip):
                    if not video.pass_over():
                        break
                given = _send_frames(pipe, video, blocks, free, watch)
                missing = what_is_missing(task.path, video, messages)
                return Finished(given, _complaint(missing, messages), video.complaint)
        except DecodeError as error:
            # A file that the system refuses (no permission, no memory) may be read another time.
            refused = isinstance(error.__cause__, OSError | MemoryError)
            return Finished(given, _complaint(str(error), messages), refused=refused)


def _open(path: Path, fit: FrameFit, stride: int) -> VideoReader | FrameFolderReader:
    """Open a video file or a folder of frames."""
    reader = FrameFolderReader if path.is_dir() else VideoReader
    return reader(path, fit=fit, stride=stride)


def _complaint(failure: str, messages: IO[bytes]) -> str:
    """Failure together with FFmpeg's first message about it."""
    message = first_complaint(messages) if failure else ""
    return f"{failure} ({message})" if message else failure


def _send_frames(
    pipe: Connection, video: FrameReader, blocks: NDArray, free: list[int], watch: Watch
) -> int:
    """Send all frames that are left, a block at a time; return the video's number of frames."""
    more = True
    while more:
        # This is what bounds the memory: without a free block the decoder waits for the caller.
        while not free:
            with watch.waiting():
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
