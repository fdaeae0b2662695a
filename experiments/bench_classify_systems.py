"""Systems that `experiments.bench_classify` measures, each in a process of its own."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from experiments.models.image_models import inference_dtype
from experiments.process import environment
from experiments.threads.workloads import random_weights
from ttrnn.models import build_alexnet

NUM_BATCHES = 10
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


class TorchLoop:
    """AlexNet in PyTorch, in a plain loop: read a batch, then classify it.

    Args:
        batch_size: number of frames in a batch.
        paths: videos; empty for the model alone, on a batch in memory.
    """

    def __init__(self, batch_size: int, paths: list[Path]) -> None:
        import torch

        self._torch = torch
        self._model = build_torch_alexnet().eval()
        self._batch_size = batch_size
        self._paths = paths

    def frames_per_second(self) -> tuple[float, int]:
        """Measure frames per second, and the peak memory of the process in bytes."""
        started = time.perf_counter()
        num_frames = sum(map(self._classify, self._paths)) if self._paths else self._repeat()
        return num_frames / (time.perf_counter() - started), environment.peak_rss_bytes()

    def _repeat(self) -> int:
        pixels = np.zeros((self._batch_size, 3, 227, 227), np.float32)
        for _ in range(NUM_BATCHES):
            self._predict(pixels)
        return NUM_BATCHES * self._batch_size

    def _classify(self, path: Path) -> int:
        capture, waiting, num_frames = cv2.VideoCapture(str(path)), [], 0
        while True:
            found, image = capture.read()
            if found:
                # As Caffe's tools: 256x256, of which the middle 227x227 is seen, BGR less the
                # channel means.
                small = cv2.resize(image, (256, 256))[14:241, 14:241]
                waiting.append(small.astype(np.float32) - (104.0, 116.7, 122.7))
            if waiting and (len(waiting) == self._batch_size or not found):
                pixels = np.stack(waiting).astype(np.float32).transpose(0, 3, 1, 2)
                self._predict(np.ascontiguousarray(pixels))  # (B, 3, 227, 227)
                num_frames += len(waiting)
                waiting = []
            if not found:
                return num_frames

    def _predict(self, pixels: np.ndarray) -> Any:
        with self._torch.inference_mode():
            shares = self._model(self._torch.from_numpy(pixels)).softmax(dim=1)
            return self._torch.topk(shares, 5)


# Caffe's AlexNet in PyTorch, to which ours is compared.


def build_torch_alexnet(num_classes: int = 1000) -> Any:
    """Build AlexNet from BGR pixels less the mean, (B, 3, 227, 227), to logits (B, classes)."""
    from torch import nn

    def normalise_and_pool() -> list[Any]:
        # PyTorch divides alpha by the window's size, 5: TensorFlow's 2e-5.
        return [nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1), nn.MaxPool2d(3, 2)]

    def conv(*arguments: Any, **kwargs: Any) -> list[Any]:
        return [nn.Conv2d(*arguments, **kwargs), nn.ReLU()]

    return nn.Sequential(
        *conv(3, 96, 11, stride=4),
        *normalise_and_pool(),
        *conv(96, 256, 5, padding=2, groups=2),
        *normalise_and_pool(),
        *conv(256, 384, 3, padding=1),
        *conv(384, 384, 3, padding=1, groups=2),
        *conv(384, 256, 3, padding=1, groups=2),
        nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Linear(9216, 4096),
        nn.ReLU(),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Linear(4096, num_classes),
    )
