"""Batches of labelled pictures, in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from experiments.highlights.training.augmentation import Change
from experiments.highlights.training.examples import Examples
from preprocess.batches.pipeline import Stream

ImageArray = NDArray[np.uint8]
MAX_BYTES_IN_MEMORY = 2**30
"""Bytes of pictures that are kept in memory; more are read from the shards in each epoch."""
_BATCH_TO_EVALUATE = 64


class ImageBatches:
    """Batches of some examples, for any number of epochs.

    Args:
        examples: the labelled pictures.
        image_shape: (H, W, 3).
        batch_size: pictures per batch in training; the last batch of an epoch may be smaller.
        seed: seed of the order in training and of the random changes.
        weights: how often each picture is drawn in an epoch, on average, (N,) with mean 1; None
            for once.
        change: random change of a training picture, uint8 (H, W, 3); None for no change.
        max_bytes_in_memory: largest number of bytes of pictures that are kept in memory.
    """

    def __init__(
        self,
        examples: Examples,
        image_shape: tuple[int, int, int],
        *,
        batch_size: int,
        seed: int,
        weights: NDArray[np.float64] | None = None,
        change: Change | None = None,
        max_bytes_in_memory: int = MAX_BYTES_IN_MEMORY,
    ) -> None:
        self._examples = examples
        self._batch_size = batch_size
        self._seed = seed
        self._weights = np.ones(len(examples)) if weights is None else weights
        self._change = change
        self._shape = image_shape
        fits = len(examples) * int(np.prod(self._shape)) <= max_bytes_in_memory
        self._kept = _all_images(examples, self._shape) if fits else None

    def shuffled(self, epoch: int) -> Stream:
        """Batches for training, N pictures in all.

        A batch is (pictures uint8 (B, H, W, 3), labels int32 (B,)).
        """
        # A generator of its own for each epoch: a resumed run draws as one that was not stopped.
        rng = np.random.default_rng([self._seed, epoch])
        order = draw(self._weights, rng)
        # Rows (epoch, number of the draw, index of the example), (N, 3).
        entries = np.stack([np.full_like(order, epoch), np.arange(len(order)), order], axis=1)
        return self._stream(entries, self._batch_size, self._changed)

    def in_order(self) -> Stream:
        """Batches for evaluation: every picture once, unchanged, in the order of the examples."""
        return self._stream(np.arange(len(self._examples)), _BATCH_TO_EVALUATE, self._plain)

    def image(self, place: int) -> ImageArray:
        """Picture of one example, uint8 (H, W, 3), unchanged."""
        if self._kept is not None:
            return self._kept[place]
        clip = self._examples.clips[self._examples.clip[place]].images
        return clip.read(start=int(self._examples.frame[place]), max_frames=1)[0]

    def _stream(self, entries: NDArray, batch_size: int, load: Callable) -> Stream:
        plan = [entries[i : i + batch_size] for i in range(0, len(entries), batch_size)]
        return Stream(plan, load)

    def _plain(self, places: NDArray[np.int64]) -> tuple[NDArray, NDArray[np.int32]]:
        return np.stack([self.image(i) for i in places]), self._examples.label[places]

    def _changed(self, entries: NDArray[np.int64]) -> tuple[NDArray, NDArray[np.int32]]:
        """Load and change the pictures of entries (epoch, number of the draw, index), (B, 3)."""
        images, labels = self._plain(entries[:, 2])
        if self._change is not None:
            for image, (epoch, number, _) in zip(images, entries, strict=True):
                # By the number of the draw and not by the picture, so that one that is drawn twice
                # is changed in two ways; and batches may be loaded in any order.
                rng = np.random.default_rng([self._seed, int(epoch), int(number)])
                image[:] = self._change(image, rng)
        return images, labels


def draw(weights: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw as many indices as there are weights, each by its weight, in a random order.

    Systematic resampling: of weights with mean 1, one of weight 2.3 comes twice or three times,
    2.3 times on average. If all are equal, each index comes once.

    Args:
        weights: weights, (N,), none negative.
        rng: random generator.
    """
    number = len(weights)
    order = rng.permutation(number)
    reached = np.cumsum(weights[order]) * (number / weights.sum())
    # Equally spaced points with one random offset. It stays away from 0 and 1, so that rounding of
    # the sum does not matter where all weights are equal.
    points = np.arange(number) + rng.uniform(0.25, 0.75)
    drawn = np.minimum(np.searchsorted(reached, points, side="right"), number - 1)
    return order[rng.permutation(drawn)]


def drawing_weights(
    examples: Examples, *, least_share: float, hard_negative_weight: float
) -> NDArray[np.float64]:
    """Mean number of times that each picture is drawn in an epoch, (N,) with mean 1.

    Args:
        examples: examples with pictures of both classes.
        least_share: smallest fraction of highlights among the pictures drawn.
        hard_negative_weight: factor by which a picture that was mistaken for a highlight is drawn
            more often than others without one.
    """
    weights = np.where(examples.hard, hard_negative_weight, 1.0)
    positive = examples.label == 1
    share = positive.mean()
    wanted = max(least_share, share)
    # Each class is scaled to its share; within a class the ratios of the weights stay.
    weights[positive] *= wanted / weights[positive].sum()
    weights[~positive] *= (1 - wanted) / weights[~positive].sum()
    return weights * len(examples)


def _all_images(examples: Examples, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Pictures of all examples, uint8 (N, H, W, 3), read clip by clip."""
    images = np.empty((len(examples), *shape), np.uint8)
    for number, clip in enumerate(examples.clips):
        of_clip = examples.clip == number
        images[of_clip] = clip.images.frames[examples.frame[of_clip]]
    return images
