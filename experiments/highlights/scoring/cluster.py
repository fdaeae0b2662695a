"""A recording scored on a Dask cluster: some minutes a task, by processes that keep the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.highlights.scoring.picture_batches import Batch, BatchReader
from experiments.highlights.scoring.scorer import FILE, MODEL, Scorer, load_scorer
from experiments.highlights.scoring.scoring import score_recording
from experiments.highlights.scoring.scoring_job import (
    ScoringOptions,
    decoder_threads,
    model_digest,
)
from experiments.process import runtime
from preprocess.errors import DecodeError, PreprocessError
from preprocess.extraction.cluster import cluster_servants


@dataclass(frozen=True)
class ScoredPart:
    """The scores of some minutes.

    Args:
        times: of the pictures, in seconds of the recording, (N,).
        probabilities: (N,).
        until: end of what was read, in seconds of the recording.
        notices: what went wrong on the way.
    """

    times: NDArray[np.float64]
    probabilities: NDArray[np.float32]
    until: float
    notices: tuple[str, ...]


OnPart = Callable[[ScoredPart, NDArray[np.float32]], None]


@dataclass(frozen=True)
class PartScorer:
    """A scorer on a worker.

    Args:
        model: directory of a run of `train`, an absolute path.
        digest: of what it held when the command was given.
        threads: auto, by the worker's machine, or INTRA,INTER.
    """

    model: Path
    digest: str
    threads: str

    def open(self) -> Callable[[BatchReader], ScoredPart]:
        """Load the model.

        Raises:
            PreprocessError: if it is another here.
            ScorerError, OSError: for the reasons of `load_scorer`.
        """
        if model_digest(self.model) != self.digest:
            raise PreprocessError(
                f"A worker finds another model than this machine in {self.model}. All machines "
                "must see the same."
            )
        threads = runtime.choose_threads(self.threads, workload="resnet")
        runtime.configure(threads, seed=0)
        return partial(_score, load_scorer(self.model), threads.inter_op)


def score_on_cluster(
    options: ScoringOptions,
    reader: BatchReader,
    on_scores: OnPart,
    *,
    folder: Path,
) -> None:
    """Score all pictures of a recording, some minutes here and some there.

    Args:
        options: the cluster, the model, and the workers' threads.
        reader: of the recording.
        on_scores: is given each part and its probabilities (N,), in order.
        folder: where the scores are kept, which all workers must see.

    Raises:
        PreprocessError: if the cluster cannot do it, or a chunk cannot be read, unless the reader
            allows for that. Parts before it are handed over.
        InputError: if the model gives no probabilities.
    """
    assert options.scheduler is not None
    model = options.model.absolute()
    chunks = [
        replace(chunk, path=chunk.path.absolute(), copy=chunk.copy and chunk.copy.absolute())
        for chunk in reader.chunks
    ]
    parts = replace(reader, chunks=chunks).parts()
    needs = [model / FILE, model / MODEL, *(chunk.file for chunk in chunks)]
    service = PartScorer(model, model_digest(model), options.worker_threads)
    with cluster_servants(options.scheduler, folder, service, needs) as submit:
        waiting = [(part, submit(part)) for part in parts]
        for _, of_chunk in groupby(waiting, key=lambda pair: pair[0].chunks):
            _hand_over(list(of_chunk), on_scores)


def _hand_over(
    waiting: Sequence[tuple[BatchReader, Future[ScoredPart]]], on_scores: OnPart
) -> None:
    """The parts of a chunk, in order."""
    num_pictures = 0
    for _, future in waiting:
        scored = future.result()
        num_pictures += len(scored.times)
        on_scores(scored, scored.probabilities)
    first = waiting[0][0]
    begins = first.stretch is not None and first.stretch[0] == 0
    if begins and not num_pictures and not first.allow_failures:
        raise DecodeError(f"{first.chunks[0].path}: no picture could be decoded")


def _score(scorer: Scorer, at_once: int, reader: BatchReader) -> ScoredPart:
    """On a worker: all pictures of a part."""
    batches: list[Batch] = []
    scores = [np.empty(0, np.float32)]

    def take(batch: Batch, probabilities: NDArray[np.float32]) -> None:
        batches.append(replace(batch, pictures=np.empty(0, np.uint8)))
        scores.append(probabilities)

    score_recording(scorer, replace(reader, threads=decoder_threads()), take, at_once=at_once)
    return ScoredPart(
        times=np.concatenate([np.empty(0), *(batch.times for batch in batches)]),
        probabilities=np.concatenate(scores),
        until=batches[-1].until,
        notices=tuple(notice for batch in batches for notice in batch.notices),
    )
