"""Going ahead in a video without decoding all of it, so that nothing read afterwards differs."""

from __future__ import annotations

from pathlib import Path

from preprocess.errors import DecodeError
from preprocess.video.video_decoder import VideoDecoder

_USUAL_KEYFRAME_SECONDS = 2.6  # streams have a keyframe every 2 s as a rule
_MARGIN_SECONDS = 1.0
_PREROLL_SECONDS = 0.2  # indexes go by the time of decoding, a few frames before that of showing


class Seeker:
    """A second decoder of a file, sent ahead of the one that reads.

    Indexes may be wrong, and what is decoded first after a seek may build on frames that were
    never read. So a landing counts only on a keyframe, met while reading on in order, between
    where the reader is and the time asked for. Where there is none, or anything does not fit,
    the reader has lost nothing: it reads on where it is.

    Only MP4 and Matroska are sought in. Program and transport streams may have a clock that
    begins again, an AVI keeps no times, and neither tells before it has been read.

    Args:
        path: the file; opened again when that is first needed.
        threads: of the decoder.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        self._threads = threads
        self._decoder: VideoDecoder | None = None
        self._keyframe_seconds = _USUAL_KEYFRAME_SECONDS
        self._gave_up = False

    def land(self, seconds: float, *, after: float) -> float | None:
        """Go to a keyframe shown before a time; None where reading on is as cheap.

        Args:
            seconds: the time.
            after: where the reader is.

        Returns:
            When the keyframe is shown, between the two.
        """
        if self._gave_up or seconds - after <= 2 * self._keyframe_seconds + _MARGIN_SECONDS:
            return None
        landed = self._try(seconds, after)
        if landed is None:
            self._keyframe_seconds *= 2  # they are farther apart than was thought
        return landed

    def swap(self, decoder: VideoDecoder) -> VideoDecoder:
        """Exchange the reader's decoder, which has fallen behind, for the one that has landed."""
        assert self._decoder is not None
        landed, self._decoder = self._decoder, decoder
        return landed

    def close(self) -> None:
        """Free the decoder."""
        if self._decoder is not None:
            self._decoder.close()

    def _try(self, seconds: float, after: float) -> float | None:
        try:
            if self._decoder is None:
                self._decoder = VideoDecoder(self._path, self._threads)
            self._decoder.seek(seconds - _PREROLL_SECONDS)
        except DecodeError:  # the file may be gone meanwhile
            self._gave_up = True
            return None
        before = float("-inf")
        while self._decoder.grab():
            time = self._decoder.seconds
            if self._decoder.is_odd or not before < time:
                break
            if not after < time < seconds:
                return None
            if self._decoder.is_keyframe:
                return time
            before = time
        self._gave_up = True
        return None
