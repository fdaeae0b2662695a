"""Watch a command: how long it has each file open, how much memory it takes, and what it leaves.

Everything is read from /proc, so that the command itself need not be trusted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes import REPOSITORY, processes_of

_LOOK_SECONDS = 0.05
_ENDING_SECONDS = 60.0


@dataclass
class Ended:
    """Outcome of a job.

    Args:
        code: its exit code.
        output: its standard output and error.
        seconds: its duration.
        file_seconds: time that each file was open in any of its processes, by path.
        peak_bytes: largest resident memory of any of its processes.
        faults: sentences on what it did wrong, whatever its task.
    """

    code: int
    output: str
    seconds: float
    file_seconds: Counter[Path]
    peak_bytes: int
    faults: list[str] = field(default_factory=list)

    @property
    def slowest_seconds(self) -> float:
        """Time of the file that was open longest."""
        return max(self.file_seconds.values(), default=0.0)


@dataclass(frozen=True)
class Limits:
    """Limits of a job.

    Args:
        file_seconds: longest time that a file may be open.
        job_seconds: longest duration of the job.
        num_bytes: largest resident memory of a process.
    """

    file_seconds: float = 90.0
    job_seconds: float = 1800.0
    num_bytes: int = 9 * 2**29  # half a gibibyte above preprocess.workers.child_process


def watch(
    args: Sequence[str], files: Path, limits: Limits, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run a command to its end, or to the limit that it exceeds.

    Args:
        args: the command.
        files: folder of the files whose time is measured.
        limits: limits of the job.
        environment: variables besides those of this process.
    """
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile() as output:
        started = time.monotonic()
        job = subprocess.Popen(
            args,
            cwd=REPOSITORY,
            env={**os.environ, **(environment or {}), "TMPDIR": scratch},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        ended = Ended(0, "", 0.0, Counter(), 0)
        try:
            _look_on(job, files, limits, ended, started)
        finally:
            _clear_away(job, ended)
        ended.code, ended.seconds = job.returncode, time.monotonic() - started
        output.seek(0)
        ended.output = output.read().decode(errors="replace")
        left = [path.name for path in Path(scratch).iterdir() if path.name != "__pycache__"]
        ended.faults += [f"left {name} in TMPDIR" for name in left]
    if "Traceback" in ended.output:
        ended.faults.append("a traceback was its answer")
    return ended


def _look_on(
    job: subprocess.Popen[bytes], files: Path, limits: Limits, ended: Ended, started: float
) -> None:
    """Measure a job until it ends or exceeds a limit."""
    before = time.monotonic()
    while job.poll() is None and not ended.faults:
        time.sleep(_LOOK_SECONDS)
        now = time.monotonic()
        seen = processes_of(job.pid)
        for path in {path for process in seen for path in _open_files(process, files)}:
            ended.file_seconds[path] += now - before
        ended.peak_bytes = max([ended.peak_bytes, *map(_peak_bytes, seen)])
        before = now
        if ended.slowest_seconds > limits.file_seconds:
            slowest = max(ended.file_seconds, key=ended.file_seconds.__getitem__)
            ended.faults.append(f"{slowest.name} was open for {ended.slowest_seconds:.0f} s")
        if now - started > limits.job_seconds:
            ended.faults.append(f"did not end within {limits.job_seconds:.0f} s")
        if ended.peak_bytes > limits.num_bytes:
            ended.faults.append(f"a process took {ended.peak_bytes / 2**20:.0f} MiB")


def _clear_away(job: subprocess.Popen[bytes], ended: Ended) -> None:
    """Kill remaining processes; those of a job that ended by itself are a fault."""
    if job.poll() is not None:
        deadline = time.monotonic() + _ENDING_SECONDS
        while (left := processes_of(job.pid)) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        if left:
            ended.faults.append(f"{len(left)} of its processes outlived it")
    while left := processes_of(job.pid):
        for process in left:
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        job.poll()
        time.sleep(_LOOK_SECONDS)
    job.wait()


def _open_files(process: int, folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):
                path = descriptor.readlink()
                if folder in path.parents:
                    yield path


def _peak_bytes(process: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
