"""Which clips come together in a batch, and which part of it a replica gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

IDLE_LABEL = -1
"""Label of a clip that only fills a replica's batch; losses and scores leave such clips out."""
# Clips are sorted by length within windows of this many batches: wide enough for the clips of a
# batch to end together, narrow enough for batches to differ from epoch to epoch.
_BATCHES_A_WINDOW = 8
# Frames of a batch in evaluation, where its size is nobody's choice: 0.2 GB of 160x120.
_FRAMES_TO_EVALUATE = 4096


@dataclass(frozen=True)
class PlannedBatch:
    """What one batch shows.

    Args:
        clips: positions of its clips in the shards, int64 (batch,).
        views: what is seen of each, for those who load views; None for whole clips.
        is_idle: whether it is only there because a replica's batch must not be empty.
    """

    clips: NDArray[np.int64]
    views: tuple[Any, ...] | None = None
    is_idle: bool = False

    def __len__(self) -> int:
        return len(self.clips)

    def cut(self, part: slice) -> PlannedBatch:
        """Some of its clips."""
        views = None if self.views is None else self.views[part]
        return replace(self, clips=self.clips[part], views=views)

    def as_idle(self) -> PlannedBatch:
        """Its first clip, to be shown without counting."""
        return replace(self.cut(slice(1)), is_idle=True)

    def labels(self, labels: NDArray) -> NDArray[np.int32]:
        """Labels of its clips, (batch,), from those of all clips in the shards."""
        if self.is_idle:
            return np.full(len(self), IDLE_LABEL, np.int32)
        return labels[self.clips].astype(np.int32)


@dataclass(frozen=True)
class ReplicaShard:
    """One replica's part of the batches: each clip goes to one of the replicas.

    A batch is that of a single replica, cut into parts of like length; so what is learned does not
    depend on the number of replicas.

    Args:
        index: number of the part, from 0.
        count: how many parts there are.
    """

    index: int = 0
    count: int = 1

    def of_batch(self, batch: PlannedBatch) -> PlannedBatch:
        """The part of a batch; where there are fewer clips than parts, an idle one."""
        part = batch.cut(slice(self.index, None, self.count))
        return part if len(part) else batch.as_idle()

    def of_plan(self, plan: Sequence[PlannedBatch]) -> list[PlannedBatch]:
        """The batches, whole ones, that are this part's; an idle one where there are too few."""
        return list(plan[self.index :: self.count]) or [plan[0].as_idle()]


ALL = ReplicaShard()


def plan_batches(
    lengths: np.ndarray,
    clips: ArrayLike,
    batch_size: int,
    *,
    rng: np.random.Generator | None = None,
) -> list[np.ndarray]:
    """Cut clips into batches of like length.

    Args:
        lengths: frames of every clip in the shards.
        clips: positions of the clips to use.
        batch_size: clips a batch; the last one may be smaller.
        rng: shuffles clips and batches; None sorts by length.

    Returns:
        Positions of the clips of each batch; together each of `clips` exactly once.
    """
    order = np.array(clips, dtype=np.int64)
    window = len(order) if rng is None else _BATCHES_A_WINDOW * batch_size
    if rng is not None:
        rng.shuffle(order)
    batches = []
    for start in range(0, len(order), max(window, 1)):
        part = order[start : start + window]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    if rng is not None:
        rng.shuffle(batches)  # type: ignore[arg-type]
    return batches


def split_long_batch(batch: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """A batch in as many equal parts as keep its frames few."""
    parts = min(len(batch), -(-int(lengths.sum()) // _FRAMES_TO_EVALUATE))
    return np.array_split(batch, max(1, parts))
