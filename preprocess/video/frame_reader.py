"""Readers of frame folders, and of parts of a video or a folder."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, TypedDict

import cv2
import numpy as np

from preprocess.errors import DecodeError
from preprocess.video.decode import Frame, FrameReader, VideoInfo, VideoReader
from preprocess.video.frame_folder import list_frames
from preprocess.video.sampling import FrameSampler
from preprocess.video.time_ranges import FrameNumbers, Seconds, Stretch
from preprocess.video.transforms import Fit, Picture

_USUAL_FPS = 25.0
_SLACK_SECONDS = 0.5  # people round times to the second


class FrameFolderReader:
    """Reads the pictures of one folder in the order of their numbers, as a `VideoReader` would.

    An orientation noted in a picture is honoured. Pictures that are passed over are not read.

    Args:
        folder: of the pictures.
        fit: what pictures are made into.
        stride: frames 0, stride, 2 * stride, ... of those there are given.
        max_frames: how many frames are given at most; None for all.
        numbers: of the frames that count; None for all.

    Raises:
        DecodeError: if the folder cannot be listed, two files have one number, or the first
            picture cannot be read.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        fit: Fit,
        stride: int = 1,
        max_frames: int | None = None,
        numbers: FrameNumbers | None = None,
    ) -> None:
        self._frames = list_frames(folder)
        if numbers is not None:
            self._frames = self._frames.between(numbers.first, numbers.last)
        if not self._frames.paths:
            raise DecodeError(f"the folder holds no {numbers or 'frames'}")
        self._fit = fit
        self._stride = stride
        self._max_frames = max_frames
        self._first: Picture | None = _read(self._frames.paths[0])
        height, width = self._first.shape[:2]
        self.info = VideoInfo(
            fps=0.0,
            width=width,
            height=height,
            claimed_frames=None,
            size_bytes=self._frames.size_bytes,
            mtime_ns=self._frames.mtime_ns,
        )
        self.num_decoded = 0
        self.num_given = 0
        self.reached_end = False
        self.time_seconds = float("-inf")
        """When the frame given last would be shown at 25 a second; a folder does not say."""

    @property
    def complaint(self) -> str:
        """Which numbers are missing before the frame given last; empty if none."""
        return self._frames.missing(self.num_decoded)

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame` (H, W, 3), RGB, with the next one kept; False when there is none.

        Raises:
            DecodeError: if its file is no picture that OpenCV can read.
        """
        position = self.num_given * self._stride
        if not self.pass_over():
            return False
        self._fit(self._picture(position), frame)
        return True

    def pass_over(self) -> bool:
        """Leave out the next frame kept, as if it had been given; False when there is none."""
        if self.num_given == self._max_frames:
            return False
        position = self.num_given * self._stride
        if position >= len(self._frames.paths):
            self.num_decoded, self.reached_end = len(self._frames.paths), True
            return False
        self.time_seconds = position / _USUAL_FPS
        self.num_decoded = position + 1
        self.num_given += 1
        return True

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> FrameFolderReader:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _picture(self, position: int) -> Picture:
        """At a position among the pictures; the first has been read already."""
        if self._first is None or position > 0:
            return _read(self._frames.paths[position])
        first, self._first = self._first, None
        return first


def _read(path: str) -> Picture:
    """A picture (H, W, 3), BGR. From memory: of a file OpenCV takes half a JPEG for a whole one."""
    name = os.path.basename(path)
    try:
        content = np.fromfile(path, np.uint8)
        picture: Any = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    except OSError as error:
        raise DecodeError(f"{name}: {error.strerror or error}") from error
    except cv2.error:
        picture = None
    if picture is None:
        raise DecodeError(f"{name} is not a whole picture that OpenCV can read")
    return picture


class _Options(TypedDict):
    fit: Fit
    stride: int
    max_frames: int | None
    threads: int


def open_stretch(
    path: Path,
    stretch: Stretch,
    *,
    fit: Fit,
    stride: int = 1,
    max_frames: int | None = None,
    threads: int = 1,
) -> FrameReader:
    """A reader of a stretch's frames.

    Args:
        path: a video file, decoded by so many `threads`, or a folder of pictures.
        stretch: what is read.
        fit: what pictures are made into.
        stride: frames 0, stride, 2 * stride, ... of the stretch are given.
        max_frames: how many frames are given at most; None for all.

    Raises:
        DecodeError: if it cannot be opened, or has nothing of the stretch.
    """
    if path.is_dir():
        if isinstance(stretch, Seconds):
            raise DecodeError("a folder of frames has no times; give numbers of frames")
        return FrameFolderReader(
            path, fit=fit, stride=stride, max_frames=max_frames, numbers=stretch
        )
    options = _Options(fit=fit, stride=stride, max_frames=max_frames, threads=threads)
    if isinstance(stretch, Seconds):
        return SecondsReader(path, stretch, **options)
    return NumbersReader(path, stretch, **options)


class SecondsReader(FrameSampler):
    """Reads the frames of a video that are shown in a stretch of time.

    What lies before is left out by seeking where that is cheaper, and changes no frame. A frame
    up to 1.5 ms early counts as being in time, at either end. Frames that cannot be decoded are
    passed over and told.

    Args:
        path: the video file.
        seconds: the stretch.
        fit, stride, max_frames, threads: those of `open_stretch`.

    Raises:
        DecodeError: if the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        seconds: Seconds,
        *,
        fit: Fit,
        stride: int,
        max_frames: int | None,
        threads: int,
    ) -> None:
        stretches = [(seconds.start, seconds.stop)]
        super().__init__(path, fit=fit, every=stride, stretches=stretches, threads=threads)
        self._seconds = seconds
        self._max_frames = max_frames

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame` (H, W, 3), RGB, with the next one kept; False when there is none.

        Raises:
            DecodeError: if none is shown in the whole stretch.
        """
        if self.num_given != self._max_frames and super().read_into(frame):
            return True
        ending = f"the last frame is shown at {self.time_seconds:.2f} s"
        if self.num_decoded and not self.num_given:
            where = f"; {ending}" if self.reached_end else ""
            raise DecodeError(f"no frame is shown in {self._seconds.name} s{where}")
        too_short = self._seconds.stop - self.time_seconds > _SLACK_SECONDS
        if self.reached_end and too_short and self._seconds.stop < math.inf:
            self.note = f"{ending}, before the stretch stops"
        return False


class NumbersReader(VideoReader):
    """Reads frames of a video by their numbers, counted from 1. What lies before is decoded.

    Args:
        path: the video file.
        numbers: of the frames.
        fit, stride, max_frames, threads: those of `open_stretch`.

    Raises:
        DecodeError: if the file cannot be opened, or the numbers begin at 0.
    """

    def __init__(
        self,
        path: Path,
        numbers: FrameNumbers,
        *,
        fit: Fit,
        stride: int,
        max_frames: int | None,
        threads: int,
    ) -> None:
        first = 1 if numbers.first is None else numbers.first
        if first < 1:
            raise DecodeError("the frames of a video are counted from 1; received start_frame 0")
        self._numbers = numbers
        most = math.inf if max_frames is None else max_frames
        if numbers.last is not None:
            most = min(most, math.ceil((numbers.last - first + 1) / stride))
        super().__init__(
            path,
            fit=fit,
            start=first - 1,
            stride=stride,
            max_frames=None if most == math.inf else int(most),
            threads=threads,
        )

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame` (H, W, 3), RGB, with the next one kept; False when there is none.

        Raises:
            DecodeError: if the video ends before the first.
        """
        if super().read_into(frame):
            return True
        if self.reached_end and self.num_decoded:
            last, count = self._numbers.last, f"the video has {self.num_decoded} frames"
            if not self.num_given:
                raise DecodeError(f"no {self._numbers}; {count}")
            if last is not None and last > self.num_decoded:
                self.note = f"{count}, and the stretch stops at {last}"
        return False
