"""Commands in sessions of their own, and what is left of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


def start(words: Sequence[object], **options: Any) -> subprocess.Popen[str]:
    """`python WORDS` from the root of the repository, in a process group of its own."""
    settings = {"cwd": REPOSITORY, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        text=True,
        start_new_session=True,
        **(settings | options),
    )


def processes_of(session: int) -> list[int]:
    """Those that are still at work of a session: a command's own, and all that it started."""
    found = subprocess.run(["ps", "-eo", "sid=,pid=,stat="], capture_output=True, text=True)
    rows = [line.split() for line in found.stdout.splitlines()]
    return [int(pid) for sid, pid, state in rows if int(sid) == session and state[0] != "Z"]


def wait_until_gone(session: int, *, seconds: float = 10) -> None:
    """joblib's bookkeeping process ends a moment after the command."""
    deadline = time.monotonic() + seconds
    while processes_of(session):
        assert time.monotonic() < deadline, "a process of the command is left"
        time.sleep(0.05)
