"""Numbers and Markdown tables as people read them. Absence is an en dash."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

ABSENT = "\N{EN DASH}"


def or_absent(value: Any, form: Callable[[Any], str]) -> str:
    """`form(value)`, or a dash where there is no value."""
    return ABSENT if value is None else form(value)


def count(value: float) -> str:
    """13687 -> '13,687'."""
    return f"{round(value):,}"


def plural(number: int, noun: str) -> str:
    """1, 'clip' -> '1 clip'; 2, 'clip' -> '2 clips'."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def share(value: float) -> str:
    """0.8134 -> '0.813'."""
    return f"{value:.3f}"


def percent(value: float) -> str:
    """0.8134 -> '81.3 %', with a space at which no line breaks."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def times(value: float) -> str:
    """A compression ratio: 13687.1 -> '13,687x', 2.54 -> '2.5x'."""
    return f"{value:,.0f}x" if value >= 10 else f"{value:.1f}x"


def ordinal(value: int) -> str:
    """1 -> '1st', 2 -> '2nd', 13 -> '13th', 23 -> '23rd'."""
    last = 0 if value % 100 in (11, 12, 13) else value % 10
    return f"{value}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"


def duration(seconds: float) -> str:
    """9.25 -> '9.2 s', 363 -> '6 min 3 s', 15000 -> '4 h 10 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def size(num_bytes: float) -> str:
    """Bytes in decimal units: 2.5e9 -> '2.5 GB'."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:.1f} {unit}"
    return f"{num_bytes:.0f} B"


def text(value: Any) -> str:
    """A value as it is; a dash for None."""
    return ABSENT if value is None else str(value)


def code(command: str) -> str:
    """A command set as Markdown code; nothing for an empty one."""
    return f"`{command.replace('`', chr(39))}`" if command else ""


def markdown_table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table; what would break its cells is escaped."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(map(_escape, cells))} |" for cells in lines)


def _escape(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")
