"""What is measured. Each system lives in a process of its own, and says how fast it is."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.runs import environment
from experiments.ucf101.arguments import Arguments
from experiments.ucf101.recipes import Recipe

NUM_CLASSES = 101
NUM_STEPS = 3
_SEED = 0

Measured = tuple[float, int, float]
"""Clips a second, the process's peak memory in bytes, share of the time spent waiting for data."""


class Epochs:
    """Training epochs of a model of the UCF101 job, from shards to weights.

    Args:
        arguments: of the job, with shards.
        recipe: of the job.
        scratch: takes the features that are computed; they are, before anything is timed.
        recomputed: put the frozen ResNet into the model, which then sees pixels.
    """

    def __init__(
        self, arguments: Arguments, recipe: Recipe, scratch: Path, recomputed: bool = False
    ) -> None:
        from experiments.ucf101.models import Ucf101Model
        from preprocess import open_shards
        from preprocess.sources.splits import Split

        assert arguments.shards is not None
        shards = open_shards(arguments.shards.resolve())
        os.chdir(scratch)
        self._clips = np.arange(len(shards))
        split = Split(self._clips, self._clips, self._clips)
        made = Ucf101Model(arguments, recipe, shards, split, store_features=not recomputed)
        self._classifier, self._batches = made.classifier(), made.batches()
        self._epoch = 0
        for inputs, labels in self._batches.shuffled(self._clips[: recipe.batch_size], 0):
            self._classifier.train_batch(inputs, labels)  # compiles

    def measure(self) -> Measured:
        """One epoch."""
        self._epoch += 1
        started = asked = time.perf_counter()
        waited = 0.0
        for inputs, labels in self._batches.shuffled(self._clips, self._epoch):
            waited += time.perf_counter() - asked
            self._classifier.train_batch(inputs, labels)
            asked = time.perf_counter()
        seconds = time.perf_counter() - started
        return len(self._clips) / seconds, environment.peak_rss_bytes(), waited / seconds


class KerasSteps:
    """Training or inference of our model on one batch that lies in memory.

    Args:
        model: conv3d or crnn.
        shape: frames, height and width of a clip.
        batch_size: clips.
        training: steps of Adam, or predictions.
        policy: of the layers.
    """

    def __init__(
        self,
        model: str,
        shape: tuple[int, int, int],
        batch_size: int,
        training: bool,
        policy: str = "float32",
    ) -> None:
        import keras
        import tensorflow as tf

        from experiments.training.step import Classifier
        from ttrnn.models import build_conv3d, build_crnn

        num_frames, height, width = shape
        size: dict[str, Any] = {"height": height, "width": width, "dtype": policy}
        if model == "conv3d":
            built = build_conv3d(NUM_CLASSES, num_frames=num_frames, **size)
        else:
            built = build_crnn(NUM_CLASSES, **size)
        self._classifier = Classifier(built, keras.optimizers.Adam(1e-4) if training else None)
        frames, labels = batch(shape, batch_size)
        lengths = tf.fill((batch_size,), num_frames)
        self._inputs = {"frames": tf.constant(frames), "num_frames": lengths}
        self._labels = tf.constant(labels)
        self._num_clips = batch_size
        self._step()

    def measure(self) -> Measured:
        """Some steps."""
        started = time.perf_counter()
        for _ in range(NUM_STEPS):
            self._step()
        rate = NUM_STEPS * self._num_clips / (time.perf_counter() - started)
        return rate, environment.peak_rss_bytes(), 0.0

    def _step(self) -> None:
        if self._classifier.optimizer is None:
            self._classifier.predict([(self._inputs, self._labels)])
        else:
            self._classifier.train_batch(self._inputs, self._labels)


class TorchSteps:
    """The same in PyTorch, with the arguments of `KerasSteps`, less the policy."""

    def __init__(
        self, model: str, shape: tuple[int, int, int], batch_size: int, training: bool
    ) -> None:
        import torch

        from experiments.bench_ucf101 import torch_models

        torch.manual_seed(_SEED)
        self._torch = torch
        if model == "conv3d":
            self._net: Any = torch_models.Conv3D(*shape, NUM_CLASSES)
        else:
            self._net = torch_models.Crnn(*shape[1:], NUM_CLASSES)
        self._net.train(training)
        self._optimizer = torch.optim.Adam(self._net.parameters(), 1e-4) if training else None
        frames, labels = batch(shape, batch_size)
        clips = torch.from_numpy(frames).reshape(batch_size, *shape[:1], *frames.shape[1:])
        channels = 1 if model == "conv3d" else 3
        self._pixels = clips[..., :channels].permute(0, 1, 4, 2, 3).contiguous()  # (B, T, C, H, W)
        self._is_conv3d = model == "conv3d"
        self._labels = torch.from_numpy(labels).long()
        self._step()

    def measure(self) -> Measured:
        """Some steps."""
        started = time.perf_counter()
        for _ in range(NUM_STEPS):
            self._step()
        rate = NUM_STEPS * len(self._labels) / (time.perf_counter() - started)
        return rate, environment.peak_rss_bytes(), 0.0

    def _step(self) -> None:
        clips = (self._pixels.float() / 255 - 0.45) / 0.225
        if self._is_conv3d:
            clips = clips.transpose(1, 2)  # (B, C, T, H, W)
        if self._optimizer is None:
            with self._torch.inference_mode():
                self._net(clips).softmax(dim=1).numpy()
            return
        self._optimizer.zero_grad()
        self._torch.nn.functional.cross_entropy(self._net(clips), self._labels).backward()
        self._optimizer.step()


def batch(shape: tuple[int, int, int], batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 (batch * frames, height, width, 3) and labels int32 (batch,)."""
    rng = np.random.default_rng(_SEED)
    frames = rng.integers(0, 256, (batch_size * shape[0], *shape[1:], 3), np.uint8)
    return frames, rng.integers(0, NUM_CLASSES, batch_size).astype(np.int32)
