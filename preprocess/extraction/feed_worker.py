"""A process that decodes videos into shared memory, seen from both of its ends."""

from __future__ import annotations

import mmap
import os
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from preprocess.errors import DecodeError
from preprocess.system.limits import refusals_named
from preprocess.video.decode import FrameReader, VideoReader
from preprocess.video.frame_reader import FrameFolderReader
from preprocess.video.messages import first_complaint
from preprocess.video.transforms import FrameFit
from preprocess.video.truncation import what_is_missing
from preprocess.video.video_file import VideoInfo, captured_messages
from preprocess.workers.child_process import ChildProcess, anonymous_file

BLOCK_FRAMES = 16
_WORD_EVERY = 500  # frames passed over between two signs of life


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
