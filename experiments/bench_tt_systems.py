"""Training steps that `experiments.bench_tt` measures, each system in a process of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

import ttrnn
from experiments.bench_tt import (
    FRAME_SHAPE,
    MODES,
    NUM_CLASSES,
    UNITS,
    Case,
    LayerRow,
    Timing,
    timed_lengths,
)
from experiments.process import environment
from ttrnn import TTGRU, TTGRUCell
from ttrnn.engine.contraction import core_shapes_of, plan
from ttrnn.engine.projection import project
from ttrnn.frames import FrameRNN

# Modes of the input, modes of the output and rank, by (features, units).
_SIZES = {
    (256, 256): ((4, 8, 8), (4, 8, 8), 4),
    (512, 512): ((8, 8, 8), (8, 8, 8), 4),
    (1024, 1024): ((8, 8, 16), (8, 8, 16), 4),
    (4096, 1024): ((16, 16, 16), (8, 8, 16), 4),
    (4096, 4096): ((16, 16, 16), (16, 16, 16), 4),
    (57600, 256): ((8, 20, 20, 18), (4, 4, 4, 4), 4),
}
_STEPS = 50


class Bench:
    """Object in a worker's process, whose methods measure."""

    def __init__(self, system: str) -> None:
        self._system = system
        self._step = build_step(system)
        self._frames: Any = None

    def time(self, case: Case, lengths: np.ndarray) -> Timing:
        """Time a training step on a batch of clips with these lengths."""
        lengths = timed_lengths(self._system, case, lengths).astype(np.int32)
        num_frames = int(lengths.sum())
        if self._frames is None or len(self._frames) < num_frames:
            # Freed before the next one is made, or both would be in memory.
            self._frames = None
            some = np.random.default_rng(0).integers(0, 256, (100, *FRAME_SHAPE), np.uint8)
            self._frames = tf.tile(some, (math.ceil(num_frames / 100), 1, 1, 1))
        batch = self._frames[:num_frames], tf.constant(lengths)
        started = time.perf_counter()
        # `float` waits for the result.
        float(self._step(*batch))
        seconds = time.perf_counter() - started
        return Timing(seconds, int(lengths.sum()), environment.peak_rss_bytes())

    def matmul_flops(self, dtype: str, size: int = 2048) -> float:
        """Measure the operations per second of one large matrix product, as the peak."""
        matrix = tf.cast(tf.random.stateless_normal((size, size), (0, 0)), dtype)
        tf.matmul(matrix, matrix)
        started = time.perf_counter()
        for _ in range(5):
            # One number of the product is enough to wait for all of it.
            float(tf.cast(tf.matmul(matrix, matrix)[0, 0], tf.float32))
        return 5 * 2 * size**3 / (time.perf_counter() - started)

    def projection_flops(self, dtype: str, num_frames: int = 3200) -> float:
        """Measure the operations per second of a tensor train's product, forward and backward.

        The time includes making pixels of bytes, twice; the operations are the matrix products'.
        """
        cell = TTGRUCell(*MODES)
        size = int(np.prod(FRAME_SHAPE))
        cell.build((None, size))
        frames = np.random.default_rng(0).integers(0, 256, (num_frames, size), np.uint8)
        upstream = tf.cast(tf.random.stateless_normal((num_frames, 3 * cell.units), (0, 0)), dtype)

        @tf.function
        def gradients(frames):
            with tf.GradientTape() as tape:
                product = project(frames, cell.cores, dtype=dtype)
            return tape.gradient(product, cell.cores, output_gradients=upstream)

        frames = tf.constant(frames)
        gradients(frames)
        started = time.perf_counter()
        gradients(frames)[0].numpy()
        seconds = time.perf_counter() - started
        chosen = plan(core_shapes_of(cell.cores), num_frames, dtype)
        return num_frames * chosen.training_flops / seconds


def build_step(system: str) -> Callable:
    """Build a training step: (frames uint8 (N, 120, 160, 3), lengths int32 (B,)) -> loss."""
    policy = "mixed_bfloat16" if system.endswith("bfloat16") else "float32"
    state_of = _engine(policy) if system.startswith("engine") else _padded(system)
    head = keras.layers.Dense(NUM_CLASSES, dtype="float32")
    head.build((None, UNITS))
    optimizer = keras.optimizers.Adam(1e-4)
    variables = [*state_of.layer.trainable_variables, *head.trainable_variables]
    optimizer.build(variables)

    @tf.function(reduce_retracing=True)
    def step(frames, lengths):
        labels = tf.range(tf.size(lengths)) % NUM_CLASSES
        with tf.GradientTape() as tape:
            scores = head(state_of(frames, lengths))
            loss = tf.reduce_mean(
                keras.losses.sparse_categorical_crossentropy(labels, scores, from_logits=True)
            )
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return step


class _State:
    """Function from (frames, lengths) to the last state of every clip, with its layer."""

    def __init__(self, layer, call: Callable) -> None:
        self.layer = layer
        self._call = call

    def __call__(self, frames, lengths):
        return self._call(frames, lengths)


def _engine(policy: str) -> _State:
    layer = FrameRNN(TTGRU(*MODES, recurrent_dropout=0.25, dtype=policy), dtype=policy)
    layer.build((None, *FRAME_SHAPE))
    return _State(layer, lambda frames, lengths: layer(frames, lengths, training=True))


def _padded(system: str) -> _State:
    if system == "dense":
        layer = keras.layers.GRU(UNITS, reset_after=False, recurrent_dropout=0.25)
    else:
        layer = keras.layers.RNN(published_cell(TTGRUCell)(*MODES, recurrent_dropout=0.25))
    features = int(np.prod(FRAME_SHAPE))
    layer.build((None, None, features))

    # All lengths are alike, so that the clips can be reshaped to (B, T, H*W*3).
    def call(frames, lengths):
        pixels = tf.reshape(tf.cast(frames, tf.float32) - 128, (tf.size(lengths), -1, features))
        return layer(pixels, training=True)

    return _State(layer, call)


def published_cell(cell_class: type) -> type:
    """Derive a cell that contracts its cores as the published code does, last to first."""

    class PublishedCell(cell_class):
        def project(self, inputs, *, training=False):
            state, after = inputs, 1
            for core in reversed(self.cores):
                rank, m, n, rank_next = core.shape
                # (rank, m, n, rank_next) to the published matrix (m * rank_next, rank * n).
                kernel = ops.reshape(ops.transpose(core, (1, 3, 0, 2)), (m * rank_next, rank * n))
                state = ops.reshape(state, (-1, m * rank_next, after))
                state = ops.reshape(ops.transpose(state, (0, 2, 1)), (-1, m * rank_next))
                state = ops.reshape(ops.matmul(state, kernel), (-1, after, rank * n))
                state = ops.transpose(state, (0, 2, 1))
                after *= n
            return ops.reshape(state, (-1, after)) + self.bias

    return PublishedCell


class Layers:
    """Training steps of layers of many sizes, beside Keras's dense ones."""

    def measure(self, rounds: int) -> list[LayerRow]:
        """Time both layers of each size in turn."""
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
    """Compile a training step with Adam of the dense layer and of ours, and run both."""
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

        # Bound as defaults: a closure would see the layer of the last turn.
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
