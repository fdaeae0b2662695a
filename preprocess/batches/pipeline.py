"""Shards to batches: clips of like length together, end to end, loaded while others are worked on.

At no time are more than a few batches in memory, however many clips there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from preprocess.batches.augment import Augmentation
from preprocess.batches.planning import (
    ALL,
    PlannedBatch,
    ReplicaShard,
    plan_batches,
    split_long_batch,
)
from preprocess.shards.reader import Shards

Change = Callable[[np.ndarray, int], np.ndarray]
Entry = TypeVar("Entry")

# Batches that are loaded ahead of the one in use: one that is ready, and one that is being made.
# With one alone, loading would stand still whenever a batch is ready and not yet asked for.
_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Stream(Generic[Entry]):
    """The batches of a plan, as often as they are gone through.

    Args:
        plan: what is in each batch.
        load: makes a batch's arrays, in any nest of tuples and dicts.
    """

    plan: Sequence[Entry]
    load: Callable[[Entry], Any]

    def __iter__(self) -> Iterator[Any]:
        """Batches of tensors in the processor's memory."""
        return prefetched(self.plan, lambda entry: _as_tensors(self.load(entry)))

    def as_numpy_iterator(self) -> Iterator[Any]:
        """The same batches, of arrays."""
        return prefetched(self.plan, self.load)


def prefetched(plan: Sequence[Entry], load: Callable[[Entry], Any]) -> Iterator[Any]:
    """What `load` makes of each entry in turn; a thread loads the next ones meanwhile.

    An error of loading is raised where its batch is asked for. The thread is gone when the
    iteration has ended, was left or was interrupted; it finishes the batch that it is at.
    """
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(1, "load-batches") as thread:
        try:
            for entry in plan:
                waiting.append(thread.submit(load, entry))
                if len(waiting) > _BATCHES_AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            thread.shutdown(wait=False, cancel_futures=True)


def _as_tensors(batch: Any) -> Any:
    with tf.device("CPU:0"):  # a GPU's memory holds no batches ahead
        return tf.nest.map_structure(tf.convert_to_tensor, batch)


class ClipBatches:
    """The batches of some clips, as often as they are wanted.

    Args:
        shards: the clips.
        batch_size: clips a batch; the last one of an epoch may be smaller.
        maxlen: frames of a clip at most, the first ones; None for all.
        stride: every how many stored frames one is taken.
        seed: of the order of clips in training, and of their augmentation.
        augment: how training clips are changed; None leaves them as they are.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        batch_size: int,
        maxlen: int | None,
        stride: int,
        seed: int,
        augment: Augmentation | None = None,
    ) -> None:
        self._shards = shards
        self._batch_size = batch_size
        self._maxlen = maxlen
        self._stride = stride
        self._seed = seed
        self._augment = augment
        lengths = -(-shards.num_frames // stride)
        self.lengths = lengths if maxlen is None else np.minimum(lengths, maxlen)
        """Frames of each clip in the shards that a model sees, (num_clips,)."""

    def shuffled(self, clips: ArrayLike, epoch: int, share: ReplicaShard = ALL) -> Stream:
        """Batches for training: all in them follows from the seed and the epoch alone.

        Args:
            clips: positions of those to use.
            epoch: from 0.
            share: which part of each batch.
        """
        rng = np.random.default_rng([self._seed, epoch])
        batches = plan_batches(self.lengths, clips, self._batch_size, rng=rng)
        plan = [share.of_batch(PlannedBatch(batch)) for batch in batches]
        if self._augment is None:
            return self._stream(plan)
        augment = self._augment

        def change(frames: np.ndarray, clip: int) -> np.ndarray:
            return augment(frames, np.random.default_rng([self._seed, epoch, clip]))

        return self._stream(plan, change)

    def by_length(self, clips: ArrayLike, share: ReplicaShard = ALL) -> tuple[np.ndarray, Stream]:
        """Batches for evaluation, and the clips' positions in the order of the batches.

        Args:
            clips: positions of those to use.
            share: which part of the batches.
        """
        batches = [
            PlannedBatch(part)
            for batch in plan_batches(self.lengths, clips, self._batch_size)
            for part in split_long_batch(batch, self.lengths[batch])
        ]
        plan = share.of_plan(batches)
        return np.concatenate([batch.clips for batch in plan]), self._stream(plan)

    def _stream(self, plan: Sequence[PlannedBatch], change: Change | None = None) -> Stream:
        load = clip_loader(self._shards, maxlen=self._maxlen, stride=self._stride, change=change)
        return Stream(plan, load)


def clip_loader(
    shards: Shards,
    *,
    maxlen: int | None = None,
    stride: int = 1,
    change: Change | None = None,
) -> Callable[[PlannedBatch], Any]:
    """Return a function that loads the clips of a batch, end to end.

    It gives ({"frames": uint8 (sum of num_frames, H, W, 3), "num_frames": int32 (batch,)}, labels
    int32 (batch,)).

    Args:
        shards: the clips.
        maxlen: keep this many frames at most, the first ones.
        stride: keep every `stride`-th stored frame.
        change: of a clip's frames and position, gives the frames to use in their place.
    """
    width, height = shards.frame_size

    def load(batch: PlannedBatch) -> tuple[dict[str, np.ndarray], NDArray[np.int32]]:
        max_lengths = -(-shards.num_frames[batch.clips] // stride)
        if maxlen is not None:
            max_lengths = np.minimum(max_lengths, maxlen)
        # A change may shorten a clip: what is left of this is cut off below.
        end_to_end = np.empty((int(max_lengths.sum()), height, width, 3), np.uint8)
        lengths, stop = [], 0
        for i in batch.clips.tolist():  # one clip at a time besides the batch
            frames = shards[i].read(stride=stride, max_frames=maxlen)
            frames = frames if change is None else change(frames, i)
            end_to_end[stop : stop + len(frames)] = frames
            lengths.append(len(frames))
            stop += len(frames)
        inputs: dict[str, NDArray] = {
            "frames": end_to_end[:stop],
            "num_frames": np.array(lengths, np.int32),
        }
        return inputs, batch.labels(shards.labels)

    return load
