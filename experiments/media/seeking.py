"""Where reading begins, so that the picture of a cut and the sound before it are decoded."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

import av
from av.video.frame import VideoFrame

from experiments.media.ffmpeg import RenderError, run
from experiments.media.pieces import Stretch
from preprocess.errors import DecodeError
from preprocess.video import containers
from preprocess.video.video_file import find_video_stream, open_container

_PREROLL_SECONDS = (0.1, 10.0, 60.0)  # a decoder of sound needs a little of what is before

_TURNING_CODECS = {"h264", "hevc"}  # with messages on how to turn a picture (SEI, type 47)


def find_preroll(stretch: Stretch, rate: Fraction) -> int:
    """How many pictures before a stretch reading begins.

    A file without an index, or a damaged one, may be read on behind the cut. So it is tried
    where the first picture comes from; if nothing else helps, reading begins with the file.
    """
    most = math.ceil(stretch.seconds(0, rate) * rate)
    for seconds in _PREROLL_SECONDS:
        preroll = math.ceil(seconds * rate)
        if preroll < most and _lands_before(stretch, preroll, rate):
            return preroll
    return most


def input_words(
    stretch: Stretch, preroll: int, rate: Fraction, *, turns: bool = False
) -> list[str]:
    """The arguments with which ffmpeg opens a stretch's file at a preroll.

    A seek goes to the keyframe before; that all pictures from there are kept lets one that
    began before the cut, and lasts, be shown. Where the pictures' size changes on the way, ffmpeg
    would start its filters anew, and with them all that they have counted; it must not. Only
    so does it turn each picture as it says, which `turns` asks for; see `find_turning_preroll`.
    """
    start = stretch.seconds(0, rate) - float(preroll / rate)
    seek = ["-noaccurate_seek", "-ss", f"{start:.6f}"] if start > 0 else []
    anew = [] if turns else ["-reinit_filter", "0"]
    return [*seek, *anew, *containers.input_words(stretch.chunk.file)]


def find_turning_preroll(stretch: Stretch, rate: Fraction) -> int | None:
    """How many pictures before a stretch reading begins, if its pictures turn on the way.

    Streams of some codecs say with a picture how it and those after it are turned, until another
    one says otherwise. Where one on the way may have said it, reading begins with the file. Only
    keyframes are looked at, of the last seconds and the file's first, since all would take long.

    Returns:
        None if all that is read is turned in one way, which each keyframe tells.
    """
    start = stretch.seconds(0, rate)
    stop = start + float(stretch.count / rate)
    before = max(start - _PREROLL_SECONDS[1], 0.0)
    first: bytes | None = None
    seen: list[bytes | None] = []
    try:
        with open_container(stretch.chunk.file) as container:
            stream = find_video_stream(container)
            codec = stream.codec_context
            if codec is None or codec.name not in _TURNING_CODECS:
                return None
            codec.skip_frame = "NONKEY"
            begin = (container.start_time or 0) / av.time_base
            if before:
                first = next(map(_matrix, container.decode(stream)), None)
                container.seek(round((before + begin) * av.time_base), backward=True)
            for frame in container.decode(stream):
                if frame.time is not None and frame.time - begin >= stop:
                    break
                seen.append(_matrix(frame))
    except (av.error.FFmpegError, DecodeError):  # damaged; rendering says how
        pass
    changes = len(set(seen)) > 1 or (first is not None and None in seen)
    return math.ceil(start * rate) if changes else None


def _matrix(frame: VideoFrame) -> bytes | None:
    """How a picture says that it is to be turned."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    return None if matrix is None else bytes(matrix)


def shift(stretch: Stretch, preroll: int, rate: Fraction) -> int:
    """How long after ffmpeg's time 0 the stretch begins, in microseconds."""
    return round(min(stretch.seconds(0, rate), float(preroll / rate)) * 10**6)


def _lands_before(stretch: Stretch, preroll: int, rate: Fraction) -> bool:
    said: list[str] = []
    words = [
        *("-loglevel", "info", *input_words(stretch, preroll, rate)),
        *("-map", f"0:{stretch.chunk.picture}", "-vf", "settb=AVTB,showinfo"),
        *("-frames:v", "1", "-f", "null", "-"),
    ]
    try:
        said = run(words)
    except RenderError:
        return False
    shown = (re.match(r"\[Parsed_showinfo_1 @ \w+\] n: *0 pts: *(-?\d+)", line) for line in said)
    first = next((int(found[1]) for found in shown if found), None)
    return first is not None and first <= shift(stretch, preroll, rate) + 10**6 / 2 / rate
