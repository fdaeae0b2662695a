"""The benchmark's rows and their table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from experiments.runs import formatting


@dataclass(frozen=True)
class Row:
    """One system at one work."""

    work: str
    system: str
    seconds: float
    """Median of the rounds."""
    spread: float | None
    """(Slowest - fastest round) / median; None for one round."""
    share: float | None
    """Of the time of what it is compared with."""
    peak_rss_bytes: int | None
    """Of its process, where it has one of its own."""


def row_of(
    work: str,
    system: str,
    seconds: Sequence[float],
    reference: float | None = None,
    peak: int | None = None,
) -> Row:
    """A row of the seconds of all rounds, compared with a reference's."""
    middle = median(seconds)
    spread = (max(seconds) - min(seconds)) / middle if len(seconds) > 1 else None
    return Row(work, system, middle, spread, middle / reference if reference else None, peak)


def table(rows: Sequence[Row]) -> str:
    """Markdown; a share is of the row above."""
    lines = [
        "| work | system | time | spread | of the above | peak RSS |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [
            row.work,
            row.system,
            formatting.duration(row.seconds),
            formatting.or_absent(row.spread, lambda value: f"{value:.0%}"),
            formatting.or_absent(row.share, lambda value: f"{value:.3f}"),
            formatting.or_absent(row.peak_rss_bytes, formatting.size),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
