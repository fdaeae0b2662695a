"""Batches of views of clips: random views for training, fixed views for testing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from preprocess.batches.cutting import cut, foreground, read_frames
from preprocess.batches.pipeline import Buffers, Loading, Stream
from preprocess.batches.planning import ALL, PlannedBatch, ReplicaShard, plan_batches
from preprocess.batches.views import Crop, CropChoice, FrameChoice, Inputs, IntArray, Views
from preprocess.shards.reader import Shards

Change = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]
"""Random change of frames (T, H, W, 3), such as `preprocess.batches.augment.Augmentation`."""


@dataclass(frozen=True)
class View:
    """Frames and crop of one clip that a model is given.

    Args:
        params: integers that the source describes the view by, such as a crop.
        frames: positions of the frames among the stored ones, (T,).
    """

    params: Sequence[int]
    frames: IntArray


class ViewSource(Protocol):
    """Source of views: pixels, or features that a frozen network computed of them.

    The parameters of a view are drawn when a batch is planned; `load` uses them later, in another
    thread.
    """

    @property
    def name(self) -> str:
        """Name of the model's input."""

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one frame's row."""

    @property
    def dtype(self) -> type[np.generic]:
        """Dtype of the rows."""

    @property
    def num_frames(self) -> IntArray:
        """Stored frames of each clip, (num_clips,)."""

    @property
    def labels(self) -> IntArray:
        """Class of each clip, (num_clips,), or whether it is of each, (num_clips, classes)."""

    def drawn(self, clip: int, rng: np.random.Generator) -> Sequence[int]:
        """Draw the parameters of a training view of a clip."""

    def tested(self, clip: int, crop: int, num_crops: int) -> Sequence[int]:
        """Return the parameters of a test view of a clip."""

    def load(self, clip: int, frames: IntArray, params: IntArray) -> NDArray:
        """Load a view, (len(frames), *row_shape)."""


class PixelViews:
    """Views of stored frames.

    Args:
        shards: the clips.
        crops: choice of the crops.
        changes: random changes of training views, one after the other; they must keep number and
            size of frames.
        inputs: "frames", or "foreground" for the difference of each to the clip's mean frame.

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
        self.labels = shards.targets

    def drawn(self, clip: int, rng: np.random.Generator) -> Sequence[int]:
        """Draw a crop, and the seed of the changes."""
        # A seed and not the changes themselves: `load` can then apply them in any thread and order,
        # and a resumed run gets the same pixels.
        crop = self._crops.drawn(self._size_to_cut(clip), rng)
        return (*crop, int(rng.integers(2**31)) if self._changes else -1)

    def tested(self, clip: int, crop: int, num_crops: int) -> Sequence[int]:
        """Return a crop, and -1, which stands for no changes."""
        return (*self._crops.tested(self._size_to_cut(clip), crop, num_crops), -1)

    def load(self, clip: int, frames: IntArray, params: IntArray) -> NDArray[np.uint8]:
        """Load a view, uint8 (len(frames), height, width, 3), RGB."""
        *crop, seed = params.tolist()
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

    def _read(self, clip: int, frames: IntArray) -> NDArray[np.uint8]:
        if self._inputs == "frames":
            return read_frames(self._shards[clip], frames)
        # The mean is that of the whole clip, so that a frame's foreground does not depend on which
        # other frames are in the view.
        return foreground(self._shards[clip].read())[frames]


class ViewBatches:
    """Batches of views of clips, for training and for evaluation.

    Args:
        source: source of the views.
        choice: choice of the frames of a view.
        batch_size: views per batch; the last batch may be smaller.
        seed: seed of the order of clips in training, and of everything that is drawn.
        views: views of each clip in `by_length`.
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
        self._buffers = Buffers()
        self.lengths = np.array([choice.length(int(stored)) for stored in source.num_frames])
        """Frames of a view of each clip, (num_clips,)."""

    def with_views(self, views: Views) -> ViewBatches:
        """Copy with other views of each clip in `by_length`."""
        return ViewBatches(
            self._source,
            self._choice,
            batch_size=self._batch_size,
            seed=self._seed,
            views=views,
        )

    def shuffled(self, clips: ArrayLike, epoch: int, shard: ReplicaShard = ALL) -> Stream:
        """Plan one epoch of training batches, which depend on the seed and the epoch alone.

        Args:
            clips: positions of the clips to use.
            epoch: number of the epoch, from 0.
            shard: this replica's part of each batch.
        """
        # A generator of its own for each epoch: a resumed run needs no history to continue.
        rng = np.random.default_rng([self._seed, epoch])
        batches = plan_batches(self.lengths, clips, self._batch_size, rng=rng)
        plan = []
        # All views of a batch are drawn, also those of other replicas, before it is cut: every
        # replica then draws the same numbers, whatever their count.
        for batch in batches:
            views = tuple(self._drawn(clip, rng) for clip in batch.tolist())
            plan.append(shard.of_batch(PlannedBatch(batch, views)))
        return self._stream(plan)

    def by_length(self, clips: ArrayLike, shard: ReplicaShard = ALL) -> tuple[IntArray, Stream]:
        """Plan evaluation batches; also return the position of the clip that each view shows.

        Args:
            clips: positions of the clips to use.
            shard: this replica's part of the batches.

        Returns:
            Positions (num_views,) of the views' clips in the order of the batches, and the batches.
        """
        views = list(self._views)
        plan = plan_batches(self.lengths, np.repeat(clips, len(views)), self._batch_size)
        seen = np.zeros(len(self.lengths), np.int64)  # number of views of each clip planned so far
        planned = []
        # A clip stands in the plan once for each view. Sorting by length is stable, so the copies
        # follow each other, and counting them tells which view each one is.
        for batch in plan:
            shown = []
            for clip in batch.tolist():
                shown.append(self._tested(clip, *views[seen[clip]]))
                seen[clip] += 1
            planned.append(PlannedBatch(batch, tuple(shown)))
        here = shard.of_plan(planned)
        return np.concatenate([batch.clips for batch in here]), self._stream(here)

    def _drawn(self, clip: int, rng: np.random.Generator) -> View:
        """Draw a training view of a clip."""
        params = self._source.drawn(clip, rng)
        return View(params, self._choice.drawn(int(self._source.num_frames[clip]), rng))

    def _tested(self, clip: int, place: int, crop: int) -> View:
        """Test view of a clip at a place in time and a crop."""
        num_stored = int(self._source.num_frames[clip])
        frames = self._choice.tested(num_stored, place, self._views.temporal)
        return View(self._source.tested(clip, crop, self._views.spatial), frames)

    def _stream(self, plan: Sequence[PlannedBatch]) -> Stream:
        return Stream(plan, view_loader(self._source, self._buffers))


def view_loader(source: ViewSource, buffers: Buffers | None = None) -> Callable[..., Loading]:
    """Return a function that loads the views of a batch, end to end.

    The batch is ({source.name: (sum of num_frames, *row_shape), "num_frames": int32 (batch,)},
    labels int32 (batch,)), or (batch, num_classes) of clips that may be of several classes, and its
    pieces are the views.
    """
    buffers = buffers or Buffers()

    def load(batch: PlannedBatch) -> Loading:
        assert batch.views is not None
        num_frames = np.array([len(view.frames) for view in batch.views], np.int32)
        rows = buffers.array((int(num_frames.sum()), *source.row_shape), source.dtype)
        pieces = [
            partial(_load_view, source, clip, view, part)
            for clip, view, part in zip(
                batch.clips.tolist(),
                batch.views,
                np.split(rows, np.cumsum(num_frames)[:-1]),
                strict=True,
            )
        ]
        inputs = {source.name: rows, "num_frames": num_frames}
        return Loading((inputs, batch.labels(source.labels)), pieces)

    return load


def _load_view(source: ViewSource, clip: int, view: View, rows: NDArray) -> None:
    """Fill `rows`, (len(view.frames), *row_shape), with a view of a clip."""
    rows[:] = source.load(clip, view.frames, np.array(view.params, np.int64))
