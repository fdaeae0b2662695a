"""A recording: one file or several chunks in order, on one timeline, and what each is made of.

A chunk's time 0 is the start of its file, as players count; it lasts until its last picture
ends. That is read from the packets at the file's end, because headers guess or lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from common.errors import InputError
from experiments.media.ffmpeg import RenderError, complaints, run, url
from experiments.media.start_timecode import group_timecode, numbers_a_second
from preprocess.errors import DecodeError
from preprocess.video.ffmpeg import input_words
from preprocess.video.video_file import AudioTrack, audio_tracks, find_video_stream, open_container

_USUAL_RATE = Fraction(30)
_FASTEST_RATE = 120
_TAIL_SECONDS = 10
_ALWAYS_POSSIBLE_SECONDS = 3600.0


@dataclass(frozen=True)
class Chunk:
    """One file of a recording.

    Args:
        path: the file.
        offset: when it begins, in seconds of the recording.
        duration: in seconds.
        first_picture: when its first picture is shown, in seconds of the chunk.
        rate: pictures a second; of a variable rate, the one whose grid its times lie on.
        width: of the picture after rotation, in pixels.
        height: likewise.
        aspect: width of a pixel by its height.
        picture: number of the video stream.
        sound: number of the audio stream, or None.
        sample_rate: of the sound; 0 without.
        layout: of the sound's channels, such as "stereo"; empty without.
        timecode: that its first picture has by what is embedded in the file, such as
            "10:00:00:00"; empty without.
        timecode_base: how many numbers a second the timecode has; None for one a picture.
        timecode_lead: how many pictures before its first one the timecode is of.
        track: which of the file's audio streams is taken, from 0.
        copy: a copy of the file to be read in its place, because the file's own timestamps begin
            again on the way; None for the file itself.
    """

    path: Path
    offset: float
    duration: float
    first_picture: float
    rate: Fraction
    width: int
    height: int
    aspect: Fraction
    picture: int
    sound: int | None
    sample_rate: int
    layout: str
    timecode: str = ""
    timecode_base: int | None = None
    timecode_lead: int = 0
    track: int = 0
    copy: Path | None = None

    @property
    def file(self) -> Path:
        """What is read for its pictures and its sound."""
        return self.copy or self.path


def read_recording(paths: Sequence[Path], *, sound_track: int = 0) -> tuple[Chunk, ...]:
    """What a recording is made of; cheap, however long it is.

    Args:
        paths: its files, in order.
        sound_track: which audio stream is taken of those that have sound, from 0.

    Raises:
        RenderError: if a file cannot be read, or has sound but no such track.
        InputError: if there is no file.
    """
    return in_order(read_chunk(path, sound_track=sound_track) for path in paths)


def in_order(files: Iterable[Chunk]) -> tuple[Chunk, ...]:
    """Files one after the other: each begins where the one before ends.

    Raises:
        InputError: if there is none.
    """
    chunks: list[Chunk] = []
    for file in files:
        offset = chunks[-1].offset + chunks[-1].duration if chunks else 0.0
        chunks.append(replace(file, offset=offset))
    if not chunks:
        raise InputError("A recording must have at least one file.")
    return tuple(chunks)


def recording_duration(chunks: Sequence[Chunk]) -> float:
    """Of the whole recording, in seconds."""
    return chunks[-1].offset + chunks[-1].duration


def read_chunk(path: Path, *, sound_track: int = 0) -> Chunk:
    """A file as a recording of its own.

    One picture is decoded; its size, aspect and time are those after ffmpeg turned it upright.

    Raises:
        RenderError: if it cannot be read, or has sound but no such track.
    """
    if not path.is_file():
        raise RenderError(f"{path}: {'not a file' if path.exists() else 'no such file'}.")
    check_track(path, sound_track)
    header: list[str] = []
    words = [
        *("-loglevel", "info", "-copyts", *input_words(path)),
        *("-map", "0:V:0", "-map", f"0:a:{sound_track}?", "-vf", "showinfo"),
        *("-frames:v", "1", "-c:a", "copy", "-frames:a", "0"),
        *("-f", "framecrc", "-"),
    ]
    try:
        lines = run(words, on_line=header.append)
    except RenderError as error:
        raise RenderError(f"{path} cannot be read. {_why_no_video(path) or error}") from error
    said = "\n".join(lines).replace(url(path), "")  # a file may be named like a line of ffmpeg
    try:
        chunk = _parse_chunk(path, said, "\n".join(header))
        return replace(chunk, track=sound_track)
    except LookupError as error:
        words = complaints(lines)
        raise RenderError(f"{path} has no picture that can be read: {words[-1:]}") from error


def check_track(path: Path, sound_track: int) -> None:
    """Whether a file has a sound track, or no sound at all; the first one, all that have sound do.

    Raises:
        RenderError: if not.
    """
    if not sound_track:
        return
    try:
        tracks = audio_tracks(path)
    except DecodeError as error:
        raise RenderError(f"{path} cannot be read: {error}.") from error
    if tracks and sound_track >= len(tracks):
        raise RenderError(
            f"{path} has {tracks_told(tracks)}. Received --sound-track {sound_track}; give one "
            "that all files of the recording have."
        )


def tracks_told(tracks: Sequence[AudioTrack]) -> str:
    """`2 sound tracks (0: aac, stereo, 48000 Hz; 1: aac, mono, 48000 Hz, 'Mic')`."""
    number = f"{len(tracks)} sound track{'s' * (len(tracks) != 1)}"
    return f"{number} ({'; '.join(map(str, tracks))})"


def _why_no_video(path: Path) -> str:
    """What a file holds in place of a video; empty if that is not known."""
    try:
        with open_container(path) as container:
            try:
                find_video_stream(container)
            except DecodeError as error:
                return f"It has {error}."
    except DecodeError:
        pass
    return ""


def _parse_chunk(path: Path, said: str, header: str) -> Chunk:
    """From `#dimensions 0: 160x120` and the like, and from ffmpeg's own words."""
    start = re.search(r"^  Duration: [^,]*, start: (-?[\d.]+)", said, re.MULTILINE)
    begin = float(start[1]) if start else 0.0
    streams = re.findall(r"^  Stream #0:(\d+) -> #0:(\d+)", said, re.MULTILINE)
    sources = {int(output): int(source) for source, output in streams}
    width, height = _header(header, "dimensions", 0, r"(\d+)x(\d+)")
    aspect = Fraction(*map(int, _header(header, "sar", 0, r"(\d+)/(\d+)", ("1", "1"))))
    rate = _rate(_search(r"frame_rate: (\d+)/(\d+)", said))
    (shown,) = _search(r"^\[Parsed_showinfo_0 @ \w+\] n: *0 pts:.*? pts_time:(\S+)", said)
    timecode, base, lead = _timecode(path, said, sources[0])
    has_sound = 1 in sources
    duration = _end_seconds(path, sources[0], rate) - begin
    _check_duration(path, duration)
    return Chunk(
        path=path,
        offset=0.0,
        duration=duration,
        first_picture=float(shown) - begin,
        rate=rate,
        width=int(width),
        height=int(height),
        aspect=aspect or Fraction(1),
        picture=sources[0],
        sound=sources.get(1),
        sample_rate=int(_header(header, "sample_rate", 1, r"(\d+)")[0]) if has_sound else 0,
        layout=_header(header, "channel_layout_name", 1, r"(.+)", ("",))[0],
        timecode=timecode,
        timecode_base=base,
        timecode_lead=lead,
    )


def _timecode(path: Path, said: str, stream: int) -> tuple[str, int | None, int]:
    """A file's start timecode, its numbers a second if known, and how much earlier its picture is.

    The container's counts, and only without one that of the pictures themselves.
    """
    found = re.search(r"^ +timecode +: (\S+)$", said, re.MULTILINE | re.IGNORECASE)
    line = re.search(rf"^ +Stream #0:{stream}(?:\[0x([0-9a-f]+)\])?.*: Video: (\S+)", said, re.M)
    if found:
        track_id = int(line[1], 16) if line and line[1] else 0
        return found[1], numbers_a_second(path, track_id, found[1]), 0
    if line and line[2] in ("mpeg1video", "mpeg2video"):
        timecode, lead = group_timecode(path)
        return timecode, None, lead
    return "", None, 0


def _check_duration(path: Path, seconds: float) -> None:
    """Damaged headers have said -4e17 and 7e8 seconds; even a still picture takes a byte a second.

    Raises:
        RenderError: for what cannot be.
    """
    if not 0 < seconds <= max(path.stat().st_size, _ALWAYS_POSSIBLE_SECONDS):
        raise RenderError(
            f"{path} says that it lasts {seconds:.9g} seconds, which its {path.stat().st_size:,} "
            "bytes cannot. Repair the file, or leave it out."
        )


def _search(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise LookupError(pattern)
    return found.groups()


def _header(
    text: str, name: str, stream: int, pattern: str, default: tuple[str, ...] | None = None
) -> tuple[str, ...]:
    try:
        return _search(rf"^#{name} {stream}: {pattern}$", text)
    except LookupError:
        if default is None:
            raise
        return default


def _rate(words: tuple[str, ...]) -> Fraction:
    """A variable rate may come as a clock of 1000 or 90000 ticks a second."""
    numerator, denominator = map(int, words)
    rate = Fraction(numerator, denominator) if denominator else Fraction(0)
    return rate if 0 < rate <= _FASTEST_RATE else _USUAL_RATE


def _end_seconds(path: Path, stream: int, rate: Fraction) -> float:
    """When the last picture ends, by the file's clock.

    The last seconds are read, without decoding. Where nothing can be found there, as in a file
    that was cut off, all of it is read.
    """
    for seek in (["-sseof", f"-{_TAIL_SECONDS}"], []):
        tail = _Tail(rate)
        words = [
            *("-loglevel", "error", "-copyts", *seek, *input_words(path)),
            *("-map", f"0:{stream}", "-c", "copy", "-copyinkf"),
            *("-f", "framecrc", "-"),
        ]
        try:
            run(words, on_line=tail.read)
        except RenderError as error:
            if not seek:
                raise RenderError(f"{path} cannot be read. {error}") from error
        if tail.end is not None:
            return float(tail.end)
    raise RenderError(f"{path} holds no picture.")


class _Tail:
    """Takes lines as `0, dts, pts, duration, size, checksum`, in ticks of `#tb 0: 1/12800`."""

    def __init__(self, rate: Fraction) -> None:
        self.end: Fraction | None = None
        self._rate = rate
        self._tick = Fraction(1)

    def read(self, line: str) -> None:
        if line.startswith("#tb 0: "):
            self._tick = Fraction(line.removeprefix("#tb 0: "))
        fields = line.split(",")
        if line.startswith("#") or len(fields) < 5:
            return
        times = [int(text) for text in fields[1:3] if re.fullmatch(r"\s*-?\d+", text)]
        if times:
            length = int(fields[3]) * self._tick or 1 / self._rate
            end = times[-1] * self._tick + length
            self.end = end if self.end is None else max(self.end, end)
