"""CPUs, cores, sockets, NUMA nodes and memory that this process may use.

They are read from Linux's /proc and /sys in some milliseconds. Missing, unreadable or malformed
files are ignored; a machine without any of them has plain CPUs.

A process is in one control group of version 2's single tree, or in one of each of version 1's
trees, one per controller, or in both. A group's limits also hold for the groups within it.
"""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from common.errors import InputError
from common.formatting import plural, size

__all__ = ["Machine", "available_cpus", "format_cpu_list", "parse_cpu_list", "read_machine"]

_SYSTEM = Path("sys/devices/system")
_MODEL_KEYS = ("model name", "Model", "Hardware", "cpu model")  # in /proc/cpuinfo, best first
_V2 = ""  # version 2's tree has no controllers in /proc/self/cgroup: "0::/path"
# Where distributions mount the trees, for containers without a readable mountinfo.
_USUAL_MOUNTS = {
    _V2: ("",),
    "cpu": ("cpu", "cpu,cpuacct"),
    "cpuset": ("cpuset",),
    "memory": ("memory",),
}
_NO_LIMIT_BYTES = 2**60  # version 1 writes "no limit" as the largest whole number of pages
Number = TypeVar("Number", int, float)
MAX_CPUS = 2**16  # eight times what Linux can be built for: a larger number is no CPU's
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})(?::([0-9]{1,9}))?)?")
_NUMBER = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True)
class Machine:
    """Resources that this process may use; CPUs are numbers of logical CPUs, ascending.

    Args:
        cpu: name of the processor.
        num_online: number of logical CPUs of the whole machine.
        usable: logical CPUs that this process may run on.
        cores: usable CPUs by physical core, a core's hyper-threads together.
        numa_nodes: usable CPUs by NUMA node; nodes without one are left out.
        num_sockets: number of processor packages of the usable CPUs.
        quota: CPU time that control groups allow, in CPUs; None for no limit.
        memory_bytes: memory of the machine, or of the control group if that is less; 0 if unknown.
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
        """Number of workers or threads to plan for, by logical CPUs and quota."""
        return self._within_quota(len(self.usable))

    @property
    def num_cores(self) -> int:
        """Number of physical cores to plan for, within the quota."""
        return self._within_quota(len(self.cores))

    def describe(self) -> list[str]:
        """Describe the resources in a few lines."""
        lines = [
            f"{self.cpu}: {self._cpus_text()}, on {self._cores_text()}, "
            f"{plural(self.num_sockets, 'socket')}"
        ]
        if self.quota is not None:
            cpus = "1 CPU's" if self.quota == 1 else f"{self.quota:.4g} CPUs'"
            threads = plural(self.num_cpus, "thread")
            lines.append(f"cgroup quota: {cpus} worth of time; planning for {threads}")
        if len(self.numa_nodes) > 1:
            nodes = "; ".join(map(format_cpu_list, self.numa_nodes))
            lines.append(f"NUMA: {len(self.numa_nodes)} nodes (CPUs {nodes})")
        if self.memory_bytes:
            lines.append(f"memory: {size(self.memory_bytes)}")
        return lines

    def _within_quota(self, number: int) -> int:
        """Limit a number of threads by the quota, rounded up: 1.5 CPUs feed two threads."""
        return number if self.quota is None else max(min(number, math.ceil(self.quota)), 1)

    def _cpus_text(self) -> str:
        if len(self.usable) == self.num_online:
            return plural(self.num_online, "logical CPU")
        return f"{len(self.usable)} of {plural(self.num_online, 'logical CPU')} usable"

    def _cores_text(self) -> str:
        cores = plural(len(self.cores), "physical core")
        min_threads, max_threads = min(map(len, self.cores)), max(map(len, self.cores))
        if max_threads == 1:
            return cores
        threads = (
            f"{max_threads}" if min_threads == max_threads else f"{min_threads} to {max_threads}"
        )
        each = " each" if len(self.cores) > 1 else ""
        return f"{cores} ({threads} hyper-threads{each})"


def available_cpus() -> int:
    """Number of logical CPUs that this process may use, by affinity and container limits."""
    return read_machine().num_cpus


def read_machine(root: Path = Path("/"), *, affinity: Collection[int] | None = None) -> Machine:
    """Read the resources that this process may use.

    Args:
        root: the folder that holds proc and sys.
        affinity: logical CPUs that the scheduler lets it run on; None to ask the scheduler.

    Raises:
        InputError: if there is no CPU in `affinity`.
    """
    allowed = frozenset(_own_affinity() if affinity is None else affinity)
    if not allowed:
        raise InputError("affinity must hold a CPU. Received none; None asks the scheduler.")
    limits = read_limits(root)
    # Affinity and cpuset may number CPUs differently in a container; the affinity then counts.
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
    """Name of the processor; ARM kernels write none, or under other keys."""
    names: dict[str, str] = {}
    for line in read_text(root / "proc/cpuinfo").split("\n"):
        key, _, value = line.partition(":")
        names.setdefault(key.strip(), " ".join(value.split()))
    models = (names.get(key) for key in _MODEL_KEYS)
    return next(filter(None, models), "") or platform.processor() or platform.machine() or "CPU"


def multiplies_bfloat16(root: Path = Path("/")) -> bool:
    """Return True for a processor that multiplies bfloat16 faster than float32.

    Those with Intel's matrix unit do (AMX), and AMD's with AVX-512's bfloat16 instructions, from
    Zen 4 on. Intel's with these instructions but without the unit take twice float32's time:
    docs/log.md has the measurement.

    Args:
        root: the folder that holds proc.
    """
    lines = read_text(root / "proc/cpuinfo").split("\n")
    found = {key.strip(): value.split() for key, _, value in (s.partition(":") for s in lines)}
    flags = found.get("flags", [])
    is_amd = found.get("vendor_id") == ["AuthenticAMD"]
    return "amx_bf16" in flags or (is_amd and "avx512_bf16" in flags)


def _memory_bytes(root: Path) -> int | None:
    """Memory of the whole machine, in bytes."""
    for line in read_text(root / "proc/meminfo").split("\n"):
        if line.startswith("MemTotal:"):
            kibibytes = positive(line.removeprefix("MemTotal:").strip().removesuffix("kB"))
            return kibibytes and kibibytes * 1024
    return None


def _partition(
    cpus: Iterable[int], block_of: Callable[[int], frozenset[int]]
) -> tuple[tuple[int, ...], ...]:
    """Divide CPUs into disjoint blocks, even if `block_of` contradicts itself."""
    left, blocks = set(cpus), []
    while left:
        first = min(left)
        block = (left & block_of(first)) | {first}
        left -= block
        blocks.append(tuple(sorted(block)))
    return tuple(blocks)


def _siblings(root: Path, cpu: int) -> frozenset[int]:
    """Hyper-threads of a CPU's core."""
    topology = root / _SYSTEM / f"cpu/cpu{cpu}/topology"
    # core_cpus_list is the name since Linux 5.3.
    lists = (read_cpu_list(topology / f"{name}_list") for name in ("thread_siblings", "core_cpus"))
    return next((cpus for cpus in lists if cpu in cpus), frozenset())


def _package(root: Path, cpu: int) -> str | None:
    """Number of a CPU's socket; None if unknown (-1 in the file)."""
    text = read_text(root / _SYSTEM / f"cpu/cpu{cpu}/topology/physical_package_id").strip()
    return text if text.isdecimal() else None


def _numa_nodes(root: Path, usable: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Usable CPUs by NUMA node."""
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


@dataclass(frozen=True)
class Limits:
    """Limits of control groups; None for no limit.

    Args:
        quota: CPU time, in CPUs.
        cpus: logical CPUs to run on.
        memory_bytes: largest memory, in bytes.
    """

    quota: float | None
    cpus: frozenset[int] | None
    memory_bytes: int | None


def read_limits(root: Path) -> Limits:
    """Read the limits of this process's control groups, from the files below `root`."""
    # Version 1 and 2 may be mounted side by side, so both are read and the least limit counts.
    own, mounts = _own_groups(root), _read_mounts(root)
    unified, cpu, cpuset, memory = (
        _with_ancestors(own.get(controller, PurePosixPath("/")), controller, mounts, root)
        for controller in (_V2, "cpu", "cpuset", "memory")
    )
    quotas = [*map(_quota_v2, unified), *map(_quota_v1, cpu)]
    files = [group / "memory.max" for group in unified]
    files += [group / "memory.limit_in_bytes" for group in memory]
    cpusets = [
        _nearest_cpuset(unified, ("cpuset.cpus.effective",)),
        _nearest_cpuset(cpuset, ("cpuset.effective_cpus", "cpuset.cpus")),
    ]
    return Limits(
        quota=_least(quotas),
        cpus=next(filter(None, cpusets), None),
        memory_bytes=_least(map(_memory_limit, files)),
    )


@dataclass(frozen=True)
class _Mount:
    """Mount of a tree of groups, or of its part below the group `top`, at the folder `point`."""

    point: Path
    top: PurePosixPath
    controllers: tuple[str, ...]


def _own_groups(root: Path) -> dict[str, PurePosixPath]:
    """Read the process's group by controller, from lines like "4:cpu,cpuacct:/docker/abc"."""
    groups: dict[str, PurePosixPath] = {}
    for line in read_text(root / "proc/self/cgroup").split("\n"):
        _, _, rest = line.partition(":")
        controllers, found, path = rest.partition(":")
        if found:
            groups |= dict.fromkeys(controllers.split(","), PurePosixPath(path))
    return groups


def _read_mounts(root: Path) -> list[_Mount]:
    """Read mounts of trees, from lines like "31 23 0:28 TOP POINT rw - cgroup cgroup rw,cpu"."""
    mounts = []
    for line in read_text(root / "proc/self/mountinfo").split("\n"):
        fields, _, rest = line.partition(" - ")
        kind, *options = rest.split(" ")
        columns = [_unescape(field) for field in fields.split(" ")]
        if kind not in ("cgroup", "cgroup2") or len(columns) < 5 or not options:
            continue
        controllers = (_V2,) if kind == "cgroup2" else tuple(options[-1].split(","))
        point = root / columns[4].lstrip("/")
        mounts.append(_Mount(point, PurePosixPath(columns[3]), controllers))
    return mounts


def _unescape(field: str) -> str:
    """Decode the octal escapes of mountinfo, such as "\\040" for a space."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _with_ancestors(
    group: PurePosixPath, controller: str, mounts: Iterable[_Mount], root: Path
) -> list[Path]:
    """Folders of a group and its ancestors, innermost first, up to the mount point.

    A container may see its group under another name than the kernel tells it, or not at all, so
    folders can be missing.
    """
    # Of several mounts, the one that shows most of the groups around it.
    candidates = [mount for mount in mounts if controller in mount.controllers]
    showing = [mount for mount in candidates if group.is_relative_to(mount.top)]
    chosen = sorted(showing, key=lambda mount: len(mount.top.parts))[:1] or candidates[:1]
    if not chosen:
        usual = [root / "sys/fs/cgroup" / name for name in _USUAL_MOUNTS[controller]]
        chosen = [_Mount(point, PurePosixPath("/"), (controller,)) for point in usual]
    folders = []
    for mount in chosen:
        below = group.relative_to(mount.top) if group.is_relative_to(mount.top) else group
        if below.is_absolute() or ".." in below.parts:  # outside of what the mount shows
            below = PurePosixPath()
        folders += [mount.point / path for path in (below, *below.parents)]
    return folders


def _quota_v2(group: Path) -> float | None:
    """Quota of cpu.max, such as "200000 100000" or "max 100000": microseconds per period."""
    columns = read_text(group / "cpu.max").split()
    return _ratio(*columns) if len(columns) == 2 else None


def _quota_v1(group: Path) -> float | None:
    """Quota of version 1's two files; -1 is no limit."""
    quota, period = (read_text(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return _ratio(quota, period)


def _ratio(quota: str, period: str) -> float | None:
    quota_us, period_us = positive(quota), positive(period)
    return quota_us / period_us if quota_us and period_us else None


def _memory_limit(file: Path) -> int | None:
    num_bytes = positive(read_text(file))
    return num_bytes if num_bytes and num_bytes < _NO_LIMIT_BYTES else None


def _nearest_cpuset(groups: Iterable[Path], names: tuple[str, ...]) -> frozenset[int] | None:
    """CPUs of the innermost group that lists any; an empty list stands for the parent's."""
    lists = (read_cpu_list(group / name) for group in groups for name in names)
    return next(filter(None, lists), None)


def _least(values: Iterable[Number | None]) -> Number | None:
    return min((value for value in values if value is not None), default=None)


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """Parse a CPU list as the kernel writes it: "0-3,8" or, with a stride, "0-6:2".

    Raises:
        InputError: if the text is no such list, or a number is not below `MAX_CPUS`.
    """
    cpus: set[int] = set()
    for part in text.strip().split(",") if text.strip() else ():
        match = _RANGE.fullmatch(part)
        start, last, stride = 0, -1, 0
        if match:
            start, last, stride = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if not (start <= last < MAX_CPUS and stride):
            raise InputError(
                f"A CPU list must be rising ranges of numbers below {MAX_CPUS}. "
                f"Received {text[:100]!r}; write it like '0-3,8' or '0-6:2'."
            )
        cpus.update(range(start, last + 1, stride))
    return tuple(sorted(cpus))


def format_cpu_list(cpus: Iterable[int]) -> str:
    """Format CPUs as the shortest list without strides: "0-3,8" for (0, 1, 2, 3, 8).

    Raises:
        InputError: if a number is below 0, or not below `MAX_CPUS`.
    """
    ranges: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if not 0 <= cpu < MAX_CPUS:
            raise InputError(
                f"A CPU's number must be in [0, {MAX_CPUS}). Received {cpu}; leave it out."
            )
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(start) if start == last else f"{start}-{last}" for start, last in ranges)


def read_text(path: Path) -> str:
    """Read a file's text; empty if it cannot be read."""
    try:
        return path.read_bytes().decode(errors="replace")
    except (OSError, ValueError):  # ValueError: a path with a zero byte
        return ""


def read_cpu_list(path: Path) -> frozenset[int]:
    """Read a file's CPU list; empty if it cannot be read or holds something else."""
    try:
        return frozenset(parse_cpu_list(read_text(path)))
    except ValueError:
        return frozenset()


def positive(text: str) -> int | None:
    """Parse a number above 0; None for "max", "-1" and anything else."""
    text = text.strip()
    return (int(text) or None) if _NUMBER.fullmatch(text) else None
