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
    # Containers and raw streams of video.
    "mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,vvc,av1,obu,ivf,flv,live_flv,asf,ogg,mxf,"
    "gxf,mjpeg,mjpeg_2000,jpeg_pipe,gif,apng,dv,yuv4mpegpipe,nut,rm,wtv,vc1,dirac,dnxhd,"
    # Sound alone.
    "wav,w64,aiff,caf,mp3,flac,aac,ac3,eac3,dts,amr"
)
LIMITS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
"""Options with which FFmpeg opens such files alone."""
_REFUSAL = re.compile(r"Format not on whitelist '.*'")


def file_url(path: str | os.PathLike[str]) -> str:
    """The address of a file for FFmpeg: nothing in its name is an option, protocol or pattern."""
    return f"file:{Path(path).absolute()}"


def input_words(path: str | os.PathLike[str]) -> list[str]:
    """The arguments with which the ffmpeg program opens a file of somebody else.

    Nothing in its name is an option, a protocol or a pattern, and nothing in it is a playlist.
    """
    limits = [word for name, value in LIMITS.items() for word in (f"-{name}", value)]
    return [*limits, "-i", file_url(path)]


def in_plain_words(complaint: str) -> str:
    """What FFmpeg says, without the list of all that it may open."""
    return _REFUSAL.sub("it is of a kind that is not opened, such as a playlist", complaint)
