"""A process that holds one system and times it when asked."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.bench_tt import workloads
from experiments.bench_tt.workloads import Case
from experiments.process import runtime
from experiments.remote import Remote
from experiments.runs import environment


@dataclass(frozen=True)
class Timing:
    """One training step."""

    seconds: float
    num_frames: int
    """Frames computed on, padding included."""
    peak_rss_bytes: int
    """Of the process so far."""


class Worker(Remote):
    """A system in its own process; its methods wait for the answer.

    Args:
        system: one of `workloads.SYSTEMS`.
        threads: TensorFlow's pools there.
    """

    def __init__(self, system: str, threads: runtime.Threads) -> None:
        started = time.perf_counter()
        super().__init__(_Bench, system, threads=threads)
        self.ask("time", Case("full", 200, 16), np.full(16, 200))
        self.startup_seconds = time.perf_counter() - started
        """From starting the process to the end of its first step, imports included."""


class _Bench:
    """What a worker can be asked."""

    def __init__(self, system: str) -> None:
        self._system = system
        self._step = workloads.build_step(system)
        self._frames: Any = None

    def time(self, case: Case, lengths: np.ndarray) -> Timing:
        """A training step on a batch of these lengths."""
        import tensorflow as tf

        lengths = workloads.timed_lengths(self._system, case, lengths).astype(np.int32)
        num_frames = int(lengths.sum())
        if self._frames is None or len(self._frames) < num_frames:
            self._frames = None  # freed before the next is made
            some = np.random.default_rng(0).integers(
                0, 256, (100, *workloads.FRAME_SHAPE), np.uint8
            )
            self._frames = tf.tile(some, (-(-num_frames // 100), 1, 1, 1))
        batch = self._frames[:num_frames], tf.constant(lengths)
        started = time.perf_counter()
        float(self._step(*batch))
        seconds = time.perf_counter() - started
        return Timing(seconds, int(lengths.sum()), environment.peak_rss_bytes())

    def batches(self, case: Case, num_batches: int) -> list[np.ndarray]:
        """Lengths of the clips of a few batches of an epoch."""
        return workloads.sample_batches(case, num_batches)

    def matmul_flops(self, dtype: str, size: int = 2048) -> float:
        """Operations a second of one large matrix product: the peak to compare with."""
        import tensorflow as tf

        matrix = tf.cast(tf.random.stateless_normal((size, size), (0, 0)), dtype)
        tf.matmul(matrix, matrix)
        started = time.perf_counter()
        for _ in range(5):
            float(tf.cast(tf.matmul(matrix, matrix)[0, 0], tf.float32))
        return 5 * 2 * size**3 / (time.perf_counter() - started)

    def projection_flops(self, dtype: str, num_frames: int = 3200) -> float:
        """Operations a second of the product with the tensor train, forward and backward.

        The time includes making pixels of bytes, twice; the operations are the matrix products'.
        """
        import tensorflow as tf

        from ttrnn import TTGRUCell
        from ttrnn.engine.contraction import core_shapes_of, plan
        from ttrnn.engine.projection import project

        cell = TTGRUCell(*workloads.MODES)
        size = int(np.prod(workloads.FRAME_SHAPE))
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
