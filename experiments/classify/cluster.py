"""Classification here or on a Dask cluster: a video a task, in processes that keep the model."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from common.files import exclusive
from experiments.clips.classification.job import (
    ClassificationJob,
    JobOptions,
    classify_here,
    load_with_threads,
)
from experiments.clips.classification.progress import FolderProgress, Notes
from experiments.clips.classification.results import Outcome, conclude
from experiments.media.videos import Video
from experiments.models.image_models import (
    ImageModel,
    ModelOptions,
    is_model_file,
    model_files,
    model_settings,
    require_classes,
)
from experiments.process import runtime
from preprocess.errors import PreprocessError
from preprocess.workers.cluster import asking, open_workers
from preprocess.workers.pool import WorkerDiedError

_LOCKS = ".locks"


@dataclass(frozen=True)
class VideoClassifier:
    """Classifier that is sent to a worker, and loads its model there.

    Args:
        options: options of the model, with absolute paths.
        settings: settings that its probabilities depend on, as the client has read them.
        batch_size: number of frames that the model sees at once.
        threads: auto, by the worker's machine, or INTRA,INTER.
    """

    options: ModelOptions
    settings: dict[str, Any]
    batch_size: int
    threads: str

    memory_bytes = None  # a model may take any amount

    def open(self) -> Callable[[VideoTask], VideoReport]:
        """Load the model on this worker.

        Raises:
            PreprocessError: if its files differ from those of the client.
            ValueError, WeightsError, OSError: for the reasons of `load_model`.
        """
        model, threads = load_with_threads(self.options, self.threads, batch_size=self.batch_size)
        # Paths may be written in several ways; the digests of all files are compared.
        if model.settings | {"model": ""} != self.settings | {"model": ""}:
            raise PreprocessError(
                f"A worker finds other files than this machine under the paths of {model.name}, "
                "its weights or its labels. All machines must see the same."
            )
        return partial(_classify, replace(model, settings=self.settings), threads)


@dataclass(frozen=True)
class VideoTask:
    """One video to classify; all paths are absolute."""

    video: Video
    out: Path
    options: JobOptions


@dataclass(frozen=True)
class VideoReport:
    """Outcome of one video, with the messages to print."""

    outcome: Outcome
    num_rows: int = 0
    messages: tuple[str, ...] = ()


def classify(
    scheduler: str | None,
    model: ModelOptions,
    videos: Sequence[Video],
    out: Path,
    options: JobOptions,
    *,
    threads: str,
    jobs: int | None,
) -> dict[str, str]:
    """Classify on a cluster, or here without a scheduler; returns the reasons of failures.

    The arguments are those of `classify_on_cluster` and `classify_here`, which is given `jobs`.
    """
    if scheduler is None:
        return classify_here(model, videos, out, options, threads=threads, jobs=jobs)
    return classify_on_cluster(scheduler, model, videos, out, options, threads=threads)


def classify_on_cluster(
    scheduler: str,
    model: ModelOptions,
    videos: Sequence[Video],
    out: Path,
    options: JobOptions,
    *,
    threads: str,
) -> dict[str, str]:
    """Classify the videos that are not done yet; returns the reasons of failures by source.

    Args:
        scheduler: address of a Dask cluster.
        model: options of the model, checked by `check_options`.
        videos: the videos to classify; all workers must see their folders.
        out: folder of results, which all workers must see.
        options: options of the results; jobs and threads are the workers' own.
        threads: threads of the model: auto, by each worker's machine, or INTRA,INTER.

    Raises:
        PreprocessError: if the cluster cannot do it, or the disk does not take the results.
        ValueError, WeightsError, OSError: if the model cannot be loaded.
    """
    classifier = VideoClassifier(
        _absolute(model), model_settings(model), options.batch_size, threads
    )
    videos = [replace(video, path=video.path.absolute()) for video in videos]
    needs = [*sorted({video.path.parent for video in videos}), *model_files(classifier.options)]
    outcome = Outcome()
    try:
        with (
            FolderProgress([video.path for video in videos]) as progress,
            open_workers(asking(classifier), scheduler, out, needs=needs) as submit,
        ):
            tasks = [VideoTask(video, out.absolute(), options) for video in videos]
            waiting = {submit(task): task.video for task in tasks}
            for done in as_completed(waiting):
                report = _report(done, waiting[done])
                outcome.add(report.outcome)
                _tell(progress, waiting[done], report, options)
    finally:
        # Only the client knows when no worker needs a lock any more.
        shutil.rmtree(out / _LOCKS, ignore_errors=True)
    return conclude(outcome, videos, out)


def _absolute(model: ModelOptions) -> ModelOptions:
    """Make the paths in the model's options absolute, so that they are the same on all machines."""
    options: dict[str, Any] = {one.name: getattr(model, one.name) for one in fields(ModelOptions)}
    for name, value in options.items():
        if isinstance(value, Path):
            options[name] = value.absolute()
    # `--model` is a file or a name, and only a file has a path.
    if is_model_file(model.model):
        options["model"] = str(Path(model.model).absolute())
    return ModelOptions(**options)


def _report(done: Future[VideoReport], video: Video) -> VideoReport:
    """Report of a finished task; a video at which workers die fails alone and keeps its rows."""
    try:
        return done.result()
    except WorkerDiedError as error:
        message = f"{video.source}: {error}"
        return VideoReport(Outcome({video.source: str(error)}), messages=(message,))


def _tell(progress: FolderProgress, video: Video, report: VideoReport, options: JobOptions) -> None:
    for line in report.messages:
        progress.say(line)
    progress.advance(video.path, report.num_rows, options.stride, None)
    progress.finish(video.path)


def _classify(model: ImageModel, threads: runtime.Threads, task: VideoTask) -> VideoReport:
    """Classify one video on a worker, under a lock."""
    require_classes(model, task.options.top, task.options.columns)
    notes = Notes()
    options = replace(task.options, jobs=1, threads=threads)
    job = ClassificationJob(model, [task.video], task.out, options, notes)
    # Dask gives a task to another worker if it takes the first one for dead. If that one still
    # lives, the other must wait for it: two processes must not write the rows of one video.
    lock = task.out / _LOCKS / hashlib.sha256(task.video.results.encode()).hexdigest()[:16]
    lock.mkdir(parents=True, exist_ok=True)
    with exclusive(lock, on_wait=lambda: None):
        outcome = job.run()
    return VideoReport(outcome, notes.num_rows, tuple(notes.messages))
