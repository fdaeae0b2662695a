"""As many training clips of each class, however many it has."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import InputError


def balanced(
    labels: NDArray[np.integer], clips: ArrayLike, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Clips of an epoch in which all classes come equally often, give or take one.

    A small class's clips come again, each as often as another of the class, give or take one; of
    a large class some are left out, others in the next epoch.

    Args:
        labels: class of every clip of the data set, (num_clips,).
        clips: positions of those to train on.
        rng: decides; made from the seed and the epoch, it gives a resumed run the same clips.

    Returns:
        As many positions as `clips`, in a random order.

    Raises:
        InputError: if there are no clips.
    """
    clips = np.asarray(clips, np.int64)
    if not len(clips):
        raise InputError("There must be clips to balance. Received none.")
    of_clips = np.asarray(labels)[clips]
    classes = np.unique(of_clips)
    quotas = np.full(len(classes), len(clips) // len(classes))
    quotas[rng.permutation(len(classes))[: len(clips) % len(classes)]] += 1
    drawn = [
        _drawn(clips[of_clips == label], quota, rng)
        for label, quota in zip(classes, quotas.tolist(), strict=True)
    ]
    return rng.permutation(np.concatenate(drawn))


def _drawn(members: NDArray[np.int64], number: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """So many of a class: all of them, again and again, then some of them."""
    rounds = -(-number // len(members))
    return np.concatenate([rng.permutation(members) for _ in range(rounds)])[:number]
