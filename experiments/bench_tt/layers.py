"""Layers of many sizes beside Keras's dense ones: is a tensor train ever the slower?"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from experiments.process import runtime

# (features, units), with the modes of each and the rank
_SIZES = {
    (256, 256): ((4, 8, 8), (4, 8, 8), 4),
    (512, 512): ((8, 8, 8), (8, 8, 8), 4),
    (1024, 1024): ((8, 8, 16), (8, 8, 16), 4),
    (4096, 1024): ((16, 16, 16), (8, 8, 16), 4),
    (4096, 4096): ((16, 16, 16), (16, 16, 16), 4),
    (57600, 256): ((8, 20, 20, 18), (4, 4, 4, 4), 4),
}
_STEPS = 50


@dataclass(frozen=True)
class LayerRow:
    """A training step of two layers on the same input."""

    layer: str
    features: int
    units: int
    batch: str
    dense_milliseconds: float
    tt_milliseconds: float

    @property
    def ratio(self) -> float:
        """How many times faster the tensor train is."""
        return self.dense_milliseconds / self.tt_milliseconds


def measure_layers(threads: runtime.Threads, *, rounds: int) -> list[LayerRow]:
    """Both layers in turn, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measure, (threads, rounds))


def _measure(threads: runtime.Threads, rounds: int) -> list[LayerRow]:
    runtime.configure(threads, seed=0)
    rows = []
    for (features, units), modes in _SIZES.items():
        for layer, shape, batch in (
            ("TTGRU", (16, _STEPS, features), f"16 x {_STEPS} steps"),
            ("TTDense", (16, features), "16"),
            ("TTDense", (1024, features), "1,024"),
        ):
            dense, ours = _steps(layer, shape, units, modes)
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(rounds):
                for step, taken in zip((dense, ours), times, strict=True):
                    taken.append(_milliseconds(step))
            rows.append(LayerRow(layer, features, units, batch, *map(median, times)))
    return rows


def _milliseconds(step) -> float:
    repeats, started = 0, time.perf_counter()
    while time.perf_counter() - started < 0.2:
        step()
        repeats += 1
    return 1e3 * (time.perf_counter() - started) / repeats


def _steps(layer: str, shape: tuple[int, ...], units: int, modes: tuple):
    """A compiled training step with Adam of the dense layer and of ours, both run once."""
    import keras
    import tensorflow as tf

    import ttrnn

    pairs: dict[str, tuple[Callable[[], Any], ...]] = {
        "TTGRU": (lambda: keras.layers.GRU(units, reset_after=False), lambda: ttrnn.TTGRU(*modes)),
        "TTDense": (lambda: keras.layers.Dense(units), lambda: ttrnn.TTDense(*modes)),
    }
    inputs = tf.random.stateless_normal(shape, (0, 0))
    steps = []
    for make in pairs[layer]:
        made = make()
        made.build(shape)
        optimizer = keras.optimizers.Adam(1e-4)
        optimizer.build(made.trainable_variables)

        def step(made=made, optimizer=optimizer):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(made(inputs) ** 2)
            optimizer.apply(tape.gradient(loss, made.trainable_variables), made.trainable_variables)
            return loss

        compiled = tf.function(step)
        compiled()
        compiled()
        steps.append(lambda compiled=compiled: float(compiled()))
    return steps
