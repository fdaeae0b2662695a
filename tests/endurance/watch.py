"""Run a command for some time, watch its memory and open files, and stop it as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from common.errors import UserError
from tests.endurance.processes import Sample, take_sample
from tests.processes import PATIENCE_SECONDS, processes_of

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = PATIENCE_SECONDS
STOP_SECONDS = 120
AFTER_SECONDS = 60
POLL_SECONDS = 0.2
LEAST_SAMPLES = 10  # whatever the time, so that there is a trend


class Clock(Protocol):
    """The two functions of the module `time` that samples need."""

    def monotonic(self) -> float:
        """Return the time in seconds."""

    def sleep(self, seconds: float, /) -> None:
        """Wait for some seconds."""


@dataclass(frozen=True)
class Watched:
    """Measurements of a command, and how it ended."""

    samples: list[Sample]
    exit_code: int
    """Exit code; -9 if Ctrl-C did not end the command within two minutes."""
    ended_by_itself: bool
    """Whether it ended before its time."""
    left_behind: int
    """Number of its processes that outlived it and were then killed."""


def watch(
    command: Sequence[str],
    is_working: Callable[[], bool],
    *,
    seconds: float,
    interval_seconds: float,
    log: Path,
    clock: Clock = time,
) -> Watched:
    """Sample a command from the moment it works, then interrupt it.

    Args:
        command: command, run in the repository's root in a session of its own.
        is_working: function that returns whether it is past its start, which is not measured.
        seconds: time to watch it.
        interval_seconds: seconds from one sample to the next.
        log: file for the command's output.
        clock: what measures the time of the samples, and waits for the next.

    Raises:
        UserError: if it ends, or does nothing for half an hour, before it works.
    """
    with _running(command, log) as process:
        _wait_until_working(process, is_working, log)
        samples = list(_samples(process, seconds, interval_seconds, clock))
        ended_by_itself = process.poll() is not None
        if not ended_by_itself:
            os.killpg(process.pid, signal.SIGINT)
        try:
            exit_code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            exit_code = process.wait()
        return Watched(samples, exit_code, ended_by_itself, _left_behind(process.pid))


def _left_behind(session: int) -> int:
    """Processes that are there still a minute after their command."""
    deadline = time.monotonic() + AFTER_SECONDS
    while (left := processes_of(session)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return len(left)


@contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen]:
    """Run the command in a session of its own, of which no process is left afterwards."""
    with log.open("wb") as log_file, _interrupts_heeded():
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            for pid in processes_of(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.wait()


@contextmanager
def _interrupts_heeded() -> Iterator[None]:
    """Let child processes answer Ctrl-C even if a script started this process with `&`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _wait_until_working(
    process: subprocess.Popen, is_working: Callable[[], bool], log: Path
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_working():
        if process.poll() is not None or time.monotonic() > deadline:
            ending = log.read_text(errors="replace")[-2000:]
            raise UserError(f"The command did not begin to work. It said:\n{ending}")
        time.sleep(POLL_SECONDS)


def _samples(
    process: subprocess.Popen, seconds: float, interval_seconds: float, clock: Clock
) -> Iterator[Sample]:
    """Yield a sample every few seconds, until the time is over or the command ends."""
    began, num_samples = clock.monotonic(), 0
    with tqdm(total=round(seconds), unit="s", dynamic_ncols=True, disable=None) as bar:
        while process.poll() is None:
            passed = clock.monotonic() - began
            if passed > seconds and num_samples >= LEAST_SAMPLES:
                break
            num_samples += 1
            sample = take_sample(process.pid, passed)
            if sample is not None:
                yield sample
                bar.set_postfix_str(f"{sample.memory_mib:,.0f} MiB, {sample.num_files} files")
            bar.update(round(passed) - bar.n)
            clock.sleep(max(0, began + passed + interval_seconds - clock.monotonic()))
