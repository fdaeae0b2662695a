"""Memory and open files of a command and of all processes that it started, from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.processes import processes_of

PROC = Path("/proc")
KIB_PER_MIB = 1024


@dataclass(frozen=True)
class Sample:
    """Measurement of a session of processes at one time."""

    seconds: float
    """Seconds since the work began."""
    memory_mib: float
    """Proportional set size of all processes in MiB; shared memory counts once."""
    num_files: int
    """Number of open file descriptors of all processes."""
    num_processes: int


def take_sample(session: int, seconds: float) -> Sample | None:
    """Measure memory and files of a session; None if no process of it is left.

    Raises:
        OSError: if the system does not give a process's proportional set size.
    """
    read = []
    for pid in processes_of(session):
        try:
            read.append((_pss_mib(pid), len(os.listdir(PROC / str(pid) / "fd"))))
        except (FileNotFoundError, ProcessLookupError):
            # A process that has ended in between is no error; one that still runs must be readable.
            if (PROC / str(pid) / "fd").exists():
                raise
    if not read:
        return None
    return Sample(seconds, sum(mib for mib, _ in read), sum(files for _, files in read), len(read))


def _pss_mib(pid: int) -> float:
    lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    sizes = [line.split()[1] for line in lines if line.startswith("Pss:")]
    if not sizes:
        raise ProcessLookupError(f"Process {pid} has no memory any more.")
    return int(sizes[0]) / KIB_PER_MIB
