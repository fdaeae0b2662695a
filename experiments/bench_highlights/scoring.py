"""Scoring a recording: from the file to the CSV, and its two parts alone.

Each system is made in a process of its own, and says how many seconds it takes.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.bench_highlights.table import Row, row_of
from experiments.highlights.scoring.pictures import PictureSettings
from experiments.process import runtime
from experiments.process.runtime import Threads
from experiments.remote import Remote
from experiments.runs import environment

BATCH_SIZE = 32
DEPTH = 18
_SUM = "both, one after the other"
_OURS = "ours, file to CSV"


def measure_scoring(recording: Path, *, fps: float, rounds: int, threads: Threads) -> list[Row]:
    """Time all on the same recording."""
    work = f"scoring at {fps:g} pictures/s, ResNet-{DEPTH}"
    settings, plain = PictureSettings(fps=fps), runtime.choose_threads("auto")
    systems = {
        "bare decoding": Remote(BareDecoding, recording, settings, threads=plain),
        "bare model": Remote(BareModel, recording, settings, threads=plain),
        _OURS: Remote(Ours, recording, settings, threads, threads=threads),
    }
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    peaks: dict[str, int] = {}
    try:
        for _ in tqdm(range(rounds), unit=" rounds", desc="scoring"):
            for name, system in systems.items():
                taken, peaks[name] = system.ask("seconds")
                seconds[name].append(taken)
    finally:
        for system in systems.values():
            system.close()
    ours = seconds.pop(_OURS)
    both = [sum(pair) for pair in zip(*seconds.values(), strict=True)]
    reference = median(both)
    rows = [row_of(work, name, taken, peak=peaks[name]) for name, taken in seconds.items()]
    rows.append(row_of(work, _SUM, both))
    return [*rows, row_of(work, _OURS, ours, reference, peak=peaks[_OURS])]


class BareDecoding:
    """OpenCV as it comes: each frame is decoded, the samples are made small."""

    def __init__(self, recording: Path, settings: PictureSettings) -> None:
        self._path = str(recording)
        self._settings = settings

    def seconds(self) -> tuple[float, int]:
        """What it takes, and the process's peak memory."""
        import cv2

        assert self._settings.fps is not None
        size = (self._settings.side, self._settings.side)
        started, due = time.perf_counter(), 0
        capture = cv2.VideoCapture(self._path)
        while capture.grab():
            if capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 * self._settings.fps >= due:
                cv2.resize(capture.retrieve()[1], size)
                due += 1
        return time.perf_counter() - started, environment.peak_rss_bytes()


class BareModel:
    """The compiled model on as many pictures, which lie in memory."""

    def __init__(self, recording: Path, settings: PictureSettings) -> None:
        from experiments.media.recording import read_recording, recording_duration

        assert settings.fps is not None
        duration = recording_duration(read_recording([recording]))
        self._num_batches = round(duration * settings.fps / BATCH_SIZE)
        self._scorer = warm_scorer(settings)
        shape = (BATCH_SIZE, *settings.frame_shape)
        self._pictures = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def seconds(self) -> tuple[float, int]:
        """What it takes, and the process's peak memory."""
        started = time.perf_counter()
        for _ in range(self._num_batches):
            self._scorer.predict(self._pictures)
        return time.perf_counter() - started, environment.peak_rss_bytes()


class Ours:
    """What `python -m experiments.highlights run` does until all scores are there."""

    def __init__(self, recording: Path, settings: PictureSettings, threads: Threads) -> None:
        self._recording = recording
        self._scorer = warm_scorer(settings)
        self._threads = threads

    def seconds(self) -> tuple[float, int]:
        """What it takes, and the process's peak memory."""
        from experiments.highlights.scoring.kept_scores import KeptScores
        from experiments.highlights.scoring.scoring_job import ScoringOptions, score_into
        from experiments.media.recording import read_recording

        options = ScoringOptions(
            model=Path(),
            box=None,
            fps=None,
            every=None,
            batch_size=BATCH_SIZE,
            threads=self._threads,
            allow_failures=False,
        )
        started = time.perf_counter()
        chunks = read_recording([self._recording])
        with KeptScores(self._recording.with_name("scored.mp4"), {}) as kept:
            score_into(kept, chunks, self._scorer, options, say=lambda text: None)
        return time.perf_counter() - started, environment.peak_rss_bytes()


def warm_scorer(settings: PictureSettings) -> Any:
    """A scorer of random weights that has seen a batch."""
    from experiments.highlights.scoring.scorer import Scorer
    from experiments.highlights.scoring.scorer_network import build_scorer

    scorer = Scorer(build_scorer(DEPTH, settings), settings)
    scorer.predict(np.zeros((BATCH_SIZE, *settings.frame_shape), np.uint8))
    return scorer
