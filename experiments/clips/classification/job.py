"""Job that decodes, classifies and writes videos, all at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import is_disk_full, write_atomically
from common.formatting import plural
from experiments.clips.classification.annotate import draw_video
from experiments.clips.classification.progress import FolderProgress, Notes, Progress
from experiments.clips.classification.results import (
    Outcome,
    Row,
    Table,
    conclude,
    is_unreadable,
    result_settings,
)
from experiments.clips.classification.summary import summarize, timeline_png
from experiments.media.videos import Video
from experiments.models.image_models import (
    SEED_TOP,
    Columns,
    ImageModel,
    ModelOptions,
    require_classes,
)
from experiments.process import runtime
from experiments.process.runtime import Threads
from preprocess.extraction.feed import FrameBlock, Task, VideoEnded, VideoOpened, feed_frames
from preprocess.video.decode import VideoInfo

DEFAULT_JOBS = 2
# Classes kept for each row, for summary and timeline, whatever --top shows.
KEPT_CLASSES = 10


@dataclass(frozen=True)
class JobOptions:
    """Options of the results of each video, and of the work's distribution."""

    top: int | None = None
    """Number of classes in a row; None for five, or as many as the model has."""
    stride: int = 1
    """Step from one classified frame to the next."""
    columns: Columns = "all"
    """Columns of the CSV."""
    timeline: bool = True
    """Draw the probabilities over time."""
    annotate: bool = False
    """Draw the classes into a copy of each video."""
    overwrite: bool = False
    """Classify anew what is there already."""
    batch_size: int = 64
    """Number of frames that the model sees at once."""
    jobs: int = DEFAULT_JOBS
    """Number of videos that are decoded at the same time."""
    threads: Threads = field(default_factory=lambda: Threads(1, 1))
    """Threads of the model, which works on `inter_op` batches at the same time."""


@dataclass
class _Work:
    """Video that is being classified, with its table."""

    video: Video
    table: Table
    info: VideoInfo | None = None


_Origin = tuple[_Work, int, float]


@dataclass
class _Batch:
    """Batch of frames of one or several videos."""

    frames: NDArray[Any]
    """Frames, (batch_size, H, W, 3)."""
    origins: list[_Origin] = field(default_factory=list)
    """Video, number among the classified frames, and time of each frame."""
    ended: list[VideoEnded] = field(default_factory=list)
    """Videos whose last row is in this batch or an earlier one."""


class ClassificationJob:
    """Job that classifies videos into tables.

    The model works on some batches in threads while the next is being filled; frames of several
    videos may share a batch. Rows are written in the order in which batches were filled.

    Args:
        model: the classifier.
        videos: the videos to classify.
        out: folder of results.
        options: options of results and work.
        progress: receives the progress; None for nobody.
    """

    def __init__(
        self,
        model: ImageModel,
        videos: Sequence[Video],
        out: Path,
        options: JobOptions,
        progress: Progress | None = None,
    ) -> None:
        self._model = model
        self._videos = videos
        self._out = out
        self._options = options
        num_classes = len(model.class_names)
        self._top = options.top or min(SEED_TOP, num_classes)
        self._kept = max(self._top, min(KEPT_CLASSES, num_classes))
        # Videos that have begun and not ended, by the number of their task.
        self._works: dict[int, _Work] = {}
        self._num_begun = 0
        self._outcome = Outcome()
        self._progress = progress or Notes()
        shape = (options.batch_size, *model.fit.frame_shape)
        self._batch = _Batch(np.zeros(shape, model.fit.dtype))
        self._pending: deque[tuple[_Batch, Future]] = deque()

    def run(self) -> Outcome:
        """Classify the videos that are not done yet.

        Raises:
            WriteError: if the disk does not take the results.
        """
        try:
            with ThreadPoolExecutor(self._options.threads.inter_op) as model_threads:
                try:
                    self._classify(model_threads)
                finally:
                    # A stopped job waits for the batches at work, and drops those that wait.
                    model_threads.shutdown(cancel_futures=True)
        finally:
            for work in self._works.values():
                work.table.close()
        return self._outcome

    def _classify(self, model_threads: ThreadPoolExecutor) -> None:
        events = feed_frames(
            self._tasks(),
            self._model.fit,
            stride=self._options.stride,
            jobs=self._options.jobs,
            # A batch for each that the model works on, and one to fill next.
            frames_ahead=(1 + self._options.threads.inter_op) * self._options.batch_size,
        )
        with closing(events):
            for event in events:
                if isinstance(event, VideoOpened):
                    self._works[event.video].info = event.info
                elif isinstance(event, VideoEnded):
                    self._batch.ended.append(event)
                else:
                    self._fill(event, model_threads)
        # The last batch is not full; the rest of it holds old frames, whose results are dropped.
        if self._batch.origins:
            self._hand_over(model_threads)
        while self._pending:
            self._write_oldest()
        # Videos that ended after the last batch was handed over.
        for ended in self._batch.ended:
            self._finish(ended)

    def _fill(self, block: FrameBlock, model_threads: ThreadPoolExecutor) -> None:
        """Copy frames into the batch, and hand it over when it is full."""
        work = self._works[block.video]
        for position, (frame, time_seconds) in enumerate(
            zip(block.frames, block.times, strict=True)
        ):
            self._batch.frames[len(self._batch.origins)] = frame
            self._batch.origins.append((work, block.first + position, time_seconds))
            if len(self._batch.origins) == len(self._batch.frames):
                self._hand_over(model_threads)

    def _hand_over(self, model_threads: ThreadPoolExecutor) -> None:
        """Give the batch to the model, and begin another one."""
        full = self._batch
        self._pending.append((full, model_threads.submit(self._model.predict, full.frames)))
        # As many batches as the model works on, and one that waits for its turn. Beyond these the
        # memory of the oldest is used again, which also bounds how far decoding runs ahead.
        if len(self._pending) > 1 + self._options.threads.inter_op:
            self._batch = _Batch(self._write_oldest())
        else:
            self._batch = _Batch(np.zeros_like(full.frames))

    def _write_oldest(self) -> NDArray[Any]:
        """Write the rows of the oldest batch, and return its memory for another one."""
        batch, future = self._pending.popleft()
        probabilities = future.result()
        start = 0
        # Frames of one video come in a row, so that a batch has few groups.
        for work, group in groupby(batch.origins, key=itemgetter(0)):
            origins = list(group)
            self._append(work, origins, probabilities[start : start + len(origins)])
            start += len(origins)
        for ended in batch.ended:
            self._finish(ended)
        return batch.frames

    def _append(self, work: _Work, origins: Sequence[_Origin], probabilities: NDArray) -> None:
        """Append rows of consecutive frames of one video."""
        best = top_classes(probabilities, self._kept)
        names = self._model.class_names
        work.table.append(
            [
                Row(
                    frame=number * self._options.stride,
                    time_seconds=time_seconds,
                    labels=tuple(names[index] for index in classes),
                    probabilities=tuple(shares[classes].tolist()),
                )
                for (_, number, time_seconds), classes, shares in zip(
                    origins, best, probabilities, strict=True
                )
            ]
        )
        self._progress.advance(work.video.path, len(origins), self._options.stride, work.info)

    def _tasks(self) -> Iterator[Task]:
        """Yield the videos that are not done, each begun when its turn comes."""
        for video in self._videos:
            table = self._table(video)
            summary = None if self._options.overwrite else table.finished()
            if summary is not None:
                self._note_complete(video, table, summary)
                continue
            try:
                table.begin(anew=self._options.overwrite)
            except UserError as error:
                if is_disk_full(error):
                    raise
                self._fail(video, str(error))
                continue
            if table.started_over:
                self._progress.say(f"{video.source}: {table.started_over} changed; starting over.")
            elif table.num_rows:
                self._progress.say(f"{video.source}: going on after {table.num_rows} rows.")
            self._works[self._num_begun] = _Work(video, table)
            self._num_begun += 1
            yield Task(video.path, skip=table.num_rows)

    def _table(self, video: Video) -> Table:
        """Table of a video, with the settings that its rows depend on."""
        options = self._options
        settings = result_settings(
            video.path,
            self._model.settings,
            top=options.top,
            stride=options.stride,
            columns=options.columns,
        )
        return Table(
            self._out / video.results,
            settings | {"fit": asdict(self._model.fit)},
            top=self._top,
            kept=self._kept,
            stride=options.stride,
        )

    def _note_complete(self, video: Video, table: Table, summary: dict[str, Any]) -> None:
        """Count a video that an earlier run has finished or could not read."""
        self._outcome.add_earlier(video, summary)
        self._progress.finish(video.path)
        wants_copy = self._options.annotate and not is_unreadable(summary)
        if wants_copy and not table.path(".annotated.mp4").exists():
            self._draw(video, table)

    def _finish(self, ended: VideoEnded) -> None:
        """Write the rest of a video's results, once all its rows are written."""
        work = self._works.pop(ended.video)
        video, table = work.video, work.table
        self._progress.finish(video.path)
        if ended.failure:
            self._fail(video, ended.failure)
        elif ended.notice:
            self._progress.say(f"{video.source}: {ended.notice}")
        # Failures of the decoder's process or of the system say nothing about the file: such a
        # video is not marked as finished, so that the next run tries it again.
        may_be_read_later = ended.crashed or ended.refused
        if table.num_rows == 0:
            if may_be_read_later or not ended.failure:
                table.discard()
            else:
                table.give_up(video.source, ended.failure)
            return
        if may_be_read_later:
            # The rows stay for another try.
            table.close()
            return
        assert work.info is not None
        summary = summarize(table.rows(), video.source, work.info, failure=ended.failure)
        if self._options.timeline:
            image = timeline_png(table.rows, table.num_rows, title=video.source)
            write_atomically(table.path(".png"), image)
        table.finish({"threads": asdict(self._options.threads), **summary}, self._options.columns)
        first = summary["top_classes"][0]
        self._progress.say(
            f"{video.source}: {table.num_rows:,} rows in {table.path('.csv')}; "
            f"{first['label']} {first['mean_probability']:.2f}"
        )
        if self._options.annotate:
            self._draw(video, table)

    def _draw(self, video: Video, table: Table) -> None:
        self._progress.say(f"{video.source}: drawing {table.path('.annotated.mp4')}")
        try:
            draw_video(video.path, table.rows(), table.path(".annotated.mp4"))
        except (UserError, OSError) as error:
            if is_disk_full(error):
                raise
            self._fail(video, getattr(error, "strerror", None) or str(error))

    def _fail(self, video: Video, reason: str) -> None:
        self._outcome.failures[video.source] = reason
        self._progress.say(f"{video.source}: {reason}")


def top_classes(probabilities: NDArray, top: int) -> NDArray[np.intp]:
    """Find the `top` most probable classes (n, top) of probabilities (n, C), best first."""
    # Only the best few are sorted: a partition first is linear in the number of classes.
    best = np.argpartition(-probabilities, top - 1, axis=1)[:, :top]
    order = np.argsort(-np.take_along_axis(probabilities, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


def classify_here(
    model: ModelOptions,
    videos: Sequence[Video],
    out: Path,
    options: JobOptions,
    *,
    threads: str,
    jobs: int | None,
) -> dict[str, str]:
    """Classify videos with a model in this process; returns the reasons of failures.

    Args:
        model: options of the model.
        videos: the videos.
        out: folder of results.
        options: options of the results.
        threads: auto, or INTRA,INTER.
        jobs: number of videos decoded at the same time; None for what was measured, else 2.
    """
    image_model, chosen = load_with_threads(model, threads, batch_size=options.batch_size)
    # Only the loaded model tells how many classes it has.
    require_classes(image_model, options.top, options.columns)
    jobs = jobs or chosen.jobs or DEFAULT_JOBS
    print(f"{image_model.name}: {chosen}; {plural(jobs, 'decoder')}")
    return classify_folder(image_model, videos, out, replace(options, jobs=jobs, threads=chosen))


def load_with_threads(
    model: ModelOptions, threads: str, *, batch_size: int
) -> tuple[ImageModel, Threads]:
    """Set up TensorFlow's threads as `threads` says, and load a model."""
    chosen = runtime.choose_threads(threads, workload="classify")
    runtime.configure(chosen, seed=0)
    # It imports TensorFlow, whose threads are set above.
    from experiments.models.image_loading import load_model

    return load_model(model, batch_size=batch_size, threads_a_batch=chosen.intra_op), chosen


def classify_folder(
    model: ImageModel, videos: Sequence[Video], out: Path, options: JobOptions
) -> dict[str, str]:
    """Classify the videos that are not done yet; returns the reasons of failures by source.

    Raises:
        WriteError: if the disk does not take the results.
    """
    with FolderProgress([video.path for video in videos]) as progress:
        outcome = ClassificationJob(model, videos, out, options, progress).run()
    return conclude(outcome, videos, out)
