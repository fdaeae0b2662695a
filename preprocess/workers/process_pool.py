"""Child processes that wait for work, as many as there is work for at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from preprocess.errors import PreprocessError
from preprocess.workers.child_process import ChildProcess


class ProcessPool:
    """Processes that are used again and again, by several threads, each by one at a time.

    Args:
        start: a new process for a duty.
    """

    def __init__(self, start: Callable[[Any], ChildProcess]) -> None:
        self._start = start
        self._idle: list[tuple[Any, ChildProcess]] = []
        self._busy: set[ChildProcess] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    @contextmanager
    def process(self, duty: Any = None) -> Iterator[ChildProcess]:
        """A process for some work; if it survives, it is there for the next of the same duty.

        Raises:
            PreprocessError: if the pool is closed.
        """
        with self._lock:
            if self._is_closed:
                raise PreprocessError("The processes are closed.")
            process = self._idle_one(duty) or self._start(duty)
            self._busy.add(process)
        try:
            yield process
        finally:
            with self._lock:
                self._busy.discard(process)
                if process.is_alive() and not self._is_closed:
                    self._idle.append((duty, process))
                else:
                    process.close()

    def close(self) -> None:
        """End all processes, those at work included."""
        with self._lock:
            self._is_closed = True
            for process in (*(process for _, process in self._idle), *self._busy):
                process.kill()

    def _idle_one(self, duty: Any) -> ChildProcess | None:
        """The one used last; where there is none, one of another duty makes room."""
        for entry in [entry for entry in self._idle if not entry[1].is_alive()]:
            self._idle.remove(entry)
            entry[1].close()
        for entry in reversed(self._idle):
            if entry[0] == duty:
                self._idle.remove(entry)
                return entry[1]
        if self._idle:
            self._idle.pop(0)[1].close()
        return None
