"""Frames of many videos, decoded by worker processes while the caller does something else.

A worker decodes one video at a time into blocks of shared memory; the caller takes the blocks as
they come. Memory is bounded, whatever the videos' lengths. A worker that crashes or hangs costs
its video alone: another takes its place.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing import connection

from numpy.typing import NDArray

from preprocess.extraction.feed_worker import BLOCK_FRAMES, Block, Finished, Opened, Task, Worker
from preprocess.system.limits import STALL_SECONDS
from preprocess.video.decode import VideoInfo
from preprocess.video.transforms import FrameFit
from preprocess.workers.child_process import STALLED, death_told

_LOOK_SECONDS = 1.0


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
