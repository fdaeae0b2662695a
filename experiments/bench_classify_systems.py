"""Systems that `experiments.bench_classify` measures, each in a process of its own."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from experiments.bench_classify import NUM_BATCHES
from experiments.models.image_loading import load_model
from experiments.models.image_models import ModelOptions, inference_dtype
from experiments.models.onnx_export import export_onnx
from experiments.process import environment
from experiments.process.runtime import Threads
from experiments.threads.workloads import random_weights
from ttrnn.models import build_alexnet

_SEED = 0


class BareKeras:
    """The Keras model alone, on batches in memory.

    Args:
        policy: dtype policy of its layers.
        batch_size: number of frames in a batch.
        fused: take the short cuts that classification takes.
        at_once: number of batches that are computed at the same time.
    """

    def __init__(self, policy: str, batch_size: int, fused: bool, at_once: int) -> None:
        dtype = inference_dtype(policy) if fused else policy
        model = build_alexnet(fused=fused, dtype=dtype)
        random_weights(model)
        shape = (batch_size, *model.input_shape[1:])
        frames = np.random.default_rng(_SEED).integers(0, 256, shape, np.uint8)
        self._frames = tf.constant(frames)
        self._model = tf.function(lambda frames: model(frames, training=False))
        self._at_once = at_once

    def frames_per_second(self) -> tuple[float, int]:
        """Measure frames per second, and the peak memory of the process in bytes."""
        started = time.perf_counter()
        with ThreadPoolExecutor(self._at_once) as pool:
            list(pool.map(lambda _: self._model(self._frames).numpy(), range(NUM_BATCHES)))
        seconds = time.perf_counter() - started
        return NUM_BATCHES * len(self._frames) / seconds, environment.peak_rss_bytes()


class BareModel:
    """A model as classification loads it, on batches in memory.

    Args:
        options: options of the model.
        batch_size: number of frames in a batch.
        threads: threads of a batch, and number of batches at the same time.
    """

    def __init__(self, options: ModelOptions, batch_size: int, threads: Threads) -> None:
        self._model = load_model(options, batch_size=batch_size, threads_a_batch=threads.intra_op)
        shape = (batch_size, *self._model.fit.frame_shape)
        self._frames = np.random.default_rng(_SEED).integers(0, 256, shape, np.uint8)
        self._at_once = threads.inter_op

    def export(self, path: Path) -> float:
        """Write the model as ONNX; returns the largest difference to Keras."""
        return export_onnx(self._model, path, batch_size=len(self._frames))

    def frames_per_second(self) -> tuple[float, int]:
        """Measure frames per second, and the peak memory of the process in bytes."""
        started = time.perf_counter()
        with ThreadPoolExecutor(self._at_once) as pool:
            list(pool.map(lambda _: self._model.predict(self._frames), range(NUM_BATCHES)))
        seconds = time.perf_counter() - started
        return NUM_BATCHES * len(self._frames) / seconds, environment.peak_rss_bytes()
