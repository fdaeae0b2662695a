"""What Linux control groups allow this process: time, CPUs and memory.

A process is in one group of version 2's only tree, or in one of each of version 1's trees, one
tree a controller, or in both. What a group is denied, the groups within it are denied too. All
files are optional: one that is missing, unreadable or malformed says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from preprocess.system.kernel_files import positive, read_cpu_list, read_text

_V2 = ""  # /proc/self/cgroup gives version 2's tree no controllers: "0::/path"
_USUAL_MOUNTS = {
    _V2: ("",),
    "cpu": ("cpu", "cpu,cpuacct"),
    "cpuset": ("cpuset",),
    "memory": ("memory",),
}
_NO_LIMIT_BYTES = 2**60  # version 1 writes "no limit" as the largest whole number of pages

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Limits:
    """What control groups allow; None where they say nothing.

    Args:
        quota: CPUs' worth of time.
        cpus: the logical CPUs to run on.
        memory_bytes: the most memory.
    """

    quota: float | None
    cpus: frozenset[int] | None
    memory_bytes: int | None


def read_limits(root: Path) -> Limits:
    """Of this process, from the files below `root`."""
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
    """A tree of groups, or the part of it below the group `top`, seen at the folder `point`."""

    point: Path
    top: PurePosixPath
    controllers: tuple[str, ...]


def _own_groups(root: Path) -> dict[str, PurePosixPath]:
    """The process's group by controller, from lines like "4:cpu,cpuacct:/docker/abc"."""
    groups: dict[str, PurePosixPath] = {}
    for line in read_text(root / "proc/self/cgroup").split("\n"):
        _, _, rest = line.partition(":")
        controllers, found, path = rest.partition(":")
        if found:
            groups |= dict.fromkeys(controllers.split(","), PurePosixPath(path))
    return groups


def _read_mounts(root: Path) -> list[_Mount]:
    """Where trees are mounted, from lines like "31 23 0:28 TOP POINT rw - cgroup cgroup rw,cpu"."""
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
    """Spaces and the like are octal in mountinfo: "\\040"."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _with_ancestors(
    group: PurePosixPath, controller: str, mounts: Iterable[_Mount], root: Path
) -> list[Path]:
    """Folders of a group and of those around it, innermost first, up to the mount point.

    Of several mounts, the one that shows most of the groups around it. A container may see its
    group under another name than the kernel tells it, or not at all: folders can be missing.
    """
    candidates = [mount for mount in mounts if controller in mount.controllers]
    showing = [mount for mount in candidates if group.is_relative_to(mount.top)]
    chosen = sorted(showing, key=lambda mount: len(mount.top.parts))[:1] or candidates[:1]
    if not chosen:
        usual = [root / "sys/fs/cgroup" / name for name in _USUAL_MOUNTS[controller]]
        chosen = [_Mount(point, PurePosixPath("/"), (controller,)) for point in usual]
    folders = []
    for mount in chosen:
        below = group.relative_to(mount.top) if group.is_relative_to(mount.top) else group
        if below.is_absolute() or ".." in below.parts:  # out of what the mount shows
            below = PurePosixPath()
        folders += [mount.point / path for path in (below, *below.parents)]
    return folders


def _quota_v2(group: Path) -> float | None:
    """From cpu.max, "200000 100000" or "max 100000": microseconds in a period of so many."""
    columns = read_text(group / "cpu.max").split()
    return _ratio(*columns) if len(columns) == 2 else None


def _quota_v1(group: Path) -> float | None:
    """From two files; a quota of -1 is none."""
    quota, period = (read_text(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return _ratio(quota, period)


def _ratio(quota: str, period: str) -> float | None:
    quota_us, period_us = positive(quota), positive(period)
    return quota_us / period_us if quota_us and period_us else None


def _memory_limit(file: Path) -> int | None:
    num_bytes = positive(read_text(file))
    return num_bytes if num_bytes and num_bytes < _NO_LIMIT_BYTES else None


def _nearest_cpuset(groups: Iterable[Path], names: tuple[str, ...]) -> frozenset[int] | None:
    """Of the innermost group that lists any CPUs: an empty list stands for the parent's."""
    lists = (read_cpu_list(group / name) for group in groups for name in names)
    return next(filter(None, lists), None)


def _least(values: Iterable[Number | None]) -> Number | None:
    return min((value for value in values if value is not None), default=None)
