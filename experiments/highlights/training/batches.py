"""Batches of labelled pictures, in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from experiments.highlights.training.augmentation import Change
from experiments.highlights.training.examples import Examples
from preprocess.batches.pipeline import Buffers, Loading, Stream

ImageArray = NDArray[np.uint8]
MAX_BYTES_IN_MEMORY = 2**30
"""Bytes of pictures that are kept in memory; more are read from the shards in each epoch."""
_BATCH_TO_EVALUATE = 64
_PIECE = 8  # pictures that a thread loads at a time


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
        self._buffers = Buffers()
        self._kept = _all_images(examples, self._shape) if fits else None

    def shuffled(self, epoch: int) -> Stream:
        """Batches for training, N pictures in all.

        A batch is (pictures uint8 (B, H, W, 3), labels int32 (B,)).
        """
        # A generator of its own for each epoch: a resumed run draws as one that was not stopped.
        rng = np.random.default_rng([self._seed, epoch])
        return self._stream(draw(self._weights, rng), self._batch_size, epoch)

    def in_order(self) -> Stream:
        """Batches for evaluation: every picture once, unchanged, in the order of the examples."""
        return self._stream(np.arange(len(self._examples)), _BATCH_TO_EVALUATE)

    def image(self, place: int) -> ImageArray:
        """Picture of one example, uint8 (H, W, 3), unchanged."""
        if self._kept is not None:
            return self._kept[place]
        clip = self._examples.clips[self._examples.clip[place]].images
        return clip.read(start=int(self._examples.frame[place]), max_frames=1)[0]

    def _stream(
        self, order: NDArray[np.int64], batch_size: int, epoch: int | None = None
    ) -> Stream:
        """Stream of the pictures of examples; those of an epoch are changed."""

        def load(start: int) -> Loading:
            places = order[start : start + batch_size]
            images = self._buffers.array((len(places), *self._shape), np.uint8)
            pieces = [
                partial(
                    self._fill, images[i : i + _PIECE], places[i : i + _PIECE], start + i, epoch
                )
                for i in range(0, len(places), _PIECE)
            ]
            return Loading((images, self._examples.label[places]), pieces)

        return Stream(range(0, len(order), batch_size), load)

    def _fill(
        self, images: NDArray[np.uint8], places: NDArray[np.int64], start: int, epoch: int | None
    ) -> None:
        """Load pictures, (n, H, W, 3), the draws from number `start` on, and change them."""
        for number, place in enumerate(places.tolist(), start):
            image = self.image(place)
            if self._change is not None and epoch is not None:
                # By the number of the draw and not by the picture, so that one that is drawn twice
                # is changed in two ways; and pictures may be loaded in any order.
                rng = np.random.default_rng([self._seed, epoch, number])
                image = self._change(image, rng)
            images[number - start] = image


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
