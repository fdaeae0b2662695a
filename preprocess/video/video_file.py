"""Header, streams and clocks of a media file, read with FFmpeg's libraries."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.format import Flags as ContainerFlags
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from preprocess.errors import DecodeError
from preprocess.video.ffmpeg import LIMITS, captured_stderr, file_url, in_plain_words

RESTART_SECONDS = Fraction(1)
"""Smallest step back of a clock that begins again; smaller ones are the order of pictures."""
LONGEST_GAP_SECONDS = 10.0
"""Largest gap within one clock; beyond it a new clock begins (FFmpeg's dts_delta_threshold)."""
UNKNOWN_CODEC = "unknown"
"""Codec of an audio track that FFmpeg cannot decode."""
# Identifiers of the EBML header and of the segment, the top-level elements of a Matroska file.
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a file that are known before its frames are read.

    Args:
        fps: frames per second; 0.0 where unknown.
        width: width of the picture as shown, after rotation, in pixels.
        height: height of the picture as shown, in pixels.
        claimed_frames: number of frames by the header, or None. It is often an estimate from the
            duration, so never use it as a count.
        size_bytes: size of the file when it was opened.
        mtime_ns: modification time of the file, in nanoseconds.
    """

    fps: float
    width: int
    height: int
    claimed_frames: int | None
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class AudioTrack:
    """One audio stream of a file.

    Args:
        number: position among the audio streams, from 0.
        codec: FFmpeg's name of the codec, such as "aac"; `UNKNOWN_CODEC` where it cannot decode it.
        channels: number of channels.
        layout: name of the channel layout, such as "stereo".
        sample_rate: samples per second.
        language: ISO 639-2 code, such as "eng"; empty where unknown.
        title: name of the track in the file; empty if it has none.
    """

    number: int
    codec: str
    channels: int
    layout: str
    sample_rate: int
    language: str
    title: str

    def __str__(self) -> str:
        details = [f"{self.number}: {self.codec}, {self.layout}, {self.sample_rate} Hz"]
        details += [self.language] if self.language else []
        details += [repr(self.title)] if self.title else []
        return ", ".join(details)


@contextmanager
def captured_messages() -> Iterator[IO[bytes]]:
    """Redirect standard error, with the messages of FFmpeg's libraries, to the file yielded.

    Use it only in a process without other threads that write there. Outside of the context FFmpeg's
    libraries are silent.
    """
    with captured_stderr() as messages:
        # PyAV's own callback would hand the messages to Python's logging.
        av.logging.set_libav_level(av.logging.ERROR)
        av.logging.restore_default_callback()
        try:
            yield messages
        finally:
            av.logging.set_level(None)


def check_file(path: Path) -> os.stat_result:
    """Check that a file can be read; return its size and modification time.

    Raises:
        DecodeError: if it is missing, empty or unreadable, which FFmpeg would not tell apart.
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


def open_container(path: Path) -> InputContainer:
    """Open a media file for reading. Close it after use; it is a context manager.

    Only formats that hold their streams themselves are opened, see `preprocess.video.ffmpeg`.

    Raises:
        DecodeError: if the file is missing, empty or of no such format.
    """
    check_file(path)
    try:
        # Metadata may be in any encoding, and nothing here depends on its text.
        return av.open(file_url(path), container_options=LIMITS, metadata_errors="replace")
    except MemoryError:
        raise
    except (av.error.FFmpegError, ValueError) as error:
        # Too many open files is this program's fault, not the video's.
        if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            raise
        raise DecodeError("not a video or sound file that FFmpeg can open") from error


def find_video_stream(container: InputContainer) -> VideoStream:
    """Find the first video stream of a file; cover pictures do not count.

    Raises:
        DecodeError: if there is none.
    """
    streams = video_streams(container)
    if streams:
        return streams[0]
    if container.streams.video:
        raise DecodeError("no video, only a cover picture, as in a music file")
    if container.streams.audio:
        raise DecodeError("no video, only sound")
    raise DecodeError("no video")


def other_video_streams(container: InputContainer) -> str:
    """Notice about video streams that are not read; empty if there are none."""
    streams = video_streams(container)
    if len(streams) < 2:
        return ""
    sizes = ", ".join(f"{stream.width}x{stream.height}" for stream in streams)
    return f"the file has {len(streams)} video streams ({sizes}); the first is read"


def video_streams(container: InputContainer) -> list[VideoStream]:
    """Video streams of a file, in its order, without cover pictures."""
    no_video = Disposition.attached_pic | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & no_video]


def audio_tracks(path: str | os.PathLike[str]) -> tuple[AudioTrack, ...]:
    """List the audio streams of a file, in its order.

    Raises:
        DecodeError: if the file cannot be opened.
    """
    with open_container(Path(path)) as container:
        return tuple(map(_audio_track, container.streams.audio, range(2**16)))


def _audio_track(stream: AudioStream, number: int) -> AudioTrack:
    """Describe one audio stream."""
    metadata = stream.metadata
    # FFmpeg's default handler names and its "undetermined" language say nothing.
    title = metadata.get("title") or metadata.get("name") or metadata.get("handler_name", "")
    language = metadata.get("language", "")
    # Of a codec that nobody decodes PyAV knows neither channels nor rate.
    codec = stream.codec_context
    return AudioTrack(
        number=number,
        codec=codec.name if codec else UNKNOWN_CODEC,
        channels=stream.channels if codec else 0,
        layout=stream.layout.name if codec and stream.channels else "unknown",
        sample_rate=(stream.sample_rate or 0) if codec else 0,
        language="" if language == "und" else language,
        title="" if title == "SoundHandler" else title,
    )


def clock_restarts(path: str | os.PathLike[str]) -> bool:
    """Return True if the timestamps of a file's video or sound begin again, or leap, on the way.

    They do where two files were joined byte by byte, and in a recorded stream after a reconnect.
    All packets are read and none is decoded; files that have one clock by design (MP4, AVI, and
    Matroska except for joined files) are not read at all. Sound that only pauses has one clock.

    Raises:
        DecodeError: if the file cannot be opened or has no video.
    """
    file = check_file(Path(path))
    return _clock_restarts(Path(path).absolute(), file.st_size, file.st_mtime_ns)


# A recording's sound is asked for piece by piece, and the file may be large. Size and modification
# time are part of the key, so that a changed file is read again.
@lru_cache(maxsize=64)
def _clock_restarts(path: Path, size_bytes: int, mtime_ns: int) -> bool:
    with open_container(path) as container:
        video = find_video_stream(container)
        if not has_loose_clock(container):
            return False
        streams: list[VideoStream | AudioStream] = [video, *container.streams.audio]
        clocks = {stream.index: PacketClock(container, stream) for stream in streams}
        video_clock = clocks[video.index]
        try:
            for packet in container.demux(streams):
                clock = clocks[packet.stream_index]
                # Sound that leaps to where the pictures are only had a gap.
                if clock.begins_again(packet) and not clock.came_to(video_clock):
                    return True
        except av.error.FFmpegError:  # damaged from here on; what was read had one clock
            return False
    return False


class PacketClock:
    """Detector of the places where a stream's timestamps begin again or leap to a new clock.

    Args:
        container: an open file.
        stream: one of its streams.
    """

    def __init__(self, container: InputContainer, stream: VideoStream | AudioStream) -> None:
        # A fraction, for it is exact in any time base.
        self.seconds: Fraction | None = None
        """Timestamp of the latest packet, in seconds."""
        self._before: Fraction | None = None
        self._ending = clock_ending(container, stream)
        self.by_pts = holds_no_dts(container)
        """True if presentation times are used, which lie in another order than packets."""
        rate = stream.guessed_rate if isinstance(stream, VideoStream) else None
        self._step = float(1 / rate) if rate else 0.0
        self._origin = (stream.start_time or 0) * Fraction(stream.time_base or 0)

    def begins_again(self, packet: Packet) -> bool:
        """Take the next packet; return True if it is the first of a new clock."""
        stamp = packet.pts if self.by_pts or packet.dts is None else packet.dts
        if stamp is None or packet.time_base is None:
            return False
        self._before, self.seconds = self.seconds, stamp * packet.time_base
        if self._before is None:
            return False
        step = self.seconds - self._before
        after_begin = float(self.seconds - self._origin)
        gap = float(step) - self._step
        return step < -RESTART_SECONDS or is_leap(gap, after_begin, self._ending)

    def came_to(self, other: PacketClock) -> bool:
        """Return True if the latest step led towards another stream's clock, and joined it."""
        if self is other or self.seconds is None or self._before is None:
            return False
        if other.seconds is None:
            return False
        return abs(self.seconds - other.seconds) < abs(self._before - other.seconds)


def holds_no_dts(container: InputContainer) -> bool:
    """Return True for formats with presentation times only; FFmpeg invents their decoding times.

    Behind a seam of two files it invents wrong ones, which go back and forth as pictures do.
    """
    return bool({"matroska", "webm", "nut"} & set(container.format.name.split(",")))


def is_leap(gap: float, seconds: float, ending: float | None) -> bool:
    """Return True if a gap between two pictures leads to a new clock.

    Args:
        gap: length of the gap in seconds, beyond the usual distance of pictures.
        seconds: the time after the gap, from the stream's beginning.
        ending: result of `clock_ending`.
    """
    if gap <= LONGEST_GAP_SECONDS:
        return False
    return ending is None or seconds > ending + LONGEST_GAP_SECONDS


def clock_ending(container: InputContainer, stream: VideoStream | AudioStream) -> float | None:
    """End of a stream by its header, in seconds; a leap beyond it leads to a new clock.

    None in formats of broadcasts, where leaps are usual according to FFmpeg: there any leap by more
    than 10 s is taken for a new clock, as in the ffmpeg program.
    """
    discontinuous: Any = ContainerFlags.ts_discont
    if container.format.flags & discontinuous.value:
        return None
    return duration_seconds(container, stream) or math.inf


def has_loose_clock(container: InputContainer) -> bool:
    """Return True if a file may be two files joined, each with a clock of its own."""
    # MP4 and AVI have one clock by design. Of two joined Matroska files FFmpeg may read both.
    formats = set(container.format.name.split(","))
    if "matroska" in formats:
        return joined_at(Path(container.name.removeprefix("file:"))) is not None
    return not formats & {"mov", "mp4", "avi"}


def joined_at(path: Path) -> int | None:
    """Offset at which another file was joined to an MP4 or Matroska file, or None.

    In an MP4 that is a second `ftyp` box at the top level (ISO/IEC 14496-12, 4.3), in Matroska an
    EBML header behind the first segment (RFC 8794, 8.1).
    """
    with path.open("rb") as file:
        num_bytes = os.fstat(file.fileno()).st_size
        head = file.read(8)
        if head[:4] == _EBML:
            end = _segment_end(file)
            if end is None or end >= num_bytes:  # a damaged size may be of any number
                return None
            file.seek(end)
            return end if file.read(4) == _EBML else None
        # MP4: from box to box by their sizes, without reading what is in them.
        place = 0
        while len(head) == 8 and head[4:].isalnum():
            if place and head[4:] == b"ftyp":
                return place
            length = int.from_bytes(head[:4], "big")
            if length == 1:  # the true length follows, in 64 bits
                length = int.from_bytes(file.read(8), "big")
            place += length
            if length < 8 or place >= num_bytes:
                return None
            file.seek(place)
            head = file.read(8)
    return None


def _segment_end(file: IO[bytes]) -> int | None:
    """End of a Matroska file's first segment; None if the file does not tell."""
    file.seek(4)
    header_end = _read_element_end(file)
    if header_end is None or header_end >= os.fstat(file.fileno()).st_size:
        return None
    file.seek(header_end)
    return _read_element_end(file) if file.read(4) == _SEGMENT else None


def _read_element_end(file: IO[bytes]) -> int | None:
    """End of the EBML element whose size comes next; None for an unknown size (RFC 8794, 4)."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    # The number of leading zero bits is the number of further bytes; all ones means unknown.
    num_more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> num_more)]) + file.read(num_more), "big")
    return None if value == (1 << (7 * (num_more + 1))) - 1 else file.tell() + value


def read_info(
    container: InputContainer, stream: VideoStream, size: tuple[int, int], file: os.stat_result
) -> VideoInfo:
    """Collect the properties of an open file from its header.

    Args:
        container: the open file.
        stream: its video stream.
        size: width and height of the picture as shown.
        file: size and modification time.
    """
    fps = float(stream.guessed_rate or stream.average_rate or 0)
    claimed = stream.frames
    if claimed <= 0:
        claimed = round(duration_seconds(container, stream) * fps)
    return VideoInfo(
        fps=fps if fps > 0 else 0.0,
        width=size[0],
        height=size[1],
        # Damaged headers claim absurd numbers, which JSON and floats could not hold exactly.
        claimed_frames=claimed if 0 < claimed < 2**53 else None,
        size_bytes=file.st_size,
        mtime_ns=file.st_mtime_ns,
    )


def duration_seconds(container: InputContainer, stream: VideoStream | AudioStream) -> float:
    """Duration of a stream by its header, in seconds; 0.0 if unknown."""
    if stream.duration is not None and stream.time_base is not None:
        return max(float(stream.duration * stream.time_base), 0.0)
    return max((container.duration or 0) / av.time_base, 0.0)


def explained(error: Exception) -> str:
    """Text of an error of FFmpeg's libraries, without file names."""
    return in_plain_words(getattr(error, "strerror", None) or str(error))
