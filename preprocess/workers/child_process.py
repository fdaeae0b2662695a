"""Child processes that work over a pipe, may crash or stall without harm, and are used again."""

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

from preprocess.errors import PreprocessError

_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[5:]; "
    "from preprocess.workers.child_process import serve; serve(*sys.argv[1:5])"
)
_GRACE_SECONDS = 30  # 5 were too few on a busy machine, where a dying process is slow to end
STALLED = "SIGALRM"
"""What a process that is ended by `preprocess.workers.child_process.ended_if_stalled` dies of."""
MEMORY_BYTES = 4 * 2**30
"""More than the decoder of 8K video takes; a header with absurd sizes asks for more."""
STALL_SECONDS = 60.0
"""After which a decoder that gives nothing is ended."""


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
