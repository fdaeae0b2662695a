"""Some frames of a video, chosen by when they are shown."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from preprocess.decode import VideoReader
from preprocess.errors import DecodeError, PreprocessError
from preprocess.transforms import FrameFit

IsDue = Callable[[float], bool]
_ROUNDING_SECONDS = 0.0015  # Matroska gives times in thousandths: 1/30 s is 0.033


def sample_frames(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int],
    box: tuple[float, float, float, float] | None = None,
    fps: float | None = None,
    every: int | None = None,
    start: float = 0.0,
    end: float | None = None,
    threads: int = 1,
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Frames of a video with their times: at a rate, or every so many.

    At a rate of f, sample k is the first frame that is shown at start + k/f or later, whatever
    the video's own rate is and however it varies; a frame that is sample k and k + 1 comes once.
    A frame up to 1.5 ms early counts as being in time. Frames in between are decoded,
    since later ones build on them, but not converted.

    Args:
        path: the video file.
        size: width and height of the frames, in pixels.
        box: part of the picture as shown, (x1, y1, x2, y2) in fractions of its width and height,
            cut out before scaling; None for all of it.
        fps: samples a second. Give either this or `every`.
        every: 1 for each frame, n for the first at `start` and each n-th after it.
        start: of the part that is sampled, in seconds; the first picture is shown at 0.
        end: of that part, which no longer belongs to it; None for the end of the video.
        threads: of the decoder.

    Yields:
        (time in seconds, uint8 (height, width, 3) RGB), each frame in memory of its own.

    Raises:
        PreprocessError: if an argument is out of its range.
        DecodeError: if the file cannot be opened or not one frame of it decodes.
    """
    is_due = _schedule(fps, every, start)
    fit = FrameFit(size, interpolation="smooth", box=box)
    return _sampled(path, fit, is_due, math.inf if end is None else end, threads)


def _sampled(
    path: str | os.PathLike[str], fit: FrameFit, is_due: IsDue, end: float, threads: int
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    with VideoReader(path, fit=fit, threads=threads) as video:
        while video.pass_over() and video.time_seconds + _ROUNDING_SECONDS < end:
            if is_due(video.time_seconds):
                frame = np.empty(fit.frame_shape, np.uint8)
                video.convert_into(frame)
                yield video.time_seconds, frame
        if video.num_decoded == 0:
            raise DecodeError("no frame could be decoded")


def _schedule(fps: float | None, every: int | None, start: float) -> IsDue:
    """Asked for each frame's time in turn: whether it is a sample."""
    if (fps is None) == (every is None):
        raise PreprocessError(
            f"Either fps or every must be given. Received fps={fps}, every={every}."
        )
    if fps is not None:
        if not 0 < fps < math.inf:
            raise PreprocessError(f"fps must be above 0. Received {fps}.")
        return _AtRate(fps, start)
    assert every is not None
    if every < 1:
        raise PreprocessError(f"every must be at least 1. Received {every}.")
    return _EachNth(every, start)


class _AtRate:
    def __init__(self, fps: float, start: float) -> None:
        self._fps = fps
        self._start = start
        self._next = 0  # number of the sample that is due next

    def __call__(self, seconds: float) -> bool:
        samples = (seconds + _ROUNDING_SECONDS - self._start) * self._fps
        if samples < self._next:
            return False
        self._next = math.floor(samples) + 1
        return True


class _EachNth:
    def __init__(self, every: int, start: float) -> None:
        self._every = every
        self._start = start
        self._num_seen = 0

    def __call__(self, seconds: float) -> bool:
        if seconds + _ROUNDING_SECONDS < self._start:
            return False
        self._num_seen += 1
        return (self._num_seen - 1) % self._every == 0
