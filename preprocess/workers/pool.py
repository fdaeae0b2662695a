"""A pool of processes that work on tasks; one that crashes or stalls costs its task alone."""

from __future__ import annotations

import functools
import os
import select
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

from preprocess.errors import PreprocessError
from preprocess.workers.child_process import MEMORY_BYTES, ChildProcess

IDLE_SECONDS = 60
"""Seconds without work after which a process ends."""
_LOOK_SECONDS = 0.5  # between two looks whether anybody still waits for an answer
_IDLE_EXIT = 75  # code of a process that has ended for want of work
_ATTEMPTS = 2  # for a task at which the process dies: memory may have been short the first time


class Loader(Protocol):
    """Loader that is sent to a process; equal loaders use the same process in turn."""

    @property
    def memory_bytes(self) -> int | None:
        """Limit on the process's own memory; None for no limit."""

    def open(self) -> Callable[[Any], Any]:
        """Load what is needed and return the function of a task. Called once in the process.

        That function returns an answer, or is a generator of several.
        """


@dataclass(frozen=True)
class DecoderLoader:
    """Loader of a decoding process: memory is limited, and nothing is loaded.

    Args:
        decode: function of a task, of a module.
    """

    decode: Callable[[Any], Any]
    memory_bytes: int = MEMORY_BYTES

    def open(self) -> Callable[[Any], Any]:
        """Return the function of a task."""
        return self.decode


class WorkerDiedError(PreprocessError):
    """Error of a task at which the worker process died."""

    cause = ""
    """Name of the signal, or exit code, that it ended with."""


# Wraps a value, so that an answer may also be an exception object without its being raised.
@dataclass(frozen=True)
class _Answer:
    value: Any


@dataclass(frozen=True)
class _Ended:
    """Message that the task is done."""


@dataclass(frozen=True)
class _Death:
    cause: str


class WorkerPool:
    """Worker processes, as many as tasks are worked on at the same time.

    A process without work ends after `IDLE_SECONDS`, or earlier if another loader needs its place.
    Threads may use a pool at the same time; a process serves one of them at a time.
    """

    def __init__(self) -> None:
        self._idle: list[tuple[Loader, ChildProcess]] = []
        self._busy: set[ChildProcess] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def ask(self, loader: Loader, task: Any, is_wanted: Callable[[], bool] | None = None) -> Any:
        """Return the only answer to a task.

        A task at which the process dies is given to a fresh one once more, since memory may have
        been short. The arguments are those of `answers`.

        Raises:
            WorkerDiedError: if the second process dies, too.
            PreprocessError, Exception: for the other reasons of `answers`.
        """
        for attempt in range(_ATTEMPTS):
            try:
                (answer,) = self.answers(loader, task, is_wanted)
            except WorkerDiedError:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return answer
        raise AssertionError

    def answers(
        self, loader: Loader, task: Any, is_wanted: Callable[[], bool] | None = None
    ) -> Iterator[Any]:
        """Yield what a process answers to a task. A process whose answers are left is killed.

        Args:
            loader: loader of what the process needs.
            task: task to work on; it is pickled.
            is_wanted: called now and then; if it returns False, the process is ended.

        Raises:
            WorkerDiedError: if the process dies.
            PreprocessError: if the answer is not wanted any more, or the pool is closed.
            Exception: any error of the loader or of the task.
        """
        with self._process(loader) as process:
            process.send(task)
            try:
                while isinstance(message := _next_message(process, is_wanted), _Answer):
                    yield message.value
            except EOFError:
                message = _Death(process.cause_of_death())
            except BaseException:
                # A late answer would be taken for that to the next task.
                process.kill()
                raise
        match message:
            case _Ended():
                return
            case _Death(cause) if cause == f"exit code {_IDLE_EXIT}":
                # It ended just before the task came.
                yield from self.answers(loader, task, is_wanted)
            case _Death(cause):
                error = WorkerDiedError(f"the process that worked on it died ({cause})")
                error.cause = cause
                raise error
            case _:
                raise message

    def close(self) -> None:
        """Kill all processes, including those at work."""
        with self._lock:
            self._is_closed = True
            # Killed and not closed: a thread may be reading a busy one's pipe and gets EOFError.
            for process in (*(process for _, process in self._idle), *self._busy):
                process.kill()

    @contextmanager
    def _process(self, loader: Loader) -> Iterator[ChildProcess]:
        """Lend a process for the context; if it survives, the next task of the loader gets it."""
        # Started with the lock held: `close` then finds every process, idle or busy.
        with self._lock:
            if self._is_closed:
                raise PreprocessError("The processes are closed.")
            process = self._idle_one(loader)
            if process is None:
                process = ChildProcess(serve_tasks, memory_bytes=loader.memory_bytes)
                process.send(loader)
            self._busy.add(process)
        try:
            yield process
        finally:
            with self._lock:
                self._busy.discard(process)
                if process.is_alive() and not self._is_closed:
                    self._idle.append((loader, process))
                else:
                    process.close()

    def _idle_one(self, loader: Loader) -> ChildProcess | None:
        """Take the idle process of a loader that was used last, or close one to make room."""
        # Idle processes end by themselves after a while; those are removed first.
        for entry in [entry for entry in self._idle if not entry[1].is_alive()]:
            self._idle.remove(entry)
            entry[1].close()
        for entry in reversed(self._idle):
            if entry[0] == loader:
                self._idle.remove(entry)
                return entry[1]
        if self._idle:
            self._idle.pop(0)[1].close()
        return None


def _next_message(process: ChildProcess, is_wanted: Callable[[], bool] | None) -> Any:
    """Wait for the next message about a task.

    Raises:
        EOFError: if the process died.
        PreprocessError: if it is not wanted any more.
    """
    while is_wanted is not None and not process.pipe.poll(_LOOK_SECONDS):
        if not is_wanted():
            raise PreprocessError("Nobody waits for this any more.")
    return process.receive()


def serve_tasks(pipe: Connection) -> None:
    """Work on tasks in the child until none comes for a while or the owner has ended."""
    _end_with_owner(pipe)
    # Loaded with the first task, so that an error of loading is the answer to it.
    loader = functools.cache(pipe.recv().open)
    while pipe.poll(IDLE_SECONDS):
        for message in _messages(loader, pipe.recv()):
            pipe.send(message)
    sys.exit(_IDLE_EXIT)


def _messages(loader: Callable[[], Callable[[Any], Any]], task: Any) -> Iterator[Any]:
    """Yield an `_Answer` for each answer to a task, then `_Ended` or the error."""
    try:
        found = loader()(task)
        yield from map(_Answer, found if isinstance(found, Iterator) else [found])
    except Exception as error:
        error.add_note(traceback.format_exc())  # a pickled exception loses its traceback
        yield error
    else:
        yield _Ended()


def _end_with_owner(pipe: Connection) -> None:
    """End this process once its owner has ended, whatever it is doing."""
    poller = select.poll()
    poller.register(pipe.fileno(), 0)  # no events but a hang-up, which poll always reports

    def watch() -> None:
        poller.poll()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
