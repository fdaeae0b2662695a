"""The job of `run`: a recording to scores that are kept, with a bar and a clean stop."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.process import runtime
from experiments.runs import formatting
from preprocess.system.machine import read_machine

if TYPE_CHECKING:
    from experiments.highlights.labels.types import Box
    from experiments.highlights.scoring.cluster import ScoredPart
    from experiments.highlights.scoring.kept_scores import KeptScores
    from experiments.highlights.scoring.picture_batches import Batch
    from experiments.highlights.scoring.scorer import Scorer
    from experiments.media.recording import Chunk

_VERSION = 1  # of the way in which scores are made
_BAR = "{desc} {percentage:3.0f}% |{bar}|{postfix}, {remaining} left"
_MOST_DECODER_THREADS = 16  # FFmpeg takes no more


@dataclass(frozen=True)
class ScoringOptions:
    """How a recording is scored.

    Args:
        model: directory of a run of `train`.
        box: the part of the picture that shows the excitement; None for the model's own.
        fps: pictures a second; None, as `every`, for those of training.
        every: every how many frames a picture is taken.
        batch_size: pictures the model sees at once.
        threads: TensorFlow's pools; the model works on `inter_op` batches at the same time.
        allow_failures: whether chunks that cannot be read are left out.
        scheduler: address of a Dask cluster whose workers score instead, or None.
        worker_threads: their pools: auto, by each worker's machine, or INTRA,INTER.
    """

    model: Path
    box: Box | None
    fps: float | None
    every: int | None
    batch_size: int
    threads: runtime.Threads
    allow_failures: bool
    scheduler: str | None = None
    worker_threads: str = "auto"

    def load(self) -> Scorer:
        """The model; TensorFlow is imported with the pools.

        Raises:
            ScorerError: if there is none.
        """
        runtime.configure(self.threads, seed=0)
        from experiments.highlights.scoring.scorer import load_scorer

        return load_scorer(self.model)

    def made_of(self, chunks: Sequence[Chunk]) -> dict[str, Any]:
        """All that the scores of a recording depend on, as plain values."""
        files = [chunk.path.stat() for chunk in chunks]
        tracks = [chunk.track for chunk in chunks]
        return {
            "version": _VERSION,
            "recording": [[file.st_size, file.st_mtime_ns] for file in files],
            "model": model_digest(self.model),
            "box": None if self.box is None else str(self.box),
            "rate": [self.fps, self.every],
            # Scores without these are of the first track, and of files with one clock.
            **({"sound track": tracks[0]} if any(tracks) else {}),
            **({"clock": "continued"} if any(chunk.copy for chunk in chunks) else {}),
        }


def score_into(
    kept: KeptScores,
    chunks: Sequence[Chunk],
    scorer: Scorer,
    options: ScoringOptions,
    say: Callable[[str], None] = print,
) -> None:
    """Score what is not scored yet.

    Args:
        kept: where to; what an earlier run has left there is not predicted again.
        chunks: the recording.
        scorer: the model.
        options: see there; its rate and box are taken before the scorer's.
        say: is given lines about what went wrong, and how fast it was.

    Raises:
        PreprocessError: if a chunk cannot be read or the scores cannot be written.
    """
    from tqdm import tqdm

    from experiments.highlights.scoring.cluster import score_on_cluster
    from experiments.highlights.scoring.picture_batches import BatchReader
    from experiments.highlights.scoring.scoring import score_recording
    from experiments.media.recording import recording_duration

    kept.begin()
    if kept.num_rows:
        say(f"Going on after {kept.num_rows:,} scores that are there.")
    settings = scorer.settings
    if options.fps is not None or options.every is not None:
        settings = replace(settings, fps=options.fps, every=options.every)
    reader = BatchReader(
        *(chunks, settings, options.box or scorer.box),
        after=kept.last_time,
        batch_size=options.batch_size,
        threads=decoder_threads(),
        allow_failures=options.allow_failures,
    )
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
    told: set[str] = set()
    with bar:

        def take(batch: Batch | ScoredPart, probabilities: Any) -> None:
            kept.append(batch.times, probabilities)
            for notice in batch.notices:
                if notice not in told:  # some are those of the file, and each part has them
                    told.add(notice)
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
    """As many as the machine has processors for, and FFmpeg takes."""
    return min(read_machine().num_cpus, _MOST_DECODER_THREADS)


def model_digest(model: Path) -> str:
    """Of all that a scorer is; what is missing is told when it is loaded."""
    from experiments.highlights.scoring.scorer import FILE, MODEL

    digest = hashlib.sha256()
    for name in (FILE, MODEL):
        path = model / name
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()
