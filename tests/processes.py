"""Processes that tests start, watch and wait for.

No test may depend on how fast the machine is. Wait for an event, with `PATIENCE_SECONDS` as the
only limit: it ends a hang and nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.fork_server import ForkedProcess

REPOSITORY = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 1800.0
"""Limit of every wait in seconds, below pytest's timeout, so that a message names the event."""
_LOOK_SECONDS = 0.01


def start(args: Sequence[object], **options: Any) -> subprocess.Popen[str]:
    """Start `python ARGS` from the root of the repository, in a session of its own.

    It is forked from a process that has imported TensorFlow, see tests/fork_server.py. A test of
    imports, or of the memory that a process takes, must start a process by itself.
    """
    settings = {"cwd": REPOSITORY, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    has_flags = str(args[0]).startswith("-") and args[0] not in ("-m", "-c")  # -I, -S, ...
    kind = subprocess.Popen if has_flags else ForkedProcess
    return kind(
        [sys.executable, *map(str, args)],
        text=True,
        start_new_session=True,
        **(settings | options),
    )


def run(args: Sequence[object], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `python ARGS` to its end, started by `start`."""
    with start(args, **options) as process:
        output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def wait_until(
    happened: Callable[[], object],
    what: str,
    process: subprocess.Popen[Any] | None = None,
) -> None:
    """Wait for an event.

    Args:
        happened: function that returns whether the event has happened.
        what: name of the event, for the message if it does not happen.
        process: process that causes it. If the process ends before, the wait ends too.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        if process is not None and process.poll() is not None:
            if happened():
                return
            output = process.stderr.read() if process.stderr is not None else ""
            raise AssertionError(
                f"the process ended ({process.returncode}) before: {what}\n{output}"
            )
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(_LOOK_SECONDS)


def processes_of(session: int) -> list[int]:
    """Ids of the living processes of a session: the command's own, and all that it started."""
    # The session first, which is quick to ask for.
    found = (
        process.pid for process in psutil.process_iter() if _session_of(process.pid) == session
    )
    return [process for process in found if is_alive(process)]


def children_of(owner: int, word: str = "") -> list[int]:
    """Ids of a process's living children, optionally those with a word in their command line."""
    # Children of this process that were forked have another parent, and its command line.
    found = [
        child.pid
        for child in (ForkedProcess.started if owner == os.getpid() else ())
        if any(word in str(part) for part in child.args) and child.poll() is None
    ]
    for process in _living():
        with suppress(psutil.Error):
            if process.ppid() == owner and any(word in part for part in process.cmdline()):
                found.append(process.pid)
    return found


def is_alive(process: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(session: int) -> None:
    """Wait for the end of all processes of a session.

    joblib's resource tracker and decoders end a moment after the command.
    """
    wait_until(lambda: not processes_of(session), "the end of all processes of the command")


def _living() -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        if is_alive(process.pid):
            yield process


def _session_of(process: int) -> int | None:
    try:
        return os.getsid(process)
    except ProcessLookupError:
        return None
