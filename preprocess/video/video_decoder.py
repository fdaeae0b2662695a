"""Decoder of a file's video stream, picture by picture, each with its presentation time."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

from preprocess.errors import DecodeError
from preprocess.video.frame_differences import SIZE
from preprocess.video.transforms import ImageArray
from preprocess.video.video_file import (
    LONGEST_GAP_SECONDS,
    check_file,
    clock_ending,
    explained,
    find_video_stream,
    has_loose_clock,
    is_leap,
    joined_at,
    open_container,
    other_video_streams,
    read_info,
)

USUAL_FPS = 25.0
"""Frames per second that are assumed where a file does not tell its rate."""
_SEEKABLE = {"mov", "mp4", "matroska", "webm"}  # an index, and one clock for the whole file
# Fraction and size of a file that may follow the last picture unread: indexes, attachments, sound
# and padding.
_TAIL_SHARE, _TAIL_BYTES = 0.25, 2**18
# Formats whose first plane is the brightness, in 8 bits.
_BRIGHTNESS_FIRST = {f"yuv{j}{sampling}p" for j in ("", "j") for sampling in (420, 422, 444)}
_BRIGHTNESS_FIRST.add("nv12")
# Formats of which FFmpeg makes planes of colours twice as fast as packed pixels. The values are the
# same where vector instructions convert whole rows (tests/preprocess/video/test_planes.py).
_QUICK_PLANES, _QUICK_WIDTH = {"yuv420p", "yuvj420p"}, 16
_DOUBT_FRAMES = 8  # pictures after which a new clock is taken for real, not for a wrong timestamp


@dataclass(frozen=True)
class _Orientation:
    """Steps that make a decoded picture upright: transpose, then mirror, then rotate."""

    transpose: bool = False
    flip_horizontal: bool = False
    flip_vertical: bool = False
    degrees: float = 0.0
    """Rotation clockwise within the picture's own size, for angles that are no quarter turn."""


_UPRIGHT = _Orientation()


class StreamClock:
    """Conversion of a stream's timestamps to times that never go back.

    Where timestamps begin again, as in two files joined byte by byte, the times continue: the first
    picture of the new clock is shown one step after the last of the old. A single wrong timestamp
    is told from a new clock by those that follow it. A timestamp that is a little too early, or
    missing, is replaced by one that leaves room for the next correct one.

    Args:
        step: seconds from one picture to the next, where timestamps do not tell.
        ending: result of `clock_ending`.
    """

    def __init__(self, step: float, ending: float | None = None) -> None:
        self._step = step
        self._ending = ending
        self.is_odd = False
        """True if a timestamp was missing or did not follow the one before."""
        self.reset()

    def reset(self) -> None:
        """Start again at another place in the stream, after a seek."""
        self._latest = -math.inf
        self._offset = 0.0
        self._earlier_offset: float | None = None  # kept as long as the new clock is in doubt
        self._num_since = 0

    def tick(self, stamp: float | None) -> float:
        """Time of the next picture, in seconds.

        Args:
            stamp: its timestamp, in seconds; None if it has none.
        """
        self._latest = self._next(stamp)
        return self._latest

    def _next(self, stamp: float | None) -> float:
        """Time of the next picture; cases in the order in which they are told apart."""
        if self._latest == -math.inf:
            self.is_odd |= stamp is None
            return stamp or 0.0
        if stamp is None:
            self.is_odd = True
            return self._latest + self._step
        # The doubted new clock was a wrong timestamp: return to the earlier clock.
        if self._is_back(stamp):
            assert self._earlier_offset is not None
            self._offset, self._earlier_offset = self._earlier_offset, None
        seconds = stamp + self._offset
        if self._latest < seconds and not is_leap(
            seconds - self._latest - self._step, seconds, self._ending
        ):
            return seconds
        self.is_odd = True
        # A little too early: half a step leaves room for the next timestamp, which may be right.
        tolerance = max(2.5 * self._step, 0.1)
        if self._latest - tolerance <= seconds <= self._latest:
            return self._latest + self._step / 2
        # A new clock, one step after the old one; doubted for the next `_DOUBT_FRAMES` pictures.
        if self._earlier_offset is None:
            self._earlier_offset = self._offset
        self._num_since = 0
        self._offset = self._latest + self._step - stamp
        return self._latest + self._step

    def _is_back(self, stamp: float) -> bool:
        """Return True if a timestamp fits the earlier clock, so that the new one was an error."""
        if self._earlier_offset is None:
            return False
        self._num_since += 1
        if self._num_since > _DOUBT_FRAMES:
            self._earlier_offset = None
            return False
        return 0 < stamp + self._earlier_offset - self._latest <= LONGEST_GAP_SECONDS


class VideoDecoder:
    """Decoder of the first video stream of a file, in display order.

    Pictures are upright: the display matrix is honoured, including mirrored ones. A packet that
    cannot be decoded is left out and decoding continues, as in the ffmpeg program.

    Args:
        path: the file.
        threads: number of decoding threads.

    Raises:
        DecodeError: if the file cannot be opened or has no video.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.seconds = -math.inf
        """Time of the picture grabbed last, in seconds."""
        file = check_file(path)
        self._container = open_container(path)
        try:
            self._stream = find_video_stream(self._container)
            self._open_codec(threads)
            # Asked once: PyAV makes a new object of a format or a fraction for each picture.
            self._is_avi = self._container.format.name == "avi"
            self._time_base = _as_pair(self._stream.time_base)
            self._frame_time_base: tuple[int, int] | None = None
            self.complaint = other_video_streams(self._container)
            self._reformatter, self._small_reformatter = VideoReformatter(), VideoReformatter()
            self._num_bytes = file.st_size
            self._num_read = 0  # bytes up to the end of the packet that lies farthest back
            self._decoded = self._decode()
            self._frame: VideoFrame | None = None
            self._orientation = _UPRIGHT
            # Only the first picture tells the orientation, and with it the size as shown.
            self._ahead: VideoFrame | None = next(self._decoded, None)
            self.info = read_info(self._container, self._stream, self._shown_size(), file)
            fps = self.info.fps or USUAL_FPS
            self._clock = StreamClock(1 / fps, clock_ending(self._container, self._stream))
            formats = set(self._container.format.name.split(","))
            self.can_seek = bool(_SEEKABLE & formats) and not has_loose_clock(self._container)
            if "mov" in formats and (place := joined_at(path)) is not None:
                self._note(f"another file is joined to this one at byte {place:,}; it is not read")
        except BaseException:
            self._container.close()
            raise

    @property
    def is_odd(self) -> bool:
        """True if a timestamp so far was missing or did not follow the one before."""
        return self._clock.is_odd

    @property
    def is_keyframe(self) -> bool:
        """True if the picture grabbed last depends on no other."""
        return self._frame is not None and self._frame.key_frame

    def grab(self) -> bool:
        """Decode the next picture without converting it; return False at the end of the file."""
        if self._ahead is not None:
            self._frame, self._ahead = self._ahead, None
        else:
            self._frame = next(self._decoded, None)
        if self._frame is None:
            return False
        if self._frame.key_frame:
            self._orientation = self._find_orientation(self._frame)
        self.seconds = self._clock.tick(self._stamp(self._frame))
        return True

    def retrieve(self) -> ImageArray:
        """Convert the picture grabbed last to uint8 (H, W, 3), BGR.

        Its memory may be overwritten by the next call.

        Raises:
            DecodeError: if it cannot be converted.
        """
        image = self._converted("bgr24")
        (plane,) = image.planes
        # FFmpeg pads rows, so the array gets the plane's row length as stride; nothing is copied.
        shape, strides = (image.height, image.width, 3), (plane.line_size, 3, 1)
        pixels: ImageArray = np.ndarray(shape, np.uint8, memoryview(plane), strides=strides)
        return _turned(pixels, self._orientation)

    def retrieve_planes(self) -> tuple[ImageArray, ImageArray, ImageArray] | None:
        """Convert the picture grabbed last to a red, a green and a blue plane, uint8 (H, W).

        They hold the values of `retrieve`. None where they would not, or not sooner. Their memory
        may be overwritten by the next call.

        Raises:
            DecodeError: if it cannot be converted.
        """
        assert self._frame is not None
        if (
            self._frame.width % _QUICK_WIDTH
            or self._orientation is not _UPRIGHT
            or self._frame.format.name not in _QUICK_PLANES
        ):
            return None
        image = self._converted("gbrp")
        green, blue, red = (_plane(p, image.width, image.height) for p in image.planes)
        return red, green, blue

    def _converted(self, pixel_format: str) -> VideoFrame:
        """Convert the picture grabbed last to a format of the same size.

        Raises:
            DecodeError: if it cannot be converted.
        """
        assert self._frame is not None
        try:
            # One thread: handing a small picture to a pool takes longer than converting it.
            # Bicubic, as OpenCV's own reader has it: it is how chroma is brought to full size.
            return self._reformatter.reformat(
                self._frame, format=pixel_format, interpolation=Interpolation.BICUBIC, threads=1
            )
        except MemoryError:
            raise
        except av.error.FFmpegError as error:
            raise DecodeError(
                f"the picture at {self.seconds:.3f} s could not be converted: {explained(error)}"
            ) from error

    def small_luma(self) -> ImageArray | None:
        """Return the brightness of the picture grabbed last, uint8 (36, 64), not turned upright.

        It is that of limited range, 16 to 235. None if it cannot be converted.
        """
        assert self._frame is not None
        if self._frame.format.name not in _BRIGHTNESS_FIRST:
            return self._converted_luma(self._frame)
        luma = _plane(self._frame.planes[0], self._frame.width, self._frame.height)
        # Four pixels of each small one: as good for changes of shot as the mean of all, which would
        # take a tenth to a quarter of the time of decoding.
        small: Any = cv2.resize(luma, SIZE)
        if self._frame.color_range == ColorRange.JPEG:
            small = cv2.convertScaleAbs(small, alpha=219 / 255, beta=16)
        return small

    def _converted_luma(self, frame: VideoFrame) -> ImageArray | None:
        """Brightness of a picture in any format."""
        width, height = SIZE
        try:
            image = self._small_reformatter.reformat(
                frame,
                width,
                height,
                format="yuv420p",
                interpolation=Interpolation.AREA,
                threads=1,
            )
        except av.error.FFmpegError:
            return None
        return _plane(image.planes[0], width, height).copy()

    def seek(self, seconds: float) -> None:
        """Continue from a keyframe before a time in seconds; the next picture's time tells where.

        Raises:
            DecodeError: if the file cannot be sought in.
        """
        assert self._stream.time_base is not None
        stamp = int((seconds + self._origin()) / self._stream.time_base)
        try:
            self._container.seek(max(stamp, 0), stream=self._stream, backward=True)
        except av.error.FFmpegError as error:
            raise DecodeError(f"cannot be sought in: {explained(error)}") from error
        self._decoded = self._decode()
        self._ahead = self._frame = None
        self._clock.reset()

    def close(self) -> None:
        """Free the decoder."""
        self._frame = self._ahead = None
        self._decoded.close()
        self._container.close()

    def _open_codec(self, threads: int) -> None:
        """Set the number of decoding threads."""
        codec = self._stream.codec_context
        if codec is None:
            raise DecodeError("its kind of video is not known to FFmpeg")
        codec.thread_count = threads
        if threads > 1:
            codec.thread_type = "AUTO"

    def _decode(self) -> Generator[VideoFrame, None, None]:
        """Yield pictures in display order, from the container's position to the end of the file."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.pos is not None:
                    self._num_read = max(self._num_read, packet.pos + packet.size)
                try:
                    yield from packet.decode()
                except MemoryError:
                    raise
                except av.error.EOFError:
                    return
                except av.error.FFmpegError as error:
                    self._complain(error)
            self._look_behind_the_end()
        except MemoryError:
            raise
        except av.error.FFmpegError as error:
            self._complain(error)

    def _look_behind_the_end(self) -> None:
        """Note if much of the file was not read, as happens with joined files."""
        tail = self._num_bytes - self._num_read
        interleaved = has_loose_clock(self._container) or "matroska" in self._container.format.name
        if interleaved and tail > max(_TAIL_SHARE * self._num_bytes, _TAIL_BYTES):
            self._note(f"the last {tail / self._num_bytes:.0%} of the file could not be read")

    def _note(self, text: str) -> None:
        """Append a text to the complaint."""
        self.complaint = f"{self.complaint}; {text}" if self.complaint else text

    def _complain(self, error: Exception) -> None:
        """Note the first decoding error, with the time of the picture before it."""
        if self.complaint and "could not be decoded" in self.complaint:
            return
        where = f"frames after {max(self.seconds, 0.0):.2f} s"
        self._note(f"{where} could not be decoded: {explained(error)}")

    def _origin(self) -> float:
        """Timestamp of the stream's beginning, which is time 0, in seconds."""
        # It may become known with a later packet.
        start = self._stream.start_time
        if start is None or self._time_base is None:
            return 0.0
        return start * self._time_base[0] / self._time_base[1]

    def _stamp(self, frame: VideoFrame) -> float | None:
        """Timestamp of a picture in seconds after the stream's beginning, or None."""
        # An AVI knows no time of presentation: FFmpeg makes one up, which goes back and forth
        # where pictures were reordered. In program streams some pictures have none.
        stamp = None if self._is_avi else frame.pts
        stamp = frame.dts if stamp is None else stamp
        if self._frame_time_base is None:
            self._frame_time_base = _as_pair(frame.time_base)
        if stamp is None or self._frame_time_base is None:
            return None
        return stamp * self._frame_time_base[0] / self._frame_time_base[1] - self._origin()

    def _shown_size(self) -> tuple[int, int]:
        """Width and height of the pictures as shown."""
        if self._ahead is None:
            return (self._stream.width, self._stream.height)
        self._orientation = self._find_orientation(self._ahead)
        size = (self._ahead.width, self._ahead.height)
        return size[::-1] if self._orientation.transpose else size

    def _find_orientation(self, frame: VideoFrame) -> _Orientation:
        """Orientation of a picture by its display matrix."""
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:  # a stream may tell it with its first picture alone
            return self._orientation
        return _orientation(np.frombuffer(matrix, np.int32, 9))


def _plane(plane: VideoPlane, width: int, height: int) -> ImageArray:
    """Plane of a picture, uint8 (H, W), in the picture's own memory."""
    return np.ndarray((height, width), np.uint8, memoryview(plane), strides=(plane.line_size, 1))


def _as_pair(fraction: Fraction | None) -> tuple[int, int] | None:
    """Numerator and denominator, whose quotient Python rounds as it rounds the fraction."""
    return None if fraction is None else (fraction.numerator, fraction.denominator)


def _orientation(matrix: NDArray[np.int32]) -> _Orientation:
    """Convert a display matrix (9,) to the steps that make a picture upright.

    A picture's point (p, q) is shown at (a p + c q, b p + d q), with the matrix a, b, u, c, d, v,
    x, y, w in fixed point (ISO/IEC 14496-12, 6.2.2).
    """
    a, b, c, d = (float(matrix[place]) for place in (0, 1, 3, 4))
    # Within 2 % of a right angle no pixel needs interpolation; mirrors and turns are exact.
    straight, across = min(abs(a), abs(d)), min(abs(b), abs(c))
    if straight > 0 and max(abs(b), abs(c)) < 0.02 * straight:
        return _Orientation(False, a < 0, d < 0)
    if across > 0 and max(abs(a), abs(d)) < 0.02 * across:
        return _Orientation(True, c < 0, b < 0)
    scales = math.hypot(a, c), math.hypot(b, d)
    if not all(scales):
        return _UPRIGHT
    return _Orientation(degrees=math.degrees(math.atan2(b / scales[1], a / scales[0])))


def _turned(image: ImageArray, orientation: _Orientation) -> ImageArray:
    """Make a picture upright."""
    if orientation.degrees:
        height, width = image.shape[:2]
        centre = ((width - 1) / 2, (height - 1) / 2)
        turn = cv2.getRotationMatrix2D(centre, -orientation.degrees, 1.0)
        return cv2.warpAffine(image, turn, (width, height))
    if orientation.transpose:
        image = cv2.transpose(image)
    if orientation.flip_horizontal and orientation.flip_vertical:
        return cv2.flip(image, -1)
    if orientation.flip_horizontal or orientation.flip_vertical:
        return cv2.flip(image, int(orientation.flip_horizontal))
    return image
