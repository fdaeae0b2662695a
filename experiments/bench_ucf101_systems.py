"""Systems that `experiments.bench_ucf101` measures, each in a process of its own."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from experiments.bench_ucf101 import NUM_CLASSES, NUM_STEPS, Measured, batch
from experiments.process import environment
from experiments.threads.inputs import demo_shards
from experiments.training.loop import Classifier
from experiments.ucf101.models import Ucf101Model
from experiments.ucf101.recipes import Recipe, Ucf101Arguments
from preprocess import open_shards
from preprocess.sources.splits import Split
from ttrnn.models import build_conv3d, build_crnn


class Epochs:
    """Training epochs of a model of the UCF101 job, from shards to weights.

    Args:
        arguments: flags of the job.
        recipe: recipe of the job.
        scratch: folder of clips, shards and stored features, which are made before anything is
            timed.
        num_clips: number of clips of an epoch.
        recomputed: put the frozen ResNet into the model, which then sees pixels.
    """

    def __init__(
        self,
        arguments: Ucf101Arguments,
        recipe: Recipe,
        scratch: Path,
        num_clips: int,
        recomputed: bool = False,
    ) -> None:
        shards = open_shards(demo_shards(scratch, recipe.settings(), num_clips).resolve())
        # The job stores features below the current folder.
        os.chdir(scratch)
        self._clips = np.arange(len(shards))
        split = Split(self._clips, self._clips, self._clips)
        made = Ucf101Model(arguments, recipe, shards, split, store_features=not recomputed)
        self._classifier, self._batches = made.classifier(), made.batches()
        self._epoch = 0
        for inputs, labels in self._batches.shuffled(self._clips[: recipe.batch_size], 0):
            # The first step compiles.
            self._classifier.train_batch(inputs, labels)

    def measure(self) -> Measured:
        """Time one epoch."""
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
    """Training or inference of our model on one batch in memory.

    Args:
        model: conv3d or crnn.
        shape: frames, height and width of a clip.
        batch_size: number of clips.
        training: time steps of Adam; otherwise predictions.
        policy: dtype policy of the layers.
    """

    def __init__(
        self,
        model: str,
        shape: tuple[int, int, int],
        batch_size: int,
        training: bool,
        policy: str = "float32",
    ) -> None:
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
        """Time some steps."""
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
