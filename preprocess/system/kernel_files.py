"""The small text files in which the kernel tells of itself, and its lists of CPUs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from common.errors import InputError

MAX_CPUS = 2**16  # eight times what Linux can be built for: a larger number is no CPU's
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})(?::([0-9]{1,9}))?)?")
_NUMBER = re.compile(r"[0-9]{1,20}")


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """The CPUs of a list as the kernel writes it: "0-3,8" and, every second one, "0-6:2".

    Raises:
        InputError: if the text is no such list, or a number is not below `MAX_CPUS`.
    """
    cpus: set[int] = set()
    for part in text.strip().split(",") if text.strip() else ():
        match = _RANGE.fullmatch(part)
        start, last, stride = _numbers(match) if match else (0, -1, 0)
        if not (start <= last < MAX_CPUS and stride):
            raise InputError(
                f"A CPU list must be rising ranges of numbers below {MAX_CPUS}. "
                f"Received {text[:100]!r}; write it like '0-3,8' or '0-6:2'."
            )
        cpus.update(range(start, last + 1, stride))
    return tuple(sorted(cpus))


def _numbers(match: re.Match[str]) -> tuple[int, int, int]:
    """First, last and stride of what `_RANGE` matched."""
    return int(match[1]), int(match[2] or match[1]), int(match[3] or 1)


def format_cpu_list(cpus: Iterable[int]) -> str:
    """The shortest list without strides: "0-3,8" of (0, 1, 2, 3, 8).

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
    """What the file holds; nothing if it cannot be read."""
    try:
        return path.read_bytes().decode(errors="replace")
    except (OSError, ValueError):  # ValueError: a path with a zero byte
        return ""


def read_cpu_list(path: Path) -> frozenset[int]:
    """The CPUs that the file lists; none if it cannot be read or holds something else."""
    try:
        return frozenset(parse_cpu_list(read_text(path)))
    except ValueError:
        return frozenset()


def positive(text: str) -> int | None:
    """The number above 0 that the text is; None for "max", "-1" and all else."""
    text = text.strip()
    return (int(text) or None) if _NUMBER.fullmatch(text) else None
