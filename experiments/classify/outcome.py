"""What came of a folder of videos, and what is told of it at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments.classify.failures import write_failures
from experiments.videos import Video


@dataclass
class Outcome:
    """What came of some videos.

    Args:
        failures: why videos failed, by source.
        num_complete: videos that were there already.
    """

    failures: dict[str, str] = field(default_factory=dict)
    num_complete: int = 0

    def add(self, other: Outcome) -> None:
        """Count in what came of other videos."""
        self.failures |= other.failures
        self.num_complete += other.num_complete


def conclude(outcome: Outcome, videos: Sequence[Video], out: Path) -> dict[str, str]:
    """Say what was there already and keep the failures; returns these.

    Raises:
        WriteError: if the disk does not take them.
    """
    if outcome.num_complete:
        print(f"{outcome.num_complete} of {len(videos)} videos were there already.")
    write_failures(out / "failures.csv", outcome.failures, videos)
    return outcome.failures
