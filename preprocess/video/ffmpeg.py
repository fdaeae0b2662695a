"""Restrictions on the files that FFmpeg opens, and its messages on file descriptor 2.

FFmpeg recognises a format by the content, not by the name. A playlist that is named clip.mp4 would
make it open other files, or network addresses, as if they were the clip.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

# Demuxers by FFmpeg's names. None of these opens anything but the file it is given.
_FORMATS = (
    # Containers and raw streams of video.
    "mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,vvc,av1,obu,ivf,flv,live_flv,asf,ogg,mxf,"
    "gxf,mjpeg,mjpeg_2000,jpeg_pipe,gif,apng,dv,yuv4mpegpipe,nut,rm,wtv,vc1,dirac,dnxhd,"
    # Sound alone.
    "wav,w64,aiff,caf,mp3,flac,aac,ac3,eac3,dts,amr"
)
LIMITS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
"""Options with which FFmpeg opens only such files."""
_REFUSAL = re.compile(r"Format not on whitelist '.*'")
_LIBRARY_LINE = re.compile(r"^\[(?!\s*(?:WARN|INFO))[^\]]*\]\s*(?P<text>\S.*)$", re.MULTILINE)
_ENOUGH_BYTES = 2**16


def file_url(path: str | os.PathLike[str]) -> str:
    """URL of a file for FFmpeg, in which no part of the name is an option, protocol or pattern."""
    return f"file:{Path(path).absolute()}"


def input_args(path: str | os.PathLike[str]) -> list[str]:
    """Arguments with which the ffmpeg program opens an untrusted file.

    No part of its name is an option, protocol or pattern, and a playlist is not followed.
    """
    limits = [arg for name, value in LIMITS.items() for arg in (f"-{name}", value)]
    return [*limits, "-i", file_url(path)]


def in_plain_words(complaint: str) -> str:
    """Message of FFmpeg without the long list of formats that it may open."""
    return _REFUSAL.sub("it is of a kind that is not opened, such as a playlist", complaint)


@contextmanager
def captured_stderr() -> Iterator[IO[bytes]]:
    """Redirect file descriptor 2 of this process to the file yielded.

    Use it only in a process without other threads that write there.
    """
    # Python's sys.stderr alone would not do: the libraries write to the descriptor.
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            yield messages
        finally:
            os.dup2(original, 2)
            os.close(original)


@contextmanager
def silent(name: str) -> Iterator[None]:
    """Silence a logger, such as "root", for the context."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def first_complaint(messages: IO[bytes]) -> str:
    """First message of FFmpeg, without the part in brackets; empty if there is none.

    FFmpeg writes `[mov,mp4 @ 0x55d0] moov atom not found`; OpenCV's own warnings, which have
    the same form, are ignored.
    """
    text = os.pread(messages.fileno(), _ENOUGH_BYTES, 0).decode(errors="replace")
    found = _LIBRARY_LINE.search(text)
    return in_plain_words(found["text"].strip()) if found else ""
