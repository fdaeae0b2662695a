"""Ctrl-C and SIGTERM: both stop a command in order."""

from __future__ import annotations

import signal


def stop_on_termination() -> None:
    """Let SIGTERM stop a run as Ctrl-C does: cleanly, with a line that says how to resume."""

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def end_at_once_next_time() -> None:
    """Of a process that has stopped in order: another signal while Python ends is no error."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
