"""One video file to uint8 RGB frames, with OpenCV. The count is what decodes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocess.errors import DecodeError
from preprocess.transforms import Fit, FrameFit

Frame = NDArray[Any]
_USUAL_FPS = 25.0


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a file before it is decoded.

    Args:
        fps: frames a second; 0.0 where unknown.
        width: of the picture as shown, after rotation, in pixels.
        height: of the picture as shown, in pixels.
        claimed_frames: how many frames the header speaks of, or None. Often an estimate from
            the duration: never use it as a count.
        size_bytes: of the file, when it was opened.
        mtime_ns: when the file had last been changed, in nanoseconds.
    """

    fps: float
    width: int
    height: int
    claimed_frames: int | None
    size_bytes: int
    mtime_ns: int


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
        stride: frames 0, stride, 2 * stride, ... are given; the others are not converted.
        max_frames: how many frames are given at most; None for all.
        threads: of the decoder.

    Raises:
        DecodeError: if the file cannot be opened or its picture has no size.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fit: Fit,
        stride: int = 1,
        max_frames: int | None = None,
        threads: int = 1,
    ) -> None:
        self._fit = fit
        self._stride = stride
        self._max_frames = max_frames
        file = _check_file(Path(path))
        self._capture = _open(Path(path), threads)
        self._decoded: Any = None  # OpenCV fills the same memory again and again
        self._next_is_kept = True
        self.complaint = ""
        self.num_decoded = 0
        self.num_given = 0
        self.reached_end = False
        self.time_seconds = float("-inf")
        """When the frame given last is shown, by the stream's own timestamps."""
        self.info = _info(self._capture, file)

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame` (H, W, 3), RGB, with the next one kept; False when there is none."""
        if self.num_given == self._max_frames or not self._reach_next() or not self._decode():
            return False
        self._fit(self._decoded, frame)
        self._next_is_kept = False
        self.num_given += 1
        return True

    def pass_over(self) -> bool:
        """Leave out the next frame kept, as if it had been given; False when there is none."""
        if self.num_given == self._max_frames or not self._reach_next() or not self._grab():
            return False
        self._next_is_kept = False
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

    def close(self) -> None:
        """Free the decoder."""
        self._capture.release()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _reach_next(self) -> bool:
        """Pass over the frames between two that are kept; False at the end of the file."""
        if self._next_is_kept:
            return True
        self._next_is_kept = all(self._grab() for _ in range(self._stride - 1))
        return self._next_is_kept

    def _grab(self) -> bool:
        return self._count(self._capture.grab())

    def _decode(self) -> bool:
        found, self._decoded = self._capture.read(self._decoded)
        return self._count(found)

    def _count(self, found: bool) -> bool:
        self.num_decoded += found
        self.reached_end |= not found
        if found:
            self.time_seconds = self._timestamp()
        return found

    def _timestamp(self) -> float:
        """Of the frame decoded last; one that does not lie after the one before is made up.

        Some files give their last frames no time, others a wrong one.
        """
        seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if np.isfinite(seconds) and seconds > self.time_seconds:
            return float(seconds)
        before = self.time_seconds if self.num_decoded > 1 else 0.0
        return before + 1 / (self.info.fps or _USUAL_FPS)


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


def _check_file(path: Path) -> os.stat_result:
    """Size and time of the file; DecodeError for what OpenCV would refuse without a reason."""
    try:
        str(path).encode()
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
    except UnicodeEncodeError:
        raise DecodeError("the file name is not valid UTF-8") from None
    except OSError as error:
        raise DecodeError(error.strerror or str(error)) from error
    if found.st_size == 0:
        raise DecodeError("the file is empty")
    return found


def _open(path: Path, threads: int) -> cv2.VideoCapture:
    """A decoder for the file. The path is absolute, or FFmpeg would take `-x` or `a:b` apart."""
    options = [cv2.CAP_PROP_N_THREADS, threads]
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG, options)
    if not capture.isOpened():
        raise DecodeError("not a video that OpenCV can open")
    return capture


def _info(capture: cv2.VideoCapture, file: os.stat_result) -> VideoInfo:
    fps = capture.get(cv2.CAP_PROP_FPS)
    claimed = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return VideoInfo(
        fps=float(fps) if np.isfinite(fps) and fps > 0 else 0.0,
        width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        claimed_frames=int(claimed) if 0 < claimed < 2**53 else None,
        size_bytes=file.st_size,
        mtime_ns=file.st_mtime_ns,
    )
