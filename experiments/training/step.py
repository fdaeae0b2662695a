"""A model with its optimizer: steps of training and of evaluation, on one or several replicas."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from experiments.training.distribution import Distribution
    from experiments.training.finetuning.mixup import Mixup


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
            InputError: with mixup, if the clips are not equally long.
        """
        step = self.train_parts(((inputs, labels),))
        return step.loss, step.num_correct

    def train_parts(self, parts: tuple[tuple[Any, tf.Tensor], ...]) -> Step:
        """One step on the parts of a batch, one for each replica of this process.

        Clips with a negative label do not count.

        Raises:
            InputError: with mixup, if the clips are not equally long.
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


def compiled(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """A model's inference, of batches of one array, of any size."""
    spec = tf.TensorSpec([None, *model.input_shape[1:]], model.input_dtype)
    forward = tf.function(lambda inputs: model(inputs, training=False), input_signature=[spec])
    return lambda inputs: forward(inputs).numpy().astype(np.float32, copy=False)


def _num_frames(inputs, labels) -> tf.Tensor:
    """Frames in a batch, padding not counted; a picture is one."""
    if isinstance(inputs, dict):
        return tf.reduce_sum(inputs["num_frames"] * tf.cast(labels >= 0, tf.int32))
    return tf.reduce_sum(tf.cast(labels >= 0, tf.int32))


def _any_batch(tensor: tf.Tensor) -> tf.TensorSpec:
    """As many clips and frames as there are, the rest as it came."""
    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)
