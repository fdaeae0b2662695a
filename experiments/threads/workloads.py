"""The suite's own work, in a form that can be timed for some seconds.

It is done in a fresh process, once its thread pools are set: `experiments.threads.trial`.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments.process.runtime import Threads

WorkloadName = Literal["tt-train", "alexnet", "resnet", "extract", "classify"]
BATCH_SIZES = {"tt-train": 16, "alexnet": 64, "resnet": 32, "classify": 64}
_SEED = 0
_STEPS_TO_WARM_UP = 8  # the first compiles; memory grows for some more


@dataclass(frozen=True)
class Task:
    """What one process is to time.

    Args:
        workload: the kind of work.
        setting: value by axis.
        inputs: folder that `prepare` has filled, or the user's own.
        scratch: folder for what the work writes; emptied afterwards.
        seconds: how long at least.
        policy: of the layers.
        batch_size: of the model; 0 where there is none.
    """

    workload: WorkloadName
    setting: dict[str, Any]
    inputs: str
    scratch: str
    seconds: float
    policy: Literal["float32", "mixed_bfloat16"] = "float32"
    batch_size: int = 0

    @property
    def threads(self) -> Threads:
        """TensorFlow's pools; a single thread each where it has no part in the work."""
        names = ("intra_op", "inter_op", "cpus")
        given = {name: self.setting[name] for name in names if name in self.setting}
        return Threads(**{"intra_op": 1, "inter_op": 1, **given})


def prepare(workload: WorkloadName, scratch: Path, *, num_cores: int) -> Path:
    """Make what the work is done on where the user has named nothing; returns the folder.

    Args:
        workload: the kind of work.
        scratch: a folder to write below; what is there already is used.
        num_cores: more cores need more videos to be kept busy.

    Raises:
        PreprocessError, RuntimeError: if it cannot be written.
    """
    if workload in ("alexnet", "resnet"):
        return scratch
    if workload == "classify":
        from experiments.bench_classify import render_videos

        return render_videos(scratch / "h264", num_videos=max(2, num_cores), num_frames=500)
    from preprocess.sources.synthetic import render_dataset

    videos, groups = scratch / "mpeg1", min(99, 4 * num_cores)
    render_dataset(videos, groups_per_class=groups, clips_per_group=4, progress=False)
    if workload == "extract":
        return videos
    from preprocess.extraction.extract import extract

    extract(videos, scratch / "shards")
    return scratch / "shards"


def frames_per_second(task: Task) -> float:
    """Do the work for some seconds, after a warm-up; returns its rate."""
    make: dict[str, Callable[[Task], Iterator[int]]] = {
        "tt-train": _train,
        "alexnet": _predict_pictures,
        "resnet": _predict_pictures,
        "extract": _extract,
        "classify": _classify,
    }
    steps = make[task.workload](task)
    next(steps)
    num_frames, started = 0, time.perf_counter()
    while time.perf_counter() - started < task.seconds:
        num_frames += next(steps)
    return num_frames / (time.perf_counter() - started)


def _train(task: Task) -> Iterator[int]:
    """Training steps of the UCF11 job, reading its shards; frames of clips, padding not counted."""
    from experiments.training.recipes import RECIPES
    from experiments.ucf11 import Arguments, make_batches, make_classifier
    from preprocess import open_shards

    arguments = Arguments(shards=Path(task.inputs), policy=task.policy)
    recipe = RECIPES[arguments.recipe].override([f"batch_size={task.batch_size}"])
    shards = open_shards(task.inputs)
    batches = make_batches(arguments, recipe, shards)
    classifier = make_classifier(arguments, recipe, shards, num_train_clips=len(shards))
    for epoch in count():
        stream = batches.shuffled(np.arange(len(shards)), epoch)
        for number, (inputs, labels) in enumerate(stream):
            classifier.train_batch(inputs, labels)
            if epoch or number >= _STEPS_TO_WARM_UP:
                yield int(inputs["num_frames"].numpy().sum())


def _predict_pictures(task: Task) -> Iterator[int]:
    """A Keras model on batches in memory, `inter_op` of them at once, as classification does it."""
    from experiments.models.keras_image_models import compile_model

    model, fit = _model(task)
    predict = compile_model(model, task.batch_size, fit)
    at_once = task.threads.inter_op
    shape = (task.batch_size, *fit.frame_shape)
    frames = np.random.default_rng(_SEED).integers(0, 256, shape, np.uint8)
    with ThreadPoolExecutor(at_once) as pool:
        waiting = deque(pool.submit(predict, frames) for _ in range(2 * at_once))
        while True:
            for _ in range(at_once):
                waiting.popleft().result()
                waiting.append(pool.submit(predict, frames))
            yield at_once * task.batch_size


def _model(task: Task) -> tuple[Any, Any]:
    from experiments.bench_classify import random_weights
    from experiments.models.image_models import ALEXNET_FITS, ModelOptions, inference_dtype
    from experiments.models.keras_image_models import keras_application
    from preprocess.video.transforms import FrameFit

    if task.workload == "resnet":
        model = keras_application(ModelOptions(model="resnet50", policy=task.policy))
        return model, FrameFit(model.input_shape[2:0:-1])
    from ttrnn.models import build_alexnet

    model = build_alexnet(fused=True, dtype=inference_dtype(task.policy))
    random_weights(model)
    return model, ALEXNET_FITS["caffe"]


def _extract(task: Task) -> Iterator[int]:
    """Whole extractions of a folder of videos, the start of their workers included."""
    from preprocess.extraction.extract import extract

    yield 0
    while True:
        shutil.rmtree(task.scratch, ignore_errors=True)
        yield extract(
            task.inputs,
            task.scratch,
            jobs=task.setting["jobs"],
            opencv_threads=task.setting["opencv_threads"],
        ).num_frames


def _classify(task: Task) -> Iterator[int]:
    """Whole folders through `experiments.classify` with AlexNet."""
    from experiments.bench_classify import EndToEnd
    from experiments.classify import DEFAULT_JOBS
    from experiments.media.videos import find_videos

    jobs = task.setting.get("jobs", DEFAULT_JOBS)
    scratch = Path(task.scratch)
    videos = find_videos([task.inputs], scratch).videos
    system = EndToEnd(task.policy, task.batch_size, videos, scratch, jobs, task.threads)
    system.warm_up()
    yield 0
    while True:
        yield system.classify()
