"""Some frames of a video, chosen by when they are shown."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Protocol, Self

from preprocess.errors import PreprocessError
from preprocess.video.decode import Frame, VideoReader
from preprocess.video.transforms import Fit

Stretch = tuple[float, float]
WHOLE: tuple[Stretch, ...] = ((0.0, math.inf),)
_ROUNDING_SECONDS = 0.0015  # Matroska gives times in thousandths: 1/30 s is 0.033
_DISTINCT_SECONDS = 1e-6


class FrameSampler:
    """Reads frames of a video at a rate, or every so many.

    At a rate of f, sample k is the first frame that is shown at start + k/f or later, whatever
    the video's own rate is and however it varies; a frame that is sample k and k + 1 comes once.
    A frame up to 1.5 ms early counts as being in time. Frames in between are decoded,
    since later ones build on them, but not converted; where samples lie far apart, frames are
    left out by seeking, which changes neither samples nor times. Frames that cannot be decoded
    are passed over.

    Args:
        path: the video file.
        fit: what pictures are made into.
        fps: samples a second. Give either this or `every`.
        every: 1 for each frame, n for the first of a stretch and each n-th after it.
        stretches: the parts that are sampled, [start, end) in seconds, sorted, without overlap;
            the first picture is shown at 0.
        threads: of the decoder.

    Raises:
        PreprocessError: if an argument is out of its range.
        DecodeError: if the file cannot be opened.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fit: Fit,
        fps: float | None = None,
        every: int | None = None,
        stretches: Sequence[Stretch] = WHOLE,
        threads: int = 1,
    ) -> None:
        check_sampling(fps, every)
        self._fps, self._every = fps, every
        self._waiting = list(stretches)
        self._end = -math.inf
        self._schedule: _Schedule | None = None
        self._sought = -math.inf
        self._video = VideoReader(path, fit=fit, threads=threads)
        self.info = self._video.info
        self.note = ""
        """What is said of the samples, in place of what the decoder says of the file."""
        self.num_given = 0

    @property
    def complaint(self) -> str:
        """What could not be read so far, or was left out; empty if nothing."""
        return self.note or self._video.complaint

    @property
    def num_decoded(self) -> int:
        """Frames of the file gone through so far."""
        return self._video.num_decoded

    @property
    def reached_end(self) -> bool:
        """Whether the file had no more frames."""
        return self._video.reached_end

    @property
    def time_seconds(self) -> float:
        """When the frame given last is shown."""
        return self._video.time_seconds

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame` (H, W, 3), RGB, with the next sample; False when there is none."""
        while self._video.pass_over():
            while self.time_seconds + _ROUNDING_SECONDS >= self._end:
                if not self._waiting:
                    return False
                self._begin(*self._waiting.pop(0))
            assert self._schedule is not None
            if self._schedule.is_due(self.time_seconds):
                self._video.convert_into(frame)
                self.num_given += 1
                return True
            self._go_ahead(self._schedule.next_due())
        return False

    def close(self) -> None:
        """Free the decoder."""
        self._video.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _begin(self, start: float, end: float) -> None:
        self._end = end
        if self._fps is not None:
            self._schedule = _AtRate(self._fps, start)
        else:
            assert self._every is not None
            self._schedule = _EachNth(self._every, start)

    def _go_ahead(self, due: float) -> None:
        """Seek to when the next sample is due, once for each."""
        if due >= self._end:
            due = self._waiting[0][0] if self._waiting else self._end
        if due > self._sought:
            self._sought = due
            self._video.seek(due - _ROUNDING_SECONDS - _DISTINCT_SECONDS)


def check_sampling(fps: float | None, every: int | None) -> None:
    """Whether samples are chosen in one way.

    Raises:
        PreprocessError: if not.
    """
    if (fps is None) == (every is None):
        raise PreprocessError(
            f"Either fps or every must be given. Received fps={fps}, every={every}."
        )
    if fps is not None and not 0 < fps < math.inf:
        raise PreprocessError(f"fps must be above 0. Received {fps}.")
    if every is not None and every < 1:
        raise PreprocessError(f"every must be at least 1. Received {every}.")


class _Schedule(Protocol):
    """Which frames of a stretch are samples."""

    def is_due(self, seconds: float) -> bool:
        """Whether the frame shown at a time is one; asked once for each frame, in order."""

    def next_due(self) -> float:
        """Until when no frame is one; minus infinity where frames have to be counted."""


class _AtRate:
    def __init__(self, fps: float, start: float) -> None:
        self._fps = fps
        self._start = start
        self._next = 0  # number of the sample that is due next

    def is_due(self, seconds: float) -> bool:
        samples = (seconds + _ROUNDING_SECONDS - self._start) * self._fps
        if samples < self._next:
            return False
        self._next = math.floor(samples) + 1
        return True

    def next_due(self) -> float:
        return self._start + self._next / self._fps


class _EachNth:
    def __init__(self, every: int, start: float) -> None:
        self._every = every
        self._start = start
        self._num_seen = 0

    def is_due(self, seconds: float) -> bool:
        if seconds + _ROUNDING_SECONDS < self._start:
            return False
        self._num_seen += 1
        return (self._num_seen - 1) % self._every == 0

    def next_due(self) -> float:
        return -math.inf if self._num_seen else self._start
