"""A learning rate for each layer, against Adam written in NumPy and against Keras's AdamW."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from experiments.training.finetuning import ScaledAdamW, freeze, rate_multipliers
from experiments.training.loop import Classifier
from experiments.training.optimizers import cosine_schedule

RATE, DECAY, STEPS = 0.1, 0.05, 5
MULTIPLIERS = (1.0, 0.5, 0.01)


def gradients(step):
    rng = np.random.default_rng(step)
    return [rng.normal(size=(2, 3)) * scale for scale in (1, 100, 0.01)]


def numpy_adamw(weight, of_step, rates):
    """Kingma and Ba 2015, algorithm 1, with its section's `epsilon hat`; Loshchilov and Hutter's
    weight decay, times the rate."""
    mean, square = np.zeros_like(weight), np.zeros_like(weight)
    for step, rate in enumerate(rates, 1):
        gradient = of_step(step)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        size = np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weight = weight - rate * DECAY * weight
        weight = weight - rate * size * mean / (np.sqrt(square) + 1e-7)
    return weight


def stepped(optimizer, weights, steps):
    @tf.function
    def step(*values):
        optimizer.apply(list(values), weights)

    for number in steps:
        step(*(tf.constant(value, weights[0].dtype) for value in gradients(number)))


@pytest.mark.parametrize("schedule", [False, True])
def test_each_weight_has_its_rate(schedule):
    """Red when gradients are scaled instead of updates, weight decay is not scaled, or a schedule
    is not followed. Of float64, in which Keras's 0.999 is float32's."""
    start = np.random.default_rng(9).normal(size=(3, 2, 3))
    weights = [keras.Variable(value) for value in start]
    rate = cosine_schedule(RATE, STEPS, warmup_share=0.4) if schedule else RATE
    optimizer = ScaledAdamW(rate, MULTIPLIERS, weight_decay=DECAY)
    optimizer.build(weights)
    stepped(optimizer, weights, range(1, STEPS + 1))
    rates = [float(rate(step)) if schedule else RATE for step in range(STEPS)]
    for place, multiplier in enumerate(MULTIPLIERS):
        expected = numpy_adamw(
            start[place],
            lambda step, place=place: gradients(step)[place],
            [multiplier * value for value in rates],
        )
        np.testing.assert_allclose(weights[place].numpy(), expected, rtol=1e-5, atol=1e-5)


def test_equal_rates_are_kerass_adamw():
    """Red when anything but the rate differs, to the last bit, clipping and state among it."""
    start = np.random.default_rng(9).normal(size=(3, 2, 3))
    results = []
    for optimizer in (
        ScaledAdamW(RATE, (1.0, 1.0, 1.0), weight_decay=DECAY, global_clipnorm=0.5),
        keras.optimizers.AdamW(RATE, weight_decay=DECAY, global_clipnorm=0.5),
    ):
        weights = [keras.Variable(value, dtype="float32") for value in start]
        optimizer.build(weights)
        stepped(optimizer, weights, range(1, STEPS + 1))
        results.append([v.numpy() for v in (*weights, *optimizer.variables)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_resumed_optimizer_goes_on():
    """Red when something of the state is not among its variables."""
    start = np.random.default_rng(9).normal(size=(3, 2, 3))

    def made():
        weights = [keras.Variable(value) for value in start]
        optimizer = ScaledAdamW(
            cosine_schedule(RATE, STEPS, warmup_share=0.2), MULTIPLIERS, weight_decay=DECAY
        )
        optimizer.build(weights)
        return optimizer, weights

    whole, whole_weights = made()
    stepped(whole, whole_weights, range(1, STEPS + 1))
    first, first_weights = made()
    stepped(first, first_weights, range(1, 3))
    second, second_weights = made()
    kept = [v.numpy() for v in (*first_weights, *first.variables)]
    for variable, value in zip((*second_weights, *second.variables), kept, strict=True):
        variable.assign(value)
    stepped(second, second_weights, range(3, STEPS + 1))
    for one, other in zip(whole_weights, second_weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def by_layer(model, decay):
    """The multiplier of each layer with weights that are trained."""
    multipliers = rate_multipliers(model, decay)
    named = {}
    for weight, multiplier in zip(model.trainable_variables, multipliers, strict=True):
        named.setdefault(weight.path.split("/")[0], set()).add(multiplier)
    return {name: found.pop() for name, found in named.items() if len(found) == 1}


def test_rates_fall_from_the_head(small_model):
    """Red when the embedding counts as a block, or the norm is not the head's."""
    expected = {"embed": 1 / 16, "blocks_0": 1 / 8, "blocks_1": 1 / 4, "blocks_2": 1 / 2}
    assert by_layer(small_model(), 0.5) == {**expected, "norm": 1, "head": 1}


def test_frozen_layers_have_none(small_model):
    """Red when the groups are counted without the frozen ones."""
    model = small_model()
    freeze(model, 2)
    assert by_layer(model, 0.5) == {"blocks_2": 1 / 2, "norm": 1, "head": 1}


@pytest.mark.usefixtures("uncompiled")
def test_a_classifier_trains_with_it(small_model, clips):
    """Red when the embedding moves as far as the head: Adam's first
    step is the learning rate, whatever the gradient."""
    model = small_model()
    before = {weight.path: weight.numpy() for weight in model.trainable_variables}
    optimizer = ScaledAdamW(1e-3, rate_multipliers(model, 0.1))
    Classifier(model, optimizer).train_batch(*clips)
    steps = {
        weight.path: np.abs(weight.numpy() - before[weight.path]).max()
        for weight in model.trainable_variables
    }
    assert steps["head/kernel"] == pytest.approx(1e-3, rel=0.01)
    assert steps["blocks_1/fc1/kernel"] == pytest.approx(1e-5, rel=0.01)
    assert steps["embed/cls_token"] == pytest.approx(1e-7, rel=0.1)


def test_layers_frozen_later_are_refused(small_model):
    """Red when the multipliers shift to other weights in silence."""
    model = small_model()
    optimizer = ScaledAdamW(1e-3, rate_multipliers(model, 0.5))
    freeze(model, "head")
    with pytest.raises(ValueError, match="freeze layers first"):
        Classifier(model, optimizer)


@pytest.mark.parametrize("wrong", [0.0, -0.5, 1.01])
def test_a_decay_out_of_range_is_refused(wrong, small_model):
    with pytest.raises(ValueError, match="Received"):
        rate_multipliers(small_model(), wrong)
