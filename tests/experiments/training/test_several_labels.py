"""Clips of several classes in the step: loss, gradient, and clips that do not count."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf

from experiments.runs.metrics import mean_average_precision
from experiments.training.loop import Classifier, _validate, run_epoch
from preprocess.batches.planning import PlannedBatch

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(6, 3)).astype(np.float32)
LABELS = np.array([[1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0], [0, 0, 1, 0]] * 2, np.int32)[:6]
KERNEL = RNG.normal(size=(3, 4)).astype(np.float32)


def classifier() -> Classifier:
    """A linear classifier with sigmoids and a known kernel, trained by plain descent."""
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, activation="sigmoid", use_bias=False)]
    )
    model.layers[0].set_weights([KERNEL])
    return Classifier(model, keras.optimizers.SGD(0.5))


def probabilities() -> np.ndarray:
    return 1 / (1 + np.exp(-INPUTS.astype(np.float64) @ KERNEL))


def test_the_step_descends_the_mean_of_the_binary_cross_entropies() -> None:
    """Red when the loss is a softmax's, is summed over the classes, or takes one label a clip."""
    trained = classifier()
    step = trained.train_replica_shards(((tf.constant(INPUTS), tf.constant(LABELS)),))
    p = probabilities()
    loss = -np.where(LABELS > 0, np.log(p), np.log(1 - p)).mean()
    np.testing.assert_allclose(step.loss, loss, rtol=1e-5)
    gradient = INPUTS.T @ (p - LABELS) / LABELS.size
    np.testing.assert_allclose(
        trained.model.layers[0].get_weights()[0], KERNEL - 0.5 * gradient, rtol=1e-4
    )
    assert step.num_correct == LABELS[np.arange(6), p.argmax(axis=1)].sum()
    assert step.num_clips == 6


def test_clips_that_only_fill_a_batch_do_not_count() -> None:
    """Red when a replica's idle clip is trained as one of no class."""
    plain, filled = classifier(), classifier()
    idle = PlannedBatch(np.array([0])).as_idle().labels(LABELS)
    assert idle.tolist() == [[-1] * 4]
    plain.train_batch(tf.constant(INPUTS), tf.constant(LABELS))
    filled.train_batch(
        tf.constant(np.concatenate([INPUTS, 9 * np.ones((1, 3), np.float32)])),
        tf.constant(np.concatenate([LABELS, idle])),
    )
    np.testing.assert_allclose(
        plain.model.layers[0].get_weights()[0],
        filled.model.layers[0].get_weights()[0],
        rtol=1e-5,
    )


def test_workers_exchange_all_labels() -> None:
    """Red when a worker sends one label a clip, or idle clips are validated."""
    trained = classifier()
    labels = np.concatenate([LABELS, [[-1] * 4]]).astype(np.int32)
    inputs = np.concatenate([INPUTS, INPUTS[:1]])
    trained.distribution = SimpleNamespace(  # type: ignore[assignment]
        joined=lambda rows: np.concatenate([rows, rows])  # as from two workers
    )
    batches = [(tf.constant(inputs), tf.constant(labels))]
    found, joined = _validate(trained, batches, lambda num_clips: None)
    np.testing.assert_array_equal(joined, np.concatenate([LABELS, LABELS]))
    np.testing.assert_allclose(found, np.tile(probabilities(), (2, 1)), rtol=1e-5)


def test_an_epoch_is_scored_by_its_mean_average_precision() -> None:
    """Red when the validation takes the labels for class indices."""
    trained = classifier()
    batch = (tf.constant(INPUTS), tf.constant(LABELS))
    row = run_epoch(trained, 0, [batch], lambda: [batch], began=0.0, score=mean_average_precision)
    p = trained.model(INPUTS).numpy().astype(np.float64)
    assert row.validation_score == mean_average_precision(p, LABELS)
    expected = -np.where(LABELS > 0, np.log(p), np.log(1 - p)).mean()
    np.testing.assert_allclose(row.validation_loss, expected, rtol=1e-5)
    assert row.validation_accuracy == LABELS[np.arange(6), p.argmax(axis=1)].mean()
