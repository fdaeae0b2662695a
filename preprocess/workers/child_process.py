"""Child processes that work over a pipe and may crash or stall without harm."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

# The child is a fresh interpreter and neither forked nor spawned by multiprocessing: a fork of a
# process with TensorFlow's threads can deadlock, and spawn imports the owner's main module. It gets
# the owner's sys.path, so that it finds the same packages.
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[5:]; "
    "from preprocess.workers.child_process import serve; serve(*sys.argv[1:5])"
)
# How long to wait for the exit code of a process whose pipe broke: 5 seconds were too few on a busy
# machine, where a dying process is slow to end.
_GRACE_SECONDS = 30
STALLED = "SIGALRM"
"""Signal that `ended_if_stalled` ends a process with."""
MEMORY_BYTES = 4 * 2**30
"""Memory limit of a decoder: enough for 8K video, too little for a header with absurd sizes."""
STALL_SECONDS = 60.0
"""Seconds without a frame after which a decoder is ended."""


class ChildProcess:
    """Child process, seen from its owner. The child does not import the owner's main module.

    Args:
        work: a function of a module, called in the child with its end of the pipe. It ends with
            EOFError or BrokenPipeError when the owner closes the pipe or has ended.
        descriptors: open files that the child inherits.
        memory_bytes: limit on the child's own memory; None for no limit.
    """

    def __init__(
        self,
        work: Callable[[Connection], None],
        descriptors: Sequence[int] = (),
        *,
        memory_bytes: int | None = MEMORY_BYTES,
    ) -> None:
        # The owner's copy of the child's end is closed after the start: only then does the death of
        # the child end `receive` by EOFError.
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
        """Send a message; return False if the child is dead, of which `receive` raises EOFError."""
        try:
            self.pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def receive(self) -> Any:
        """Receive the child's next message.

        Raises:
            EOFError: if the child is dead; it may have died in the middle of a message.
        """
        try:
            return self.pipe.recv()
        except OSError as error:  # such as a message that breaks off
            raise EOFError from error

    def is_alive(self) -> bool:
        """Return True if the child is running."""
        return self._process.poll() is None

    def cause_of_death(self) -> str:
        """Name of the signal, or exit code, that the child ended with, for a message."""
        try:
            code = self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return "its pipe broke"
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def kill(self) -> None:
        """Kill the child and wait for its end."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Kill the child and close the pipe."""
        self.kill()
        self.pipe.close()


def anonymous_file() -> IO[bytes]:
    """Create a file without a name, for memory shared with a child; in memory if possible."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("shared"), "w+b")
    return tempfile.TemporaryFile()


def describe_death(cause: str, stall_seconds: float) -> str:
    """Describe why a video could not be read, from its decoding process's cause of death."""
    if cause == STALLED:
        return f"the decoder gave nothing for {stall_seconds:.0f} s"
    return f"the decoder crashed ({cause})"


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Block SIGINT for the context, so that processes started in it never receive Ctrl-C.

    A child inherits the mask, so it is safe also before it has installed a handler of its own.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(module: str, name: str, descriptor: str, memory_bytes: str) -> None:
    """Run the child: call its function until the owner has ended.

    Args:
        module, name: the function's module and name.
        descriptor: file descriptor of the child's end of the pipe.
        memory_bytes: memory limit, or "None".
    """
    # The terminal sends Ctrl-C to all processes; the owner answers it and ends its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if memory_bytes != "None":
        limit_memory(int(memory_bytes))
    work = getattr(import_module(module), name)
    try:
        work(Connection(int(descriptor)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # Nothing is left to finish, and threads of a library could keep a regular exit waiting.
        os._exit(0)


def limit_memory(num_bytes: int = MEMORY_BYTES) -> None:
    """Limit this process's own memory, apart from shared blocks.

    An allocation beyond the limit fails, which decoders answer with an error. If the machine runs
    out of memory before, this process is among the first that the system ends.
    """
    # RLIMIT_DATA and not RLIMIT_AS: shared memory and mapped libraries do not count.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = num_bytes if hard == resource.RLIM_INFINITY else min(num_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
    with suppress(OSError):  # elsewhere than on Linux
        Path("/proc/self/oom_score_adj").write_text("500")


@contextmanager
def ended_if_stalled(seconds: float) -> Iterator[Watch]:
    """End this process by SIGALRM if it makes no progress, even inside a library.

    A timer of the system does it, because a Python thread could not run while a library holds the
    interpreter's lock.

    Args:
        seconds: time without progress after which the process ends.
    """
    watch = Watch(seconds)
    try:
        yield watch
    finally:
        watch.end()


class Watch:
    """Timer that is restarted as long as there is progress; from `ended_if_stalled`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._over = threading.Event()
        self._is_waiting = False
        self._thread: threading.Thread | None = None
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def follow(self, progress: Callable[[], object]) -> None:
        """Restart the timer, in a thread, whenever the value of `progress()` changes."""
        self._thread = threading.Thread(target=self._look, args=(progress,), daemon=True)
        self._thread.start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let this process wait for its owner in the context, after `follow`: that is no stall."""
        self._is_waiting = True
        try:
            yield
        finally:
            self._is_waiting = False

    def end(self) -> None:
        """Stop the timer."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _look(self, progress: Callable[[], object]) -> None:
        seen = progress()
        while not self._over.wait(self._seconds / 60):
            before, seen = seen, progress()
            if seen != before or self._is_waiting:
                signal.setitimer(signal.ITIMER_REAL, self._seconds)
