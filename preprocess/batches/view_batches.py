"""Views of clips in batches: random ones to train, set ones to test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from preprocess.batches.pipeline import Stream
from preprocess.batches.planning import ALL, PlannedBatch, ReplicaShard, plan_batches
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


@dataclass(frozen=True)
class View:
    """What is seen of one clip.

    Args:
        words: the source's own account of it, such as a crop.
        frames: positions of the frames among the stored ones, (T,).
    """

    words: Sequence[int]
    frames: Words


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
        self.lengths = np.array([choice.length(int(stored)) for stored in source.num_frames])
        """Frames of a view of each clip, (num_clips,)."""

    def with_views(self, views: Views) -> ViewBatches:
        """The same, but for how often `by_length` shows each clip."""
        return ViewBatches(
            self._source,
            self._choice,
            batch_size=self._batch_size,
            seed=self._seed,
            views=views,
        )

    def shuffled(self, clips: ArrayLike, epoch: int, share: ReplicaShard = ALL) -> Stream:
        """Batches for training: all in them follows from the seed and the epoch alone.

        Args:
            clips: positions of those to use.
            epoch: from 0.
            share: which part of each batch.
        """
        rng = np.random.default_rng([self._seed, epoch])
        batches = plan_batches(self.lengths, clips, self._batch_size, rng=rng)
        plan = []
        for batch in batches:  # in this order: all views are drawn from one generator
            views = tuple(self._drawn(clip, rng) for clip in batch.tolist())
            plan.append(share.of_batch(PlannedBatch(batch, views)))
        return self._stream(plan)

    def by_length(self, clips: ArrayLike, share: ReplicaShard = ALL) -> tuple[Words, Stream]:
        """Batches for evaluation, and the position of the clip that each view shows.

        Args:
            clips: positions of those to use.
            share: which part of the batches.
        """
        views = list(self._views)
        plan = plan_batches(self.lengths, np.repeat(clips, len(views)), self._batch_size)
        seen = np.zeros(len(self.lengths), np.int64)  # how often each clip has come so far
        planned = []
        for batch in plan:  # the views of a clip follow each other
            shown = []
            for clip in batch.tolist():
                shown.append(self._tested(clip, *views[seen[clip]]))
                seen[clip] += 1
            planned.append(PlannedBatch(batch, tuple(shown)))
        here = share.of_plan(planned)
        return np.concatenate([batch.clips for batch in here]), self._stream(here)

    def _drawn(self, clip: int, rng: np.random.Generator) -> View:
        words = self._source.drawn(clip, rng)
        return View(words, self._choice.drawn(int(self._source.num_frames[clip]), rng))

    def _tested(self, clip: int, place: int, crop: int) -> View:
        num_stored = int(self._source.num_frames[clip])
        frames = self._choice.tested(num_stored, place, self._views.temporal)
        return View(self._source.tested(clip, crop, self._views.spatial), frames)

    def _stream(self, plan: Sequence[PlannedBatch]) -> Stream:
        return Stream(plan, view_loader(self._source))


def view_loader(source: ViewSource) -> Callable[[PlannedBatch], Any]:
    """Return a function that loads the views of a batch, end to end.

    It gives ({source.name: (sum of num_frames, *row_shape), "num_frames": int32 (batch,)}, labels
    int32 (batch,)).
    """

    def load(batch: PlannedBatch) -> tuple[dict[str, NDArray], NDArray[np.int32]]:
        assert batch.views is not None
        lengths = [len(view.frames) for view in batch.views]
        rows = np.empty((sum(lengths), *source.row_shape), source.dtype)
        stop = 0
        for clip, view in zip(batch.clips.tolist(), batch.views, strict=True):
            end = stop + len(view.frames)
            rows[stop:end] = source.load(clip, view.frames, np.array(view.words, np.int64))
            stop = end
        inputs = {source.name: rows, "num_frames": np.array(lengths, np.int32)}
        return inputs, batch.labels(source.labels)

    return load
