"""One video file to uint8 RGB frames, with OpenCV. The count is what decodes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocess.errors import DecodeError

Frame = NDArray[np.uint8]


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


class VideoReader:
    """Decodes one file from front to end, on one thread.

    A rotation flag in the file is honoured. Frames are scaled to `size` whatever their shape.

    Args:
        path: the video file.
        size: width and height of the frames given, in pixels.
        stride: frames 0, stride, 2 * stride, ... are given; the others are not converted.
        max_frames: how many frames are given at most; None for all.

    Raises:
        DecodeError: if the file cannot be opened or its picture has no size.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        size: tuple[int, int] = (160, 120),
        stride: int = 1,
        max_frames: int | None = None,
    ) -> None:
        self._size = size
        self._stride = stride
        self._max_frames = max_frames
        file = _check_file(Path(path))
        self._capture = _open(Path(path))
        self._decoded: Any = None  # OpenCV fills the same memory again and again
        self._resized = np.empty((size[1], size[0], 3), np.uint8)
        self.num_decoded = 0
        self.num_given = 0
        self.reached_end = False
        self.info = _info(self._capture, file)

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame`, uint8 (H, W, 3), with the next one kept; False when there is none."""
        if self.num_given == self._max_frames or not self._skip() or not self._decode():
            return False
        picture = self._decoded
        if picture.shape != self._resized.shape:
            picture = cv2.resize(picture, self._size, dst=self._resized)
        cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=frame)  # after the resize: fewer pixels
        self.num_given += 1
        return True

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

    def _skip(self) -> bool:
        """Pass over the frames between two that are kept; False at the end of the file."""
        if self.num_given == 0:
            return True
        return all(self._count(self._capture.grab()) for _ in range(self._stride - 1))

    def _decode(self) -> bool:
        found, self._decoded = self._capture.read(self._decoded)
        return self._count(found)

    def _count(self, found: bool) -> bool:
        self.num_decoded += found
        self.reached_end |= not found
        return found


def iter_frames(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int] = (160, 120),
    stride: int = 1,
    max_frames: int | None = None,
) -> Iterator[Frame]:
    """The frames of a video file, uint8 RGB (H, W, 3), each in memory of its own.

    The arguments are those of `VideoReader`.

    Raises:
        DecodeError: if the file cannot be opened or not one frame of it decodes.
    """
    with VideoReader(path, size=size, stride=stride, max_frames=max_frames) as video:
        while True:
            frame = np.empty((size[1], size[0], 3), np.uint8)
            if not video.read_into(frame):
                break
            yield frame
        if video.num_given == 0:
            raise DecodeError("no frame could be decoded")


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


def _open(path: Path) -> cv2.VideoCapture:
    """A decoder for the file. The path is absolute, or FFmpeg would take `-x` or `a:b` apart."""
    options = [cv2.CAP_PROP_N_THREADS, 1]
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
