"""A recording: one file or several chunks in order, on one timeline, with their properties.

A chunk's time 0 is the start of its file, as players count; it lasts until its last frame ends.
That is read from the packets at the file's end, because headers guess or lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from common.errors import InputError
from common.formatting import plural
from experiments.media.ffmpeg import RenderError, complaints, run, url
from experiments.media.start_timecode import group_timecode, numbers_a_second
from preprocess.errors import DecodeError
from preprocess.video.ffmpeg import input_args
from preprocess.video.video_file import AudioTrack, audio_tracks, find_video_stream, open_container

# A rate above the fastest is the clock of a file of variable rate, and counts as the usual one.
_USUAL_RATE = Fraction(30)
_FASTEST_RATE = 120
# How much of a file's end is read for its last frame.
_TAIL_SECONDS = 10
# Any file may say that it lasts as long; more must be plausible for its size.
_ALWAYS_POSSIBLE_SECONDS = 3600.0


@dataclass(frozen=True)
class Chunk:
    """One file of a recording.

    Args:
        path: the file.
        offset: time at which it begins, in seconds of the recording.
        duration: length in seconds.
        video_start: time at which its first frame is shown, in seconds of the chunk.
        rate: frames per second; of a variable rate, the one on whose grid its times lie.
        width: width of a frame after rotation, in pixels.
        height: height of a frame after rotation, in pixels.
        aspect: width of a pixel divided by its height.
        video_stream: number of the video stream in the file.
        sound: number of the audio stream in the file, or None.
        sample_rate: samples of sound per second; 0 without sound.
        layout: layout of the sound's channels, such as "stereo"; empty without sound.
        timecode: timecode of the first frame that is embedded in the file, such as
            "10:00:00:00"; empty without one.
        timecode_base: numbers per second that the timecode counts; None for one per frame.
        timecode_lead: number of frames between the one that the timecode belongs to and the
            first one that can be decoded.
        track: number of the audio stream among the file's audio streams, from 0.
        copy: copy of the file to be read in its place, because the file's own timestamps begin
            again on the way; None for the file itself.
    """

    path: Path
    offset: float
    duration: float
    video_start: float
    rate: Fraction
    width: int
    height: int
    aspect: Fraction
    video_stream: int
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
        """File from which frames and sound are read: the copy if there is one."""
        return self.copy or self.path


def read_recording(paths: Sequence[Path], *, sound_track: int = 0) -> tuple[Chunk, ...]:
    """Read the properties of a recording's files; cheap, however long they are.

    Args:
        paths: its files, in order.
        sound_track: number of the audio stream to take, from 0. Files without sound are allowed.

    Raises:
        RenderError: if a file cannot be read, or has sound but no such track.
        InputError: if there is no file.
    """
    return in_order(read_chunk(path, sound_track=sound_track) for path in paths)


def in_order(files: Iterable[Chunk]) -> tuple[Chunk, ...]:
    """Put files one after the other: each begins where the one before ends.

    Raises:
        InputError: if there is no file.
    """
    chunks: list[Chunk] = []
    for file in files:
        offset = chunks[-1].offset + chunks[-1].duration if chunks else 0.0
        chunks.append(replace(file, offset=offset))
    if not chunks:
        raise InputError("A recording must have at least one file.")
    return tuple(chunks)


def recording_duration(chunks: Sequence[Chunk]) -> float:
    """Length of a whole recording, in seconds."""
    return chunks[-1].offset + chunks[-1].duration


def read_chunk(path: Path, *, sound_track: int = 0) -> Chunk:
    """Read the properties of one file, as a recording of its own.

    One frame is decoded. Size, aspect and time are those after ffmpeg turned it upright.

    Raises:
        RenderError: if it cannot be read, or has sound but no such track.
    """
    if not path.is_file():
        raise RenderError(f"{path}: {'not a file' if path.exists() else 'no such file'}.")
    check_track(path, sound_track)
    header: list[str] = []
    args = [
        # ffmpeg decodes one frame and no sound, and tells the rest: streams and rate on its
        # standard error, `showinfo`'s time of the frame, and the headers of `framecrc` on standard
        # output. `V` is a video stream that is no cover picture.
        *("-loglevel", "info", "-copyts", *input_args(path)),
        *("-map", "0:V:0", "-map", f"0:a:{sound_track}?", "-vf", "showinfo"),
        *("-frames:v", "1", "-c:a", "copy", "-frames:a", "0"),
        *("-f", "framecrc", "-"),
    ]
    try:
        lines = run(args, on_line=header.append)
    except RenderError as error:
        raise RenderError(f"{path} cannot be read. {_why_no_video(path) or error}") from error
    output = "\n".join(lines).replace(url(path), "")  # a file may be named like a line of ffmpeg
    try:
        chunk = _parse_chunk(path, output, "\n".join(header))
        return replace(chunk, track=sound_track)
    except LookupError as error:
        errors = complaints(lines)
        raise RenderError(f"{path} has no picture that can be read: {errors[-1:]}") from error


def check_track(path: Path, sound_track: int) -> None:
    """Check that a file has a given sound track, or no sound at all.

    Raises:
        RenderError: if it has sound but no such track.
    """
    if not sound_track:  # every file with sound has the first track
        return
    try:
        tracks = audio_tracks(path)
    except DecodeError as error:
        raise RenderError(f"{path} cannot be read: {error}.") from error
    if tracks and sound_track >= len(tracks):
        raise RenderError(
            f"{path} has {describe_tracks(tracks)}. Received --sound-track {sound_track}; give one "
            "that all files of the recording have."
        )


def describe_tracks(tracks: Sequence[AudioTrack]) -> str:
    """Describe tracks, as `2 sound tracks (0: aac, stereo, 48000 Hz; 1: aac, mono, 48000 Hz)`."""
    return f"{plural(len(tracks), 'sound track')} ({'; '.join(map(str, tracks))})"


def _why_no_video(path: Path) -> str:
    """Sentence about what a file holds instead of a video; empty if that is not known."""
    try:
        with open_container(path) as container:
            try:
                find_video_stream(container)
            except DecodeError as error:
                return f"It has {error}."
    except DecodeError:
        pass
    return ""


def _parse_chunk(path: Path, output: str, header: str) -> Chunk:
    """Parse `#dimensions 0: 160x120` and the like, and ffmpeg's own description of the file."""
    start = re.search(r"^  Duration: [^,]*, start: (-?[\d.]+)", output, re.MULTILINE)
    # The file's clock may begin anywhere; all times of a chunk count from its start.
    begin = float(start[1]) if start else 0.0
    streams = re.findall(r"^  Stream #0:(\d+) -> #0:(\d+)", output, re.MULTILINE)
    # Which stream of the file each stream of the output comes from: 0 is the picture, 1 the sound.
    sources = {int(target): int(source) for source, target in streams}
    width, height = _header(header, "dimensions", 0, r"(\d+)x(\d+)")
    aspect = Fraction(*map(int, _header(header, "sar", 0, r"(\d+)/(\d+)", ("1", "1"))))
    rate = _rate(_search(r"frame_rate: (\d+)/(\d+)", output))
    (shown,) = _search(r"^\[Parsed_showinfo_0 @ \w+\] n: *0 pts:.*? pts_time:(\S+)", output)
    timecode, base, lead = _timecode(path, output, sources[0])
    has_sound = 1 in sources
    duration = _end_seconds(path, sources[0], rate) - begin
    _check_duration(path, duration)
    return Chunk(
        path=path,
        offset=0.0,
        duration=duration,
        video_start=float(shown) - begin,
        rate=rate,
        width=int(width),
        height=int(height),
        aspect=aspect or Fraction(1),
        video_stream=sources[0],
        sound=sources.get(1),
        sample_rate=int(_header(header, "sample_rate", 1, r"(\d+)")[0]) if has_sound else 0,
        layout=_header(header, "channel_layout_name", 1, r"(.+)", ("",))[0],
        timecode=timecode,
        timecode_base=base,
        timecode_lead=lead,
    )


def _timecode(path: Path, output: str, stream: int) -> tuple[str, int | None, int]:
    """Find a file's start timecode, its numbers per second if known, and its lead in frames.

    The container's timecode has precedence over that of the video stream itself.
    """
    found = re.search(r"^ +timecode +: (\S+)$", output, re.MULTILINE | re.IGNORECASE)
    line = re.search(rf"^ +Stream #0:{stream}(?:\[0x([0-9a-f]+)\])?.*: Video: (\S+)", output, re.M)
    if found:
        track_id = int(line[1], 16) if line and line[1] else 0
        return found[1], numbers_a_second(path, track_id, found[1]), 0
    if line and line[2] in ("mpeg1video", "mpeg2video"):
        timecode, lead = group_timecode(path)
        return timecode, None, lead
    return "", None, 0


def _check_duration(path: Path, seconds: float) -> None:
    """Check that a file may last as long as its header says.

    Damaged headers have said -4e17 and 7e8 seconds. Even a still picture takes a byte a second.

    Raises:
        RenderError: if it cannot.
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


def _rate(fraction: tuple[str, ...]) -> Fraction:
    """Frames per second from ffmpeg's numerator and denominator.

    A variable rate may come as a clock of 1,000 or 90,000 ticks a second.
    """
    numerator, denominator = map(int, fraction)
    rate = Fraction(numerator, denominator) if denominator else Fraction(0)
    return rate if 0 < rate <= _FASTEST_RATE else _USUAL_RATE


def _end_seconds(path: Path, stream: int, rate: Fraction) -> float:
    """Time at which the last frame ends, in seconds of the file's clock.

    The last seconds are read, without decoding. Where nothing is found there, as in a file that
    was cut off, all of it is read.
    """
    # First the end alone, then, if need be, the whole file.
    for seek in (["-sseof", f"-{_TAIL_SECONDS}"], []):
        tail = _Tail(rate)
        args = [
            *("-loglevel", "error", "-copyts", *seek, *input_args(path)),
            # Without `-copyinkf` ffmpeg would drop all packets before the first keyframe, and the
            # tail may have none.
            *("-map", f"0:{stream}", "-c", "copy", "-copyinkf"),
            *("-f", "framecrc", "-"),
        ]
        try:
            run(args, on_line=tail.read)
        except RenderError as error:
            if not seek:
                raise RenderError(f"{path} cannot be read. {error}") from error
        if tail.end is not None:
            return float(tail.end)
    raise RenderError(f"{path} holds no picture.")


class _Tail:
    """Latest end of the packets that ffmpeg's `framecrc` lists.

    A line is `0, dts, pts, duration, size, checksum`, in ticks of `#tb 0: 1/12800`.
    """

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
        # Either time may be missing (`NOPTS`); then the other counts.
        times = [int(text) for text in fields[1:3] if re.fullmatch(r"\s*-?\d+", text)]
        if times:
            length = int(fields[3]) * self._tick or 1 / self._rate
            end = times[-1] * self._tick + length
            # Packets come in order of decoding, so the last one need not be shown last.
            self.end = end if self.end is None else max(self.end, end)
