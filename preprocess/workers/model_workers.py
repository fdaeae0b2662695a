"""Worker processes that load something once, such as a model, and then answer items."""

from __future__ import annotations

import os
import select
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

from preprocess.errors import PreprocessError
from preprocess.workers.child_process import ChildProcess, ProcessPool

IDLE_SECONDS = 60
"""Seconds without work after which a process ends."""
_LOOK_SECONDS = 0.5  # between two looks whether anybody still waits for an answer
_ATTEMPTS = 2  # for an item at which the process dies: memory may have been short the first time


class ModelLoader(Protocol):
    """Loader that is sent to a process; equal loaders use the same process in turn."""

    def open(self) -> Callable[[Any], Any]:
        """Load what is needed and return the function of an item. Called once in the process."""


class WorkerDiedError(PreprocessError):
    """Error of an item at which the worker process died, twice in a row."""


# Wraps a value, so that a model may also return an exception object without its being raised.
@dataclass(frozen=True)
class _Answer:
    value: Any


class ModelWorkers:
    """Worker processes, as many as items are worked on at the same time.

    A process without work ends after `IDLE_SECONDS`, or earlier if another model needs its place.
    """

    def __init__(self) -> None:
        self._pool = ProcessPool(_start)

    def ask(self, loader: ModelLoader, item: Any, *, is_wanted: Callable[[], bool]) -> Any:
        """Have a process answer an item. Threads may call it at the same time.

        An item at which the process dies is given to a fresh one once more, since memory may have
        been short.

        Args:
            loader: loader of the model.
            item: item to answer; it is pickled.
            is_wanted: called now and then; if it returns False, the process is ended.

        Returns:
            The model's answer.

        Raises:
            WorkerDiedError: if the second process dies, too.
            PreprocessError: if the answer is not wanted any more.
            Exception: any error of the loader or the model.
        """
        for _ in range(_ATTEMPTS):
            with self._pool.process(loader) as process:
                process.send(item)
                try:
                    reply = _next_reply(process, is_wanted)
                except EOFError:
                    cause = process.cause_of_death()
                    continue
            if isinstance(reply, _Answer):
                return reply.value
            raise reply
        raise WorkerDiedError(f"the process that worked on it died ({cause})")

    def close(self) -> None:
        """Kill all processes, including those at work."""
        self._pool.close()


def _start(loader: ModelLoader) -> ChildProcess:
    """Start a process for a loader; a model may take any amount of memory."""
    process = ChildProcess(serve_items, memory_bytes=None)
    process.send(loader)
    return process


def _next_reply(process: ChildProcess, is_wanted: Callable[[], bool]) -> Any:
    """Wait for the reply to an item.

    Raises:
        EOFError: if the process died.
        PreprocessError: if the answer is not wanted any more.
    """
    try:
        while not process.pipe.poll(_LOOK_SECONDS):
            if not is_wanted():
                raise PreprocessError("Nobody waits for this any more.")
        return process.receive()
    except BaseException:
        # A late answer would be taken for that of the next item.
        process.kill()
        raise


def serve_items(pipe: Connection) -> None:
    """Answer items in the child until none comes for a while or the owner has ended."""
    _end_with_owner(pipe)
    # The model is loaded with the first item, so that an error of loading is the reply to it.
    loader, answer = pipe.recv(), None
    while pipe.poll(IDLE_SECONDS):
        item = pipe.recv()
        try:
            answer = answer or loader.open()
            reply: Any = _Answer(answer(item))
        except Exception as error:
            error.add_note(traceback.format_exc())  # a pickled exception loses its traceback
            reply = error
        pipe.send(reply)


def _end_with_owner(pipe: Connection) -> None:
    """End this process once its owner has ended, whatever it is doing."""
    poller = select.poll()
    poller.register(pipe.fileno(), 0)  # no events but a hang-up, which poll always reports

    def watch() -> None:
        poller.poll()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
