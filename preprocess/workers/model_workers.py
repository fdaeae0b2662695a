"""Processes that load something once, a model for instance, and then answer items."""

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
"""After which a process without work goes away."""
_LOOK_SECONDS = 0.5
_ATTEMPTS = 2


class ModelLoader(Protocol):
    """Loads what answers items. It is sent to a process; equal ones share a process in turn."""

    def open(self) -> Callable[[Any], Any]:
        """Load what is needed; returns what answers an item. Called in the process, once."""


class WorkerDiedError(PreprocessError):
    """Processes ended before they had answered an item."""


@dataclass(frozen=True)
class _Answer:
    value: Any


class ModelWorkers:
    """Processes, as many as items are worked on at the same time.

    One that has nothing to do for a while goes away by itself, and one of another model does
    when its place is needed.
    """

    def __init__(self) -> None:
        self._pool = ProcessPool(_start)

    def ask(self, loader: ModelLoader, item: Any, *, is_wanted: Callable[[], bool]) -> Any:
        """The answer to an item. Threads may call it at the same time.

        An item at which the process dies is given to a fresh one once more, since memory may have
        been short.

        Args:
            loader: of what answers.
            item: sent to it.
            is_wanted: asked now and then; if nobody waits any more, the process is ended.

        Raises:
            WorkerDiedError: if that dies, too.
            PreprocessError: if the answer is not wanted any more.
            Exception: what the loader or the model raises.
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
        """End all processes, those at work included."""
        self._pool.close()


def _start(loader: ModelLoader) -> ChildProcess:
    process = ChildProcess(serve_items, memory_bytes=None)
    process.send(loader)
    return process


def _next_reply(process: ChildProcess, is_wanted: Callable[[], bool]) -> Any:
    """Reply to an item; a process that is left before it has answered is of no more use."""
    try:
        while not process.pipe.poll(_LOOK_SECONDS):
            if not is_wanted():
                raise PreprocessError("Nobody waits for this any more.")
        return process.receive()
    except BaseException:
        process.kill()
        raise


def serve_items(pipe: Connection) -> None:
    """Answer items, at the process's end, until there is none for a while, or the owner is gone."""
    _end_with_owner(pipe)
    loader, answer = pipe.recv(), None
    while pipe.poll(IDLE_SECONDS):
        item = pipe.recv()
        try:
            answer = answer or loader.open()
            reply: Any = _Answer(answer(item))
        except Exception as error:
            error.add_note(traceback.format_exc())
            reply = error
        pipe.send(reply)


def _end_with_owner(pipe: Connection) -> None:
    """End this process once its owner is gone, whatever it is doing."""
    poller = select.poll()
    poller.register(pipe.fileno(), 0)  # of which a hang-up is told all the same

    def watch() -> None:
        poller.poll()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
