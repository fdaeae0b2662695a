"""A video file opened with OpenCV, and what its header says."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from preprocess.containers import limit_opencv
from preprocess.errors import DecodeError


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


def check_file(path: Path) -> os.stat_result:
    """Size and time of a file.

    Raises:
        DecodeError: for what OpenCV would refuse without a reason.
    """
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


def open_capture(path: Path, threads: int) -> cv2.VideoCapture:
    """A decoder for the file, which is no playlist: see containers.py.

    The path is absolute, or FFmpeg would take `-x` or `a:b` apart.

    Raises:
        DecodeError: if OpenCV cannot open it.
    """
    limit_opencv()
    options = [cv2.CAP_PROP_N_THREADS, threads]
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG, options)
    if not capture.isOpened():
        raise DecodeError("not a video that OpenCV can open")
    return capture


def read_info(capture: cv2.VideoCapture, file: os.stat_result) -> VideoInfo:
    """What the header of an open file says."""
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


def shown_at(capture: cv2.VideoCapture) -> float:
    """When the frame decoded last is shown, in seconds; 0 or NaN if the stream does not say."""
    return float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
