"""The search for a learning rate: curves with a known answer, and a classifier left as it was."""

import io
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from experiments.training.finetuning import Mixup
from experiments.training.loop import Classifier
from experiments.training.optimizers import cosine_schedule
from experiments.training.rate_finder import find_rate, rate_finder_png


class Stand:
    """In place of a classifier: a loss that is a function of the rate."""

    variables = ()

    def __init__(self, loss):
        self.loss = loss
        self.rates = []

    def set_learning_rate(self, rate):
        self.rates.append(rate)

    def train_batch(self, inputs, labels):
        return self.loss(self.rates[-1]), 0


def no_clips(epoch):
    return [(None, None)] * 3


def falling(rate, middle=1e-3, steepness=2.0):
    """From 2.2 to 0.2, steepest where the rate is `middle`."""
    return 0.2 + 2 / (1 + (rate / middle) ** steepness)


@pytest.mark.parametrize("middle", [1e-4, 1e-3, 1e-2])
def test_the_steepest_point_is_found(middle):
    """Red when smoothing moves the curve to the right, the slope is taken by rate and not by its
    logarithm, or the lowest point is suggested."""
    noise = np.random.default_rng(0).normal(0, 0.02, 1000)
    numbers = itertools.count()
    stand = Stand(lambda rate: falling(rate, middle) + noise[next(numbers)])
    curve = find_rate(stand, no_clips)
    assert curve.suggested == pytest.approx(middle, rel=0.5)
    assert not curve.diverged
    np.testing.assert_allclose(stand.rates, np.logspace(-7, 0, 100))
    np.testing.assert_allclose(curve.rates, stand.rates)


def test_it_stops_where_the_loss_diverges():
    """Red when it goes on to no purpose, or the huge last loss hides the fall before it."""
    stand = Stand(lambda rate: falling(rate) if rate < 0.05 else 1000.0)
    curve = find_rate(stand, no_clips)
    assert curve.diverged
    assert max(stand.rates) < 0.1
    assert curve.suggested == pytest.approx(1e-3, rel=0.5)


def test_a_loss_of_nan_ends_it():
    """Red when NaN gets into the curve: then nothing is suggested."""
    curve = find_rate(Stand(lambda rate: falling(rate) if rate < 0.05 else np.nan), no_clips)
    assert curve.diverged
    assert np.isfinite(curve.losses).all()
    assert len(curve.rates) == len(curve.losses) == len(curve.smoothed)
    assert curve.suggested == pytest.approx(1e-3, rel=0.5)


@pytest.mark.parametrize("loss", [lambda rate: 1.0, lambda rate: 1.0 + rate])
def test_where_nothing_falls_nothing_is_suggested(loss):
    """Red when some rate is suggested whatever the curve."""
    curve = find_rate(Stand(loss), no_clips)
    assert curve.suggested is None
    assert "suggests none" in str(curve)


@pytest.mark.parametrize("seed", range(5))
def test_noise_suggests_nothing(seed):
    """Red when the chance fall of a few batches is taken for learning."""
    rng = np.random.default_rng(seed)
    assert find_rate(Stand(lambda rate: 1.5 + rng.normal(0, 0.15)), no_clips).suggested is None


def test_a_loss_that_is_never_finite_is_told():
    with pytest.raises(ValueError, match="must be finite"):
        find_rate(Stand(lambda rate: np.nan), no_clips)


def epochs(clips):
    """Epochs of two batches."""
    return lambda epoch: tf.data.Dataset.from_tensor_slices(clips).batch(6)


def classifier(rate=1e-3):
    """With a generator, moving statistics and, in the optimizer, moments."""
    keras.utils.set_random_seed(0)
    frames = keras.Input((2, 16, 16, 3), dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(frames))
    x = keras.layers.Dropout(0.5, seed=3)(keras.layers.BatchNormalization()(x))
    model = keras.Model(frames, keras.layers.Dense(3, "softmax")(x))
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-2)
    return Classifier(model, optimizer, mixup=Mixup(0.5, seed=1))


def test_the_classifier_is_left_as_it_was(clips):
    """Red when a weight, a moment, the rate, the step or a generator is not restored: two that
    went the same way before must go the same way after."""
    tried, other = classifier(), classifier()
    assert tried.train_batch(*clips) == other.train_batch(*clips)
    before = [np.array(variable.numpy()) for variable in tried.variables]
    curve = find_rate(tried, epochs(clips), lowest=1e-6, highest=1.0, num_steps=30)
    assert curve.losses.std() > 0
    for variable, value in zip(tried.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    for _ in range(3):
        assert tried.train_batch(*clips) == other.train_batch(*clips)


def test_it_is_left_as_it_was_when_it_fails_too(clips):
    """Red when a search that is stopped leaves a spoilt model."""
    tried = classifier()
    before = [np.array(variable.numpy()) for variable in tried.variables]

    def stopped(epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return epochs(clips)(epoch)

    with pytest.raises(KeyboardInterrupt):
        find_rate(tried, stopped, lowest=1e-2, num_steps=20)
    for variable, value in zip(tried.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_a_schedule_is_refused(clips):
    """Red when the rates are set in vain, and the curve is the schedule's."""
    with pytest.raises(ValueError, match="without a schedule"):
        find_rate(classifier(cosine_schedule(1e-3, 10, warmup_share=0.0)), epochs(clips))


@pytest.mark.parametrize(
    "wrong", [{"lowest": 0.0}, {"lowest": 2.0}, {"num_steps": 9}, {"smoothing": 1.0}]
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="Received"):
        find_rate(Stand(falling), no_clips, **wrong)


def test_the_picture_has_its_size():
    curve = find_rate(Stand(falling), no_clips)
    assert Image.open(io.BytesIO(rate_finder_png(curve))).size == (1200, 600)
