"""The suite's own kinds of work with a model, in a form that can be timed for some seconds.

It imports TensorFlow, so the process must have set its thread pools before.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path

import keras
import numpy as np

from experiments.clips.classification.job import ClassificationJob, JobOptions
from experiments.clips.ucf11 import Ucf11Arguments
from experiments.clips.ucf11_model import make_batches, make_classifier
from experiments.media.videos import Video, find_videos
from experiments.models.image_loading import (
    ALEXNET_FITS,
    compile_model,
    keras_application,
    load_model,
)
from experiments.models.image_models import (
    ImageModel,
    ModelOptions,
    class_names,
    inference_dtype,
)
from experiments.process import environment
from experiments.process.runtime import Threads
from experiments.threads.space import Task
from experiments.training.recipes import RECIPES
from preprocess.shards.reader import open_shards
from preprocess.video.transforms import FrameFit
from ttrnn.models import build_alexnet

_SEED = 0
# Decoders, as many as `experiments.classify` has by default.
_CLASSIFY_JOBS = 2
# The first step compiles, and memory grows during some more.
_STEPS_TO_WARM_UP = 8


def start(task: Task, on_stage: Callable[[str], None]) -> Iterator[int]:
    """Begin the work; yields the number of frames of each step, for the first time when warm.

    Args:
        task: the work; all but extraction.
        on_stage: called with what is done next, until the work is warm.
    """
    if task.workload == "tt-train":
        return _train(task, on_stage)
    if task.workload == "classify":
        return _classify(task, on_stage)
    return _predict_images(task, on_stage)


def _train(task: Task, on_stage: Callable[[str], None]) -> Iterator[int]:
    """Train as the UCF11 job does; yields the frames of each step, padding not counted."""
    on_stage("building the model")
    arguments = Ucf11Arguments(policy=task.policy, seed=_SEED)
    recipe = replace(RECIPES[arguments.recipe], batch_size=task.batch_size)
    shards = open_shards(task.inputs)
    batches = make_batches(arguments, recipe, shards)
    classifier = make_classifier(arguments, recipe, shards, num_train_clips=len(shards))
    for epoch in count():
        stream = batches.shuffled(np.arange(len(shards)), epoch)
        for number, (inputs, labels) in enumerate(stream):
            # In a later epoch every step counts, even if the first had too few to warm up.
            is_warm = epoch > 0 or number >= _STEPS_TO_WARM_UP
            if not is_warm:
                doing = "warming up" if number else "compiling"
                on_stage(f"{doing}, training step {number + 1} of {_STEPS_TO_WARM_UP}")
            classifier.train_batch(inputs, labels)
            if is_warm:
                yield int(inputs["num_frames"].numpy().sum())


def _predict_images(task: Task, on_stage: Callable[[str], None]) -> Iterator[int]:
    """Predict batches in memory, `inter_op` of them at once, as classification does."""
    on_stage("building the model")
    model, fit = _model(task)
    predict = compile_model(model, task.batch_size, fit)
    at_once = task.threads.inter_op
    on_stage("predicting the first batches")
    shape = (task.batch_size, *fit.frame_shape)
    frames = np.random.default_rng(_SEED).integers(0, 256, shape, np.uint8)
    with ThreadPoolExecutor(at_once) as pool:
        # Twice as many as run at once, so that no thread ever waits for the next batch.
        waiting = deque(pool.submit(predict, frames) for _ in range(2 * at_once))
        while True:
            for _ in range(at_once):
                waiting.popleft().result()
                waiting.append(pool.submit(predict, frames))
            yield at_once * task.batch_size


def _model(task: Task) -> tuple[keras.Model, FrameFit]:
    if task.workload == "resnet":
        model = keras_application(ModelOptions(model="resnet50", policy=task.policy))
        return model, FrameFit(model.input_shape[2:0:-1])
    return _alexnet(task.policy), ALEXNET_FITS["caffe"]


def _alexnet(policy: str) -> keras.Model:
    model = build_alexnet(fused=True, dtype=inference_dtype(policy))
    random_weights(model)
    return model


def _classify(task: Task, on_stage: Callable[[str], None]) -> Iterator[int]:
    """Classify a whole folder again and again by AlexNet."""
    on_stage("building the model")
    jobs = task.setting.get("jobs", _CLASSIFY_JOBS)
    scratch = Path(task.scratch)
    videos = find_videos([task.inputs], scratch).videos
    system = EndToEnd(task.policy, task.batch_size, videos, scratch, jobs, task.threads)
    on_stage("predicting the first batch")
    system.warm_up()
    yield 0
    while True:
        yield system.classify()


def random_weights(model: keras.Model) -> None:
    """Give a Keras AlexNet weights that keep the spread of its values from layer to layer."""
    random = np.random.default_rng(_SEED)
    for layer in model.layers:
        if layer.weights:
            shape = tuple(layer.kernel.shape)
            # He's initializer: under ReLU, the spread of values stays the same from layer to layer.
            scale = (2 / np.prod(shape[:-1])) ** 0.5
            kernel = scale * random.standard_normal(shape, np.float32)
            layer.set_weights([kernel, np.zeros(shape[-1], np.float32)])


class EndToEnd:
    """The work of `experiments.classify` on a folder, from decoding to CSV, JSON and PNG.

    Args:
        policy: dtype policy of the model.
        batch_size: batch size of the model.
        videos: videos to classify.
        out: folder of results; those of the last round stay.
        jobs: number of videos that are decoded at the same time.
        threads: TensorFlow's pools.
        options: options of the model; None for AlexNet with random weights.
    """

    def __init__(
        self,
        policy: str,
        batch_size: int,
        videos: list[Video],
        out: Path,
        jobs: int,
        threads: Threads,
        options: ModelOptions | None = None,
    ) -> None:
        if options is None:
            fit = ALEXNET_FITS["caffe"]
            self._model = ImageModel(
                name="alexnet",
                fit=fit,
                class_names=class_names(None, 1000),
                predict=compile_model(_alexnet(policy), batch_size, fit),
                settings={"policy": policy},
            )
        else:
            self._model = load_model(
                options, batch_size=batch_size, threads_a_batch=threads.intra_op
            )
        self._videos = videos
        self._out = out
        self._options = JobOptions(batch_size=batch_size, jobs=jobs, threads=threads)

    def frames_per_second(self) -> tuple[float, int]:
        """Measure the rate from the first video's first byte to the last video's last file.

        Returns:
            Frames per second, and the peak memory of the process in bytes.
        """
        started = time.perf_counter()
        num_frames = self.classify()
        return num_frames / (time.perf_counter() - started), environment.peak_rss_bytes()

    def warm_up(self) -> None:
        """Let the model work on one batch."""
        shape = (self._options.batch_size, *self._model.fit.frame_shape)
        self._model.predict(np.zeros(shape, self._model.fit.dtype))

    def classify(self) -> int:
        """Classify all videos anew, and return their number of frames."""
        shutil.rmtree(self._out, ignore_errors=True)
        self._out.mkdir(parents=True)
        ClassificationJob(self._model, self._videos, self._out, self._options).run()
        return sum(
            len((self._out / f"{video.results}.csv").read_text("utf-8").splitlines()) - 1
            for video in self._videos
        )
