"""Ctrl-C and SIGTERM: both stop a command in order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def stop_on_termination() -> None:
    """Let SIGTERM stop a run as Ctrl-C does: cleanly, with a line that says how to resume."""

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """A signal meanwhile ends the process, even within a library that is deaf to them."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    end_at_once_next_time()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_at_once_next_time() -> None:
    """Of a process that has stopped in order: another signal while Python ends is no error."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
