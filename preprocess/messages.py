"""What libraries say. FFmpeg inside OpenCV has no other way than file descriptor 2."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO

from preprocess.containers import in_plain_words

_LIBRARY_LINE = re.compile(r"^\[(?!\s*(?:WARN|INFO))[^\]]*\]\s*(?P<text>\S.*)$", re.MULTILINE)
_ENOUGH_BYTES = 2**16
_FFMPEG_S_OWN = {"OPENCV_FFMPEG_LOGLEVEL": None}  # a level, and it speaks on descriptor 1
_NOTHING = {"OPENCV_FFMPEG_LOGLEVEL": "-8", "OPENCV_LOG_LEVEL": "ERROR"}


@contextmanager
def captured_stderr() -> Iterator[IO[bytes]]:
    """All that this process writes to file descriptor 2 goes to the file given instead.

    Only for a process without other threads that have something to say there.
    """
    sys.stderr.flush()
    original = os.dup(2)
    with _variables(_FFMPEG_S_OWN), tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            yield messages
        finally:
            os.dup2(original, 2)
            os.close(original)


@contextmanager
def silent_decoders() -> Iterator[None]:
    """FFmpeg in OpenCV says nothing of its own, for a process that tells what went wrong itself.

    OpenCV asks once, when it first opens a video. So what a process begins with is kept to.
    """
    with _variables(_NOTHING):
        yield


@contextmanager
def silent(name: str) -> Iterator[None]:
    """Without the messages of a logger, "root" for those that say no name."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _variables(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Of the environment, None for unset; afterwards all is as it was, for later processes."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def first_complaint(messages: IO[bytes]) -> str:
    """The first thing FFmpeg said, without its addresses; empty if it kept silent.

    FFmpeg writes `[mov,mp4 @ 0x55d0] moov atom not found`; OpenCV's own warnings, which have
    the same form, are passed over.
    """
    text = os.pread(messages.fileno(), _ENOUGH_BYTES, 0).decode(errors="replace")
    found = _LIBRARY_LINE.search(text)
    return in_plain_words(found["text"].strip()) if found else ""
