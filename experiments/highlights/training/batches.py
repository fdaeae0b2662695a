"""Batches of labelled pictures, in an order that follows from the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from experiments.highlights.training.examples import Examples

if TYPE_CHECKING:
    from preprocess.batches.pipeline import Stream

Picture = NDArray[np.uint8]
Change = Callable[[Picture, np.random.Generator], Picture]
MOST_IN_MEMORY = 2**30
"""Bytes of pictures that are kept in memory; of more, each is read when its turn comes."""
_BATCH_TO_EVALUATE = 64


class PictureBatches:
    """The batches of some examples, as often as they are wanted.

    Args:
        examples: what is in them.
        picture_shape: (H, W, 3).
        batch_size: pictures a batch in training; the last one of an epoch may be smaller.
        seed: of the order in training and of the changes.
        weights: how often each is drawn in an epoch, on average, (N,) with mean 1; None for once.
        change: what is done to a picture, uint8 (H, W, 3), in training; None leaves it as it is.
        most_in_memory: bytes of pictures that are kept in memory.
    """

    def __init__(
        self,
        examples: Examples,
        picture_shape: tuple[int, int, int],
        *,
        batch_size: int,
        seed: int,
        weights: NDArray[np.float64] | None = None,
        change: Change | None = None,
        most_in_memory: int = MOST_IN_MEMORY,
    ) -> None:
        self._examples = examples
        self._batch_size = batch_size
        self._seed = seed
        self._weights = np.ones(len(examples)) if weights is None else weights
        self._change = change
        self._shape = picture_shape
        fits = len(examples) * int(np.prod(self._shape)) <= most_in_memory
        self._kept = _all_pictures(examples, self._shape) if fits else None

    def shuffled(self, epoch: int) -> Stream:
        """Batches (pictures uint8 (B, H, W, 3), labels int32 (B,)) for training; N pictures."""
        rng = np.random.default_rng([self._seed, epoch])
        order = draw(self._weights, rng)
        entries = np.stack([np.full_like(order, epoch), np.arange(len(order)), order], axis=1)
        return self._stream(entries, self._batch_size, self._changed)

    def in_order(self) -> Stream:
        """Batches for evaluation: each picture once, unchanged, in the order of the examples."""
        return self._stream(np.arange(len(self._examples)), _BATCH_TO_EVALUATE, self._plain)

    def picture(self, place: int) -> Picture:
        """One of the examples' pictures, uint8 (H, W, 3), unchanged."""
        if self._kept is not None:
            return self._kept[place]
        clip = self._examples.clips[self._examples.clip[place]].pictures
        return clip.read(start=int(self._examples.frame[place]), max_frames=1)[0]

    def _stream(self, entries: NDArray, batch_size: int, load: Callable) -> Stream:
        from preprocess.batches.pipeline import Stream

        plan = [entries[i : i + batch_size] for i in range(0, len(entries), batch_size)]
        return Stream(plan, load)

    def _plain(self, places: NDArray[np.int64]) -> tuple[NDArray, NDArray[np.int32]]:
        return np.stack([self.picture(i) for i in places]), self._examples.label[places]

    def _changed(self, entries: NDArray[np.int64]) -> tuple[NDArray, NDArray[np.int32]]:
        """Entries are epochs, numbers of the draw in it and places, (B, 3)."""
        pictures, labels = self._plain(entries[:, 2])
        if self._change is not None:
            for picture, (epoch, number, _) in zip(pictures, entries, strict=True):
                rng = np.random.default_rng([self._seed, int(epoch), int(number)])
                picture[:] = self._change(picture, rng)
        return pictures, labels


def draw(weights: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """As many places as there are weights, in a random order, each by its weight.

    Systematic resampling: of weights with mean 1, one of weight 2.3 comes twice or three times,
    2.3 times on average; where all are alike, each comes once.

    Args:
        weights: (N,), none negative.
        rng: decides.
    """
    number = len(weights)
    order = rng.permutation(number)
    reached = np.cumsum(weights[order]) * (number / weights.sum())
    points = np.arange(number) + rng.uniform(0.25, 0.75)
    drawn = np.minimum(np.searchsorted(reached, points, side="right"), number - 1)
    return order[rng.permutation(drawn)]


def drawing_weights(
    examples: Examples, *, least_share: float, hard_negative_weight: float
) -> NDArray[np.float64]:
    """How often each picture is drawn in an epoch, on average, (N,) with mean 1.

    Args:
        examples: with pictures of both classes.
        least_share: share of highlights among those drawn; where they are more, nothing is done.
        hard_negative_weight: how many times as often as another picture without a highlight one
            is drawn that was mistaken for one.
    """
    weights = np.where(examples.hard, hard_negative_weight, 1.0)
    positive = examples.label == 1
    share = positive.mean()
    wanted = max(least_share, share)
    weights[positive] *= wanted / weights[positive].sum()
    weights[~positive] *= (1 - wanted) / weights[~positive].sum()
    return weights * len(examples)


def _all_pictures(examples: Examples, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """(N, H, W, 3), read clip by clip."""
    pictures = np.empty((len(examples), *shape), np.uint8)
    for number, clip in enumerate(examples.clips):
        of_clip = examples.clip == number
        pictures[of_clip] = clip.pictures.frames[examples.frame[of_clip]]
    return pictures
