"""Job that predicts all videos that some paths name, with a progress bar over their bytes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common.errors import UserError
from common.files import is_disk_full, write_atomically
from common.formatting import plural
from experiments.clips import Format
from experiments.clips.explanation import PARTS, Explanation, explain
from experiments.clips.exports import ExportedVideo, Segment, write_export
from experiments.clips.prediction.panel import Panel
from experiments.clips.prediction.predict import (
    OnnxClipModel,
    VideoPrediction,
    WindowModel,
    predict_video,
    usual_hop,
    video_windows,
)
from experiments.clips.prediction.results import Tables, VideoResults
from experiments.clips.viewed_model import ViewedModel
from experiments.media.annotation import annotate as annotate_video
from experiments.media.ffmpeg import require_encoders
from experiments.media.videos import ANNOTATED, Video, find_videos
from experiments.process import runtime
from experiments.process.runtime import Threads
from experiments.runs.directory import THRESHOLD
from preprocess.batches.views import Views

EXIT_FAILED_VIDEOS = 1
EXPLAINED = ".explained.png"
_FORMAT = "{desc} {percentage:3.0f}% |{bar}| {remaining} left"


def predict_with_run(
    run: Path,
    paths: Sequence[Path],
    out: Path,
    *,
    views: Views,
    threads: Threads,
    hop: int | None,
    rolling: int,
    annotate: bool,
    allow_failures: bool,
    explain: bool = False,
    formats: Sequence[Format] = (),
    threshold: float = THRESHOLD,
) -> int:
    """Load a run's model and predict videos with it; returns the exit code.

    Args:
        run: directory of a finished run, or an ONNX file of one.
        views: views of each window.
        threads: sizes of TensorFlow's thread pools.
        paths, out, hop, rolling, annotate, allow_failures, explain, formats: those of
            `predict_paths`.
        threshold: that of `predict_paths`, where a clip may be of several classes.
    """
    if annotate:
        require_encoders()
    model = load_model(run, views, threads)
    print(f"{len(model.class_names)} classes, from {run}; {threads}")
    return predict_paths(
        model,
        paths,
        out,
        hop=hop,
        rolling=rolling,
        annotate=annotate,
        allow_failures=allow_failures,
        explain=explain,
        formats=formats,
        threshold=threshold if model.several_labels else None,
        settings={"run": str(run), "views": str(views)},
    )


def load_model(run: Path, views: Views, threads: Threads) -> ViewedModel:
    """Load a run's model; TensorFlow is started only if it is not an ONNX file."""
    if run.is_file():
        return OnnxClipModel(run, views=views, num_threads=threads.intra_op)
    runtime.configure(threads, seed=0)
    # It imports TensorFlow, whose threads are set above.
    from experiments.clips.model import load_clip_model

    return load_clip_model(run, views=views)


def predict_paths(
    model: WindowModel,
    paths: Sequence[Path],
    out: Path,
    *,
    hop: int | None = None,
    rolling: int = 5,
    annotate: bool = True,
    allow_failures: bool = False,
    explain: bool = False,
    formats: Sequence[Format] = (),
    threshold: float | None = None,
    settings: Mapping[str, Any] | None = None,
) -> int:
    """Predict videos and write the results; returns the exit code, 1 if a video failed.

    Args:
        model: the model.
        paths: videos and folders; see `find_videos`.
        out: folder of results.
        hop, rolling: those of `predict_video`.
        annotate: write the annotated videos, too.
        explain: write which moments and places decided, too.
        formats: formats of other tools in which all videos of this call are written, too.
        threshold: of a model of clips with several classes each, the least probability of a class
            that is named.
        allow_failures: return 0 even if some, but not all, videos failed.
        settings: further settings that the results depend on, to be stored with them.

    Raises:
        PreprocessError: if a path names no video, or `out` holds other files of the same names.
        OSError: if `out` cannot be written to.
    """
    found = find_videos(paths, out)
    videos = found.videos
    for notice in found.notices:
        print(notice)
    out.mkdir(parents=True, exist_ok=True)
    # Opening the tables also checks that no other files have their names.
    hop = hop or usual_hop(model)
    job = _Job(
        model,
        videos,
        out,
        hop=hop,
        rolling=rolling,
        annotate=annotate,
        explain=explain,
        threshold=threshold,
    )
    failures = job.run(settings or {})
    if job.predicted:
        exported = [_exported(*each) for each in job.predicted] if formats else []
        name = str((settings or {}).get("run"))
        for kind in formats:
            print(write_export(out, kind, exported, model=name, class_names=model.class_names))
    if not failures:
        return 0
    print(
        f"{len(failures)} of {len(videos)} videos failed or are incomplete; see "
        f"{out / 'failures.csv'}",
        file=sys.stderr,
    )
    # If every video failed, the fault lies elsewhere, and no flag excuses it.
    return 0 if allow_failures and len(failures) < len(videos) else EXIT_FAILED_VIDEOS


class _Job:
    def __init__(
        self,
        model: WindowModel,
        videos: Sequence[Video],
        out: Path,
        *,
        hop: int,
        rolling: int,
        annotate: bool,
        explain: bool,
        threshold: float | None,
    ) -> None:
        self._threshold = threshold
        self._explain = explain
        self._model = model
        self._videos = videos
        self._out = out
        self._hop = hop
        self._rolling = rolling
        self._annotate = annotate
        self._tables = Tables(out, has_several=threshold is not None)
        self._failures: dict[str, str] = {}
        self.predicted: list[tuple[Video, VideoPrediction]] = []
        """Videos that were predicted, with their predictions."""

    def run(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """Predict all videos; returns the reasons of failures by the video's source."""
        frames = self._model.frame_settings
        settings = {
            "window": self._model.window,
            "hop": self._hop,
            "rolling": self._rolling,
            "frame_size": list(frames.size),
            "stride": frames.stride,
            **settings,
        }
        # A file that cannot be read costs itself alone. A full disk would fail all that follow.
        with PredictionProgress(self._videos, 1 + self._annotate) as progress:
            for video in self._videos:
                try:
                    self._go_through(video, settings, progress)
                except UserError as error:
                    if is_disk_full(error):
                        raise
                    self._fail(video, str(error), progress)
                except UnicodeEncodeError:
                    self._fail(video, "its name is not valid UTF-8", progress)
                except OSError as error:
                    if is_disk_full(error):
                        raise
                    self._fail(video, error.strerror or str(error), progress)
                progress.finish()
        self._tables.fail(self._failures, self._videos)
        return self._failures

    def _go_through(
        self, video: Video, settings: Mapping[str, Any], progress: PredictionProgress
    ) -> None:
        results = VideoResults(self._out, video)
        # Before the decoding: a name that is taken is found out in a moment.
        results.begin()
        prediction = predict_video(
            self._model,
            video.path,
            hop=self._hop,
            rolling=self._rolling,
            threshold=self._threshold,
            on_progress=progress.step(0),
        )
        # Before the annotated copy, which takes the longest and may be interrupted.
        results.write(prediction, settings)
        self._tables.add(video, prediction)
        self.predicted.append((video, prediction))
        progress.say(_shown(f"{video.source}: {_found(prediction)}"))
        if prediction.is_cut_short:
            self._fail(video, prediction.complaint, progress)
        elif prediction.complaint:
            progress.say(_shown(f"{video.source}: {prediction.complaint}"))
        if self._explain:
            explanation = explain_video(self._model, video.path, prediction, hop=self._hop)
            write_atomically(results.path(EXPLAINED), explanation.png())
        if self._annotate:
            annotate_video(
                video.path,
                partial(Panel, prediction),
                results.path(ANNOTATED),
                duration_seconds=prediction.duration_seconds,
                on_progress=progress.step(1),
            )

    def _fail(self, video: Video, reason: str, progress: PredictionProgress) -> None:
        self._failures[video.source] = reason
        progress.say(_shown(f"{video.source}: {reason}"))


def explain_video(
    model: WindowModel, path: Path, prediction: VideoPrediction, *, hop: int, parts: int = PARTS
) -> Explanation:
    """Explain the class of a video by the window in which it is the most probable.

    Args:
        model: the model that predicted the video.
        path: the video.
        prediction: its prediction, with windows that began `hop` frames apart.
        parts: that of `experiments.clips.explanation.explain`.
    """
    best = prediction.ranking[0]
    number = int(prediction.probabilities[:, best].argmax())
    with video_windows(model, path, hop=hop) as (windows, original_size):
        window = next(islice(windows, number, None))
    return explain(
        lambda copies: model.predict(copies, original_size),
        window.frames,
        best,
        class_name=prediction.class_names[best],
        start_seconds=window.start_seconds,
        end_seconds=window.end_seconds,
        parts=parts,
    )


def _shown(text: str) -> str:
    """Replace characters that do not print in one line by escapes."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _found(prediction: VideoPrediction) -> str:
    """Summary of a prediction in one line."""
    best, vote, num_windows = prediction.ranking[0], prediction.vote, prediction.num_windows
    names = prediction.class_names
    windows = plural(num_windows, "window")
    votes = prediction.votes[vote]
    if prediction.threshold is not None:
        above = [
            index for index in prediction.ranking if prediction.mean[index] >= prediction.threshold
        ]
        named = ", ".join(f"{names[index]} {prediction.mean[index]:.2f}" for index in above)
        return f"{named or 'nothing'} at least {prediction.threshold:g}, of {windows}"
    say = "says" if votes == 1 else "say"
    return f"{names[best]} {prediction.mean[best]:.2f}; {votes:,} of {windows} {say} {names[vote]}"


class PredictionProgress:
    """Progress bar over videos, with the time left; on standard error if that is a terminal.

    Args:
        videos: all videos of the job.
        num_steps: number of steps for each video, such as predicting and annotating.
    """

    def __init__(self, videos: Sequence[Video], num_steps: int) -> None:
        # Weighted by bytes, since durations are only known once a file is open.
        self._sizes = [max(_num_bytes(video.path), 1) for video in videos]
        self._num_steps = num_steps
        self._number = 0
        self._bytes_before = 0
        self._bar = tqdm(
            total=sum(self._sizes), bar_format=_FORMAT, dynamic_ncols=True, disable=None
        )
        self._tell()

    def __enter__(self) -> PredictionProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def step(self, number: int) -> Callable[[float], None]:
        """Return a function to be called with the finished fraction of a step, counted from 0."""

        def tell(share: float) -> None:
            self._reach((number + min(max(share, 0.0), 1.0)) / self._num_steps)

        return tell

    def finish(self) -> None:
        """Count the current video as done."""
        self._reach(1.0)
        self._bytes_before += self._sizes[self._number]
        self._number += 1
        self._tell()

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        tqdm.write(text)

    def _reach(self, share: float) -> None:
        done = self._bytes_before + share * self._sizes[self._number]
        # tqdm counts by differences. An estimate that was too high must not move the bar back.
        self._bar.update(max(done - self._bar.n, 0))

    def _tell(self) -> None:
        self._bar.set_description_str(f"{self._number}/{len(self._sizes)} videos")


def _num_bytes(path: Path) -> int:
    """Size of a file, or of all files in a folder, in bytes; 0 if it is unknown."""
    try:
        if path.is_dir():
            return sum(entry.stat().st_size for entry in os.scandir(path))
        return path.stat().st_size
    except OSError:
        return 0


def _exported(video: Video, prediction: VideoPrediction) -> ExportedVideo:
    """Describe a video that a model of clips has predicted, window by window."""
    names = prediction.class_names
    segments = [
        Segment(float(start), float(end), names[index], float(shares[index]))
        for start, end, shares in zip(
            prediction.start_seconds,
            prediction.end_seconds,
            prediction.probabilities,
            strict=True,
        )
        for index in _classes(prediction, shares)
    ]
    return ExportedVideo(
        video.source,
        prediction.duration_seconds,
        prediction.to_arrow(),
        segments,
        [names[index] for index in _classes(prediction, prediction.mean)],
        float(prediction.mean.max()),
    )


def _classes(prediction: VideoPrediction, shares: NDArray[np.floating]) -> list[int]:
    """Indices of the classes that probabilities (C,) name: the best, or all above a threshold."""
    if prediction.threshold is None:
        return [int(shares.argmax())]
    return np.flatnonzero(shares >= prediction.threshold).tolist()
