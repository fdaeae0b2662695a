"""Readers of folders of frames, and of parts of a video or a folder."""

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
from preprocess.video.time_ranges import ClipRange, FrameNumbers, Seconds
from preprocess.video.transforms import Fit, ImageArray
from preprocess.video.video_decoder import USUAL_FPS

_SLACK_SECONDS = 0.5  # people round times to the second, so a stop may lie this far behind the end


class FrameFolderReader:
    """Reader of a folder of pictures in the order of their numbers, used as a `VideoReader`.

    An orientation noted in a picture is honoured. Pictures that are passed over are not read.

    Args:
        folder: folder of the pictures.
        fit: conversion of pictures to frames.
        stride: return the existing frames 0, stride, 2 * stride, ...
        max_frames: largest number of frames to return; None for all.
        numbers: range of frame numbers to read; None for all.

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
        # The first picture is read at once, for its size; `_image` returns it without a second
        # read.
        self._first: ImageArray | None = _read(self._frames.paths[0])
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
        """Time of the frame returned last at an assumed 25 frames per second."""

    @property
    def complaint(self) -> str:
        """Description of numbers missing before the frame returned last; empty if none."""
        return self._frames.missing(self.num_decoded)

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame` (H, W, 3), RGB, with the next one kept; return False if there is none.

        Raises:
            DecodeError: if its file is no picture that OpenCV can read.
        """
        # The position before `pass_over`, which counts the frame as returned.
        position = self.num_given * self._stride
        if not self.pass_over():
            return False
        self._fit(self._image(position), frame)
        return True

    def pass_over(self) -> bool:
        """Leave out the next frame kept without reading it; return False if there is none."""
        if self.num_given == self._max_frames:
            return False
        position = self.num_given * self._stride
        if position >= len(self._frames.paths):
            self.num_decoded, self.reached_end = len(self._frames.paths), True
            return False
        self.time_seconds = position / USUAL_FPS  # a folder has no times
        self.num_decoded = position + 1
        self.num_given += 1
        return True

    def close(self) -> None:
        """Do nothing: no file is held open."""

    def __enter__(self) -> FrameFolderReader:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _image(self, position: int) -> ImageArray:
        """Picture at a position; the first has been read already, and is kept only once."""
        if self._first is None or position > 0:
            return _read(self._frames.paths[position])
        first, self._first = self._first, None
        return first


def _read(path: str) -> ImageArray:
    """Read a picture (H, W, 3), BGR.

    Raises:
        DecodeError: if the file is not a complete picture.
    """
    name = os.path.basename(path)
    try:
        # Decoded from memory: from a file, OpenCV takes half a JPEG for a complete one.
        content = np.fromfile(path, np.uint8)
        image: Any = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    except OSError as error:
        raise DecodeError(f"{name}: {error.strerror or error}") from error
    except cv2.error:
        image = None
    # imdecode reports what it cannot read by None.
    if image is None:
        raise DecodeError(f"{name} is not a whole picture that OpenCV can read")
    return image


class _Options(TypedDict):
    fit: Fit
    stride: int
    max_frames: int | None
    threads: int


def open_stretch(
    path: Path,
    stretch: ClipRange,
    *,
    fit: Fit,
    stride: int = 1,
    max_frames: int | None = None,
    threads: int = 1,
) -> FrameReader:
    """Open a reader of a part of a video or of a folder of frames.

    Args:
        path: a video file or a folder of pictures.
        stretch: the part to read, in seconds or by frame numbers.
        fit: conversion of pictures to frames.
        stride: return the frames 0, stride, 2 * stride, ... of the part.
        max_frames: largest number of frames to return; None for all.
        threads: number of decoding threads, for a video.

    Raises:
        DecodeError: if it cannot be opened, or has no frame of the part.
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
    """Reader of the frames of a video that are shown in a time range.

    Frames before it are skipped by seeking where that is cheaper, which changes no frame. A frame
    up to 1.5 ms early counts as in time, at either end. Frames that cannot be decoded are left out
    and noted in `complaint`.

    Args:
        path: the video file.
        seconds: the time range.
        fit, stride, max_frames, threads: as in `open_stretch`.

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
        super().__init__(path, fit=fit, stride=stride, stretches=stretches, threads=threads)
        self._seconds = seconds
        self._max_frames = max_frames

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame` (H, W, 3), RGB, with the next one kept; return False if there is none.

        Raises:
            DecodeError: if no frame is shown in the whole range.
        """
        if self.num_given != self._max_frames and super().read_into(frame):
            return True
        # At the end: a range without frames is an error, a range beyond the video's end a notice.
        ending = f"the last frame is shown at {self.time_seconds:.2f} s"
        if self.num_decoded and not self.num_given:
            where = f"; {ending}" if self.reached_end else ""
            raise DecodeError(f"no frame is shown in {self._seconds.name} s{where}")
        too_short = self._seconds.stop - self.time_seconds > _SLACK_SECONDS
        if self.reached_end and too_short and self._seconds.stop < math.inf:
            self.note = f"{ending}, before the stretch stops"
        return False


class NumbersReader(VideoReader):
    """Reader of frames of a video by their numbers, counted from 1.

    Args:
        path: the video file.
        numbers: range of frame numbers.
        fit, stride, max_frames, threads: as in `open_stretch`.

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
        # Frames before the first are decoded and not sought over: only counting gives numbers.
        limit = math.inf if max_frames is None else max_frames
        if numbers.last is not None:
            limit = min(limit, math.ceil((numbers.last - first + 1) / stride))
        super().__init__(
            path,
            fit=fit,
            start=first - 1,
            stride=stride,
            max_frames=None if limit == math.inf else int(limit),
            threads=threads,
        )

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame` (H, W, 3), RGB, with the next one kept; return False if there is none.

        Raises:
            DecodeError: if the video ends before the first frame.
        """
        if super().read_into(frame):
            return True
        # The number of frames is known only now, so a range beyond it is found here.
        if self.reached_end and self.num_decoded:
            last, count = self._numbers.last, f"the video has {self.num_decoded} frames"
            if not self.num_given:
                raise DecodeError(f"no {self._numbers}; {count}")
            if last is not None and last > self.num_decoded:
                self.note = f"{count}, and the stretch stops at {last}"
        return False
