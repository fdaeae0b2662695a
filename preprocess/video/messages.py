"""What libraries say on file descriptor 2, which Python's own streams do not see."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from preprocess.video.containers import in_plain_words

_LIBRARY_LINE = re.compile(r"^\[(?!\s*(?:WARN|INFO))[^\]]*\]\s*(?P<text>\S.*)$", re.MULTILINE)
_ENOUGH_BYTES = 2**16


@contextmanager
def captured_stderr() -> Iterator[IO[bytes]]:
    """All that this process writes to file descriptor 2 goes to the file given instead.

    Only for a process without other threads that have something to say there.
    """
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
    """Without the messages of a logger, "root" for those that say no name."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def first_complaint(messages: IO[bytes]) -> str:
    """The first thing FFmpeg said, without its addresses; empty if it kept silent.

    FFmpeg writes `[mov,mp4 @ 0x55d0] moov atom not found`; OpenCV's own warnings, which have
    the same form, are passed over.
    """
    text = os.pread(messages.fileno(), _ENOUGH_BYTES, 0).decode(errors="replace")
    found = _LIBRARY_LINE.search(text)
    return in_plain_words(found["text"].strip()) if found else ""
