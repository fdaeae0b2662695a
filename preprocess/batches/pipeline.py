"""Batches of clips from shards: clips of similar length end to end, loaded ahead by threads.

At no time are more than a few batches in memory, however many clips there are, and their memory is
used again: on many machines the first touch of new memory takes longer than reading the frames.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, DTypeLike, NDArray

from preprocess.batches.augment import Augmentation, ClipChange
from preprocess.batches.planning import (
    ALL,
    PlannedBatch,
    ReplicaShard,
    plan_batches,
    split_long_batch,
)
from preprocess.shards.reader import ShardClip, Shards
from preprocess.system.machine import available_cpus

Draw = Callable[[int, int], ClipChange]
"""Function of a clip's position and number of frames to the change of the clip."""
Entry = TypeVar("Entry")

# Batches that are loaded ahead of the one in use: one that is ready, and one in the making. With
# one alone, loading would stand still whenever a batch is ready and not yet asked for.
_BATCHES_AHEAD = 2
# Batches ahead take no more bytes than these together, unless it is one alone.
_BYTES_AHEAD = 2**28
# A thread loads some 30,000 frames/s, which is more than four cores train on. More threads share
# Python's lock and hand it over after each call of some microseconds: two load a fifth more than
# one and take a quarter more of the processors' time, which training on the same cores lacks.
_CORES_PER_THREAD = 2
_MAX_THREADS = 8
# Address space for batches. Only what is in use takes memory.
_RESERVED_BYTES = 2**31
# Alignment that TensorFlow asks of memory that it takes over without a copy.
_ALIGNMENT = 64


@dataclass(frozen=True)
class Loading:
    """A batch whose arrays exist, and the work that fills them.

    Args:
        batch: the arrays, in any nest of tuples and dicts.
        pieces: functions that fill a part each, in any order and in any thread.
    """

    batch: Any
    pieces: Sequence[Callable[[], object]] = ()


class Buffers:
    """Memory for the arrays of batches, which is used again once an array is gone.

    An array is gone when nobody refers to it or to a view of it, be it NumPy or TensorFlow. All
    arrays lie in one piece of memory, each at the lowest place that is free, so that they take
    little more than those that are in use at the same time, whatever the sizes before.
    """

    def __init__(self) -> None:
        self._reserve(0)
        self._lock = threading.Lock()

    def array(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of any content."""
        num_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        # At least one byte, so that no two arrays have the same place.
        size = -(-max(1, num_bytes) // _ALIGNMENT) * _ALIGNMENT
        with self._lock:
            if 2 * size > len(self._memory):
                self._reserve(size)
            while self._returned:
                del self._taken[self._returned.popleft()]
            start = self._lowest_gap(size)
            if start is None:  # somebody keeps many batches: this one is not used again
                return np.empty(shape, dtype)
            self._taken[start] = start + size
            # Views of this array refer to it and not to the whole memory, for the memoryview stands
            # between.
            array = np.frombuffer(self._memory[start : start + size].data, np.uint8)
            weakref.finalize(array, self._returned.append, start).atexit = False
        return array[:num_bytes].view(dtype).reshape(shape)

    def _reserve(self, size: int) -> None:
        """Reserve memory for several arrays of a size; arrays so far keep the memory before."""
        # The system gives a page only when it is first written to.
        memory = np.empty(max(4 * size, _RESERVED_BYTES if size else 0) + _ALIGNMENT, np.uint8)
        self._memory = memory[-memory.ctypes.data % _ALIGNMENT :]
        self._taken: dict[int, int] = {}  # end by start
        # Starts of memory that came back. The dict alone would not do: the garbage collector may
        # give memory back at any moment, also while the dict is being gone through.
        self._returned: deque[int] = deque()

    def _lowest_gap(self, size: int) -> int | None:
        """Lowest place of so many free bytes, or None."""
        start = 0
        for taken, end in sorted(self._taken.items()):
            if taken - start >= size:
                break
            start = end
        return start if len(self._memory) - start >= size else None


@dataclass(frozen=True)
class Stream(Generic[Entry]):
    """Batches of a plan, loaded anew each time the stream is iterated.

    Args:
        plan: an entry for each batch.
        load: function of an entry to its batch, called in the order of the plan.
    """

    plan: Sequence[Entry]
    load: Callable[[Entry], Loading]

    def __iter__(self) -> Iterator[Any]:
        """Iterate over batches of TensorFlow tensors in CPU memory.

        Threads load the next ones meanwhile. An error is raised where its batch is asked for. The
        threads end with the iteration, also if that is left or interrupted; they finish the pieces
        that they are working on.
        """
        return self._batches(_as_tensor)

    def as_numpy_iterator(self) -> Iterator[Any]:
        """Iterate over the same batches as NumPy arrays."""
        return self._batches(lambda array: array)

    def _batches(self, convert: Callable[[NDArray[Any]], Any]) -> Iterator[Any]:
        entries = iter(self.plan)
        waiting: deque[_Waiting] = deque()
        num_threads = min(max(available_cpus() // _CORES_PER_THREAD, 1), _MAX_THREADS)
        with ThreadPoolExecutor(num_threads, "load-batches") as threads:
            try:
                while True:
                    # The threads take the pieces in the plan's order.
                    while _may_grow(waiting) and (entry := next(entries, None)) is not None:
                        loading = self.load(entry)
                        work = [threads.submit(piece) for piece in loading.pieces]
                        waiting.append(_Waiting(loading.batch, work))
                    if not waiting:
                        return
                    # No name keeps the batch: its memory is free as soon as the caller drops it.
                    yield tf.nest.map_structure(convert, waiting.popleft().result())
            finally:
                # Reached by GeneratorExit too. Without the cancellation the `with` would wait until
                # every piece in the queue was loaded.
                threads.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class _Waiting:
    """A batch that is being loaded."""

    batch: Any
    work: Sequence[Future[object]]

    @property
    def num_bytes(self) -> int:
        return sum(array.nbytes for array in tf.nest.flatten(self.batch))

    def result(self) -> Any:
        """Wait for the batch; raises the error of the first piece that failed."""
        for future in self.work:
            future.result()
        return self.batch


def _may_grow(waiting: Sequence[_Waiting]) -> bool:
    """Return True if one more batch may be loaded: the next one, and those ahead of it."""
    if len(waiting) < 2:
        return True
    ahead = sum(batch.num_bytes for batch in list(waiting)[1:])
    return len(waiting) <= _BATCHES_AHEAD and ahead + waiting[-1].num_bytes <= _BYTES_AHEAD


def _as_tensor(array: NDArray[Any]) -> tf.Tensor:
    """Tensor of an array, of the array's own memory where TensorFlow takes that."""
    # convert_to_tensor copies. A copy of a batch is as dear as reading it.
    if array.nbytes and not array.ctypes.data % _ALIGNMENT and array.flags.c_contiguous:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    with tf.device("CPU:0"):  # a GPU's memory should not hold batches ahead
        return tf.convert_to_tensor(array)


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
        self._buffers = Buffers()
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
        def draw(clip: int, num_frames: int) -> ClipChange:
            return augment.draw(num_frames, np.random.default_rng([self._seed, epoch, clip]))

        return self._stream(plan, draw)

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

    def _stream(self, plan: Sequence[PlannedBatch], draw: Draw | None = None) -> Stream:
        return Stream(
            plan,
            clip_loader(
                self._shards,
                maxlen=self._maxlen,
                stride=self._stride,
                draw=draw,
                buffers=self._buffers,
            ),
        )


def clip_loader(
    shards: Shards,
    *,
    maxlen: int | None = None,
    stride: int = 1,
    draw: Draw | None = None,
    buffers: Buffers | None = None,
) -> Callable[[PlannedBatch], Loading]:
    """Return a function that loads the clips of a batch, end to end.

    The batch is ({"frames": uint8 (sum of num_frames, H, W, 3), "num_frames": int32 (batch,)},
    labels int32 (batch,)), or (batch, num_classes) of clips that may be of several classes, and its
    pieces are the clips.

    Args:
        shards: the clips.
        maxlen: keep at most this many frames, the first ones.
        stride: keep every `stride`-th stored frame.
        draw: draws the change of a clip of so many frames; None changes nothing.
        buffers: memory of the batches.
    """
    width, height = shards.frame_size
    buffers = buffers or Buffers()

    def load(batch: PlannedBatch) -> Loading:
        lengths = -(-shards.num_frames[batch.clips] // stride)
        if maxlen is not None:
            lengths = np.minimum(lengths, maxlen)
        changes = [
            ClipChange(num_frames=length) if draw is None else draw(clip, length)
            for clip, length in zip(batch.clips.tolist(), lengths.tolist(), strict=True)
        ]
        num_frames = np.array([change.num_frames for change in changes], np.int32)
        end_to_end = buffers.array((int(num_frames.sum()), height, width, 3), np.uint8)
        pieces = [
            partial(_load_clip, shards[clip], stride, change, frames)
            for clip, change, frames in zip(
                batch.clips.tolist(),
                changes,
                np.split(end_to_end, np.cumsum(num_frames)[:-1]),
                strict=True,
            )
        ]
        inputs = {"frames": end_to_end, "num_frames": num_frames}
        return Loading((inputs, batch.labels(shards.targets)), pieces)

    return load


def _load_clip(clip: ShardClip, stride: int, change: ClipChange, frames: NDArray[np.uint8]) -> None:
    """Fill `frames`, (change.num_frames, H, W, 3), with a clip's frames, changed."""
    read = clip.chunks(len(frames), start=change.start * stride, stride=stride)
    for place, chunk in read:
        change.write(chunk, frames, place)
    change.finish(frames)
