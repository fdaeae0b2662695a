"""The compiled layers beside keras.layers.RNN over the same cell: outputs, states, gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_check import FEATURES, KINDS, LAYERS, MODES, UNITS, inputs

from tests.grids import pairwise
from ttrnn.engine.compiled import _to_bfloat16
from ttrnn.engine.packing import pack_mask

BATCH, STEPS = 4, 6
MASKS = {
    "none": None,
    "gaps": np.array(
        [[1, 0, 1, 1, 0, 1], [0, 1, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]], bool
    ),
    "end": np.arange(STEPS) < np.array([[2], [6], [1], [4]]),
    "nothing": np.zeros((BATCH, STEPS), bool),
}
SWITCHES = ("go_backwards", "return_sequences", "return_state", "stateful")


def results(layer, x, mask, states, weights):
    """Everything a call gives, and the gradients of all of it, twice (the states are carried)."""
    found = []
    for _ in range(2 if layer.stateful else 1):
        with tf.GradientTape() as tape:
            tape.watch([x, *states])
            outputs = layer(x, mask=mask, training=True, initial_state=states or None)
            outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
            loss = sum(
                tf.reduce_sum(tf.cast(y, "float32") ** 2 * (k + 1)) for k, y in enumerate(outputs)
            )
        gradients = tape.gradient(
            loss, [x, *states, *weights], unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        found += [*outputs, *gradients]
    return [np.asarray(tf.cast(tensor, "float32")) for tensor in found]


def fixed_dropout(layer, mask):
    """Let the cell drop the same units whoever asks: both layers share the cell."""
    layer.cell.get_recurrent_dropout_mask = lambda _: mask


@pytest.mark.parametrize(
    ("kind", "mask", "dropout", *SWITCHES),
    pairwise(KINDS, [*MASKS], [0.0, 0.5], *([False, True] for _ in SWITCHES)),
)
def test_equal_to_the_plain_path(
    kind, mask, dropout, go_backwards, return_sequences, return_state, stateful
):
    """Red for a state taken from the wrong step, a mask that leaks, a gradient that misses the
    dropout mask, a carried state put out before the first valid step."""
    values = (go_backwards, return_sequences, return_state, stateful)
    options = dict(zip(SWITCHES, values, strict=True))
    check(kind, MASKS[mask], options, dropout, "float32", 1e-5)


@pytest.mark.parametrize(("kind", "mask", "go_backwards"), pairwise(KINDS, [*MASKS], [False, True]))
def test_equal_in_bfloat16(kind, mask, go_backwards):
    """Outputs and states as the plain path's to 1.5e-2 in norm, for each rounds by itself.

    Its gradients are themselves 1 to 3 % off, for it rounds every intermediate result: ours must
    come as near to float32's.

    Red when a sum over steps or rows is rounded on the way.
    """
    options = {"go_backwards": go_backwards, "return_sequences": True, "return_state": True}
    mine, plain = both(kind, MASKS[mask], options, 0.5, "mixed_bfloat16")
    _, exact = both(kind, MASKS[mask], options, 0.5, "float32")
    num_outputs = 3 if kind == "lstm" else 2
    for k, (here, there, true) in enumerate(zip(mine, plain, exact, strict=True)):
        if k < num_outputs:
            assert np.linalg.norm(here - there) <= 1.5e-2 * max(1.0, np.linalg.norm(there))
        error, plain_error = (np.linalg.norm(each - true) for each in (here, there))
        assert error <= max(2 * plain_error, 1e-2 * np.linalg.norm(true))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask", ["gaps", "end"])
def test_equal_with_zeros_for_masked_steps(kind, mask):
    options = {"zero_output_for_mask": True, "return_sequences": True, "return_state": True}
    check(kind, MASKS[mask], options, 0.0, "float32", 1e-5)


def check(kind, mask, options, dropout, policy, tolerance):
    mine, theirs = both(kind, mask, options, dropout, policy)
    assert len(mine) == len(theirs)
    for here, there in zip(mine, theirs, strict=True):
        scale = max(1.0, np.abs(there).max())
        np.testing.assert_allclose(here, there, rtol=0, atol=tolerance * scale)


def both(kind, mask, options, dropout, policy):
    """The results of the compiled layer and of the plain one, of the same weights."""
    shape = (BATCH, STEPS, FEATURES)
    layer = LAYERS[kind](**MODES, recurrent_dropout=dropout, dtype=policy, **options)
    layer.build(shape)
    rng = np.random.default_rng(3)
    for weight in layer.trainable_weights:
        weight.assign(0.5 * rng.standard_normal(weight.shape))
    plain = keras.layers.RNN(layer.cell, dtype=policy, **options)
    plain.build(shape)
    assert layer.is_compiled
    if dropout:
        drawn = rng.integers(0, 2, (BATCH, UNITS)) / (1 - dropout)
        fixed_dropout(layer, tf.constant(drawn, layer.compute_dtype))
    x = tf.constant(inputs(*shape))
    num_states = 2 if kind == "lstm" else 1
    states = [] if layer.stateful else [
        tf.constant(inputs(BATCH, UNITS, seed=5 + k)) for k in range(num_states)
    ]  # fmt: skip
    weights = [weight.value for weight in layer.trainable_weights]
    return [results(each, x, mask, states, weights) for each in (layer, plain)]


@pytest.mark.parametrize("kind", KINDS)
def test_other_activations_take_the_plain_path(kind):
    """Red when the derivative of softmax is taken element by element."""
    layer = LAYERS[kind](**MODES, activation="softmax")
    assert not layer.is_compiled
    x = tf.constant(inputs(2, 3, FEATURES))
    np.testing.assert_allclose(layer(x), keras.layers.RNN(layer.cell)(x), atol=1e-6)


@st.composite
def masks(draw):
    """1 to 5 sequences of 1 to 5 steps."""
    steps = draw(st.integers(1, 5))
    row = st.lists(st.booleans(), min_size=steps, max_size=steps)
    return np.array(draw(st.lists(row, min_size=1, max_size=5)))


@settings(max_examples=50, deadline=None)
@given(masks(), st.booleans())
def test_packing_keeps_every_valid_step_once_and_in_order(mask, go_backwards):
    """Red when a sequence's steps change their order, or blocks grow."""
    masked = pack_mask(tf.constant(mask), go_backwards=go_backwards)
    rows, packing = masked.rows.numpy(), masked.packing
    sequences, steps = np.divmod(rows, mask.shape[1])
    for sequence, valid in enumerate(mask):
        expected = np.flatnonzero(valid)
        mine = steps[sequences == sequence]
        np.testing.assert_array_equal(mine, expected[::-1] if go_backwards else expected)
    active = packing.num_active.numpy()
    assert active.sum() == mask.sum() == len(rows)
    assert (np.diff(active) <= 0).all()
    np.testing.assert_array_equal(packing.sequence, sequences)
    ends = packing.last.numpy() - len(mask)  # below zero: the initial state
    for sequence, end in enumerate(ends):
        if mask[sequence].any():
            assert sequences[end] == sequence
            assert steps[end] == np.flatnonzero(mask[sequence])[0 if go_backwards else -1]
        else:
            assert end < 0


def test_values_are_rounded_to_the_nearest_bfloat16():
    """Red when bits are cut off, or a negative value is rounded the other way."""
    rng = np.random.default_rng(0)
    x = np.append(rng.standard_normal(1000) * 10.0 ** rng.integers(-6, 6, 1000), [0, 1, -1, 255])
    x = x.astype(np.float32)
    found = np.asarray(tf.cast(tf.function(_to_bfloat16, jit_compile=True)(x), "float32"))
    # bfloat16 has 8 significant bits: the nearest is half a unit of the eighth away at most.
    assert (np.abs(found - x) <= 2.0 ** (np.floor(np.log2(np.abs(x) + 1e-30)) - 8)).all()
    np.testing.assert_array_equal(found[-4:], x[-4:])
