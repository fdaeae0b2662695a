"""Views of clips in batches, streamed through tf.data: random ones to train, set ones to test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from preprocess.batches.background import Background, Load, Stream
from preprocess.batches.pipeline import plan_batches
from preprocess.batches.replicas import ALL, Share, positions_and_labels
from preprocess.batches.views import (
    Crop,
    CropChoice,
    FrameChoice,
    Inputs,
    Views,
    Words,
    cut,
    foreground,
    read_frames,
)
from preprocess.shards.reader import Shards

Change = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]
"""Of frames (T, H, W, 3), such as `preprocess.batches.augment.Augmentation`."""


class ViewSource(Protocol):
    """Where views come from: pixels, or what a network made of them."""

    @property
    def name(self) -> str:
        """Of the model's input."""

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Of what is there of each frame."""

    @property
    def dtype(self) -> type[np.generic]:
        """Of the rows."""

    @property
    def num_frames(self) -> Words:
        """Stored frames of each clip, (num_clips,)."""

    @property
    def labels(self) -> Words:
        """Class of each clip, (num_clips,)."""

    def drawn(self, clip: int, rng: np.random.Generator) -> Sequence[int]:
        """Draw the words of a training view of a clip."""

    def tested(self, clip: int, crop: int, num_crops: int) -> Sequence[int]:
        """Return the words of a test view of a clip."""

    def load(self, clip: int, frames: Words, words: Words) -> NDArray:
        """The view, (len(frames), *row_shape)."""


class PixelViews:
    """Views of stored frames.

    Args:
        shards: the clips.
        crops: which part of the picture is seen.
        changes: what happens to training views besides, one after the other; they must keep number
            and size of frames.
        inputs: the clips' frames, or their foreground.

    Raises:
        PreprocessError: if the stored frames are smaller than the crops.
    """

    name = "frames"
    dtype = np.uint8

    def __init__(
        self,
        shards: Shards,
        crops: CropChoice,
        *,
        changes: Sequence[Change] = (),
        inputs: Inputs = "frames",
    ) -> None:
        crops.require_fit(shards.frame_size)
        self._shards = shards
        self._crops = crops
        self._changes = changes
        self._inputs = inputs
        self.row_shape = (crops.size[1], crops.size[0], 3)
        self.num_frames = shards.num_frames
        self.labels = shards.labels

    def drawn(self, clip: int, rng: np.random.Generator) -> Sequence[int]:
        """Draw a crop, and the seed of the changes."""
        crop = self._crops.drawn(self._size_to_cut(clip), rng)
        return (*crop, int(rng.integers(2**31)) if self._changes else -1)

    def tested(self, clip: int, crop: int, num_crops: int) -> Sequence[int]:
        """Return a crop, and no changes."""
        return (*self._crops.tested(self._size_to_cut(clip), crop, num_crops), -1)

    def load(self, clip: int, frames: Words, words: Words) -> NDArray[np.uint8]:
        """The view, uint8 (len(frames), height, width, 3), RGB."""
        *crop, seed = words.tolist()
        pixels = cut(self._read(clip, frames), Crop(*crop), self._crops.size)
        rng = np.random.default_rng(max(seed, 0))
        for change in self._changes if seed >= 0 else ():
            pixels = change(pixels, rng)
        return pixels

    def _size_to_cut(self, clip: int) -> tuple[int, int]:
        shards = self._shards
        return self._crops.size_to_cut(
            stored=shards.frame_size, original=shards[clip].original_size
        )

    def _read(self, clip: int, frames: Words) -> NDArray[np.uint8]:
        if self._inputs == "frames":
            return read_frames(self._shards[clip], frames)
        return foreground(self._shards[clip].read())[frames]


class ViewBatches:
    """The batches of views of some clips, as often as they are wanted.

    Args:
        source: of the views.
        choice: which frames make one.
        batch_size: views a batch; the last one may be smaller.
        seed: of the order of clips in training, and of all that is drawn.
        views: how often `by_length` shows each clip.
    """

    def __init__(
        self,
        source: ViewSource,
        choice: FrameChoice,
        *,
        batch_size: int,
        seed: int,
        views: Views = Views(),  # noqa: B008 - frozen
    ) -> None:
        self._source = source
        self._choice = choice
        self._batch_size = batch_size
        self._seed = seed
        self._views = views
        self._background: Background | None = None
        self.lengths = np.array([choice.length(int(stored)) for stored in source.num_frames])
        """Frames of a view of each clip, (num_clips,)."""

    def with_views(self, views: Views) -> ViewBatches:
        """The same, but for how often `by_length` shows each clip."""
        return ViewBatches(
            *(self._source, self._choice),
            batch_size=self._batch_size,
            seed=self._seed,
            views=views,
        )

    def shuffled(self, clips: ArrayLike, epoch: int, share: Share = ALL) -> Stream:
        """Batches for training: all in them follows from the seed and the epoch alone.

        Args:
            clips: positions of those to use.
            epoch: from 0.
            share: which part of each batch.
        """
        rng = np.random.default_rng([self._seed, epoch])
        batches = plan_batches(self.lengths, clips, self._batch_size, rng=rng)
        stored, source = self._source.num_frames, self._source
        drawn = self._rows(
            [
                (clip, source.drawn(clip, rng), self._choice.drawn(int(stored[clip]), rng))
                for clip in batch.tolist()
            ]
            for batch in batches
        )
        return self._stream([share.of_batch(rows) for rows in drawn])

    def by_length(self, clips: ArrayLike, share: Share = ALL) -> tuple[Words, Stream]:
        """Batches for evaluation, and the position of the clip that each view shows.

        Args:
            clips: positions of those to use.
            share: which part of the batches.
        """
        views = list(self._views)
        plan = plan_batches(self.lengths, np.repeat(clips, len(views)), self._batch_size)
        order, seen = np.concatenate(plan), np.zeros(len(self.lengths), np.int64)
        entries = []
        for clip in order.tolist():  # the views of a clip follow each other
            entries.append(self._tested(clip, *views[seen[clip]]))
            seen[clip] += 1
        edges = np.cumsum([len(batch) for batch in plan])[:-1]
        parts = np.split(np.arange(len(order)), edges)
        rows = share.of_plan(self._rows([entries[i] for i in part] for part in parts))
        return np.concatenate([batch[:, 0] for batch in rows]), self._stream(rows)

    def _tested(self, clip: int, place: int, crop: int) -> tuple[int, Sequence[int], Words]:
        num_stored = int(self._source.num_frames[clip])
        frames = self._choice.tested(num_stored, place, self._views.temporal)
        return clip, self._source.tested(clip, crop, self._views.spatial), frames

    def _rows(self, batches: Iterable[Sequence[tuple[int, Sequence[int], Words]]]) -> list[Words]:
        """Rows (clip, length, words..., frames...) of each batch."""
        most = self._choice.num_frames
        return [
            np.array(
                [
                    (clip, len(frames), *words, *np.pad(frames, (0, most - len(frames))))
                    for clip, words, frames in batch
                ],
                np.int64,
            )
            for batch in batches
        ]

    def _stream(self, plan: Sequence[Words]) -> Stream:
        """What rows say, loaded in the background."""
        num_words = plan[0].shape[1] - self._choice.num_frames - 2
        if self._background is None:
            self._background = views_background(self._source, plan[0].shape[1:])
        return Stream(self._background, plan, view_loader(self._source, num_words=num_words))


def views_background(source: ViewSource, row_shape: tuple[int, ...]) -> Background:
    """Makes batches of views that `view_loader` loads.

    Returns:
        Of elements ({source.name: (sum of num_frames, *row_shape), "num_frames": int32 (batch,)},
        labels int32 (batch,)), end to end.
    """

    def finish(batch: tf.Tensor, lengths: tf.Tensor, labels: tf.Tensor) -> Any:
        batch = tf.ensure_shape(batch, (None, *source.row_shape))
        num_frames = tf.ensure_shape(lengths, (None,))
        return {source.name: batch, "num_frames": num_frames}, tf.ensure_shape(labels, (None,))

    return Background(row_shape, (tf.as_dtype(source.dtype), tf.int32, tf.int32), finish)


def view_loader(source: ViewSource, *, num_words: int) -> Load:
    """Loads the views of a batch.

    Args:
        source: of the views; an entry has rows (clip, number of frames, the source's words,
            frames), whose clip may be marked as idle.
        num_words: how many words the source has.
    """
    first_frame = 2 + num_words

    def load(rows: Words) -> tuple[NDArray, NDArray[np.int32], NDArray[np.int32]]:
        lengths = rows[:, 1]
        batch = np.empty((int(lengths.sum()), *source.row_shape), source.dtype)
        stop = 0
        clips, labels = positions_and_labels(rows[:, 0], source.labels)
        for clip, row, length in zip(clips.tolist(), rows, lengths.tolist(), strict=True):
            frames, words = row[first_frame : first_frame + length], row[2:first_frame]
            batch[stop : stop + length] = source.load(clip, frames, words)
            stop += length
        return batch, lengths.astype(np.int32), labels

    return load
