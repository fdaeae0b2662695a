"""The training loop and its step: epochs, batches, gradients, metrics, resuming, progress.

A run that is killed and resumed ends with the same numbers as one that was not: every epoch's
batches follow from (seed, epoch) alone, and the checkpoint holds all the rest.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from experiments.runs.metrics import argmax_accuracy, cross_entropy
from experiments.training.checkpoints import CheckpointWriter, restore
from experiments.training.history import Epoch, History, NextRate, Stop

if TYPE_CHECKING:
    from experiments.training.distribution import Distribution
    from experiments.training.finetuning import Mixup

Score = Callable[[np.ndarray, np.ndarray], float]
"""Function of probabilities (N, classes) and labels, (N,) or (N, classes); higher is better."""
Result = TypeVar("Result")


def train_and_test(
    classifier: Classifier,
    train_batches: Callable[[int], Iterable[Any]],
    validation_batches: Callable[[], Iterable[Any]],
    test: Callable[[History], Result],
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
    on_epoch: Callable[[History], None] | None = None,
) -> Result | None:
    """Train epoch by epoch, keeping the best and the last model, then test.

    Args:
        classifier: model and optimizer; if distributed, only the chief writes anything.
        train_batches: batches of epoch e (from 0), the same each time it is called.
        validation_batches: batches to evaluate on after each epoch.
        test: called with all epochs once training has ended; returns the result of the run.
        epochs: number of epochs in all, those before a resumption included.
        clips_per_epoch: training and validation clips together, for the progress bar.
        run_dir: takes metrics.csv, best.keras, last.keras and checkpoint.npz.
        resume: continue from the checkpoint, if there is one.
        started: `time.perf_counter()` at the start of this part of the run; None for now.
        score: scores the validation clips; the best epoch is the one with the highest score.
        score_name: name of the score, shown beside the accuracy unless it is "accuracy".
        unit: unit of the progress bar.
        stop: called after each epoch; True ends the training. None for never.
        next_rate: learning rate of the next epoch; None leaves it to the optimizer's schedule.
        on_epoch: called with all epochs so far after each that was written.

    Returns:
        What `test` returns; None in a worker that is not the chief.

    Raises:
        RunError: if the checkpoint is damaged, or another worker has ended or would resume from
            another epoch.
    """
    distribution = classifier.distribution
    # Every worker reads the checkpoint that the chief wrote into the shared directory. A worker
    # with an older view of that directory would train on other batches than the rest.
    history = restore(classifier.variables, run_dir) if resume else History()
    if distribution is not None:
        distribution.require_same(f"{len(history.epochs)} epochs", "checkpoint to go on from")
    is_chief = distribution is None or distribution.is_chief
    # Moved back by the time of the earlier parts, so that wall times add up over resumptions.
    began = (time.perf_counter() if started is None else started) - history.elapsed_seconds
    writer = CheckpointWriter(classifier.model, classifier.variables, run_dir)
    with tqdm(
        total=epochs * clips_per_epoch,
        initial=len(history.epochs) * clips_per_epoch,
        unit=unit,
        desc="training",
        smoothing=0.05,
        # A log file gets a line every 30 seconds instead of thousands.
        mininterval=0.1 if sys.stderr.isatty() else 30,
    ) as bar:
        for epoch in range(len(history.epochs), epochs):
            # Asked before the epoch: a run that is resumed after its last epoch must not train on.
            if stop and history.epochs and stop(history):
                tqdm.write(f"Stopped after epoch {epoch}: no better since {history.best.epoch}.")
                break
            # Computed from the epochs so far, hence the same after a resumption. The first epoch
            # keeps the rate that the optimizer was built with.
            if next_rate and history.epochs:
                classifier.set_learning_rate(next_rate(history))
            with distribution.explain_failures() if distribution else nullcontext():
                row = run_epoch(
                    classifier,
                    epoch,
                    train_batches(epoch),
                    validation_batches,
                    began=began,
                    score=score,
                    on_clips=bar.update,
                    on_loss=partial(_show_loss, bar, epoch),
                )
            history.epochs.append(row)
            if is_chief:
                # The weights of the last epoch are always written, however soon they follow others.
                is_last = epoch == epochs - 1 or bool(stop and stop(history))
                writer.write(history, is_last=is_last)
                if on_epoch:
                    on_epoch(history)
                tqdm.write(_line(row, epochs, score_name))
    return test(history) if is_chief else None


def _show_loss(bar: tqdm, epoch: int, loss: float) -> None:
    bar.set_postfix_str(f"epoch {epoch + 1}, loss {loss:.3f}", refresh=False)


def run_epoch(
    classifier: Classifier,
    epoch: int,
    batches: Iterable[Any],
    validation_batches: Callable[[], Iterable[Any]],
    *,
    began: float,
    score: Score = argmax_accuracy,
    on_clips: Callable[[int], Any] = lambda num_clips: None,
    on_loss: Callable[[float], Any] = lambda loss: None,
) -> Epoch:
    """Train one epoch and validate.

    Args:
        classifier: model and optimizer.
        epoch: number of the epoch, from 0.
        batches: its training batches.
        validation_batches: makes the batches to evaluate on.
        began: `time.perf_counter()` when the training began.
        score: scores the validation clips.
        on_clips: called with the number of clips of each batch, trained on or validated.
        on_loss: called after each step with the mean loss of the epoch so far.
    """
    totals = _Totals(time.perf_counter())
    for batch in totals.timed(batches):
        # A distributed batch is a tuple of parts already, one for each replica here.
        is_dealt = classifier.distribution is not None
        step = classifier.train_replica_shards(batch if is_dealt else (batch,))
        del batch  # its memory takes the next one
        totals.add(step)
        on_clips(step.num_clips)
        on_loss(totals.loss)
    # Before the validation: speeds and waiting times are those of training alone.
    totals.seconds = time.perf_counter() - totals.started
    probabilities, labels = _validate(classifier, validation_batches(), on_clips)
    assert classifier.optimizer is not None
    return Epoch(
        epoch=epoch + 1,
        learning_rate=float(classifier.optimizer.learning_rate),
        train_loss=totals.loss,
        train_accuracy=totals.num_correct / totals.num_clips,
        validation_loss=cross_entropy(probabilities, labels),
        validation_accuracy=argmax_accuracy(probabilities, labels),
        validation_score=score(probabilities, labels),
        seconds=totals.seconds,
        frames_per_second=totals.num_frames / totals.seconds,
        data_wait_share=totals.wait_seconds / totals.seconds,
        elapsed_seconds=time.perf_counter() - began,
    )


@dataclass
class _Totals:
    """Sums over the steps of one epoch.

    Args:
        started: `time.perf_counter()` when the epoch began.
    """

    started: float
    loss_sum: float = 0.0
    num_correct: int = 0
    num_clips: int = 0
    num_frames: int = 0
    wait_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def loss(self) -> float:
        """Mean loss of the clips so far."""
        return self.loss_sum / self.num_clips

    def timed(self, batches: Iterable[Any]) -> Iterable[Any]:
        """Yield the batches, adding up the time that is spent waiting for each."""
        # From the start of the epoch: making the iterator counts, too, for it waits for the first
        # batch.
        asked = self.started
        for batch in batches:
            self.wait_seconds += time.perf_counter() - asked
            yield batch
            del batch  # its memory takes the next one
            asked = time.perf_counter()

    def add(self, step: Step) -> None:
        """Add the figures of one step."""
        self.num_clips += step.num_clips
        # Batches differ in size; weighted by clips, the mean is that over all clips.
        self.loss_sum += step.loss * step.num_clips
        self.num_correct += step.num_correct
        self.num_frames += step.num_frames


def _validate(
    classifier: Classifier, batches: Iterable[Any], on_clips: Callable[[int], Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Predict all validation clips, in all processes together.

    Returns:
        Probabilities, float32 (num_clips, classes), and labels, (num_clips,) or (num_clips,
        classes), the same in each process.
    """
    if classifier.distribution is None:
        return classifier.predict(batches, on_batch=on_clips)
    probabilities, labels = classifier.predict(batches)
    # Clips that only fill a replica's batch have negative labels. Each row carries its label as
    # a last column, (n, classes + 1), or its labels as columns, so that one exchange is enough.
    counted = labels.reshape(len(labels), -1)[:, 0] >= 0
    num_classes = probabilities.shape[1]
    rows = np.column_stack([probabilities, labels]).astype(np.float32)[counted]
    joined = classifier.distribution.joined(rows)
    on_clips(len(joined))
    joined_labels = joined[:, num_classes:].astype(labels.dtype)
    return joined[:, :num_classes], joined_labels.reshape(-1, *labels.shape[1:])


def _line(row: Epoch, epochs: int, score_name: str) -> str:
    score = "" if score_name == "accuracy" else f" {score_name} {row.validation_score:.3f}"
    return (
        f"epoch {row.epoch:>{len(str(epochs))}}/{epochs}  "
        f"train loss {row.train_loss:.3f} accuracy {row.train_accuracy:.3f}  "
        f"validation loss {row.validation_loss:.3f} accuracy {row.validation_accuracy:.3f}"
        f"{score}  {row.seconds:.1f} s  {row.frames_per_second:,.0f} frames/s  "
        f"{row.data_wait_share:.0%} waiting for data"
    )


class Step(NamedTuple):
    """Figures of one training step, over all replicas."""

    loss: float
    """Mean loss of the clips, regularization included."""
    num_correct: int
    num_clips: int
    num_frames: int
    """Number of frames trained on, without padding; an image counts as one frame."""


class Classifier:
    """A model with its optimizer: one training step and one inference step, each compiled once.

    Labels (clips,) are the class of each clip, and the loss is the cross-entropy. Labels (clips,
    classes) say whether a clip is of each class, and the loss is the mean of the classes' binary
    cross-entropies.

    Args:
        model: maps clips, or {"frames", "num_frames"} where they vary in length, to probabilities.
        optimizer: a Keras optimizer; None for a model that only predicts.
        label_smoothing: share of the target spread over all classes, in training only.
        coupled_weight_decay: factor of each weight that is added to its gradient, as torch's
            optimizers do; Keras's own `weight_decay` does not pass through the gradient.
        mixup: mixes the clips of a batch and their targets, in training only.
        distribution: replicas of the model, which must be built in their scope; None for this
            process alone.
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
        # The default strategy has one replica: `run` just calls, and a sum over replicas is no
        # work.
        self._strategy = distribution.strategy if distribution else tf.distribute.get_strategy()
        self.optimizer = optimizer
        if optimizer is not None:
            # Now and not in the first step: a checkpoint must find the optimizer's state to
            # restore.
            optimizer.build(model.trainable_variables)
        self._num_classes = model.output_shape[-1]
        self._smoothing = label_smoothing
        self._decay = coupled_weight_decay
        self._mixup = mixup
        self._train: Callable | None = None
        self._predict: Callable | None = None

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables that training changes: weights, generator states, optimizer state."""
        others = [part.variables for part in (self.optimizer, self._mixup) if part is not None]
        return [*self.model.variables, *itertools.chain(*others)]

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate from the next step on; the optimizer must have no schedule."""
        assert self.optimizer is not None
        self.optimizer.learning_rate = rate

    def train_batch(self, inputs, labels) -> tuple[float, int]:
        """Train on one batch, in this process alone.

        Returns:
            The mean loss, and the number of clips classified correctly: whose most probable class
            is theirs, or one of theirs. The correct class of a mixed clip is that of its larger
            part.

        Raises:
            InputError: with mixup, if the clips are not equally long.
        """
        step = self.train_replica_shards(((inputs, labels),))
        return step.loss, step.num_correct

    def train_replica_shards(self, replica_shards: tuple[tuple[Any, tf.Tensor], ...]) -> Step:
        """Train on the parts of one batch, one part for each replica of this process.

        Clips with a negative label do not count.

        Raises:
            InputError: with mixup, if the clips are not equally long.
        """
        if self._mixup is not None:
            for inputs, _ in replica_shards:
                # Outside the compiled step, where the lengths are still plain numbers.
                self._mixup.check(inputs)
        if self._train is None:
            # One trace for batches of any size: without a signature TensorFlow would compile anew
            # for every number of frames.
            spec = tf.nest.map_structure(_any_batch, replica_shards)
            # No step branches on a tensor. AutoGraph would rewrite the source of all that a step
            # calls, which takes a fifth of the time of the first one.
            self._train = tf.function(self._train_step, input_signature=[spec], autograph=False)
        # The figures come as one tensor (4,), so that a step waits for a single transfer.
        loss, correct, clips, frames = self._train(replica_shards).numpy().tolist()
        return Step(loss, round(correct), round(clips), round(frames))

    def predict(self, batches: Iterable[Any], *, on_batch: Callable = lambda clips: None):
        """Predict batches in their order, those of this process only.

        Returns:
            Probabilities (N, classes) and labels, (N,) or (N, classes).
        """
        # Compiled once for batches of any size, when the first batch shows its structure.
        probabilities, labels = [], []
        for inputs, batch_labels in batches:
            if self._predict is None:
                spec = tf.nest.map_structure(_any_batch, (inputs,))
                self._predict = tf.function(
                    lambda x: self.model(x, training=False), input_signature=spec, autograph=False
                )
            probabilities.append(self._predict(inputs).numpy())
            labels.append(batch_labels.numpy())
            on_batch(len(batch_labels))
        return np.concatenate(probabilities), np.concatenate(labels)

    def _train_step(self, replica_shards):
        """Sum the gradients of all replicas, and update the weights with the sum."""
        strategy = self._strategy

        def shard_of(context) -> Any:
            # Replicas are numbered over all processes, and those of a process are neighbours: the
            # remainder is the place among the replicas here.
            return replica_shards[context.replica_id_in_sync_group % len(replica_shards)]

        dealt = replica_shards[0]
        if len(replica_shards) > 1:
            dealt = strategy.experimental_distribute_values_from_function(shard_of)
        # Every replica returns the same sums, so that the first one here speaks for all.
        sums = strategy.run(self._gradients, args=(dealt,))
        *gradients, figures = [strategy.experimental_local_results(value)[0] for value in sums]
        weights = self.model.trainable_variables
        # Added once, after the sum: inside the replicas it would count as often as there are
        # replicas.
        if self._decay:
            pairs = zip(gradients, weights, strict=True)
            gradients = [gradient + self._decay * weight for gradient, weight in pairs]
        assert self.optimizer is not None
        # The optimizer sees the gradient of the whole batch, so that clipping by the global norm
        # does not depend on the number of replicas.
        self.optimizer.apply(gradients, weights)
        return figures

    def _gradients(self, shard):
        """Return gradients and figures of one replica's part of a batch, summed over all replicas.

        With n clips in the whole batch, a replica's loss is the sum over its clips divided by n.
        The sum over replicas is then the mean over the batch, however unequal the parts are.

        Args:
            shard: inputs, and labels, (clips,) or (clips, classes), negative for clips that do not
                count.

        Returns:
            A gradient for each trainable weight, then the figures of `Step` as float32 (4,).
        """
        inputs, labels = shard
        add = tf.distribute.get_replica_context().all_reduce
        # 1 for a clip that counts and 0 for one that only fills this replica's batch, (clips,).
        counted = tf.cast(_counted(labels), tf.float32)
        num_here = tf.reduce_sum(counted)
        num_clips = add(tf.distribute.ReduceOp.SUM, num_here)
        has_several = labels.shape.rank == 2
        # A negative label becomes a row of zeros, (clips, classes).
        if has_several:
            targets = tf.cast(tf.maximum(labels, 0), tf.float32)
        else:
            targets = tf.one_hot(labels, self._num_classes)
        if self._mixup is not None:
            inputs, targets = self._mixup(inputs, targets)
            # The class of a mixed clip's larger part is the one that counts as correct.
            if not has_several:
                labels = tf.argmax(targets, axis=-1, output_type=labels.dtype)
        with tf.GradientTape() as tape:
            probabilities = self.model(inputs, training=True)
            loss_of = (
                keras.losses.binary_crossentropy
                if has_several
                else keras.losses.categorical_crossentropy
            )
            losses = loss_of(targets, probabilities, label_smoothing=self._smoothing)  # (clips,)
            # The divisor is the number of clips on all replicas, not only here.
            loss = tf.reduce_sum(losses * tf.cast(counted, losses.dtype)) / num_clips
            # Regularization is the same on every replica. Weighted by its part of the clips, it
            # enters the summed loss exactly once.
            if self.model.losses:
                loss += tf.add_n(self.model.losses) * num_here / num_clips
        gradients = tape.gradient(
            loss,
            self.model.trainable_variables,
            # A clip without frames of some kind leaves its layers out; all_reduce takes no None.
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        predicted = tf.argmax(probabilities, axis=-1, output_type=labels.dtype)
        if has_several:
            is_right = tf.gather(targets, predicted, batch_dims=1) >= 0.5
        else:
            is_right = predicted == labels
        num_right = tf.reduce_sum(tf.cast(is_right, tf.float32) * counted)
        num_frames = tf.cast(_num_frames(inputs, labels), tf.float32)
        # Summed over the replicas like the gradients: the loss is divided by all clips already.
        figures = tf.stack([tf.cast(loss, tf.float32), num_right, num_here, num_frames])
        return add(tf.distribute.ReduceOp.SUM, [*map(tf.convert_to_tensor, gradients), figures])


def compiled(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Compile a model's inference for batches of any size.

    Args:
        model: takes one array.

    Returns:
        Function from an array to the model's float32 output.
    """
    spec = tf.TensorSpec([None, *model.input_shape[1:]], model.input_dtype)
    forward = tf.function(
        lambda inputs: model(inputs, training=False), input_signature=[spec], autograph=False
    )
    return lambda inputs: forward(inputs).numpy().astype(np.float32, copy=False)


def _num_frames(inputs, labels) -> tf.Tensor:
    """Number of frames in a batch, without padding; an image counts as one frame."""
    if isinstance(inputs, dict):
        return tf.reduce_sum(inputs["num_frames"] * tf.cast(_counted(labels), tf.int32))
    return tf.reduce_sum(tf.cast(_counted(labels), tf.int32))


def _counted(labels: tf.Tensor) -> tf.Tensor:
    """Whether each clip counts: clips that only fill a replica's batch have negative labels."""
    return (labels if labels.shape.rank == 1 else labels[:, 0]) >= 0


def _any_batch(tensor: tf.Tensor) -> tf.TensorSpec:
    """Spec of a tensor with any length of the first axis, to avoid retracing."""
    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)
