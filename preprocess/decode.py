"""One video file to uint8 RGB frames, with OpenCV. The count is what decodes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from preprocess.errors import DecodeError
from preprocess.seeking import Scout
from preprocess.transforms import Fit, FrameFit
from preprocess.video_file import VideoInfo, check_file, open_capture, read_info, shown_at

Frame = NDArray[Any]
_USUAL_FPS = 25.0


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

    A rotation flag in the file is honoured.

    Args:
        path: the video file.
        fit: what pictures are made into; FrameFit((160, 120)) stretches them.
        start: how many frames come before the first that is given.
        stride: frames start, start + stride, start + 2 * stride, ... are given; the others are not
            converted.
        max_frames: how many frames are given at most; None for all.
        threads: of the decoder.
        past_damage: whether reading goes on behind a frame that cannot be decoded. Otherwise the
            file ends there, as it does for OpenCV where each packet holds a frame, as in MP4.

    Raises:
        DecodeError: if the file cannot be opened or its picture has no size.
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
        past_damage: bool = False,
    ) -> None:
        self._fit = fit
        self._stride = stride
        self._max_frames = max_frames
        self._past_damage = past_damage
        file = check_file(Path(path))
        self._capture = open_capture(Path(path), threads)
        self._scout = Scout(Path(path), threads)
        self._has_sought = False
        self._is_odd = False
        self._decoded: Any = None  # OpenCV fills the same memory again and again
        self._num_between = start
        self.complaint = ""
        self._num_decoded = 0
        self.num_given = 0
        self.reached_end = False
        self.time_seconds = float("-inf")
        """When the frame given last is shown, by the stream's own timestamps."""
        self.info = read_info(self._capture, file)

    @property
    def num_decoded(self) -> int:
        """Frames of the file gone through so far; after a seek, those until then by the time."""
        if not self._has_sought:
            return self._num_decoded
        return max(self._num_decoded, round(self.time_seconds * self.info.fps))

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame` (H, W, 3), RGB, with the next one kept; False when there is none."""
        if self.num_given == self._max_frames or not self._reach_next() or not self._decode():
            return False
        self._fit(self._decoded, frame)
        self._num_between = self._stride - 1
        self.num_given += 1
        return True

    def pass_over(self) -> bool:
        """Leave out the next frame kept, as if it had been given; False when there is none."""
        if self.num_given == self._max_frames or not self._reach_next() or not self._grab():
            return False
        self._num_between = self._stride - 1
        self.num_given += 1
        return True

    def convert_into(self, frame: Frame) -> None:
        """Fill `frame` (H, W, 3), RGB, with the one that `pass_over` has just left out.

        So its time is known before it is converted.

        Raises:
            DecodeError: if it cannot be converted.
        """
        found, self._decoded = self._capture.retrieve(self._decoded)
        if not found:
            raise DecodeError(f"the frame at {self.time_seconds:.3f} s could not be converted")
        self._fit(self._decoded, frame)

    def seek(self, seconds: float) -> None:
        """Leave out frames shown before a time, without decoding them, where that is cheaper.

        The last of them are still given, so that frames and times are those of reading on. A file
        that has shown an oddity so far is read on.
        """
        counts = self._stride > 1 or self._num_between > 0
        if self._is_odd or self.info.claimed_frames is None or counts:
            return
        landed = self._scout.land(seconds, after=self.time_seconds)
        if landed is not None:
            self._capture = self._scout.swap(self._capture)
            self.time_seconds = landed
            self._has_sought = True

    def close(self) -> None:
        """Free the decoder."""
        self._capture.release()
        self._scout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _reach_next(self) -> bool:
        """Pass over the frames before the next that is kept; False at the end of the file."""
        while self._num_between and self._grab():
            self._num_between -= 1
        return not self._num_between

    def _grab(self) -> bool:
        return self._count(self._capture.grab() or (self._past_damage and self._grab_later()))

    def _grab_later(self) -> bool:
        """Each try takes a packet, which takes a byte or more, and none at the end of the file."""
        self._is_odd = True
        most = min(self.info.claimed_frames or 0, self.info.size_bytes)
        found = any(self._capture.grab() for _ in range(most))
        if found and not self.complaint:
            self.complaint = f"frames after {self.time_seconds:.2f} s could not be decoded"
        return found

    def _decode(self) -> bool:
        found, self._decoded = self._capture.read(self._decoded)
        return self._count(found)

    def _count(self, found: bool) -> bool:
        self._num_decoded += found
        self.reached_end |= not found
        if found:
            self.time_seconds = self._timestamp()
        return found

    def _timestamp(self) -> float:
        """Of the frame decoded last; one that does not lie after the one before is made up.

        Some files give their last frames no time; around damage, some frames have a wrong one. Half
        a step for these lets the next right one lie after them.
        """
        seconds = shown_at(self._capture)
        if np.isfinite(seconds) and seconds > self.time_seconds:
            return seconds
        self._is_odd = True
        before = self.time_seconds if self._num_decoded > 1 else 0.0
        return before + (0.5 if seconds > 0 else 1.0) / (self.info.fps or _USUAL_FPS)


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
    """What a file's header says, without decoding it.

    Raises:
        DecodeError: if the file cannot be opened.
    """
    with VideoReader(path, fit=FrameFit((1, 1))) as video:
        return video.info
