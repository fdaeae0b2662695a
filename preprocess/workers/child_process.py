"""A fresh interpreter that works for this one over a pipe, and may die without harm to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from typing import IO, Any

from preprocess.system.limits import MEMORY_BYTES, limit_memory

_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[5:]; "
    "from preprocess.workers.child_process import serve; serve(*sys.argv[1:5])"
)
_GRACE_SECONDS = 30  # 5 were too few on a busy machine, where a dying process is slow to end
STALLED = "SIGALRM"
"""What a process that is ended by `preprocess.system.limits.ended_if_stalled` dies of."""


class ChildProcess:
    """The owner's end. Nothing of the owner's main module is imported by the child.

    Args:
        work: a function of a module, called in the child with its end of the pipe. It ends by
            EOFError or BrokenPipeError when the owner closes the pipe or is gone.
        descriptors: open files that the child inherits.
        memory_bytes: of its own that it may have; None for as much as it wants.
    """

    def __init__(
        self,
        work: Callable[[Connection], None],
        descriptors: Sequence[int] = (),
        *,
        memory_bytes: int | None = MEMORY_BYTES,
    ) -> None:
        ours, theirs = socket.socketpair()
        with theirs, _interrupts_held_back():
            names = [work.__module__, work.__qualname__, str(theirs.fileno()), f"{memory_bytes}"]
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *names, *sys.path],
                pass_fds=[theirs.fileno(), *descriptors],
                stdin=subprocess.DEVNULL,
            )
        self.pipe = Connection(ours.detach())

    def send(self, message: Any) -> bool:
        """False if the child is dead, which `receive` says as well."""
        try:
            self.pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def receive(self) -> Any:
        """What the child says next.

        Raises:
            EOFError: if it is dead; it may have died within a word.
        """
        try:
            return self.pipe.recv()
        except OSError as error:
            raise EOFError from error

    def is_alive(self) -> bool:
        """Whether the child runs."""
        return self._process.poll() is None

    def cause_of_death(self) -> str:
        """For a message: the signal or exit code."""
        try:
            code = self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return "its pipe broke"
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def kill(self) -> None:
        """End the child."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the child and the pipe."""
        self.kill()
        self.pipe.close()


def anonymous_file() -> IO[bytes]:
    """A file without a name, for memory shared with a child; in memory where the system can."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("shared"), "w+b")
    return tempfile.TemporaryFile()


def death_told(cause: str, stall_seconds: float) -> str:
    """Why a video could not be read, by what its decoding process died of."""
    if cause == STALLED:
        return f"the decoder gave nothing for {stall_seconds:.0f} s"
    return f"the decoder crashed ({cause})"


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits; processes started meanwhile never see one, not even while they start up."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(module: str, name: str, descriptor: str, memory_bytes: str) -> None:
    """The child's end: do the work until the owner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's to answer
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if memory_bytes != "None":
        limit_memory(int(memory_bytes))
    work = getattr(import_module(module), name)
    try:
        work(Connection(int(descriptor)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)
