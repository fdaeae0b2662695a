"""The training loop: epochs, metrics, checkpoints, resuming, progress.

A run that is killed and resumed ends with the same numbers as one that was not: every epoch's
batches follow from (seed, epoch) alone, and the checkpoint holds every variable, the states of
the random generators among them.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from experiments.history import Epoch, History
from experiments.metrics import argmax_accuracy

if TYPE_CHECKING:
    from experiments.finetuning.mixup import Mixup

Score = Callable[[np.ndarray, np.ndarray], float]
"""Of probabilities (N, classes) and labels (N,); the higher, the better."""

Stop = Callable[[History], bool]
"""Whether training ends after the epochs so far."""
NextRate = Callable[[History], float]
"""The learning rate of the next epoch."""

_CHECKPOINT = "checkpoint.npz"
# An epoch that ends sooner after the last checkpoint leaves none: a resumed run repeats it, to the
# same numbers. The dense baseline's checkpoint is 0.5 GB.
_SECONDS_BETWEEN_CHECKPOINTS = 20


class Classifier:
    """A model with its optimizer: one step of training, one of evaluation, both compiled once.

    Args:
        model: clips, or {"frames", "num_frames"} where they vary in length, to probabilities.
        optimizer: a Keras optimizer; None for a model that only predicts.
        label_smoothing: share of the target spread over all classes, in training only.
        coupled_weight_decay: times each weight, added to its gradient, as torch's optimizers do;
            Keras's own `weight_decay` is apart from the gradient.
        mixup: of the clips of a batch and their targets, in training only.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.Optimizer | None = None,
        *,
        label_smoothing: float = 0.0,
        coupled_weight_decay: float = 0.0,
        mixup: Mixup | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        if optimizer is not None:
            optimizer.build(model.trainable_variables)
        self._num_classes = model.output_shape[-1]
        self._smoothing = label_smoothing
        self._decay = coupled_weight_decay
        self._mixup = mixup
        self._train: Callable | None = None
        self._predict: Callable | None = None

    @property
    def variables(self) -> list[keras.Variable]:
        """Everything that training changes: weights, generator states, optimizer state."""
        others = [part.variables for part in (self.optimizer, self._mixup) if part is not None]
        return [*self.model.variables, *itertools.chain(*others)]

    def set_learning_rate(self, rate: float) -> None:
        """From the next step on; only of an optimizer without a schedule."""
        assert self.optimizer is not None
        self.optimizer.learning_rate = rate

    def train_batch(self, inputs, labels) -> tuple[float, int]:
        """One step. Returns the mean loss and the number of clips classified right.

        Of a mixed clip the class of its larger share is the right one.

        Raises:
            ValueError: with mixup, if the clips are not equally long.
        """
        if self._mixup is not None:
            self._mixup.check(inputs)
        if self._train is None:
            spec = tf.nest.map_structure(_any_batch, (inputs, labels))
            self._train = tf.function(self._train_step, input_signature=spec)
        loss, correct = self._train(inputs, labels)
        return float(loss), int(correct)

    def predict(self, batches: tf.data.Dataset, *, on_batch: Callable = lambda clips: None):
        """Probabilities (N, classes) and labels (N,), in the order of the batches."""
        probabilities, labels = [], []
        for inputs, batch_labels in batches:
            if self._predict is None:
                spec = tf.nest.map_structure(_any_batch, (inputs,))
                self._predict = tf.function(
                    lambda x: self.model(x, training=False), input_signature=spec
                )
            probabilities.append(self._predict(inputs).numpy())
            labels.append(batch_labels.numpy())
            on_batch(len(batch_labels))
        return np.concatenate(probabilities), np.concatenate(labels)

    def _train_step(self, inputs, labels):
        targets = tf.one_hot(labels, self._num_classes)
        if self._mixup is not None:
            inputs, targets = self._mixup(inputs, targets)
            labels = tf.argmax(targets, axis=-1, output_type=labels.dtype)
        with tf.GradientTape() as tape:
            probabilities = self.model(inputs, training=True)
            losses = keras.losses.categorical_crossentropy(
                targets, probabilities, label_smoothing=self._smoothing
            )
            loss = tf.add_n([tf.reduce_mean(losses), *self.model.losses])
        weights = self.model.trainable_variables
        gradients = tape.gradient(loss, weights)
        if self._decay:
            pairs = zip(gradients, weights, strict=True)
            gradients = [gradient + self._decay * weight for gradient, weight in pairs]
        assert self.optimizer is not None
        self.optimizer.apply(gradients, weights)
        predicted = tf.argmax(probabilities, axis=-1, output_type=labels.dtype)
        return loss, tf.reduce_sum(tf.cast(predicted == labels, tf.int32))


def train(
    classifier: Classifier,
    train_batches: Callable[[int], tf.data.Dataset],
    validation_batches: Callable[[], tf.data.Dataset],
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
        classifier: what is trained.
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
    """
    checkpoint = run_dir / _CHECKPOINT
    history = _restore(classifier, checkpoint) if resume else History()
    began = (time.perf_counter() if started is None else started) - history.elapsed_seconds
    written = -math.inf
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
            row = _train_epoch(
                *(classifier, train_batches(epoch), validation_batches(), epoch, score, bar)
            )
            row = replace(row, elapsed_seconds=time.perf_counter() - began)
            history.epochs.append(row)
            if history.best is row:
                _save_model(classifier.model, run_dir / "best.keras")
            now = time.perf_counter()
            is_last = epoch == epochs - 1 or bool(stop and stop(history))
            if is_last or now - written > _SECONDS_BETWEEN_CHECKPOINTS:
                _save_model(classifier.model, run_dir / "last.keras")
                _write_checkpoint(classifier, history, checkpoint)
                written = now
            history.write(run_dir / "metrics.csv")
            tqdm.write(_line(row, epochs, score_name))
    return history


def compiled(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """A model's inference, of batches of one array, of any size."""
    spec = tf.TensorSpec([None, *model.input_shape[1:]], model.input_dtype)
    forward = tf.function(lambda inputs: model(inputs, training=False), input_signature=[spec])
    return lambda inputs: forward(inputs).numpy().astype(np.float32, copy=False)


def _train_epoch(classifier, batches, validation, epoch: int, score: Score, bar: tqdm) -> Epoch:
    started = time.perf_counter()
    loss_sum, num_correct, num_clips, num_frames, waited = 0.0, 0, 0, 0, 0.0
    asked = started
    for inputs, labels in batches:
        waited += time.perf_counter() - asked
        loss, correct = classifier.train_batch(inputs, labels)
        num_clips += len(labels)
        loss_sum += loss * len(labels)
        num_correct += correct
        num_frames += _num_frames(inputs)
        bar.update(len(labels))
        bar.set_postfix_str(f"epoch {epoch + 1}, loss {loss_sum / num_clips:.3f}", refresh=False)
        asked = time.perf_counter()
    seconds = time.perf_counter() - started
    probabilities, labels = classifier.predict(validation, on_batch=bar.update)
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


def _num_frames(inputs) -> int:
    """Frames in a batch, padding not counted; a picture is one."""
    return int(inputs["num_frames"].numpy().sum()) if isinstance(inputs, dict) else len(inputs)


def _line(row: Epoch, epochs: int, score_name: str) -> str:
    score = "" if score_name == "accuracy" else f" {score_name} {row.validation_score:.3f}"
    return (
        f"epoch {row.epoch:>{len(str(epochs))}}/{epochs}  "
        f"train loss {row.train_loss:.3f} accuracy {row.train_accuracy:.3f}  "
        f"validation loss {row.validation_loss:.3f} accuracy {row.validation_accuracy:.3f}"
        f"{score}  {row.seconds:.1f} s  {row.frames_per_second:,.0f} frames/s  "
        f"{row.data_wait_share:.0%} waiting for data"
    )


def _any_batch(tensor: tf.Tensor) -> tf.TensorSpec:
    """As many clips and frames as there are, the rest as it came."""
    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)


def _save_model(model: keras.Model, path: Path) -> None:
    partial = path.with_name(f".partial-{path.name}")
    model.save(partial)
    partial.replace(path)


def _write_checkpoint(classifier: Classifier, history: History, path: Path) -> None:
    """Array by array, for all together may be gigabytes; under its name when it is complete."""
    rows = np.array([[getattr(row, f.name) for f in fields(Epoch)] for row in history.epochs])
    partial = path.with_name(f".partial-{path.name}")
    try:
        with zipfile.ZipFile(partial, "w") as archive:
            _add_array(archive, "epochs", rows)
            for i, variable in enumerate(classifier.variables):
                _add_array(archive, f"variable_{i}", variable.numpy())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _add_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def _restore(classifier: Classifier, path: Path) -> History:
    """Load the checkpoint's variables; an empty history where there is none."""
    if not path.exists():
        return History()
    with np.load(path, allow_pickle=False) as saved:
        for i, variable in enumerate(classifier.variables):
            variable.assign(saved[f"variable_{i}"])
        return History([Epoch(int(row[0]), *map(float, row[1:])) for row in saved["epochs"]])
