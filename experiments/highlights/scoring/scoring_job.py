"""Scoring of a recording, on this machine or on a Dask cluster.

Scores are kept as they come, with a progress bar and a clean stop. On this machine the recording
is decoded in one thread while others run the model. On a cluster each task scores some minutes,
in processes that keep the model.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common import formatting
from common.errors import InputError
from experiments.clips.images import Box
from experiments.clips.scorer import FILE, MODEL
from experiments.highlights.scoring.image_batches import Batch, BatchReader
from experiments.highlights.scoring.kept_moments import KeptShots, recording_fingerprint
from experiments.highlights.scoring.kept_scores import KeptScores
from experiments.media.recording import Chunk, recording_duration
from experiments.process import runtime
from preprocess.errors import DecodeError, PreprocessError
from preprocess.system.machine import read_machine
from preprocess.video.frame_differences import NO_DIFFERENCES, FrameDifferences, join_differences
from preprocess.workers.cluster import asking, open_workers

if TYPE_CHECKING:
    from experiments.clips.scorer_model import Scorer

_VERSION = 1  # changes when the same inputs would give other scores
_BAR = "{desc} {percentage:3.0f}% |{bar}|{postfix}, {remaining} left"
_MAX_DECODER_THREADS = 16  # FFmpeg takes no more


@dataclass(frozen=True)
class ScoringOptions:
    """Settings of the scoring of a recording.

    Args:
        model: directory of a run of `train`.
        box: part of the frame that shows the face; None for the model's own.
        fps: pictures per second; if this and `stride` are None, those of the training.
        stride: number of frames from one picture to the next.
        batch_size: pictures per batch.
        threads: TensorFlow's thread pools; the model works on `inter_op` batches at a time.
        allow_failures: whether to leave out chunks that cannot be read.
        scheduler: address of a Dask cluster whose workers score instead, or None.
        worker_threads: thread pools of the workers: auto, by each machine, or INTRA,INTER.
    """

    model: Path
    box: Box | None
    fps: float | None
    stride: int | None
    batch_size: int
    threads: runtime.Threads
    allow_failures: bool
    scheduler: str | None = None
    worker_threads: str = "auto"

    def load(self) -> Scorer:
        """Load the model, with TensorFlow's thread pools set before it starts.

        Raises:
            ScorerError: if there is none.
        """
        return _load(self.model, self.threads)

    def fingerprint(self, chunks: Sequence[Chunk]) -> dict[str, Any]:
        """Return everything that the scores of a recording depend on, as plain values."""
        recording = recording_fingerprint(chunks)
        return {
            "version": _VERSION,
            "recording": recording.pop("recording"),
            "model": model_digest(self.model),
            "box": None if self.box is None else str(self.box),
            "rate": [self.fps, self.stride],
            **recording,
        }


def _load(model: Path, threads: runtime.Threads) -> Scorer:
    runtime.configure(threads, seed=0)
    # It imports TensorFlow, whose threads are set above.
    from experiments.clips.scorer_model import load_scorer

    return load_scorer(model)


def score_into(
    kept: KeptScores,
    chunks: Sequence[Chunk],
    scorer: Scorer,
    options: ScoringOptions,
    shots: KeptShots | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Score the pictures of a recording that have no scores yet.

    Args:
        kept: file of scores; pictures that have scores there are not predicted again.
        chunks: the recording.
        scorer: the model.
        options: settings; their rate and box have precedence over the scorer's.
        shots: file of what tells changes of shot, which is measured while frames are decoded;
            None measures nothing.
        say: called with lines about what went wrong, and about the speed.

    Raises:
        PreprocessError: if a chunk cannot be read or the scores cannot be written.
    """
    kept.begin()
    if kept.num_rows:
        say(f"Going on after {kept.num_rows:,} scores that are there.")
    settings = scorer.settings
    if options.fps is not None or options.stride is not None:
        settings = replace(settings, fps=options.fps, every=options.stride)
    reader = BatchReader(
        chunks,
        settings,
        options.box or scorer.box,
        after=kept.last_time,
        batch_size=options.batch_size,
        threads=decoder_threads(),
        allow_failures=options.allow_failures,
        measures=shots is not None,
    )
    # The bar counts seconds of the recording; its speed counts only what this run scored.
    begun, before = time.monotonic(), kept.num_rows
    first = max(kept.last_time, 0.0)
    bar = tqdm(
        total=recording_duration(chunks),
        initial=first,
        desc="scoring",
        bar_format=_BAR,
        dynamic_ncols=True,
        disable=None,
    )
    shown: set[str] = set()
    with bar:

        def take(batch: Batch | ScoredPart, probabilities: Any) -> None:
            kept.append(batch.times, probabilities)
            if shots is not None:
                shots.add(batch.differences)
            for notice in batch.notices:
                if notice not in shown:  # some are those of the file, and each part has them
                    shown.add(notice)
                    bar.write(notice)
            speed = (batch.until - first) / (time.monotonic() - begun)
            bar.set_postfix_str(f"{speed:.0f} times as fast as it plays", refresh=False)
            bar.update(batch.until - bar.n)

        if options.scheduler is None:
            score_recording(scorer, reader, take, at_once=options.threads.inter_op)
        else:
            score_on_cluster(options, reader, take, folder=kept.path.parent)
    kept.finish()
    seconds = formatting.duration(time.monotonic() - begun)
    say(f"{kept.num_rows - before:,} pictures were scored in {seconds}: {kept.path}")


def decoder_threads() -> int:
    """Number of decoder threads: one per processor, up to FFmpeg's limit."""
    return min(read_machine().num_cpus, _MAX_DECODER_THREADS)


def model_digest(model: Path) -> str:
    """SHA-256 of a scorer's files; a missing one counts as empty and is reported on loading."""
    digest = hashlib.sha256()
    for name in (FILE, MODEL):
        path = model / name
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


class HighlightModel(Protocol):
    """Model that gives the probability of a highlight for each picture, as `Scorer` does."""

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N,) of pictures uint8 (N, H, W, 3)."""


OnScores = Callable[[Batch, NDArray[np.float32]], None]


def score_recording(
    model: HighlightModel, reader: BatchReader, on_scores: OnScores, *, at_once: int = 1
) -> None:
    """Score all pictures of a recording.

    Args:
        model: model that predicts probabilities.
        reader: reader of the recording.
        on_scores: called with each batch and its probabilities (N,), in order.
        at_once: number of batches that the model works on at the same time.

    Raises:
        DecodeError: if a chunk cannot be read, unless the reader allows for it.
        InputError: if the model gives no probabilities.
    """
    # Bounded: with one batch more than threads, no thread idles while scores are written, and no
    # more pictures are in memory.
    waiting: deque[tuple[Batch, Future[NDArray[np.float32]]]] = deque()
    with ThreadPoolExecutor(at_once) as threads, closing(iter(reader)) as batches:
        try:
            for batch in batches:
                waiting.append((batch, threads.submit(model.predict, batch.images)))
                if len(waiting) > at_once:
                    _hand_over(*waiting.popleft(), on_scores)
            while waiting:
                _hand_over(*waiting.popleft(), on_scores)
        finally:
            for _, future in waiting:
                future.cancel()


def _hand_over(batch: Batch, future: Future[NDArray[np.float32]], on_scores: OnScores) -> None:
    probabilities = future.result()
    # NaN, as from a model that has diverged, fails this test too.
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise InputError(
            "A model must give probabilities from 0 to 1. This one gave "
            f"{probabilities.min()} to {probabilities.max()}; train it again."
        )
    on_scores(batch, probabilities)


@dataclass(frozen=True)
class ScoredPart:
    """Scores of one part of a recording, some minutes long.

    Args:
        times: times of the pictures in seconds of the recording, (N,).
        probabilities: probabilities of a highlight, (N,).
        until: end of what was read, in seconds of the recording.
        notices: sentences about what went wrong.
        differences: differences of the frames that were decoded.
    """

    times: NDArray[np.float64]
    probabilities: NDArray[np.float32]
    until: float
    notices: tuple[str, ...]
    differences: FrameDifferences = NO_DIFFERENCES


OnPart = Callable[[ScoredPart, NDArray[np.float32]], None]


@dataclass(frozen=True)
class PartScorer:
    """Loader of a scorer on a worker of the cluster.

    Args:
        model: directory of a run of `train`, an absolute path.
        digest: `model_digest` of it on the machine of the command.
        threads: thread pools: auto, by the worker's machine, or INTRA,INTER.
    """

    model: Path
    digest: str
    threads: str

    memory_bytes = None  # a model may take any amount

    def open(self) -> Callable[[BatchReader], ScoredPart]:
        """Load the model, and return the function that scores a part.

        Raises:
            PreprocessError: if the worker finds another model.
            ScorerError, OSError: for the reasons of `load_scorer`.
        """
        if model_digest(self.model) != self.digest:
            raise PreprocessError(
                f"A worker finds another model than this machine in {self.model}. All machines "
                "must see the same."
            )
        threads = runtime.choose_threads(self.threads, workload="resnet")
        return partial(_score_part, _load(self.model, threads), threads.inter_op)


def score_on_cluster(
    options: ScoringOptions,
    reader: BatchReader,
    on_scores: OnPart,
    *,
    folder: Path,
) -> None:
    """Score all pictures of a recording on a cluster, some minutes a task.

    Args:
        options: settings, among them the cluster, the model and the workers' threads.
        reader: reader of the recording.
        on_scores: called with each part and its probabilities (N,), in order.
        folder: folder of the scores, which all workers must see.

    Raises:
        PreprocessError: if the cluster cannot do it, or a chunk cannot be read, unless the reader
            allows for that. Parts before it are passed on first.
        InputError: if the model gives no probabilities.
    """
    assert options.scheduler is not None
    model = options.model.absolute()
    # Absolute, since workers run in other folders.
    chunks = [
        replace(chunk, path=chunk.path.absolute(), copy=chunk.copy and chunk.copy.absolute())
        for chunk in reader.chunks
    ]
    parts = replace(reader, chunks=chunks).parts()
    needs = [model / FILE, model / MODEL, *(chunk.file for chunk in chunks)]
    scorer = PartScorer(model, model_digest(model), options.worker_threads)
    with open_workers(asking(scorer), options.scheduler, folder, needs=needs) as submit:
        waiting = [(part, submit(part)) for part in parts]
        for _, of_chunk in groupby(waiting, key=lambda pair: pair[0].chunks):
            _hand_over_parts(list(of_chunk), on_scores)


def _hand_over_parts(
    waiting: Sequence[tuple[BatchReader, Future[ScoredPart]]], on_scores: OnPart
) -> None:
    """Pass the scores of one chunk's parts to `on_scores`, in order."""
    num_images = 0
    for _, future in waiting:
        scored = future.result()
        num_images += len(scored.times)
        on_scores(scored, scored.probabilities)
    first = waiting[0][0]
    # A part may be without pictures, a whole chunk may not. After a resumption the earlier parts of
    # the first chunk had some.
    begins = first.stretch is not None and first.stretch[0] == 0
    if begins and not num_images and not first.allow_failures:
        raise DecodeError(f"{first.chunks[0].path}: no picture could be decoded")


def _score_part(scorer: Scorer, at_once: int, reader: BatchReader) -> ScoredPart:
    """Score all pictures of a part; runs on a worker."""
    batches: list[Batch] = []
    scores = [np.empty(0, np.float32)]

    def take(batch: Batch, probabilities: NDArray[np.float32]) -> None:
        # Without the pixels, which nobody needs any more: minutes of them would fill the memory.
        batches.append(replace(batch, images=np.empty(0, np.uint8)))
        scores.append(probabilities)

    score_recording(scorer, replace(reader, threads=decoder_threads()), take, at_once=at_once)
    return ScoredPart(
        times=np.concatenate([np.empty(0), *(batch.times for batch in batches)]),
        probabilities=np.concatenate(scores),
        until=batches[-1].until,
        notices=tuple(notice for batch in batches for notice in batch.notices),
        differences=join_differences(batch.differences for batch in batches),
    )
