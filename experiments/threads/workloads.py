"""The suite's own kinds of work, in a form that can be timed for some seconds.

Each measurement runs this file in a fresh process, which sets its thread pools first.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np

from common.errors import UserError
from common.files import write_atomically
from experiments.media.videos import Video, find_videos
from experiments.models.image_models import inference_dtype
from experiments.process import environment, runtime
from experiments.process.runtime import Threads

WorkloadName = Literal["tt-train", "alexnet", "resnet", "extract", "classify"]
BATCH_SIZES = {"tt-train": 16, "alexnet": 64, "resnet": 32, "classify": 64}
_SEED = 0
# Decoders, as many as `experiments.classify` has by default.
_CLASSIFY_JOBS = 2
# The first step compiles, and memory grows during some more.
_STEPS_TO_WARM_UP = 8


@dataclass(frozen=True)
class Task:
    """Work that one process times.

    Args:
        workload: the kind of work.
        setting: value by axis.
        inputs: folder that `prepare` has filled, or the user's own.
        scratch: folder for files that the work writes; emptied afterwards.
        seconds: least time of the measurement.
        policy: dtype policy of the layers.
        batch_size: batch size of the model; 0 if there is none.
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
        """Sizes of TensorFlow's pools; a single thread each if it has no part in the work."""
        names = ("intra_op", "inter_op", "cpus")
        given = {name: self.setting[name] for name in names if name in self.setting}
        return Threads(**{"intra_op": 1, "inter_op": 1, **given})


def prepare(workload: WorkloadName, scratch: Path, *, num_cores: int) -> Path:
    """Make the input of a work for which the user has named none; returns the folder.

    Args:
        workload: the kind of work.
        scratch: folder to write below; files that are there already are used.
        num_cores: number of cores; more cores need more videos to be kept busy.

    Raises:
        UserError: if it cannot be written.
    """
    if workload in ("alexnet", "resnet"):
        return scratch
    if workload == "classify":
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
    """Do the work for some seconds after a warm-up, and return its rate."""
    make: dict[str, Callable[[Task], Iterator[int]]] = {
        "tt-train": _train,
        "alexnet": _predict_pictures,
        "resnet": _predict_pictures,
        "extract": _extract,
        "classify": _classify,
    }
    steps = make[task.workload](task)
    # Every kind of work warms up before its first yield.
    next(steps)
    num_frames, started = 0, time.perf_counter()
    while time.perf_counter() - started < task.seconds:
        num_frames += next(steps)
    return num_frames / (time.perf_counter() - started)


def _train(task: Task) -> Iterator[int]:
    """Train as the UCF11 job does; yields the frames of each step, padding not counted."""
    from experiments.training.loop import Classifier
    from experiments.training.optimizers import build_model, build_optimizer
    from experiments.training.recipes import RECIPES
    from preprocess.batches.augment import Augmentation
    from preprocess.batches.pipeline import ClipBatches
    from preprocess.shards.reader import open_shards

    # The job's own settings: a TT-GRU, the recipe `tuned`, clips of at most 450 frames.
    recipe = RECIPES["tuned"].override([f"batch_size={task.batch_size}"])
    shards = open_shards(task.inputs)
    batches = ClipBatches(
        shards,
        batch_size=recipe.batch_size,
        maxlen=450,
        stride=1,
        seed=_SEED,
        augment=Augmentation(
            recipe.shortest_share, recipe.largest_shift, recipe.contrast, recipe.brightness
        ),
    )
    width, height = shards.frame_size
    model = build_model(
        recipe,
        (height, width, 3),
        len(shards.class_names),
        cell="gru",
        tensor_train=True,
        policy=task.policy,
        seed=_SEED,
    )
    classifier = Classifier(
        model,
        build_optimizer(recipe, recipe.epochs * math.ceil(len(shards) / recipe.batch_size)),
        label_smoothing=recipe.label_smoothing,
    )
    for epoch in count():
        stream = batches.shuffled(np.arange(len(shards)), epoch)
        for number, (inputs, labels) in enumerate(stream):
            classifier.train_batch(inputs, labels)
            # In a later epoch every step counts, even if the first had too few to warm up.
            if epoch or number >= _STEPS_TO_WARM_UP:
                yield int(inputs["num_frames"].numpy().sum())


def _predict_pictures(task: Task) -> Iterator[int]:
    """Predict batches in memory, `inter_op` of them at once, as classification does."""
    from experiments.models.image_loading import compile_model

    model, fit = _model(task)
    predict = compile_model(model, task.batch_size, fit)
    at_once = task.threads.inter_op
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


def _model(task: Task) -> tuple[Any, Any]:
    from experiments.models.image_loading import keras_application
    from experiments.models.image_models import ALEXNET_FITS, ModelOptions, inference_dtype
    from preprocess.video.transforms import FrameFit

    if task.workload == "resnet":
        model = keras_application(ModelOptions(model="resnet50", policy=task.policy))
        return model, FrameFit(model.input_shape[2:0:-1])
    from ttrnn.models import build_alexnet

    model = build_alexnet(fused=True, dtype=inference_dtype(task.policy))
    random_weights(model)
    return model, ALEXNET_FITS["caffe"]


def _extract(task: Task) -> Iterator[int]:
    """Extract a whole folder of videos again and again, the start of the workers included."""
    from preprocess.extraction.extract import extract

    yield 0
    while True:
        # Otherwise the next round would find all clips extracted.
        shutil.rmtree(task.scratch, ignore_errors=True)
        yield extract(
            task.inputs,
            task.scratch,
            jobs=task.setting["jobs"],
            opencv_threads=task.setting["opencv_threads"],
        ).num_frames


def _classify(task: Task) -> Iterator[int]:
    """Classify a whole folder again and again by AlexNet."""

    jobs = task.setting.get("jobs", _CLASSIFY_JOBS)
    scratch = Path(task.scratch)
    videos = find_videos([task.inputs], scratch).videos
    system = EndToEnd(task.policy, task.batch_size, videos, scratch, jobs, task.threads)
    system.warm_up()
    yield 0
    while True:
        yield system.classify()


def random_weights(model: Any) -> None:
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
        from experiments.models.image_loading import compile_model
        from experiments.models.image_models import ALEXNET_FITS, ImageModel, class_names
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
        from experiments.classify.job import ClassificationJob

        shutil.rmtree(self._out, ignore_errors=True)
        self._out.mkdir(parents=True)
        ClassificationJob(self._model, self._videos, self._out, self._options).run()
        return sum(
            len((self._out / f"{video.results}.csv").read_text("utf-8").splitlines()) - 1
            for video in self._videos
        )


_VIDEO_SIZE = (640, 360)
_VIDEO_FPS = 30


def render_videos(folder: Path, *, num_videos: int = 2, num_frames: int = 1500) -> Path:
    """Render moving shapes with the noise of a camera, 640x360 H.264; returns the folder.

    Args:
        folder: folder of the videos; made if it is missing.
        num_videos: number of videos.
        num_frames: number of frames of each.
    """
    import cv2
    import imageio_ffmpeg

    folder.mkdir(parents=True, exist_ok=True)
    args = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-nostdin"),
        *(
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-s",
            f"{_VIDEO_SIZE[0]}x{_VIDEO_SIZE[1]}",
            "-r",
            str(_VIDEO_FPS),
        ),
        *("-i", "-", "-c:v", "libx264", "-preset", "fast", "-pix_fmt", "yuv420p"),
    ]
    for number in range(num_videos):
        random = np.random.default_rng(number)
        coarse = random.integers(0, 256, (9, 16, 3), np.uint8)
        scene = cv2.resize(coarse, _VIDEO_SIZE, interpolation=cv2.INTER_CUBIC)
        encoder = subprocess.Popen(
            [*args, f"file:{folder.absolute()}/{number}.mp4"], stdin=subprocess.PIPE
        )
        assert encoder.stdin is not None
        for frame in range(num_frames):
            image = np.roll(scene, 3 * frame, axis=1)
            cv2.circle(image, (5 * frame % _VIDEO_SIZE[0], 180), 60, (230, 60, 40), -1)
            # Without noise an encoder would leave out most blocks, and decoding would be too easy.
            noise = random.integers(-4, 5, image.shape, np.int16)
            encoder.stdin.write(np.clip(image + noise, 0, 255).astype(np.uint8).tobytes())
        encoder.stdin.close()
        if encoder.wait() != 0:
            raise UserError("ffmpeg could not render the videos")
    return folder


# Process of one measurement: `python -m experiments.threads.workloads FILE`.


# Exit code of an error that the last line on standard error describes.
EXIT_KNOWN_ERROR = 2


def main(path: Path) -> None:
    """Do the task, and write its rate with the threads that it really had."""
    task = Task(**json.load(sys.stdin))
    if task.workload == "extract":
        # Extraction works in other processes and without TensorFlow.
        runtime.stay_on(task.threads.cpus)
    else:
        runtime.configure(task.threads, seed=0)
    result = {
        "rate": frames_per_second(task),
        **runtime.pools_in_force(),
        "num_threads": len(os.listdir("/proc/self/task")),
        "cpus": sorted(os.sched_getaffinity(0)),
        "peak_rss_bytes": environment.peak_rss_bytes(),
    }
    write_atomically(path, json.dumps(result).encode())


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_KNOWN_ERROR)
    # Threads of the work may still run; a normal exit would wait for them.
    os._exit(0)
