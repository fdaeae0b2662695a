"""Going ahead in a video without decoding all of it, so that nothing read afterwards differs."""

from __future__ import annotations

from pathlib import Path

import cv2

from preprocess.errors import DecodeError
from preprocess.video_file import open_capture, shown_at

_FIRST_PREROLL_SECONDS = 2.6  # streams have a keyframe every 2 s as a rule
_MARGIN_SECONDS = 1.0  # OpenCV itself goes 16 frames farther back
_INTRA = ord("I")


class Scout:
    """A second decoder of a file, sent ahead of the one that reads.

    OpenCV goes to a keyframe before the time asked for and decodes on from there; but it counts
    frames where it should count time, keyframes are not always found, and what is decoded first
    may build on frames that were never read. So a landing counts only on a frame that builds on
    no other, met while reading on in order, before the time asked for. Where there is none, or
    anything does not fit, the reader has lost nothing: it reads on where it is.

    An AVI keeps no times. Reading on counts frames, seeking asks the index, and behind damage the
    two do not agree; so it is never sought in.

    Args:
        path: the file; opened again when that is first needed.
        threads: of the decoder.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        self._threads = threads
        self._capture: cv2.VideoCapture | None = None
        self._preroll = _FIRST_PREROLL_SECONDS
        self._gave_up = False

    def land(self, seconds: float, *, after: float) -> float | None:
        """Go to a frame that builds on no other, shown before a time; None where that is dearer.

        A preroll in which there is such a frame is at least as long as the keyframes are apart.
        So no more than two prerolls are decoded, from the keyframe before the first of them on.

        Args:
            seconds: the time.
            after: where the reader is.

        Returns:
            When the frame is shown, between the two.
        """
        while not self._gave_up and seconds - after > 2 * self._preroll + _MARGIN_SECONDS:
            landed = self._try(seconds, after)
            if landed is not None:
                return landed
            self._preroll *= 2
        return None

    def swap(self, capture: cv2.VideoCapture) -> cv2.VideoCapture:
        """Take the reader's decoder, which has fallen behind, for the one that has landed."""
        assert self._capture is not None
        landed, self._capture = self._capture, capture
        return landed

    def close(self) -> None:
        """Free the decoder."""
        if self._capture is not None:
            self._capture.release()

    def _try(self, seconds: float, after: float) -> float | None:
        capture = self._capture = self._capture or self._open()
        if capture is None:
            self._gave_up = True
            return None
        capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * (seconds - self._preroll))
        before = float("-inf")
        while capture.grab():
            time = shown_at(capture)
            if not before < time:
                break
            if not after < time < seconds:
                return None
            if capture.get(cv2.CAP_PROP_FRAME_TYPE) == _INTRA:
                return time
            before = time
        self._gave_up = True
        return None

    def _open(self) -> cv2.VideoCapture | None:
        try:
            with self._path.open("rb") as file:
                if file.read(12).endswith(b"AVI "):
                    return None
            return open_capture(self._path, self._threads)
        except (OSError, DecodeError):  # the file is gone meanwhile
            return None
