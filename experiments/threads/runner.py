"""Runs of the work, each in a fresh process, within a budget of time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from experiments.threads.search import MeasureError
from experiments.threads.trial import EXIT_TOLD
from experiments.threads.workloads import Task

_HANGING = 6  # times as long as a usual run, and at least a minute more
_FIRST_RUN_SECONDS = 600.0
_MESSAGE_LENGTH = 300


class Runner:
    """Measures one setting after another, and keeps a list of what came of it.

    Args:
        scratch: private folder for results and the work's own files.
        deadline: until when runs may be begun, by time.monotonic().
        note: told the record of each run.
    """

    def __init__(
        self, scratch: Path, *, deadline: float, note: Callable[[dict[str, Any]], None]
    ) -> None:
        self._scratch = scratch
        self._note = note
        self._durations: list[float] = []
        self.deadline = deadline

    def runs_left(self) -> int:
        """How many more runs there is time for, by those so far; one before the first."""
        left = self.deadline - time.monotonic()
        if not self._durations:
            return int(left > 0)
        last = self._durations[-10:]
        if left < max(last):  # the next one may take as long
            return 0
        return int(left / mean(last))

    def measure(self, task: Task, extra_environment: Mapping[str, str] | None = None) -> float:
        """The rate of a task, in frames a second.

        Args:
            task: what to time.
            extra_environment: variables of the process on top of this one's.

        Raises:
            MeasureError: if the process failed, or hung; the message says why.
        """
        environment = extra_environment or {}
        started = time.monotonic()
        record = {**asdict(task), "environment": dict(environment)}
        try:
            result = self._run(task, environment)
        except MeasureError as error:
            self._note({**record, "failure": str(error)})
            raise
        finally:
            self._durations.append(time.monotonic() - started)
            shutil.rmtree(task.scratch, ignore_errors=True)
        self._note({**record, **result})
        return result["rate"]

    def _run(self, task: Task, environment: Mapping[str, str]) -> dict[str, Any]:
        path = self._scratch / "result.json"
        path.unlink(missing_ok=True)
        limit = 60 + _HANGING * mean(self._durations) if self._durations else _FIRST_RUN_SECONDS
        try:
            done = subprocess.run(
                [sys.executable, "-m", "experiments.threads.trial", str(path)],
                input=json.dumps(asdict(task)),
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            raise MeasureError(f"did not end within {limit:.0f} s") from None
        if done.returncode != 0 or not path.exists():
            raise MeasureError(_reason(done.returncode, done.stderr))
        return json.loads(path.read_text())


def _reason(code: int, errors: str) -> str:
    """Why a process failed: its last line, or how it was ended."""
    if code == -signal.SIGKILL:
        return "the system ended it, of too little memory most likely"
    if code < 0:
        return f"it crashed ({signal.Signals(-code).name})"
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    last = lines[-1][:_MESSAGE_LENGTH] if lines else "it said nothing"
    return last if code == EXIT_TOLD else f"exit code {code}: {last}"
