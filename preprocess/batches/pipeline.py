"""Shards to batches: clips of like length together, end to end, streamed through tf.data.

At no time are more than
a few batches in memory, however many clips there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from preprocess.batches.augment import Augmentation
from preprocess.batches.background import Background, Load, Stream
from preprocess.batches.replicas import ALL, Share, positions_and_labels
from preprocess.shards.reader import Shards

Change = Callable[[np.ndarray, int], np.ndarray]

# Clips are sorted by length within windows of this many batches: wide enough for the clips of a
# batch to end together, narrow enough for batches to differ from epoch to epoch.
_BATCHES_A_WINDOW = 8
# Frames of a batch in evaluation, where its size is nobody's choice: 0.2 GB of 160x120.
_FRAMES_TO_EVALUATE = 4096


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
        self._background: Background | None = None
        lengths = -(-shards.num_frames // stride)
        self.lengths = lengths if maxlen is None else np.minimum(lengths, maxlen)
        """Frames of each clip in the shards that a model sees, (num_clips,)."""

    def shuffled(self, clips: ArrayLike, epoch: int, share: Share = ALL) -> Stream:
        """Batches for training: all in them follows from the seed and the epoch alone.

        Args:
            clips: positions of those to use.
            epoch: from 0.
            share: which part of each batch.
        """
        rng = np.random.default_rng([self._seed, epoch])
        batches = plan_batches(self.lengths, clips, self._batch_size, rng=rng)
        plan = [share.of_batch(batch) for batch in batches]
        if self._augment is None:
            return self._stream(plan)
        augment = self._augment

        def change(frames: np.ndarray, clip: int) -> np.ndarray:
            return augment(frames, np.random.default_rng([self._seed, epoch, clip]))

        return self._stream(plan, change)

    def by_length(self, clips: ArrayLike, share: Share = ALL) -> tuple[np.ndarray, Stream]:
        """Batches for evaluation, and the clips' positions in the order of the batches.

        Args:
            clips: positions of those to use.
            share: which part of the batches.
        """
        batches = [
            part
            for batch in plan_batches(self.lengths, clips, self._batch_size)
            for part in _of_few_frames(batch, self.lengths[batch])
        ]
        plan = share.of_plan(batches)
        return np.concatenate(plan), self._stream(plan)

    def _stream(self, plan: Sequence[np.ndarray], change: Change | None = None) -> Stream:
        if self._background is None:
            self._background = clips_background(self._shards)
        load = clip_loader(self._shards, maxlen=self._maxlen, stride=self._stride, change=change)
        return Stream(self._background, plan, load)


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


def _of_few_frames(batch: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """A batch in as many equal parts as keep its frames few."""
    parts = min(len(batch), -(-int(lengths.sum()) // _FRAMES_TO_EVALUATE))
    return np.array_split(batch, max(1, parts))


def clips_background(shards: Shards, *, prefetch: int = 1) -> Background:
    """Makes batches of clips that `clip_loader` loads.

    Returns:
        Of elements ({"frames": uint8 (sum of num_frames, H, W, 3), "num_frames": int32 (batch,)},
        labels int32 (batch,)): the clips end to end.
    """
    width, height = shards.frame_size

    def finish(frames: tf.Tensor, lengths: tf.Tensor, labels: tf.Tensor) -> Any:
        frames = tf.ensure_shape(frames, (None, height, width, 3))
        num_frames = tf.ensure_shape(lengths, (None,))
        return {"frames": frames, "num_frames": num_frames}, tf.ensure_shape(labels, (None,))

    return Background((), (tf.uint8, tf.int32, tf.int32), finish, prefetch=prefetch)


def clip_loader(
    shards: Shards,
    *,
    maxlen: int | None = None,
    stride: int = 1,
    change: Change | None = None,
) -> Load:
    """Reads the clips of a batch.

    Args:
        shards: the clips; an entry has positions among them, which may be marked as idle.
        maxlen: keep this many frames at most, the first ones.
        stride: keep every `stride`-th stored frame.
        change: of a clip's frames and position, gives the frames to use in their place.
    """
    width, height = shards.frame_size

    def load(entries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        clips, labels = positions_and_labels(entries, shards.labels)
        most = -(-shards.num_frames[clips] // stride)
        most = most if maxlen is None else np.minimum(most, maxlen)
        batch = np.empty((int(most.sum()), height, width, 3), np.uint8)
        lengths, stop = [], 0
        for i in clips:  # one clip at a time besides the batch
            frames = shards[int(i)].read(stride=stride, max_frames=maxlen)
            frames = frames if change is None else change(frames, int(i))
            batch[stop : stop + len(frames)] = frames
            lengths.append(len(frames))
            stop += len(frames)
        return batch[:stop], np.array(lengths, np.int32), labels

    return load


def pictures_background(
    picture_shape: tuple[int, int, int], row_shape: tuple[int, ...]
) -> Background:
    """Makes batches of single pictures.

    Args:
        picture_shape: (H, W, 3).
        row_shape: of what says what is in a batch, without the first axis.

    Returns:
        Of elements (pictures uint8 (batch, H, W, 3), labels int32 (batch,)).
    """

    def finish(pictures: tf.Tensor, labels: tf.Tensor) -> Any:
        return tf.ensure_shape(pictures, (None, *picture_shape)), tf.ensure_shape(labels, (None,))

    return Background(row_shape, (tf.uint8, tf.int32), finish)
