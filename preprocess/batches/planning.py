"""Plan of the batches: which clips come together, and which part of a batch a replica gets."""

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
# Largest number of frames of a batch in evaluation, whose size nobody chose: 0.2 GB of 160x120.
_FRAMES_TO_EVALUATE = 4096


@dataclass(frozen=True)
class PlannedBatch:
    """Clips or views of one batch.

    Args:
        clips: positions of its clips in the shards, int64 (batch,).
        views: the view of each clip; None for whole clips.
        is_idle: True for a batch that does not count, for a replica whose batch would be empty.
    """

    clips: NDArray[np.int64]
    views: tuple[Any, ...] | None = None
    is_idle: bool = False

    def __len__(self) -> int:
        return len(self.clips)

    def cut(self, part: slice) -> PlannedBatch:
        """Batch of some of its clips."""
        views = None if self.views is None else self.views[part]
        return replace(self, clips=self.clips[part], views=views)

    def as_idle(self) -> PlannedBatch:
        """Batch of its first clip alone, which does not count."""
        return replace(self.cut(slice(1)), is_idle=True)

    def labels(self, labels: NDArray) -> NDArray[np.int32]:
        """Labels of its clips, int32 (batch, ...), from those of all clips in the shards."""
        if self.is_idle:
            return np.full((len(self), *labels.shape[1:]), IDLE_LABEL, np.int32)
        return labels[self.clips].astype(np.int32)


@dataclass(frozen=True)
class ReplicaShard:
    """One replica's part of the batches.

    The batches are planned as for a single replica and then cut into parts of similar length, so
    that training does not depend on the number of replicas.

    Args:
        index: number of the part, from 0.
        count: number of parts.
    """

    index: int = 0
    count: int = 1

    def of_batch(self, batch: PlannedBatch) -> PlannedBatch:
        """This replica's part of a batch; an idle batch if there are fewer clips than parts."""
        # Every count-th clip: the clips of a batch are sorted by length, so all parts get short and
        # long ones.
        part = batch.cut(slice(self.index, None, self.count))
        return part if len(part) else batch.as_idle()

    def of_plan(self, plan: Sequence[PlannedBatch]) -> list[PlannedBatch]:
        """This replica's whole batches of a plan; an idle batch if there are too few."""
        # Never empty, so that every replica has a batch to run.
        return list(plan[self.index :: self.count]) or [plan[0].as_idle()]


ALL = ReplicaShard()


def plan_batches(
    lengths: np.ndarray,
    clips: ArrayLike,
    batch_size: int,
    *,
    rng: np.random.Generator | None = None,
) -> list[np.ndarray]:
    """Divide clips into batches of similar length.

    Args:
        lengths: number of frames of every clip in the shards, (num_clips,).
        clips: positions of the clips to use.
        batch_size: clips per batch; the last one may be smaller.
        rng: generator that shuffles clips and batches; None sorts them by length.

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
    # Otherwise each window would begin with its short clips and end with its long ones.
    if rng is not None:
        rng.shuffle(batches)  # type: ignore[arg-type]
    return batches


def split_long_batch(batch: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Split a batch into as few equal parts as keep each one's frames in bounds."""
    parts = min(len(batch), -(-int(lengths.sum()) // _FRAMES_TO_EVALUATE))
    return np.array_split(batch, max(1, parts))
