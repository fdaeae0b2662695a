"""Which kinds of file FFmpeg may take a video for: those that hold their streams themselves.

FFmpeg goes by the content, not by the name. A playlist that is named clip.mp4 would have it open
other files, or addresses of a network, as if they were the clip.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

# Demuxers by FFmpeg's names. None of these opens anything but the file it is given.
_FORMATS = (
    *("mov", "matroska", "avi", "mpeg", "mpegts", "mpegvideo", "m4v", "h264", "hevc", "vvc"),
    *("av1", "obu", "ivf", "flv", "asf", "ogg", "mxf", "mjpeg", "jpeg_pipe", "gif"),
    *(
        "dv",
        "yuv4mpegpipe",
        "nut",
        "rm",
        "wtv",
        "vc1",
        "wav",
        "w64",
        "aiff",
        "caf",
        "mp3",
        "flac",
        "aac",
        "ac3",
        "eac3",
    ),
)
_LIMITS = {"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS)}
_CAPTURE_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_REFUSAL = re.compile(r"Format not on whitelist '.*'")


def input_words(path: str | os.PathLike[str]) -> list[str]:
    """The arguments with which the ffmpeg program opens a file of somebody else.

    Nothing in its name is an option, a protocol or a pattern, and nothing in it is a playlist.
    """
    limits = [word for name, value in _LIMITS.items() for word in (f"-{name}", value)]
    return [*limits, "-i", f"file:{Path(path).absolute()}"]


def limit_opencv() -> None:
    """Let FFmpeg in OpenCV, in this process and those it starts, open such files alone.

    It is told by the environment, which is written once: what the user has put there stays.
    """
    ours = "|".join(f"{name};{value}" for name, value in _LIMITS.items())
    given = os.environ.get(_CAPTURE_OPTIONS, "")
    if not given.endswith(ours):  # what comes last counts
        os.environ[_CAPTURE_OPTIONS] = f"{given}|{ours}" if given else ours


def in_plain_words(complaint: str) -> str:
    """What FFmpeg says, without the list of all that it may open."""
    return _REFUSAL.sub("it is of a kind that is not opened, such as a playlist", complaint)
