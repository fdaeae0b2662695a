"""What the machine grants this process: CPUs, their cores, sockets and NUMA nodes, and memory.

Read from Linux's /proc and /sys in some milliseconds. Nothing there is relied on: what is missing,
unreadable or malformed counts as not said, and a machine that says nothing is plain.
"""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from preprocess.system.cgroups import read_limits
from preprocess.system.kernel_files import (
    format_cpu_list,
    parse_cpu_list,
    positive,
    read_cpu_list,
    read_text,
)

__all__ = ["Machine", "available_cpus", "format_cpu_list", "parse_cpu_list", "read_machine"]

_SYSTEM = Path("sys/devices/system")
_MODEL_KEYS = ("model name", "Model", "Hardware", "cpu model")  # of /proc/cpuinfo, best first


@dataclass(frozen=True)
class Machine:
    """What this process may use. CPUs are logical ones, by their number, in rising order.

    Args:
        cpu: the processor's name.
        num_online: logical CPUs of the whole machine.
        usable: the logical CPUs that this process may run on.
        cores: the usable CPUs by physical core, a core's hyper-threads together.
        numa_nodes: the usable CPUs by NUMA node; nodes without one are left out.
        num_sockets: processor packages that the usable CPUs lie on.
        quota: CPUs' worth of time that control groups allow; None for no such limit.
        memory_bytes: of the machine, or of the control group if it may use less; 0 if unknown.
    """

    cpu: str
    num_online: int
    usable: tuple[int, ...]
    cores: tuple[tuple[int, ...], ...]
    numa_nodes: tuple[tuple[int, ...], ...]
    num_sockets: int
    quota: float | None
    memory_bytes: int

    @property
    def num_cpus(self) -> int:
        """Logical CPUs to plan for: one worker, or thread, each."""
        return self._within_quota(len(self.usable))

    @property
    def num_cores(self) -> int:
        """Physical cores to plan for."""
        return self._within_quota(len(self.cores))

    def describe(self) -> list[str]:
        """A few lines for people."""
        lines = [
            f"{self.cpu}: {self._cpus_text()}, on {self._cores_text()}, "
            f"{_count(self.num_sockets, 'socket')}"
        ]
        if self.quota is not None:
            cpus = "1 CPU's" if self.quota == 1 else f"{self.quota:.4g} CPUs'"
            threads = _count(self.num_cpus, "thread")
            lines.append(f"cgroup quota: {cpus} worth of time; planning for {threads}")
        if len(self.numa_nodes) > 1:
            nodes = "; ".join(map(format_cpu_list, self.numa_nodes))
            lines.append(f"NUMA: {len(self.numa_nodes)} nodes (CPUs {nodes})")
        if self.memory_bytes:
            lines.append(f"memory: {_size(self.memory_bytes)}")
        return lines

    def _within_quota(self, number: int) -> int:
        return number if self.quota is None else max(min(number, math.ceil(self.quota)), 1)

    def _cpus_text(self) -> str:
        if len(self.usable) == self.num_online:
            return _count(self.num_online, "logical CPU")
        return f"{len(self.usable)} of {_count(self.num_online, 'logical CPU')} usable"

    def _cores_text(self) -> str:
        cores = _count(len(self.cores), "physical core")
        least, most = min(map(len, self.cores)), max(map(len, self.cores))
        if most == 1:
            return cores
        threads = f"{most}" if least == most else f"{least} to {most}"
        each = " each" if len(self.cores) > 1 else ""
        return f"{cores} ({threads} hyper-threads{each})"


def available_cpus() -> int:
    """Logical CPUs that this process may use, by its affinity and its container's limits."""
    return read_machine().num_cpus


def read_machine(root: Path = Path("/"), *, affinity: Collection[int] | None = None) -> Machine:
    """What this process is granted.

    Args:
        root: the folder that holds proc and sys.
        affinity: the logical CPUs that the scheduler lets it run on; None to ask.

    Raises:
        InputError: if there is no CPU in `affinity`.
    """
    allowed = frozenset(_own_affinity() if affinity is None else affinity)
    if not allowed:
        raise InputError("affinity must hold a CPU. Received none; None asks the scheduler.")
    limits = read_limits(root)
    # The two may number differently where a container is told of CPUs that are not the host's.
    usable = tuple(sorted(allowed & (limits.cpus or allowed) or allowed))
    num_online = len(read_cpu_list(root / _SYSTEM / "cpu/online")) or os.cpu_count() or 1
    memory_bytes = _memory_bytes(root)
    return Machine(
        cpu=_cpu_name(root),
        num_online=max(num_online, len(usable)),
        usable=usable,
        cores=_partition(usable, lambda cpu: _siblings(root, cpu)),
        numa_nodes=_numa_nodes(root, usable),
        num_sockets=len({_package(root, cpu) for cpu in usable} - {None}) or 1,
        quota=limits.quota,
        memory_bytes=min(filter(None, (memory_bytes, limits.memory_bytes)), default=0),
    )


def _own_affinity() -> Collection[int]:
    try:
        return os.sched_getaffinity(0)
    except (AttributeError, OSError):  # not on this system, or not allowed to ask
        return range(os.cpu_count() or 1)


def _cpu_name(root: Path) -> str:
    names: dict[str, str] = {}
    for line in read_text(root / "proc/cpuinfo").split("\n"):
        key, _, value = line.partition(":")
        names.setdefault(key.strip(), " ".join(value.split()))
    told = (names.get(key) for key in _MODEL_KEYS)
    return next(filter(None, told), "") or platform.processor() or platform.machine() or "CPU"


def _memory_bytes(root: Path) -> int | None:
    for line in read_text(root / "proc/meminfo").split("\n"):
        if line.startswith("MemTotal:"):
            kibibytes = positive(line.removeprefix("MemTotal:").strip().removesuffix("kB"))
            return kibibytes and kibibytes * 1024
    return None


def _partition(
    cpus: Iterable[int], block_of: Callable[[int], frozenset[int]]
) -> tuple[tuple[int, ...], ...]:
    """The CPUs in blocks, each in one, whatever contradictory things `block_of` says."""
    left, blocks = set(cpus), []
    while left:
        first = min(left)
        block = (left & block_of(first)) | {first}
        left -= block
        blocks.append(tuple(sorted(block)))
    return tuple(blocks)


def _siblings(root: Path, cpu: int) -> frozenset[int]:
    """The hyper-threads of a CPU's core. The file's newer name came with Linux 5.3."""
    topology = root / _SYSTEM / f"cpu/cpu{cpu}/topology"
    lists = (read_cpu_list(topology / f"{name}_list") for name in ("thread_siblings", "core_cpus"))
    return next((cpus for cpus in lists if cpu in cpus), frozenset())


def _package(root: Path, cpu: int) -> str | None:
    """The number of a CPU's socket; -1 in the file is unknown."""
    text = read_text(root / _SYSTEM / f"cpu/cpu{cpu}/topology/physical_package_id").strip()
    return text if text.isdecimal() else None


def _numa_nodes(root: Path, usable: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    folder = root / _SYSTEM / "node"
    try:
        names = [name for name in os.listdir(folder) if re.fullmatch("node[0-9]+", name)]
    except OSError:
        names = []
    left, nodes = set(usable), []
    for name in sorted(names, key=lambda name: (len(name), name)):  # node10 after node9
        node = left & read_cpu_list(folder / name / "cpulist")
        left -= node
        nodes.append(tuple(sorted(node)))
    nodes.append(tuple(sorted(left)))  # CPUs that no node lists: all, on a machine without NUMA
    return tuple(filter(None, nodes))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _size(num_bytes: int) -> str:
    """In decimal units."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"
