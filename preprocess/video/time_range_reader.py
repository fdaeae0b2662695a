"""One stretch of a video, or of a folder of pictures, to uint8 RGB frames."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypedDict

from preprocess.errors import DecodeError
from preprocess.video.decode import Frame, FrameReader, VideoReader
from preprocess.video.frame_reader import FrameFolderReader
from preprocess.video.sampling import FrameSampler
from preprocess.video.time_ranges import FrameNumbers, Seconds, Stretch
from preprocess.video.transforms import Fit

_SLACK_SECONDS = 0.5  # people round times to the second


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
