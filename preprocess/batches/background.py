"""Batches made by TensorFlow's threads while the ones before are worked on."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Entry = NDArray[np.int64]
"""What says what is in a batch, (batch, ...)."""
Load = Callable[[Entry], tuple[NDArray, ...]]
"""Makes a batch's arrays."""


@dataclass(frozen=True)
class _Run:
    plan: Sequence[Entry]
    load: Load


class Background:
    """Makes batches of any number of plans with one tf.data pipeline.

    TensorFlow never frees a pipeline's functions: of a plain one, 48 kB each.

    Args:
        row_shape: of an entry, without the first axis.
        types: of the arrays that are loaded.
        finish: makes elements of them, in TensorFlow's graph.
        prefetch: batches made ahead.
    """

    def __init__(
        self,
        row_shape: tuple[int, ...],
        types: Sequence[tf.DType],
        finish: Callable[..., Any],
        *,
        prefetch: int = 1,
    ) -> None:
        self._runs: dict[int, _Run] = {}
        self._numbers = itertools.count()
        self._number = 0
        self._lock = threading.Lock()
        entries = tf.data.Dataset.from_generator(
            self._entries,
            output_signature=(
                tf.TensorSpec((), tf.int64),
                tf.TensorSpec((None, *row_shape), tf.int64),
            ),
        )

        def load(number: tf.Tensor, entry: tf.Tensor) -> Any:
            return finish(*tf.numpy_function(self._load, [number, entry], types, stateful=False))

        options = tf.data.Options()
        # Nothing is left to tf.data to tune, and the thread that would tune it lets an iterator end
        # only when it wakes: every third epoch began 7 to 20 seconds late.
        options.autotune.enabled = False
        batches = entries.map(load, num_parallel_calls=1).prefetch(prefetch)
        self.dataset = batches.with_options(options)
        """Of the run that has begun last."""

    def iterate(self, plan: Sequence[Entry], load: Load) -> Iterator[Any]:
        """The batches of a plan. Several may be gone through at the same time."""
        with self._lock:  # until the pipeline has asked which plan it is
            number = self._number = next(self._numbers)
            self._runs[number] = _Run(plan, load)
            batches = iter(self.dataset)
            first = next(batches, None)
        try:
            if first is not None:
                yield first
                yield from batches
        finally:
            del self._runs[number]

    def _entries(self) -> Iterator[tuple[int, Entry]]:
        number = self._number
        for entry in self._runs[number].plan:
            yield number, entry

    def _load(self, number: int, entry: Entry) -> tuple[NDArray, ...]:
        return self._runs[int(number)].load(entry)


@dataclass(frozen=True)
class Stream:
    """The batches of a plan, as often as they are gone through.

    Args:
        background: makes them.
        plan: what is in each.
        load: makes a batch's arrays.
    """

    background: Background
    plan: Sequence[Entry]
    load: Load

    def __iter__(self) -> Iterator[Any]:
        return self.background.iterate(self.plan, self.load)

    def as_numpy_iterator(self) -> Iterator[Any]:
        """The same as arrays."""
        for batch in self:
            yield tf.nest.map_structure(lambda tensor: tensor.numpy(), batch)
