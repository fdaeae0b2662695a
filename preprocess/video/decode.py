"""One video file to uint8 RGB frames. The count is what decodes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from preprocess.errors import DecodeError
from preprocess.video.seeking import Seeker
from preprocess.video.transforms import Fit, FrameFit
from preprocess.video.video_decoder import VideoDecoder
from preprocess.video.video_file import VideoInfo

Frame = NDArray[Any]


class FrameReader(Protocol):
    """Gives the frames of one clip, one after the other; `VideoReader` is the usual one."""

    @property
    def info(self) -> VideoInfo:
        """Of the file."""

    @property
    def num_decoded(self) -> int:
        """Frames of the file gone through so far."""

    @property
    def num_given(self) -> int:
        """Frames given so far."""

    @property
    def reached_end(self) -> bool:
        """Whether the file had no more."""

    @property
    def time_seconds(self) -> float:
        """When the frame given last is shown, by the stream's own timestamps."""

    @property
    def complaint(self) -> str:
        """What could not be read besides the frames, so far; empty if nothing."""

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame` with the next one; False when there is none."""

    def close(self) -> None:
        """Free the decoder."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: Any) -> None: ...


class VideoReader:
    """Decodes one file from front to end.

    Pictures are upright: a rotation or reflection noted in the file is honoured. Packets that
    cannot be decoded are left out, as the ffmpeg program does, and `complaint` says so.

    Args:
        path: the video file.
        fit: what pictures are made into; FrameFit((160, 120)) stretches them.
        start: how many frames come before the first that is given.
        stride: frames start, start + stride, start + 2 * stride, ... are given; the others are not
            converted.
        max_frames: how many frames are given at most; None for all.
        threads: of the decoder.

    Raises:
        DecodeError: if the file cannot be opened or has no video.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fit: Fit,
        start: int = 0,
        stride: int = 1,
        max_frames: int | None = None,
        threads: int = 1,
    ) -> None:
        self._fit = fit
        self._stride = stride
        self._max_frames = max_frames
        self._decoder = VideoDecoder(Path(path), threads)
        self._seeker = Seeker(Path(path), threads)
        self._has_sought = False
        self.note = ""
        """What is said of the frames, in place of what the decoder says of the file."""
        self._num_between = start
        self._num_decoded = 0
        self.num_given = 0
        self.reached_end = False
        self.time_seconds = float("-inf")
        """When the frame given last is shown, by the stream's own timestamps."""
        self.info = self._decoder.info

    @property
    def num_decoded(self) -> int:
        """Frames of the file gone through so far; after a seek, those until then by the time."""
        if not self._has_sought:
            return self._num_decoded
        return max(self._num_decoded, round(self.time_seconds * self.info.fps))

    @property
    def complaint(self) -> str:
        """What could not be read so far, or is not honoured; empty if nothing."""
        return self.note or self._decoder.complaint

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame` (H, W, 3), RGB, with the next one kept; False when there is none."""
        if not self.pass_over():
            return False
        self.convert_into(frame)
        return True

    def pass_over(self) -> bool:
        """Leave out the next frame kept, as if it had been given; False when there is none."""
        if self.num_given == self._max_frames:
            return False
        while self._grab():
            if not self._num_between:
                self._num_between = self._stride - 1
                self.num_given += 1
                return True
            self._num_between -= 1
        return False

    def convert_into(self, frame: Frame) -> None:
        """Fill `frame` (H, W, 3), RGB, with the one that `pass_over` has just left out.

        So its time is known before it is converted.

        Raises:
            DecodeError: if it cannot be converted.
        """
        self._fit(self._decoder.retrieve(), frame)

    def seek(self, seconds: float) -> None:
        """Leave out frames shown before a time, without decoding them, where that is cheaper.

        The last of them are still given, so that frames and times are those of reading on. A file
        that has shown an oddity so far is read on.
        """
        decoder = self._decoder
        counts = self._stride > 1 or self._num_between > 0
        if not decoder.can_seek or decoder.is_odd or decoder.complaint or counts:
            return
        if self.info.claimed_frames is None:  # a live recording without an index
            return
        landed = self._seeker.land(seconds, after=self.time_seconds)
        if landed is not None:
            self._decoder = self._seeker.swap(decoder)
            self.time_seconds = landed
            self._has_sought = True

    def close(self) -> None:
        """Free the decoder."""
        self._decoder.close()
        self._seeker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _grab(self) -> bool:
        found = self._decoder.grab()
        self._num_decoded += found
        self.reached_end |= not found
        if found:
            self.time_seconds = self._decoder.seconds
        return found


def iter_frames(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int] = (160, 120),
    stride: int = 1,
    max_frames: int | None = None,
) -> Iterator[Frame]:
    """The frames of a video file, uint8 RGB (H, W, 3), each in memory of its own.

    Args:
        path, stride, max_frames: those of `VideoReader`.
        size: width and height of the frames, in pixels; pictures are stretched to it.

    Raises:
        DecodeError: if the file cannot be opened or not one frame of it decodes.
    """
    fit = FrameFit(size)
    with VideoReader(path, fit=fit, stride=stride, max_frames=max_frames) as video:
        while True:
            frame = np.empty(fit.frame_shape, np.uint8)
            if not video.read_into(frame):
                break
            yield frame
        if video.num_given == 0:
            raise DecodeError("no frame could be decoded")


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """What a file's header says; only its first picture is decoded.

    Raises:
        DecodeError: if the file cannot be opened.
    """
    with VideoReader(path, fit=FrameFit((1, 1))) as video:
        return video.info
