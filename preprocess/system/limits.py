"""What a process may take before the system ends it, and that alone."""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from preprocess.errors import DecodeError

MEMORY_BYTES = 4 * 2**30
"""More than the decoder of 8K video takes; a header with absurd sizes asks for more."""

STALL_SECONDS = 60.0
"""After which a decoder that gives nothing is ended."""
_TOO_LARGE = "its pictures take more memory than a decoder may have"


def limit_memory(num_bytes: int = MEMORY_BYTES) -> None:
    """Let memory of this process's own, shared blocks apart, not grow past a size.

    What asks for more is refused, which decoders answer with an error. If the machine runs out
    before, this process is among the first that the system ends.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = num_bytes if hard == resource.RLIM_INFINITY else min(num_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
    with suppress(OSError):  # elsewhere than on Linux
        Path("/proc/self/oom_score_adj").write_text("500")


@contextmanager
def refusals_named() -> Iterator[None]:
    """What libraries raise where they get no memory, as DecodeError."""
    import cv2

    try:
        yield
    except MemoryError as error:
        raise DecodeError(_TOO_LARGE) from error
    except cv2.error as error:
        found = error.err if error.code != cv2.Error.StsNoMem else _TOO_LARGE
        raise DecodeError(found) from error


@contextmanager
def ended_if_stalled(seconds: float) -> Iterator[Watch]:
    """End this process by SIGALRM, even within a library, once it gets on no more.

    Args:
        seconds: without progress, until the end.
    """
    watch = Watch(seconds)
    try:
        yield watch
    finally:
        watch.end()


class Watch:
    """Puts off the end as long as there is progress; from `ended_if_stalled`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def follow(self, progress: Callable[[], object]) -> None:
        """From now on, progress is whatever changes this value; it is asked for in a thread."""
        self._thread = threading.Thread(target=self._look, args=(progress,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Call it off."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _look(self, progress: Callable[[], object]) -> None:
        seen = progress()
        while not self._over.wait(self._seconds / 60):
            before, seen = seen, progress()
            if seen != before:
                signal.setitimer(signal.ITIMER_REAL, self._seconds)
