"""Format numbers and Markdown tables for people; a missing value is an en dash."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

ABSENT = "\N{EN DASH}"


def or_absent(value: Any, form: Callable[[Any], str]) -> str:
    """Format a value by `form`; a dash for None."""
    return ABSENT if value is None else form(value)


def count(value: float) -> str:
    """Format a count: 13687 -> '13,687'."""
    return f"{round(value):,}"


def plural(number: int, noun: str) -> str:
    """Format a number with its noun: 1, 'clip' -> '1 clip'; 2000, 'clip' -> '2,000 clips'."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def share(value: float) -> str:
    """Format a share with three digits: 0.8134 -> '0.813'."""
    return f"{value:.3f}"


def percent(value: float) -> str:
    """Format a percentage: 0.8134 -> '81.3 %', with a no-break space."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def times(value: float) -> str:
    """Format a ratio: 13687.1 -> '13,687x', 2.54 -> '2.5x'."""
    return f"{value:,.0f}x" if value >= 10 else f"{value:.1f}x"


def ordinal(value: int) -> str:
    """Format an ordinal number: 1 -> '1st', 2 -> '2nd', 13 -> '13th', 23 -> '23rd'."""
    # 11th, 12th and 13th, whatever stands before them.
    last = 0 if value % 100 in (11, 12, 13) else value % 10
    return f"{value}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"


def duration(seconds: float) -> str:
    """Format a duration: 9.25 -> '9.2 s', 363 -> '6 min 3 s', 15000 -> '4 h 10 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    # Rounded first, so that no "1 min 60 s" comes out.
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def clock(seconds: float) -> str:
    """Format seconds as on a clock: 3723.6 -> '1:02:04', 63 -> '1:03'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def size(num_bytes: float) -> str:
    """Format bytes in decimal units: 2.5e9 -> '2.5 GB'."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:.1f} {unit}"
    return f"{num_bytes:.0f} B"


def text(value: Any) -> str:
    """Convert a value to text; a dash for None."""
    return ABSENT if value is None else str(value)


def code(command: str) -> str:
    """Format a command as Markdown code; nothing for an empty one."""
    return f"`{command.replace('`', chr(39))}`" if command else ""


def markdown_table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table; characters that would break its cells are escaped."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(map(_escape, cells))} |" for cells in lines)


def _escape(cell: str) -> str:
    # A line break or a bar would end the cell.
    return " ".join(cell.split()).replace("|", "\\|")
