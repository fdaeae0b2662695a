"""Reading of one video file as uint8 RGB frames; the number of frames is what decodes."""

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
from preprocess.video.frame_differences import DifferenceMeter
from preprocess.video.transforms import Fit, FrameFit
from preprocess.video.video_decoder import VideoDecoder
from preprocess.video.video_file import VideoInfo

Frame = NDArray[Any]
_USUAL_KEYFRAME_SECONDS = 2.6  # first guess; streams have a keyframe every 2 s as a rule
_MARGIN_SECONDS = 1.0  # what a seek must save, for it opens or moves a second decoder
_PREROLL_SECONDS = 0.2  # indexes use decoding times, a few frames before presentation times
_PROGRAM_STREAM = b"\0\0\1\xba"
# First byte of each packet of a transport stream; in a .m2ts four bytes of a time precede it.
_TRANSPORT_SYNC = b"G"
_TOO_LARGE = "its pictures take more memory than a decoder may have"
_CLEARLY_FEWER = 0.9  # of the frames claimed; below it a clip counts as cut short


class FrameReader(Protocol):
    """Reader of the frames of one clip in order, such as `VideoReader`."""

    @property
    def info(self) -> VideoInfo:
        """Properties of the file."""

    @property
    def num_decoded(self) -> int:
        """Number of frames of the file decoded so far."""

    @property
    def num_given(self) -> int:
        """Number of frames returned so far."""

    @property
    def reached_end(self) -> bool:
        """True if the file has no more frames."""

    @property
    def time_seconds(self) -> float:
        """Time of the frame returned last, by the stream's own timestamps."""

    @property
    def complaint(self) -> str:
        """Description of what could not be read so far; empty if nothing."""

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame` with the next one; return False if there is none."""

    def close(self) -> None:
        """Free the decoder."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: Any) -> None: ...


class VideoReader:
    """Reader of one video file from front to end.

    Pictures are upright: a rotation or reflection noted in the file is honoured. Packets that
    cannot be decoded are left out, as in the ffmpeg program, and noted in `complaint`.

    Args:
        path: the video file.
        fit: conversion of pictures to frames; FrameFit((160, 120)) stretches them.
        start: number of frames before the first that is returned.
        stride: return the frames start, start + stride, start + 2 * stride, ...; the others are
            decoded but not converted.
        max_frames: largest number of frames to return; None for all.
        threads: number of decoding threads.
        meter: meter that measures each frame that is decoded, or None.

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
        meter: DifferenceMeter | None = None,
    ) -> None:
        self._fit = fit
        self._stride = stride
        self._max_frames = max_frames
        self._meter = meter
        self._decoder = VideoDecoder(Path(path), threads)
        self._seeker = Seeker(Path(path), threads)
        self._has_sought = False
        self.note = ""
        """Complaint about the frames, which replaces the decoder's about the file."""
        self._num_between = start
        self._num_decoded = 0
        self.num_given = 0
        self.reached_end = False
        self.time_seconds = float("-inf")
        """Time of the frame returned last, by the stream's own timestamps."""
        self.info = self._decoder.info

    @property
    def num_decoded(self) -> int:
        """Number of frames of the file decoded so far; after a seek, estimated from the time."""
        if not self._has_sought:
            return self._num_decoded
        return max(self._num_decoded, round(self.time_seconds * self.info.fps))

    @property
    def complaint(self) -> str:
        """Description of what could not be read so far; empty if nothing."""
        return self.note or self._decoder.complaint

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame` (H, W, 3), RGB, with the next one kept; return False if there is none."""
        if not self.pass_over():
            return False
        self.convert_into(frame)
        return True

    def pass_over(self) -> bool:
        """Decode the next frame kept without converting it; return False if there is none."""
        if self.num_given == self._max_frames:
            return False
        while self._decoder.grab():
            self._num_decoded += 1
            self.time_seconds = self._decoder.seconds
            if self._meter is not None:
                self._meter.see(self.time_seconds, self._decoder.small_luma())
            if not self._num_between:
                self._num_between = self._stride - 1
                self.num_given += 1
                return True
            self._num_between -= 1
        self.reached_end = True
        return False

    def convert_into(self, frame: Frame) -> None:
        """Fill `frame` (H, W, 3), RGB, with the one that `pass_over` has just decoded.

        Its time is thus known before it is converted.

        Raises:
            DecodeError: if it cannot be converted.
        """
        planes = self._decoder.retrieve_planes() if self._fit.takes_planes else None
        if planes is None:
            self._fit(self._decoder.retrieve(), frame)
        else:
            self._fit.from_planes(planes, frame)

    def seek(self, seconds: float) -> None:
        """Skip frames shown before a time without decoding them, where that is cheaper.

        The last of them are still returned, so that frames and times are the same as without a
        seek. A file with an irregularity so far is read on instead.
        """
        decoder = self._decoder
        # With a stride frames are counted, and a seek does not tell how many it has skipped.
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
            if self._meter is not None:
                self._meter.skip()

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
    """Turn errors of OpenCV and refusals of memory into DecodeError."""
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
    """Iterate over the frames of a video file.

    Args:
        path: the video file.
        size: width and height of the frames, in pixels; pictures are stretched to it.
        stride: keep every `stride`-th frame.
        max_frames: keep at most this many frames; None for all.

    Yields:
        Frames, uint8 RGB (height, width, 3), each in memory of its own.

    Raises:
        DecodeError: if the file cannot be opened or no frame of it decodes.

    Example:
        >>> for frame in iter_frames("clip.mp4", size=(160, 120), stride=2):
        ...     print(frame.shape)  # (120, 160, 3)
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
    """Read the properties of a file; only its first picture is decoded.

    Raises:
        DecodeError: if the file cannot be opened.
    """
    with VideoReader(path, fit=FrameFit((1, 1))) as video:
        return video.info


class Seeker:
    """Second decoder of a file, which seeks ahead of the one that reads.

    Indexes may be wrong, and frames decoded first after a seek may depend on frames that were
    never read. A seek therefore counts only if it meets a keyframe, while reading in order, between
    the reader's position and the time asked for. Otherwise the reader has lost nothing and
    continues where it is.

    Only MP4 and Matroska are sought in. Program and transport streams may have a clock that
    begins again, an AVI has no presentation times, and neither tells before it has been read.

    Args:
        path: the file; opened again when first needed.
        threads: number of decoding threads.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        self._threads = threads
        self._decoder: VideoDecoder | None = None
        self._keyframe_seconds = _USUAL_KEYFRAME_SECONDS
        self._gave_up = False

    def land(self, seconds: float, *, after: float) -> float | None:
        """Move to a keyframe shown before a time, unless reading on is as cheap.

        Args:
            seconds: the time.
            after: the reader's position, in seconds.

        Returns:
            Time of the keyframe, between the two, or None.
        """
        if self._gave_up or seconds - after <= 2 * self._keyframe_seconds + _MARGIN_SECONDS:
            return None
        landed = self._try(seconds, after)
        if landed is None:
            self._keyframe_seconds *= 2  # keyframes are farther apart than was thought
        return landed

    def swap(self, decoder: VideoDecoder) -> VideoDecoder:
        """Exchange the reader's decoder, which is behind, for the one that has landed."""
        assert self._decoder is not None
        landed, self._decoder = self._decoder, decoder
        return landed

    def close(self) -> None:
        """Free the decoder."""
        if self._decoder is not None:
            self._decoder.close()

    def _try(self, seconds: float, after: float) -> float | None:
        """Seek, and read on to a keyframe before the time; give up for good on irregular files."""
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
            # Pictures out of order: the file's timestamps cannot be relied upon.
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
    """Return True if the first 12 bytes are those of an MPEG program or transport stream.

    Such a file has neither an index nor a length: it may begin and end anywhere.
    """
    if head.startswith((b"RIFF", b"GIF")):  # whose size, or name, may look like the sync byte
        return False
    return head.startswith(_PROGRAM_STREAM) or _TRANSPORT_SYNC in (head[0:1], head[4:5])


def shortfall(video: FrameReader, messages: IO[bytes]) -> str:
    """Notice about the missing part of a stream that was stored nevertheless; empty if none.

    Args:
        video, messages: as in `what_is_missing`.
    """
    claimed = video.info.claimed_frames
    if not video.reached_end or claimed is None or video.num_decoded >= _CLEARLY_FEWER * claimed:
        return ""
    found = first_complaint(messages)
    return f"{video.num_decoded} of about {claimed} frames decoded ({found})" if found else ""


def what_is_missing(path: Path, video: FrameReader, messages: IO[bytes]) -> str:
    """Reason to reject a video that has been read to its end; empty if there is none.

    Args:
        path: the file.
        video: its reader.
        messages: FFmpeg's messages of the reading, from `captured_messages`.
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
    """Return True if a file that was read to its end is an incomplete copy.

    Args:
        head: the first 12 bytes of the file.
        claimed: number of frames by its header.
        decoded: number of frames that decoded.
        complained: True if FFmpeg reported an error.
    """
    # A header's count proves a loss only together with a second sign. An AVI's index is exact.
    # Elsewhere fewer frames are normal (MP4 edit lists hide frames; Matroska and WebM estimate from
    # the duration), so FFmpeg must have complained as well. An MPEG stream claims nothing.
    if decoded >= _CLEARLY_FEWER * claimed or is_stream(head):
        return False
    return complained or head.endswith(b"AVI ")
