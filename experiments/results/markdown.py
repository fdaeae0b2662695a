"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from experiments.runs.formatting import ABSENT


def text(value: Any) -> str:
    """A value as it is; a dash for None."""
    return ABSENT if value is None else str(value)


def code(command: str) -> str:
    """Set as code; nothing for nothing."""
    return f"`{command.replace('`', chr(39))}`" if command else ""


def table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A table; what would break its cells is escaped."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(map(_escape, cells))} |" for cells in lines)


def _escape(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")
