"""What is measured. Each system is made in a process of its own, and says how fast it is."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from experiments.media.videos import Video
from experiments.models.image_models import inference_dtype
from experiments.process.runtime import Threads
from experiments.runs import environment

NUM_BATCHES = 10
_SEED = 0


def random_weights(model: Any) -> None:
    """Give a Keras AlexNet weights that keep the spread of its values from layer to layer."""
    random = np.random.default_rng(_SEED)
    for layer in model.layers:
        if layer.weights:
            shape = tuple(layer.kernel.shape)
            scale = (2 / np.prod(shape[:-1])) ** 0.5
            kernel = scale * random.standard_normal(shape, np.float32)
            layer.set_weights([kernel, np.zeros(shape[-1], np.float32)])


class BareKeras:
    """The Keras model alone, on batches that lie in memory.

    Args:
        policy: of its layers.
        batch_size: of the batches.
        fused: with the short cuts that classification takes.
        at_once: batches computed at the same time.
    """

    def __init__(self, policy: str, batch_size: int, fused: bool, at_once: int) -> None:
        import tensorflow as tf

        from ttrnn.models import build_alexnet

        dtype = inference_dtype(policy) if fused else policy
        model = build_alexnet(fused=fused, dtype=dtype)
        random_weights(model)
        shape = (batch_size, *model.input_shape[1:])
        frames = np.random.default_rng(_SEED).integers(0, 256, shape, np.uint8)
        self._frames = tf.constant(frames)
        self._model = tf.function(lambda frames: model(frames, training=False))
        self._at_once = at_once

    def frames_per_second(self) -> tuple[float, int]:
        """The rate, and the process's peak memory."""
        started = time.perf_counter()
        with ThreadPoolExecutor(self._at_once) as pool:
            list(pool.map(lambda _: self._model(self._frames).numpy(), range(NUM_BATCHES)))
        seconds = time.perf_counter() - started
        return NUM_BATCHES * len(self._frames) / seconds, environment.peak_rss_bytes()


class EndToEnd:
    """`experiments.classify` on a folder: decoding, preprocessing, model, CSV, JSON and PNG.

    Args:
        policy: of the model.
        batch_size: of the model.
        videos: to classify.
        out: folder of results; the last round's stay.
        jobs: videos decoded at the same time.
        threads: TensorFlow's pools.
    """

    def __init__(
        self,
        policy: str,
        batch_size: int,
        videos: list[Video],
        out: Path,
        jobs: int,
        threads: Threads,
    ) -> None:
        from experiments.classify.job import JobOptions
        from experiments.models.image_models import ALEXNET_FITS, ImageModel, class_names
        from experiments.models.keras_image_models import compile_model
        from ttrnn.models import build_alexnet

        model = build_alexnet(fused=True, dtype=inference_dtype(policy))
        random_weights(model)
        fit = ALEXNET_FITS["caffe"]
        self._model = ImageModel(
            name="alexnet",
            fit=fit,
            class_names=class_names(None, 1000),
            predict=compile_model(model, batch_size, fit),
            settings={"policy": policy},
        )
        self._videos = videos
        self._out = out
        self._options = JobOptions(batch_size=batch_size, jobs=jobs, threads=threads)

    def frames_per_second(self) -> tuple[float, int]:
        """The rate from the first video's first byte to the last video's last file."""
        started = time.perf_counter()
        num_frames = self.classify()
        return num_frames / (time.perf_counter() - started), environment.peak_rss_bytes()

    def warm_up(self) -> None:
        """Let the model work on one batch."""
        shape = (self._options.batch_size, *self._model.fit.frame_shape)
        self._model.predict(np.zeros(shape, self._model.fit.dtype))

    def classify(self) -> int:
        """Classify all videos anew; returns how many frames they have."""
        from experiments.classify.job import ClassificationJob

        shutil.rmtree(self._out, ignore_errors=True)
        self._out.mkdir(parents=True)
        ClassificationJob(self._model, self._videos, self._out, self._options).run()
        return sum(
            len((self._out / f"{video.results}.csv").read_text("utf-8").splitlines()) - 1
            for video in self._videos
        )


class TorchLoop:
    """AlexNet in PyTorch in a loop as people write it: read a batch, then classify it.

    Args:
        batch_size: of the batches.
        paths: of the videos; none for the model alone, on a batch that lies in memory.
    """

    def __init__(self, batch_size: int, paths: list[Path]) -> None:
        import torch

        from experiments.bench_classify.torch_alexnet import build_torch_alexnet

        self._torch = torch
        self._model = build_torch_alexnet().eval()
        self._batch_size = batch_size
        self._paths = paths

    def frames_per_second(self) -> tuple[float, int]:
        """The rate, and the process's peak memory."""
        started = time.perf_counter()
        num_frames = sum(map(self._classify, self._paths)) if self._paths else self._repeat()
        return num_frames / (time.perf_counter() - started), environment.peak_rss_bytes()

    def _repeat(self) -> int:
        pixels = np.zeros((self._batch_size, 3, 227, 227), np.float32)
        for _ in range(NUM_BATCHES):
            self._predict(pixels)
        return NUM_BATCHES * self._batch_size

    def _classify(self, path: Path) -> int:
        import cv2

        capture, waiting, num_frames = cv2.VideoCapture(str(path)), [], 0
        while True:
            found, picture = capture.read()
            if found:
                small = cv2.resize(picture, (256, 256))[14:241, 14:241]
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
