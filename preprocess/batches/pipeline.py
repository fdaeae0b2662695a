"""Batches of clips from shards: clips of similar length end to end, loaded ahead by a thread.

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

# Batches that are loaded ahead of the one in use: one that is ready, and one in the making. With
# one alone, loading would stand still whenever a batch is ready and not yet asked for.
_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Stream(Generic[Entry]):
    """Batches of a plan, loaded anew each time the stream is iterated.

    Args:
        plan: an entry for each batch.
        load: function of an entry to the batch's arrays, in any nest of tuples and dicts.
    """

    plan: Sequence[Entry]
    load: Callable[[Entry], Any]

    def __iter__(self) -> Iterator[Any]:
        """Iterate over batches of TensorFlow tensors in CPU memory."""
        return prefetched(self.plan, lambda entry: _as_tensors(self.load(entry)))

    def as_numpy_iterator(self) -> Iterator[Any]:
        """Iterate over the same batches as NumPy arrays."""
        return prefetched(self.plan, self.load)


def prefetched(plan: Sequence[Entry], load: Callable[[Entry], Any]) -> Iterator[Any]:
    """Yield `load(entry)` for each entry in turn, while a thread loads the next ones.

    An error of `load` is raised where its batch is asked for. The thread ends with the iteration,
    also if that is left or interrupted; it finishes the batch that it is loading.
    """
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(1, "load-batches") as thread:
        try:
            # One thread and a queue in the plan's order: batches come in the order of the plan, and
            # memory is bounded by the number of batches ahead.
            for entry in plan:
                waiting.append(thread.submit(load, entry))
                if len(waiting) > _BATCHES_AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Reached by GeneratorExit too. Without the cancellation the `with` would wait until
            # every batch in the queue was loaded.
            thread.shutdown(wait=False, cancel_futures=True)


def _as_tensors(batch: Any) -> Any:
    with tf.device("CPU:0"):  # a GPU's memory should not hold batches ahead
        return tf.nest.map_structure(tf.convert_to_tensor, batch)


class ClipBatches:
    """Batches of whole clips, for training and for evaluation.

    Args:
        shards: the clips.
        batch_size: clips per batch; the last batch of an epoch may be smaller.
        maxlen: largest number of frames of a clip, of which the first are kept; None for all.
        stride: keep every `stride`-th stored frame.
        seed: seed of the order of clips in training, and of their augmentation.
        augment: random changes of training clips; None leaves them unchanged.
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
        """Number of frames of each clip that a model is given, (num_clips,)."""

    def shuffled(self, clips: ArrayLike, epoch: int, shard: ReplicaShard = ALL) -> Stream:
        """Plan one epoch of training batches, which depend on the seed and the epoch alone.

        Args:
            clips: positions of the clips to use.
            epoch: number of the epoch, from 0.
            shard: this replica's part of each batch.
        """
        rng = np.random.default_rng([self._seed, epoch])
        batches = plan_batches(self.lengths, clips, self._batch_size, rng=rng)
        plan = [shard.of_batch(PlannedBatch(batch)) for batch in batches]
        if self._augment is None:
            return self._stream(plan)
        augment = self._augment

        # A generator for each clip, so that the changes do not depend on the order of loading or on
        # the replica that loads the clip.
        def change(frames: np.ndarray, clip: int) -> np.ndarray:
            return augment(frames, np.random.default_rng([self._seed, epoch, clip]))

        return self._stream(plan, change)

    def by_length(self, clips: ArrayLike, shard: ReplicaShard = ALL) -> tuple[np.ndarray, Stream]:
        """Plan evaluation batches; also return the clips' positions in the batches' order.

        Args:
            clips: positions of the clips to use.
            shard: this replica's part of the batches.
        """
        batches = [
            PlannedBatch(part)
            for batch in plan_batches(self.lengths, clips, self._batch_size)
            for part in split_long_batch(batch, self.lengths[batch])
        ]
        plan = shard.of_plan(batches)
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

    The function returns ({"frames": uint8 (sum of num_frames, H, W, 3), "num_frames": int32
    (batch,)}, labels int32 (batch,)).

    Args:
        shards: the clips.
        maxlen: keep at most this many frames, the first ones.
        stride: keep every `stride`-th stored frame.
        change: function of a clip's frames and position to the frames to use instead.
    """
    width, height = shards.frame_size

    def load(batch: PlannedBatch) -> tuple[dict[str, np.ndarray], NDArray[np.int32]]:
        max_lengths = -(-shards.num_frames[batch.clips] // stride)
        if maxlen is not None:
            max_lengths = np.minimum(max_lengths, maxlen)
        # A change may shorten a clip; the unused rest of this array is cut off below.
        end_to_end = np.empty((int(max_lengths.sum()), height, width, 3), np.uint8)
        lengths, stop = [], 0
        for i in batch.clips.tolist():  # besides the batch, one clip at a time is in memory
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
