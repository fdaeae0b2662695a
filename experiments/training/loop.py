"""The training loop: epochs, metrics, resuming, progress.

A run that is killed and resumed ends with the same numbers as one that was not: every epoch's
batches follow from (seed, epoch) alone, and the checkpoint holds all the rest.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.runs.history import Epoch, History
from experiments.runs.metrics import argmax_accuracy
from experiments.training.checkpoints import Keeper, restore
from experiments.training.step import Classifier

Score = Callable[[np.ndarray, np.ndarray], float]
"""Of probabilities (N, classes) and labels (N,); the higher, the better."""

Stop = Callable[[History], bool]
"""Whether training ends after the epochs so far."""
NextRate = Callable[[History], float]
"""The learning rate of the next epoch."""


def train(
    classifier: Classifier,
    train_batches: Callable[[int], Iterable[Any]],
    validation_batches: Callable[[], Iterable[Any]],
    *,
    epochs: int,
    clips_per_epoch: int,
    run_dir: Path,
    resume: bool = False,
    started: float | None = None,
    score: Score = argmax_accuracy,
    score_name: str = "accuracy",
    unit: str = "clip",
    stop: Stop | None = None,
    next_rate: NextRate | None = None,
) -> History:
    """Train, keeping the best and the last model and a checkpoint to resume from.

    Args:
        classifier: what is trained; if distributed, only the chief writes anything.
        train_batches: batches of epoch e (from 0), the same each time it is asked.
        validation_batches: batches to evaluate on after each epoch.
        epochs: how many in all, those before a resumption included.
        clips_per_epoch: training and validation clips together, for the progress bar.
        run_dir: takes metrics.csv, best.keras, last.keras and, until the end, checkpoint.npz.
        resume: continue from the checkpoint, if there is one.
        started: `time.perf_counter()` when this part of the run began; None for now.
        score: what the best epoch is chosen by, of the validation part.
        score_name: in words; shown beside the accuracy where it is another.
        unit: what a batch is counted in, for the progress bar.
        stop: asked after each epoch; None for never.
        next_rate: of the epochs so far; None leaves the rate to the optimizer's schedule.

    Returns:
        All epochs.

    Raises:
        RunError: if the checkpoint is damaged, or another worker is gone, or would go on from
            another epoch.
    """
    history = restore(classifier, run_dir) if resume else History()
    distribution = classifier.distribution
    if distribution is not None:
        distribution.require_same(f"{len(history.epochs)} epochs", "checkpoint to go on from")
    began = (time.perf_counter() if started is None else started) - history.elapsed_seconds
    keeper = Keeper(classifier, run_dir) if distribution is None or distribution.is_chief else None
    with tqdm(
        total=epochs * clips_per_epoch,
        initial=len(history.epochs) * clips_per_epoch,
        unit=unit,
        desc="training",
        smoothing=0.05,
        mininterval=0.1 if sys.stderr.isatty() else 30,
    ) as bar:
        for epoch in range(len(history.epochs), epochs):
            if stop and history.epochs and stop(history):
                tqdm.write(f"Stopped after epoch {epoch}: no better since {history.best.epoch}.")
                break
            if next_rate and history.epochs:
                classifier.set_learning_rate(next_rate(history))
            with distribution.failures_told() if distribution else nullcontext():
                row = _train_epoch(
                    *(classifier, train_batches(epoch), validation_batches(), epoch, score, bar)
                )
            history.epochs.append(replace(row, elapsed_seconds=time.perf_counter() - began))
            if keeper is not None:
                keeper.keep(history, is_last=epoch == epochs - 1 or bool(stop and stop(history)))
                tqdm.write(_line(row, epochs, score_name))
    return history


def _train_epoch(classifier, batches, validation, epoch: int, score: Score, bar: tqdm) -> Epoch:
    started = time.perf_counter()
    loss_sum, num_correct, num_clips, num_frames, waited = 0.0, 0, 0, 0, 0.0
    asked = started
    for batch in batches:
        waited += time.perf_counter() - asked
        step = classifier.train_parts(batch if classifier.distribution else (batch,))
        num_clips += step.num_clips
        loss_sum += step.loss * step.num_clips
        num_correct += step.num_correct
        num_frames += step.num_frames
        bar.update(step.num_clips)
        bar.set_postfix_str(f"epoch {epoch + 1}, loss {loss_sum / num_clips:.3f}", refresh=False)
        asked = time.perf_counter()
    seconds = time.perf_counter() - started
    probabilities, labels = _validated(classifier, validation, bar)
    true = probabilities[np.arange(len(labels)), labels]
    return Epoch(
        epoch=epoch + 1,
        learning_rate=float(classifier.optimizer.learning_rate),
        train_loss=loss_sum / num_clips,
        train_accuracy=num_correct / num_clips,
        validation_loss=float(-np.log(np.maximum(true, 1e-7)).mean()),
        validation_accuracy=argmax_accuracy(probabilities, labels),
        validation_score=score(probabilities, labels),
        seconds=seconds,
        frames_per_second=num_frames / seconds,
        data_wait_share=waited / seconds,
        elapsed_seconds=0.0,
    )


def _validated(classifier: Classifier, batches: Iterable[Any], bar: tqdm):
    """Probabilities and labels of all validation clips, those of other processes included."""
    if classifier.distribution is None:
        return classifier.predict(batches, on_batch=bar.update)
    probabilities, labels = classifier.predict(batches)
    counted = labels >= 0
    rows = np.column_stack([probabilities, labels]).astype(np.float32)[counted]
    joined = classifier.distribution.joined(rows)
    bar.update(len(joined))
    return joined[:, :-1], joined[:, -1].astype(labels.dtype)


def _line(row: Epoch, epochs: int, score_name: str) -> str:
    score = "" if score_name == "accuracy" else f" {score_name} {row.validation_score:.3f}"
    return (
        f"epoch {row.epoch:>{len(str(epochs))}}/{epochs}  "
        f"train loss {row.train_loss:.3f} accuracy {row.train_accuracy:.3f}  "
        f"validation loss {row.validation_loss:.3f} accuracy {row.validation_accuracy:.3f}"
        f"{score}  {row.seconds:.1f} s  {row.frames_per_second:,.0f} frames/s  "
        f"{row.data_wait_share:.0%} waiting for data"
    )
