"""A recording to scores over time: it is decoded in one thread while others run the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from experiments.highlights.scoring.picture_batches import Batch, BatchReader


class PictureModel(Protocol):
    """Says how likely pictures show a highlight; `Scorer` is one."""

    def predict(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N,) of pictures uint8 (N, H, W, 3)."""


OnScores = Callable[[Batch, NDArray[np.float32]], None]


def score_recording(
    model: PictureModel, reader: BatchReader, on_scores: OnScores, *, at_once: int = 1
) -> None:
    """Score all pictures of a recording.

    Args:
        model: of the pictures.
        reader: of the recording.
        on_scores: is given each batch and its probabilities (N,), in order.
        at_once: batches that the model works on at the same time.

    Raises:
        DecodeError: if a chunk cannot be read, unless the reader allows for it.
        InputError: if the model gives no probabilities.
    """
    waiting: deque[tuple[Batch, Future[NDArray[np.float32]]]] = deque()
    with ThreadPoolExecutor(at_once) as threads, closing(iter(reader)) as batches:
        try:
            for batch in batches:
                waiting.append((batch, threads.submit(model.predict, batch.pictures)))
                if len(waiting) > at_once:  # one waits for its turn
                    _hand_over(*waiting.popleft(), on_scores)
            while waiting:
                _hand_over(*waiting.popleft(), on_scores)
        finally:
            for _, future in waiting:
                future.cancel()


def _hand_over(batch: Batch, future: Future[NDArray[np.float32]], on_scores: OnScores) -> None:
    probabilities = future.result()
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise InputError(
            "A model must give probabilities from 0 to 1. This one gave "
            f"{probabilities.min()} to {probabilities.max()}; train it again."
        )
    on_scores(batch, probabilities)
