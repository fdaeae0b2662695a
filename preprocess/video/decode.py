"""One video file to uint8 RGB frames. The count is what decodes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocess.errors import DecodeError
from preprocess.video.ffmpeg import first_complaint
from preprocess.video.transforms import Fit, FrameFit
from preprocess.video.video_decoder import VideoDecoder
from preprocess.video.video_file import VideoInfo

Frame = NDArray[Any]
_USUAL_KEYFRAME_SECONDS = 2.6  # streams have a keyframe every 2 s as a rule
_MARGIN_SECONDS = 1.0
_PREROLL_SECONDS = 0.2  # indexes go by the time of decoding, a few frames before that of showing
_PROGRAM_STREAM = b"\0\0\1\xba"
_TRANSPORT_SYNC = b"G"  # first in each packet; in a .m2ts four bytes of a time come before it
_TOO_LARGE = "its pictures take more memory than a decoder may have"
_CLEARLY_FEWER = 0.9  # of the frames claimed; below it a clip counts as cut short


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
        self._fit(self._decoder.retrieve(), frame)
        return True

    def pass_over(self) -> bool:
        """Leave out the next frame kept, as if it had been given; False when there is none."""
        if self.num_given == self._max_frames:
            return False
        while self._decoder.grab():
            self._num_decoded += 1
            self.time_seconds = self._decoder.seconds
            if not self._num_between:
                self._num_between = self._stride - 1
                self.num_given += 1
                return True
            self._num_between -= 1
        self.reached_end = True
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


@contextmanager
def refusals_named() -> Iterator[None]:
    """What libraries raise where they get no memory, as DecodeError."""
    try:
        yield
    except MemoryError as error:
        raise DecodeError(_TOO_LARGE) from error
    except cv2.error as error:
        found = error.err if error.code != cv2.Error.StsNoMem else _TOO_LARGE
        raise DecodeError(found) from error


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


def is_stream(head: bytes) -> bool:
    """Whether a file is an MPEG program or transport stream, by its first 12 bytes.

    It has neither an index nor a length: it may begin amid pictures, and it ends where it ends.
    """
    if head.startswith((b"RIFF", b"GIF")):  # whose size, or name, may look like the sync byte
        return False
    return head.startswith(_PROGRAM_STREAM) or _TRANSPORT_SYNC in (head[0:1], head[4:5])


def shortfall(video: FrameReader, messages: IO[bytes]) -> str:
    """What was missing of a stream that was stored all the same; empty if nothing was.

    Args:
        video, messages: those of `what_is_missing`.
    """
    claimed = video.info.claimed_frames
    if not video.reached_end or claimed is None or video.num_decoded >= _CLEARLY_FEWER * claimed:
        return ""
    found = first_complaint(messages)
    return f"{video.num_decoded} of about {claimed} frames decoded ({found})" if found else ""


def what_is_missing(path: Path, video: FrameReader, messages: IO[bytes]) -> str:
    """What is wrong with a video that gives no more frames; empty if nothing is.

    Args:
        path: the file.
        video: its reader.
        messages: what FFmpeg said meanwhile, from `captured_messages`.
    """
    if video.num_given == 0:
        return "no frame could be decoded"
    claimed = video.info.claimed_frames
    if not video.reached_end or claimed is None:
        return ""
    with path.open("rb") as file:
        head = file.read(12)
    complained = bool(first_complaint(messages))
    if is_cut_short(head, claimed, video.num_decoded, complained=complained):
        return f"ended early: {video.num_decoded} of {claimed} frames decoded"
    return ""


def is_cut_short(head: bytes, claimed: int, decoded: int, *, complained: bool) -> bool:
    """Whether a file that was read to its end had lost a part before.

    A header's count can be trusted to say so only together with a second sign. An AVI's index
    is exact. Elsewhere fewer frames are normal (MP4 edit lists hide frames; Matroska and
    WebM only estimate from the duration), so FFmpeg must have complained as well. Of an MPEG
    stream nothing can be said.

    Args:
        head: the first 12 bytes of the file.
        claimed: frames that its header speaks of.
        decoded: frames that there were.
        complained: whether FFmpeg reported an error.
    """
    if decoded >= _CLEARLY_FEWER * claimed or is_stream(head):
        return False
    return complained or head.endswith(b"AVI ")
