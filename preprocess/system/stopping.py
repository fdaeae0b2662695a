"""Orderly stops of a command by Ctrl-C and SIGTERM, with an end after a grace period."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
GRACE_SECONDS = 30.0
"""Seconds after a signal for threads to finish their work; then the process is ended."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_TAKING_LOCKS = ("__enter__", "__exit__")
_AGAIN_SECONDS = 0.005
_PATIENCE = 200  # times that a signal is put off: a second in all


def answer_signals(resume_hint: Callable[[], str]) -> None:
    """Let Ctrl-C and SIGTERM raise KeyboardInterrupt, and end the process if that is not enough.

    Nothing is raised while a `with` statement takes or releases a lock or a folder, for a second at
    most. The lock would stay taken, and the process would wait for ever for threads that wait for
    it (https://github.com/python/cpython/issues/74174); the folder would be left. Python prints and
    drops what is raised in a callback of the garbage collector or in a `__del__`; from there, too,
    it is raised again a moment later.

    Args:
        resume_hint: returns the sentence that tells how to resume; printed if the process is ended.
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

    drop_before = sys.unraisablehook

    def drop(dropped: sys.UnraisableHookArgs) -> None:
        nonlocal patience
        if patience and isinstance(dropped.exc_value, KeyboardInterrupt):
            patience -= 1
            _ring(interrupt, _AGAIN_SECONDS)
        else:
            drop_before(dropped)

    def give_up(number: int, frame: FrameType | None) -> None:
        _tell(resume_hint)
        # A regular exit would wait for threads that do not end.
        os._exit(EXIT_INTERRUPTED)

    for number in _SIGNALS:
        # A shell script's `&` lets its jobs ignore SIGINT, which is to stay so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    sys.unraisablehook = drop


def is_stop(error: BaseException | None) -> bool:
    """Return True if an error is a KeyboardInterrupt or was caused by one.

    A KeyboardInterrupt within `threading.Condition.wait`, for example, becomes a RuntimeError.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def tell_stopped(resume_hint: Callable[[], str]) -> int:
    """Print how to resume after a KeyboardInterrupt; return the exit code.

    From here on another signal ends the process without an error message, and threads that never
    end do not keep it alive.
    """
    _ring(lambda number, frame: os._exit(EXIT_INTERRUPTED), GRACE_SECONDS)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    _tell(resume_hint)
    return EXIT_INTERRUPTED


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let a signal end the process at once, even inside a library that does not return."""
    # Python runs its handlers only between bytecodes of the main thread; the default action of the
    # system needs no Python.
    before = {number: signal.signal(number, signal.SIG_DFL) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _takes_lock(frame: FrameType | None) -> bool:
    """Return True if a signal arrived while a `with` statement took or released something.

    What it takes may be some calls farther in: below `__enter__` of `contextlib` runs the function
    that makes a private folder, say, which nobody would remove. Frames of this module are skipped:
    the signal may have interrupted another one's handler.
    """
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    # On the way out only the innermost call counts: web servers raise the signal that they have
    # caught below `__exit__`.
    if frame is not None and frame.f_code.co_name in _TAKING_LOCKS:
        return True
    while frame is not None and frame.f_code.co_name != "__enter__":
        frame = frame.f_back
    return frame is not None


def _ring(answer: Callable[[int, FrameType | None], None], seconds: float) -> None:
    """Call a handler in the main thread after some seconds."""
    signal.signal(signal.SIGALRM, answer)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _tell(resume_hint: Callable[[], str]) -> None:
    """Print that the command was interrupted, and how to resume it."""
    print(f"\nInterrupted. {resume_hint()}", file=sys.stderr, flush=True)
