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
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from experiments.distribution import saved_alone
from experiments.history import Epoch, History
from experiments.metrics import argmax_accuracy
from experiments.run_directory import replacing

if TYPE_CHECKING:
    from experiments.distribution import Distribution
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


class Step(NamedTuple):
    """What came of one step of training, over all replicas."""

    loss: float
    """Mean of the clips."""
    num_correct: int
    num_clips: int
    num_frames: int
    """Padding not counted; a picture is one."""


class Classifier:
    """A model with its optimizer: one step of training, one of evaluation, both compiled once.

    Args:
        model: clips, or {"frames", "num_frames"} where they vary in length, to probabilities.
        optimizer: a Keras optimizer; None for a model that only predicts.
        label_smoothing: share of the target spread over all classes, in training only.
        coupled_weight_decay: times each weight, added to its gradient, as torch's optimizers do;
            Keras's own `weight_decay` is apart from the gradient.
        mixup: of the clips of a batch and their targets, in training only.
        distribution: the replicas of the model, made in their scope; None for this process alone.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.Optimizer | None = None,
        *,
        label_smoothing: float = 0.0,
        coupled_weight_decay: float = 0.0,
        mixup: Mixup | None = None,
        distribution: Distribution | None = None,
    ) -> None:
        self.model = model if distribution is None else distribution.prepare(model)
        self.distribution = distribution
        self._strategy = distribution.strategy if distribution else tf.distribute.get_strategy()
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
        """One step, in this process alone.

        Returns the mean loss and the number of clips classified right. Of a mixed clip the class of
        its larger share is the right one.

        Raises:
            ValueError: with mixup, if the clips are not equally long.
        """
        step = self.train_parts(((inputs, labels),))
        return step.loss, step.num_correct

    def train_parts(self, parts: tuple[tuple[Any, tf.Tensor], ...]) -> Step:
        """One step on the parts of a batch, one for each replica of this process.

        Clips with a negative label do not count.

        Raises:
            ValueError: with mixup, if the clips are not equally long.
        """
        if self._mixup is not None:
            for inputs, _ in parts:
                self._mixup.check(inputs)
        if self._train is None:
            spec = tf.nest.map_structure(_any_batch, parts)
            self._train = tf.function(self._train_step, input_signature=[spec])
        loss, correct, clips, frames = self._train(parts).numpy().tolist()
        return Step(loss, round(correct), round(clips), round(frames))

    def predict(self, batches: Iterable[Any], *, on_batch: Callable = lambda clips: None):
        """Probabilities (N, classes) and labels (N,), in the order of the batches.

        Of the batches of this process alone.
        """
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

    def _train_step(self, parts):
        """Sum the gradients of all replicas, and change the weights by it."""
        strategy = self._strategy

        def part_of(context) -> Any:
            return parts[context.replica_id_in_sync_group % len(parts)]

        dealt = parts[0]
        if len(parts) > 1:
            dealt = strategy.experimental_distribute_values_from_function(part_of)
        sums = strategy.run(self._gradients, args=(dealt,))
        *gradients, figures = [strategy.experimental_local_results(value)[0] for value in sums]
        weights = self.model.trainable_variables
        if self._decay:
            pairs = zip(gradients, weights, strict=True)
            gradients = [gradient + self._decay * weight for gradient, weight in pairs]
        assert self.optimizer is not None
        self.optimizer.apply(gradients, weights)
        return figures

    def _gradients(self, part):
        """Of a replica's part of the batch; summed over all replicas, as the step's figures are."""
        inputs, labels = part
        add = tf.distribute.get_replica_context().all_reduce
        counted = tf.cast(labels >= 0, tf.float32)
        num_here = tf.reduce_sum(counted)
        num_clips = add(tf.distribute.ReduceOp.SUM, num_here)
        targets = tf.one_hot(labels, self._num_classes)
        if self._mixup is not None:
            inputs, targets = self._mixup(inputs, targets)
            labels = tf.argmax(targets, axis=-1, output_type=labels.dtype)
        with tf.GradientTape() as tape:
            probabilities = self.model(inputs, training=True)
            losses = keras.losses.categorical_crossentropy(
                targets, probabilities, label_smoothing=self._smoothing
            )
            loss = tf.reduce_sum(losses * tf.cast(counted, losses.dtype)) / num_clips
            if self.model.losses:
                loss += tf.add_n(self.model.losses) * num_here / num_clips
        gradients = tape.gradient(
            *(loss, self.model.trainable_variables),
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        is_right = tf.argmax(probabilities, axis=-1, output_type=labels.dtype) == labels
        num_right = tf.reduce_sum(tf.cast(is_right, tf.float32) * counted)
        num_frames = tf.cast(_num_frames(inputs, labels), tf.float32)
        figures = tf.stack([tf.cast(loss, tf.float32), num_right, num_here, num_frames])
        return add(tf.distribute.ReduceOp.SUM, [*map(tf.convert_to_tensor, gradients), figures])


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
        RunError: if another worker is gone, or would go on from another epoch.
    """
    history = _restore(classifier, run_dir / _CHECKPOINT) if resume else History()
    distribution = classifier.distribution
    if distribution is not None:
        distribution.require_same(f"{len(history.epochs)} epochs", "checkpoint to go on from")
    began = (time.perf_counter() if started is None else started) - history.elapsed_seconds
    keeper = _Keeper(classifier, run_dir) if distribution is None or distribution.is_chief else None
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


class _Keeper:
    """Writes what an epoch leaves: models, checkpoint and metrics."""

    def __init__(self, classifier: Classifier, run_dir: Path) -> None:
        self._classifier = classifier
        self._run_dir = run_dir
        self._written = -math.inf

    def keep(self, history: History, *, is_last: bool) -> None:
        """After each epoch."""
        if history.best is history.epochs[-1]:
            self._save_model("best.keras")
        now = time.perf_counter()
        if is_last or now - self._written > _SECONDS_BETWEEN_CHECKPOINTS:
            self._save_model("last.keras")
            _write_checkpoint(self._classifier, history, self._run_dir / _CHECKPOINT)
            self._written = now
        history.write(self._run_dir / "metrics.csv")

    def _save_model(self, name: str) -> None:
        model = self._classifier.model
        with replacing(self._run_dir / name) as partial, saved_alone(model):
            model.save(partial)


def compiled(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """A model's inference, of batches of one array, of any size."""
    spec = tf.TensorSpec([None, *model.input_shape[1:]], model.input_dtype)
    forward = tf.function(lambda inputs: model(inputs, training=False), input_signature=[spec])
    return lambda inputs: forward(inputs).numpy().astype(np.float32, copy=False)


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


def _num_frames(inputs, labels) -> tf.Tensor:
    """Frames in a batch, padding not counted; a picture is one."""
    if isinstance(inputs, dict):
        return tf.reduce_sum(inputs["num_frames"] * tf.cast(labels >= 0, tf.int32))
    return tf.reduce_sum(tf.cast(labels >= 0, tf.int32))


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


def _write_checkpoint(classifier: Classifier, history: History, path: Path) -> None:
    """Array by array, for all together may be gigabytes; under its name when it is complete."""
    rows = np.array([[getattr(row, f.name) for f in fields(Epoch)] for row in history.epochs])
    with replacing(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        _add_array(archive, "epochs", rows)
        for i, variable in enumerate(classifier.variables):
            _add_array(archive, f"variable_{i}", variable.numpy())


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
