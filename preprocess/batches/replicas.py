"""What one of several replicas of a model gets of the batches: each clip goes to one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IDLE_LABEL = -1
"""Of a clip that is only there because a batch must not be empty."""

Entries = NDArray[np.int64]
"""Clips of a batch by their positions in the shards: (batch,), or the first of more columns."""


@dataclass(frozen=True)
class Share:
    """Which part of all, from 0, and of how many parts.

    A batch is that of a single replica, cut into parts of like length; so what is learned does not
    depend on the number of replicas.
    """

    index: int = 0
    count: int = 1

    def of_batch(self, batch: Entries) -> Entries:
        """The part of a batch; where there are fewer clips than parts, an idle one."""
        part = batch[self.index :: self.count]
        return part if len(part) else _idle(batch)

    def of_plan(self, plan: Sequence[Entries]) -> list[Entries]:
        """The batches, whole ones, that are this part's; an idle one where there are too few."""
        return list(plan[self.index :: self.count]) or [_idle(plan[0])]


ALL = Share()


def _idle(batch: Entries) -> Entries:
    """One clip, marked as idle by the complement of its position."""
    marked = batch[:1].copy()
    first = marked.reshape(1, -1)
    first[0, 0] = ~first[0, 0]
    return marked


def positions_and_labels(clips: Entries, labels: NDArray) -> tuple[Entries, NDArray[np.int32]]:
    """Positions of clips that may be marked as idle, and their labels.

    Args:
        clips: (batch,), positions or marked ones.
        labels: of all clips in the shards.
    """
    positions = np.where(clips < 0, ~clips, clips)
    return positions, np.where(clips < 0, IDLE_LABEL, labels[positions]).astype(np.int32)
