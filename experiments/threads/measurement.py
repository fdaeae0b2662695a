"""Measurement of the work in a fresh process, because TensorFlow fixes its pools when it starts.

`Runner` starts the process, and this file is what it runs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from common.errors import UserError
from common.files import write_atomically
from experiments.process import environment, runtime
from experiments.threads.space import Task

# Exit code of an error that the last line on standard error describes.
EXIT_KNOWN_ERROR = 2
# Beginning of a line on standard output that says what the process does now.
_STAGE = "stage: "
# A run hangs if it takes this many times as long as a usual one, and a minute more.
_HANGING = 6
_FIRST_RUN_SECONDS = 600.0
_MESSAGE_LENGTH = 300


class MeasureError(Exception):
    """Error for a setting that cannot be run: it crashes, or needs too much memory."""


class Runner:
    """Measures settings one after another, and reports each run.

    Args:
        scratch: private folder for results and the work's own files.
        deadline: time by time.monotonic() until which runs may begin.
        note: called with the record of each run.
        on_stage: called, in another thread, with what a run does from now on.
    """

    def __init__(
        self,
        scratch: Path,
        *,
        deadline: float,
        note: Callable[[dict[str, Any]], None],
        on_stage: Callable[[str], None] = lambda stage: None,
    ) -> None:
        self._scratch = scratch
        self._note = note
        self._on_stage = on_stage
        self._durations: list[float] = []
        self.deadline = deadline

    def runs_left(self) -> int:
        """Number of runs that there is time for, judged by the last ones; one before the first."""
        left = self.deadline - time.monotonic()
        if not self._durations:
            return int(left > 0)
        last = self._durations[-10:]
        # The next run may take as long as the longest of the last ones.
        if left < max(last):
            return 0
        return int(left / mean(last))

    def measure(self, task: Task, extra_environment: Mapping[str, str] | None = None) -> float:
        """Measure the rate of a task, in frames per second.

        Args:
            task: the task to time.
            extra_environment: environment variables of the process, added to those of this one.

        Raises:
            MeasureError: if the process failed or hung; the message says why.
        """
        variables = extra_environment or {}
        started = time.monotonic()
        record = {**asdict(task), "environment": dict(variables)}
        try:
            result = self._run(task, variables)
        except MeasureError as error:
            self._note({**record, "failure": str(error)})
            raise
        finally:
            self._durations.append(time.monotonic() - started)
            shutil.rmtree(task.scratch, ignore_errors=True)
        self._note({**record, **result})
        return result["rate"]

    def _run(self, task: Task, variables: Mapping[str, str]) -> dict[str, Any]:
        path = self._scratch / "result.json"
        path.unlink(missing_ok=True)
        limit = 60 + _HANGING * mean(self._durations) if self._durations else _FIRST_RUN_SECONDS
        try:
            with _reported_stages(self._on_stage) as stdout:
                done = subprocess.run(
                    [sys.executable, "-m", "experiments.threads.measurement", str(path)],
                    input=json.dumps(asdict(task)),
                    env={**os.environ, **variables},
                    stdout=stdout,
                    stderr=subprocess.PIPE,
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
    """Say why a process failed: its last line, or the signal that ended it."""
    if code == -signal.SIGKILL:
        # The kernel's out-of-memory killer sends SIGKILL, and nobody else here does.
        return "the system ended it, of too little memory most likely"
    if code < 0:
        return f"it crashed ({signal.Signals(-code).name})"
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    last = lines[-1][:_MESSAGE_LENGTH] if lines else "it said nothing"
    return last if code == EXIT_KNOWN_ERROR else f"exit code {code}: {last}"


@contextmanager
def _reported_stages(on_stage: Callable[[str], None]) -> Iterator[int]:
    """Give a pipe to write to, and pass on each line that names a stage."""
    reading, writing = os.pipe()

    def listen() -> None:
        with open(reading, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith(_STAGE):
                    on_stage(line.removeprefix(_STAGE).strip())

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield writing
    finally:
        os.close(writing)
        # A process that the work has left behind may keep the pipe open for ever.
        listener.join(timeout=1)


# Process of one measurement: `python -m experiments.threads.measurement FILE`.


def main(path: Path) -> None:
    """Do the task, and write its rate with the threads that it really had."""
    task = Task(**json.load(sys.stdin))
    if task.workload == "extract":
        # Extraction works in other processes and without TensorFlow.
        runtime.stay_on(task.threads.cpus)
        from experiments.threads.inputs import extractions

        steps = extractions(task)
    else:
        _report_stage("starting TensorFlow")
        runtime.configure(task.threads, seed=0)
        from experiments.threads.workloads import start

        steps = start(task, _report_stage)
    # Every kind of work warms up before its first yield.
    next(steps)
    _report_stage(f"timing for {task.seconds:g} s")
    result = {
        "rate": _frames_per_second(steps, task.seconds),
        **runtime.pools_in_force(),
        "num_threads": len(os.listdir("/proc/self/task")),
        "cpus": sorted(os.sched_getaffinity(0)),
        "peak_rss_bytes": environment.peak_rss_bytes(),
    }
    write_atomically(path, json.dumps(result).encode())


def _report_stage(stage: str) -> None:
    print(f"{_STAGE}{stage}", flush=True)


def _frames_per_second(steps: Iterator[int], seconds: float) -> float:
    """Measure the rate of steps, each of which gives its number of frames."""
    num_frames, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        num_frames += next(steps)
    return num_frames / (time.perf_counter() - started)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_KNOWN_ERROR)
    # Threads of the work may still run; a normal exit would wait for them.
    os._exit(0)
