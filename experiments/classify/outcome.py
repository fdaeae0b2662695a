"""What came of a folder of videos, and what is told of it at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.classify.failures import write_failures
from experiments.classify.tables import is_unreadable
from experiments.media.videos import Video


@dataclass
class Outcome:
    """What came of some videos.

    Args:
        failures: why videos failed, by source.
        num_complete: videos that were there already.
        num_unreadable: videos that an earlier run could not read, and that are as they were.
    """

    failures: dict[str, str] = field(default_factory=dict)
    num_complete: int = 0
    num_unreadable: int = 0

    def add_earlier(self, video: Video, summary: dict[str, Any]) -> None:
        """Count in a video that an earlier run finished, or could not read, by its JSON."""
        if is_unreadable(summary):
            self.num_unreadable += 1
        else:
            self.num_complete += 1
        if summary["failure"]:
            self.failures[video.source] = summary["failure"]

    def add(self, other: Outcome) -> None:
        """Count in what came of other videos."""
        self.failures |= other.failures
        self.num_complete += other.num_complete
        self.num_unreadable += other.num_unreadable


def conclude(outcome: Outcome, videos: Sequence[Video], out: Path) -> dict[str, str]:
    """Say what was there already and keep the failures; returns these.

    Raises:
        WriteError: if the disk does not take them.
    """
    if outcome.num_complete:
        print(f"{outcome.num_complete} of {len(videos)} videos were there already.")
    if outcome.num_unreadable:
        remain = "remains" if outcome.num_unreadable == 1 else "remain"
        print(
            f"{outcome.num_unreadable} of {len(videos)} videos {remain} unreadable and unchanged; "
            "--overwrite tries again."
        )
    write_failures(out / "failures.csv", outcome.failures, videos)
    return outcome.failures
