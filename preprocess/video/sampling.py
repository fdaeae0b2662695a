"""Sampling of a video's frames by their presentation times."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Protocol, Self

from preprocess.video.decode import Frame, VideoReader
from preprocess.video.frame_differences import DifferenceMeter
from preprocess.video.time_ranges import check_sampling
from preprocess.video.transforms import Fit

TimeRange = tuple[float, float]
WHOLE: tuple[TimeRange, ...] = ((0.0, math.inf),)
_ROUNDING_SECONDS = 0.0015  # Matroska gives times in thousandths: 1/30 s is 0.033
_DISTINCT_SECONDS = 1e-6  # so that a frame exactly at a seek's target is not skipped


class FrameSampler:
    """Reader of a video's frames at a rate, or of every n-th frame.

    At a rate of f, sample k is the first frame that is shown at start + k/f or later, whatever
    the video's own rate is and however it varies; a frame that is sample k and k + 1 comes once.
    A frame up to 1.5 ms early counts as in time. Frames in between are decoded, since later ones
    depend on them, but not converted; where samples lie far apart, frames are skipped by seeking,
    which changes neither samples nor times. Frames that cannot be decoded are left out.

    Args:
        path: the video file.
        fit: conversion of pictures to frames.
        fps: samples per second. Give either this or `stride`.
        stride: 1 for each frame, n for the first of a time range and each n-th after it.
        stretches: time ranges to sample, [start, end) in seconds, sorted, without overlap; the
            first picture is shown at 0.
        threads: number of decoding threads.
        meter: meter that measures each frame that is decoded, or None.

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
        stride: int | None = None,
        stretches: Sequence[TimeRange] = WHOLE,
        threads: int = 1,
        meter: DifferenceMeter | None = None,
    ) -> None:
        check_sampling(fps, stride)
        self._fps, self._stride = fps, stride
        self._waiting = list(stretches)
        self._end = -math.inf
        self._schedule: _Schedule | None = None
        self._sought = -math.inf
        self._video = VideoReader(path, fit=fit, threads=threads, meter=meter)
        self.info = self._video.info
        self.note = ""
        """Complaint about the samples, which replaces the decoder's about the file."""
        self.num_given = 0

    @property
    def complaint(self) -> str:
        """Description of what could not be read so far; empty if nothing."""
        return self.note or self._video.complaint

    @property
    def num_decoded(self) -> int:
        """Number of frames of the file decoded so far."""
        return self._video.num_decoded

    @property
    def reached_end(self) -> bool:
        """True if the file has no more frames."""
        return self._video.reached_end

    @property
    def time_seconds(self) -> float:
        """Time of the frame returned last, in seconds."""
        return self._video.time_seconds

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame` (H, W, 3), RGB, with the next sample; return False if there is none."""
        while self._video.pass_over():
            # The frame may lie behind several short ranges, which then have no sample.
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
        """Start the next time range."""
        self._end = end
        if self._fps is not None:
            self._schedule = _AtRate(self._fps, start)
        else:
            assert self._stride is not None
            self._schedule = _EachNth(self._stride, start)

    def _go_ahead(self, due: float) -> None:
        """Seek to the time of the next sample, at most once for each."""
        # With no sample left in this range, the next one begins the next range.
        if due >= self._end:
            due = self._waiting[0][0] if self._waiting else self._end
        if due > self._sought:
            self._sought = due
            self._video.seek(due - _ROUNDING_SECONDS - _DISTINCT_SECONDS)


class _Schedule(Protocol):
    """Choice of the frames of a time range that are samples."""

    def is_due(self, seconds: float) -> bool:
        """Return True if the frame shown at a time is one; called once per frame, in order."""

    def next_due(self) -> float:
        """Time before which no frame is one; minus infinity where frames must be counted."""


class _AtRate:
    def __init__(self, fps: float, start: float) -> None:
        self._fps = fps
        self._start = start
        self._next = 0  # number of the sample that is due next

    def is_due(self, seconds: float) -> bool:
        samples = (seconds + _ROUNDING_SECONDS - self._start) * self._fps
        if samples < self._next:
            return False
        # By the time and not by adding 1: after a gap in the video several samples are one frame.
        self._next = math.floor(samples) + 1
        return True

    def next_due(self) -> float:
        return self._start + self._next / self._fps


class _EachNth:
    def __init__(self, stride: int, start: float) -> None:
        self._stride = stride
        self._start = start
        self._num_seen = 0

    def is_due(self, seconds: float) -> bool:
        if seconds + _ROUNDING_SECONDS < self._start:
            return False
        self._num_seen += 1
        return (self._num_seen - 1) % self._stride == 0

    def next_due(self) -> float:
        return -math.inf if self._num_seen else self._start
