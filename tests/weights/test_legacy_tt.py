"""The published TT_RNN code's weights: a layer given them must do what that code did with them.

The reference is the oracle's second path: the original's own order of work on the flat kernel.
"""

import math

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_check import CELLS, KINDS, LAYERS, inputs, parts

from ttrnn import TTDense
from weights import load_legacy_tt
from weights.legacy_tt import cores_from_flat, flat_from_cores

IN_MODES, OUT_MODES, RANKS = (2, 3, 4), (2, 1, 3), (1, 2, 3, 1)
UNITS = 6


def gated(kind):
    return (oracle.GATES[kind] * OUT_MODES[0], *OUT_MODES[1:])


def legacy_weights(kind, seed=0):
    """[kernel, bias, recurrent] as get_weights() of the published layers gave them."""
    rng, columns = np.random.default_rng(seed), oracle.GATES[kind] * UNITS
    length = oracle.num_params(IN_MODES, gated(kind), RANKS)
    shapes = (length,), (columns,), (UNITS, columns)
    return [(0.5 * rng.standard_normal(shape)).astype("float32") for shape in shapes]


def built(kind, **options):
    if kind != "rnn":
        options["recurrent_activation"] = "keras2_hard_sigmoid"
    layer = LAYERS[kind](IN_MODES, OUT_MODES, RANKS, **options)
    layer.build((None, None, 24))
    return layer


def original_layer(kind, x, kernel, bias, recurrent):
    """The published forward pass: its own matmul order, Keras 2's hard sigmoid."""
    kernel, bias, recurrent = (np.asarray(a, "float64") for a in (kernel, bias, recurrent))
    projected = oracle.original_matmul(x.reshape(-1, 24), kernel, IN_MODES, gated(kind), RANKS)
    projected = projected.reshape(*x.shape[:2], -1) + bias
    gates = oracle.keras2_hard_sigmoid
    return oracle.recur(kind, projected, recurrent, recurrent_activation=gates)[0][:, -1]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4).flatmap(lambda d: st.tuples(*[st.tuples(*[st.integers(1, 4)] * 3)] * d)))
def test_flat_storage_is_the_originals(sizes):
    """Through the original's own order of work: red if cores are stored first to last."""
    in_modes, out_modes, ranks = zip(*sizes, strict=True)
    ranks = (1, *ranks[1:], 1)
    cores = oracle.random_cores(np.random.default_rng(0), in_modes, out_modes, ranks)
    flat = flat_from_cores(cores)
    x = np.random.default_rng(1).standard_normal((3, math.prod(in_modes)))
    np.testing.assert_allclose(
        oracle.original_matmul(x, flat, in_modes, out_modes, ranks),
        x @ oracle.kernel_by_definition(cores),
        atol=1e-11,
    )
    again = cores_from_flat(flat, [core.shape for core in cores])
    for core, other in zip(cores, again, strict=True):
        np.testing.assert_array_equal(core, other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("as_cell", [False, True])
def test_a_loaded_layer_does_what_the_published_one_did(kind, as_cell):
    """Red for the first core first, a core transposed, or Keras 3's hard sigmoid."""
    arrays, layer, x = legacy_weights(kind), built(kind), 2 * inputs(4, 5, 24)
    load_legacy_tt(layer.cell if as_cell else layer, arrays)
    expected = original_layer(kind, x.astype("float64"), *arrays)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_into_a_dense_layer():
    rng, x = np.random.default_rng(0), inputs(4, 24)
    kernel = rng.standard_normal(oracle.num_params(IN_MODES, OUT_MODES, RANKS))
    bias = rng.standard_normal(UNITS)
    layer = TTDense(IN_MODES, OUT_MODES, RANKS)
    layer.build((None, 24))
    load_legacy_tt(layer, [kernel, bias])
    expected = oracle.original_matmul(x, kernel, IN_MODES, OUT_MODES, RANKS) + bias
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_bias(kind):
    kernel, bias, recurrent = legacy_weights(kind)
    layer, x = built(kind, use_bias=False), inputs(4, 5, 24)
    load_legacy_tt(layer, [kernel, recurrent])
    expected = original_layer(kind, x.astype("float64"), kernel, 0 * bias, recurrent)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_a_bias_that_was_added_twice():
    """Trap 7: two early commits' GRU added its bias twice, so theirs counts double today."""
    kernel, bias, recurrent = legacy_weights("gru")
    layer, x = built("gru"), inputs(4, 5, 24)
    load_legacy_tt(layer, [kernel, bias, recurrent], bias_added_twice=True)
    expected = original_layer("gru", x.astype("float64"), kernel, 2 * bias, recurrent)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


BAD = {
    "bias last, as Keras has it": (lambda k, b, r: [k, r, b], "order"),
    "kernel too short": (lambda k, b, r: [k[:-1], b, r], "Received"),
    "kernel of another rank": (lambda k, b, r: [np.resize(k, 2 * len(k)), b, r], "Received"),
    "kernel not flat": (lambda k, b, r: [k[None], b, r], "Received"),
    "bias of one gate": (lambda k, b, r: [k, b[: UNITS - 1], r], "Received"),
    "recurrent transposed": (lambda k, b, r: [k, b, r.T[:, :-1]], "Received"),
    "the output layer too": (lambda k, b, r: [k, b, r, b], "4"),
    "two arrays": (lambda k, b, r: [k, b], "2"),
    "not a number": (lambda k, b, r: [k, b * np.nan, r], "NaN"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", BAD)
def test_wrong_arrays_are_told_and_change_nothing(kind, case):
    make, message = BAD[case]
    layer = built(kind)
    before = [np.asarray(v) for v in parts(layer)]
    with pytest.raises(ValueError, match=message):
        load_legacy_tt(layer, make(*legacy_weights(kind)))
    for old, variable in zip(before, parts(layer), strict=True):
        np.testing.assert_array_equal(old, variable)


@pytest.mark.parametrize("classes", [LAYERS, CELLS])
def test_a_layer_that_is_not_built_is_told(classes):
    with pytest.raises(ValueError, match="build"):
        load_legacy_tt(classes["gru"](IN_MODES, OUT_MODES, RANKS), legacy_weights("gru"))


def test_gru_weights_are_not_an_lstms():
    with pytest.raises(ValueError, match="Received"):
        load_legacy_tt(built("lstm"), legacy_weights("gru"))
