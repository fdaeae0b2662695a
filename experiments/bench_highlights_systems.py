"""Work that `experiments.bench_highlights` measures, each kind in a process of its own."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np

from experiments.bench_highlights import BATCH_SIZE, DEPTH
from experiments.clips.images import ImageSettings
from experiments.clips.scorer_model import Scorer
from experiments.highlights.scoring.kept_scores import KeptScores
from experiments.highlights.scoring.scorer_network import build_scorer
from experiments.highlights.scoring.scoring_job import ScoringOptions, score_into
from experiments.media.recording import read_recording, recording_duration
from experiments.process import environment
from experiments.process.runtime import Threads


class BareDecoding:
    """Plain OpenCV: each frame is decoded, and those to score are scaled."""

    def __init__(self, recording: Path, fps: float) -> None:
        self._path = str(recording)
        self._fps = fps
        self._side = ImageSettings(fps=fps).side

    def seconds(self) -> tuple[float, int]:
        """Time in seconds and peak memory of one run in its own process."""
        size = (self._side, self._side)
        started, due = time.perf_counter(), 0
        capture = cv2.VideoCapture(self._path)
        while capture.grab():
            # `grab` decodes; only the samples are converted to BGR and scaled.
            if capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 * self._fps >= due:
                cv2.resize(capture.retrieve()[1], size)
                due += 1
        return time.perf_counter() - started, environment.peak_rss_bytes()


class BareModel:
    """The compiled model on as many pictures in memory."""

    def __init__(self, recording: Path, fps: float) -> None:
        settings = ImageSettings(fps=fps)
        duration = recording_duration(read_recording([recording]))
        self._num_batches = round(duration * fps / BATCH_SIZE)
        self._scorer = warm_scorer(settings)
        shape = (BATCH_SIZE, *settings.frame_shape)
        self._images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def seconds(self) -> tuple[float, int]:
        """Time in seconds and peak memory of one run in its own process."""
        started = time.perf_counter()
        for _ in range(self._num_batches):
            self._scorer.predict(self._images)
        return time.perf_counter() - started, environment.peak_rss_bytes()


class Ours:
    """Score a recording as `python -m experiments.highlights run` does."""

    def __init__(self, recording: Path, fps: float, threads: Threads) -> None:
        self._recording = recording
        self._scorer = warm_scorer(ImageSettings(fps=fps))
        self._threads = threads

    def seconds(self) -> tuple[float, int]:
        """Time in seconds and peak memory of one run in its own process."""
        options = ScoringOptions(
            model=Path(),
            box=None,
            fps=None,
            stride=None,
            batch_size=BATCH_SIZE,
            threads=self._threads,
            allow_failures=False,
        )
        started = time.perf_counter()
        chunks = read_recording([self._recording])
        with KeptScores(self._recording.with_name("scored.mp4"), {}) as kept:
            score_into(kept, chunks, self._scorer, options, say=lambda text: None)
        return time.perf_counter() - started, environment.peak_rss_bytes()


def warm_scorer(settings: ImageSettings) -> Scorer:
    """Build a scorer with random weights that has compiled on a batch."""
    scorer = Scorer(build_scorer(DEPTH, settings), settings)
    scorer.predict(np.zeros((BATCH_SIZE, *settings.frame_shape), np.uint8))
    return scorer
