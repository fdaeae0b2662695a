"""One folder of numbered pictures to uint8 RGB frames, with OpenCV."""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np

from preprocess.errors import DecodeError
from preprocess.video.decode import Frame, VideoInfo
from preprocess.video.frame_folder import list_frames
from preprocess.video.time_ranges import FrameNumbers
from preprocess.video.transforms import Fit, Picture

_USUAL_FPS = 25.0


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
