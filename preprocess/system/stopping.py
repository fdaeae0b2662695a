"""Ctrl-C and SIGTERM: both stop a command in order, and in the end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130
GRACE_SECONDS = 30.0
"""After a signal, for threads to finish what they are at; what has not ended then is ended."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_TAKING_LOCKS = ("__enter__", "__exit__")
_AGAIN_SECONDS = 0.005
_PATIENCE = 200  # times that a signal waits for a lock


def answer_signals(going_on: Callable[[], str]) -> None:
    """Let Ctrl-C and SIGTERM raise KeyboardInterrupt, and end the process if that does not.

    Nothing is raised while a lock is being taken or given back by a `with` statement. The lock
    would stay taken, and the process wait for ever for threads that wait for it
    (https://github.com/python/cpython/issues/74174).

    Args:
        going_on: how to go on, should the process have to be ended.
    """
    patience = _PATIENCE

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal patience
        if patience and _takes_lock(frame):
            patience -= 1
            _ring(interrupt, _AGAIN_SECONDS)
            return
        _ring(give_up, GRACE_SECONDS)
        raise KeyboardInterrupt

    def give_up(number: int, frame: FrameType | None) -> None:
        _tell(going_on)
        os._exit(EXIT_INTERRUPTED)

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a script's `&` has it
            signal.signal(number, interrupt)


def is_stop(error: BaseException | None) -> bool:
    """Whether a signal is what ended a run, or what another error came of.

    A KeyboardInterrupt within `threading.Condition.wait`, for one, turns into a RuntimeError.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def tell_stopped(going_on: Callable[[], str]) -> int:
    """What a command ends with after a KeyboardInterrupt; returns its exit code.

    Another signal while Python ends is no error, and threads that never end do not keep it.
    """
    _ring(lambda number, frame: os._exit(EXIT_INTERRUPTED), GRACE_SECONDS)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    _tell(going_on)
    return EXIT_INTERRUPTED


@contextmanager
def ending_at_once() -> Iterator[None]:
    """A signal meanwhile ends the process, even within a library that is deaf to them."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _takes_lock(frame: FrameType | None) -> bool:
    """Whether that is what a signal came in the middle of, or another signal's answer did."""
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name in _TAKING_LOCKS


def _ring(answer: Callable[[int, FrameType | None], None], seconds: float) -> None:
    """Have something done in the main thread before long."""
    signal.signal(signal.SIGALRM, answer)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _tell(going_on: Callable[[], str]) -> None:
    print(f"\nInterrupted. {going_on()}", file=sys.stderr, flush=True)
