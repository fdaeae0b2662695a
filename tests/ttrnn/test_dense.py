"""TTDense against the dense product by the definition of its kernel, and keras.layers.Dense."""

import warnings

import keras
import numpy as np
import oracle
import pytest
import tensorflow as tf
from layer_check import gradients, inputs, parts, randomise, run_layer_test

from ttrnn import TTDense

SHAPES = [
    ((6,), (4,), (1, 1)),
    ((2, 3), (2, 2), (1, 3, 1)),
    ((2, 3, 4), (3, 1, 2), (1, 2, 3, 1)),
    ((2, 2, 1, 3), (1, 2, 2, 1), 2),
]


def built(shapes, **options):
    layer = TTDense(*shapes, **options)
    layer.build((None, int(np.prod(shapes[0]))))
    return layer, *randomise(layer)


@pytest.mark.parametrize("use_bias", [False, True])
def test_layer_routine(use_bias, tmp_path):
    options = {
        "tt_input_shape": (2, 3),
        "tt_output_shape": (2, 2),
        "tt_ranks": (1, 3, 1),
        "activation": "sigmoid",
        "use_bias": use_bias,
        "kernel_initializer": "he_normal",
        "bias_regularizer": keras.regularizers.L1(1e-3),
    }
    shapes = [(1, 2, 2, 3), (3, 3, 2, 1)] + [(4,)] * use_bias
    run_layer_test(TTDense, options, (5, 6), (5, 4), shapes, tmp_path)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("lead", [(1,), (7,), (2, 3), (2, 3, 2)])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_equals_the_dense_product(shapes, lead, dtype, tolerance):
    layer, cores, bias = built(shapes, activation="tanh", dtype=dtype)
    x = inputs(*lead, np.prod(shapes[0]), dtype=dtype)
    kernel = oracle.kernel_by_definition(cores)
    expected = np.tanh(x.astype("float64") @ kernel + bias)
    np.testing.assert_allclose(layer(x), expected, atol=tolerance)
    np.testing.assert_allclose(layer.full_kernel(), kernel, atol=10 * tolerance)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_are_the_dense_layers(shapes, compiled):
    """dL/dW of keras.layers.Dense, carried to the cores by the exact chain rule."""
    layer, cores, bias = built(shapes, activation="tanh", dtype="float64")
    dense = keras.layers.Dense(layer.units, activation="tanh", dtype="float64")
    x = inputs(3, np.prod(shapes[0]), dtype="float64")
    dense.build(x.shape)
    dense.set_weights([oracle.kernel_by_definition(cores), bias])
    probe = inputs(3, layer.units, seed=9, dtype="float64")
    g_x, g_kernel, g_bias = gradients(dense, x, dense.weights, probe=probe)
    expected = [g_x, *oracle.core_gradients(cores, g_kernel), g_bias]
    found = gradients(layer, x, parts(layer), probe=probe, compiled=compiled)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-11 * max(1, abs(theirs).max()))


def test_an_unknown_batch_and_an_empty_one():
    layer, cores, bias = built(SHAPES[2])
    call = tf.function(layer.__call__, input_signature=[tf.TensorSpec((None, None, 24))])
    x = inputs(2, 5, 24)
    expected = x @ oracle.kernel_by_definition(cores) + bias
    np.testing.assert_allclose(call(tf.constant(x)), expected, atol=1e-5)
    assert layer(np.zeros((0, 24), "float32")).shape == (0, 6)


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_integer_inputs_are_promoted(use_bias, dtype):
    """Red if the cores are cast to the inputs' dtype: whole numbers, nearly all of them zero."""
    x = np.random.default_rng(0).integers(0, 100, (3, 24)).astype(dtype)
    layer, cores, *bias = built(SHAPES[2], use_bias=use_bias)
    expected = x @ oracle.kernel_by_definition(cores) + (bias[0] if use_bias else 0)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-3)


def test_hands_a_mask_on():
    """As keras.layers.Dense does. Red if the padding, now the bias, is read as frames."""
    x = inputs(2, 4, 6)
    x[0, :2] = 0
    entry = keras.Input((None, 6))
    layer, *_ = built(SHAPES[1])
    model = keras.Model(entry, keras.layers.GRU(3)(layer(keras.layers.Masking()(entry))))
    padded = model.predict(x, verbose=0)
    np.testing.assert_allclose(padded[:1], model.predict(x[:1, 2:], verbose=0), atol=1e-6)


def test_counts():
    layer = TTDense((8, 20, 20, 18), (4, 4, 4, 4), 4)
    layer.build((None, 57_600))
    assert layer.num_tt_params == 2_976
    assert layer.count_params() == 2_976 + 256
    assert layer.compression.kernel == pytest.approx(14_745_600 / 2_976)
    assert layer.compression.layer == pytest.approx(14_745_856 / 3_232)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        (((2, 3), (4,), 2), ["tt_input_shape", "tt_output_shape"]),
        (((2, 3), (2, 2), (1, 2, 2, 1)), ["tt_ranks", "3"]),
        (((2, 3), (2, 2), 0), ["tt_ranks", "0"]),
        (((2, 2.5), (2, 2), 2), ["tt_input_shape", "2.5"]),
        ((6, (2, 2), 2), ["tt_input_shape", "6"]),
    ],
)
def test_wrong_modes_and_ranks_are_told(shapes, expected):
    with pytest.raises(ValueError, match="Received") as error:
        TTDense(*shapes)
    assert all(one in str(error.value) for one in expected), error.value


@pytest.mark.parametrize("build_first", [False, True])
@pytest.mark.parametrize("features", [3, 12])
def test_a_wrong_feature_size_is_told(build_first, features):
    layer = TTDense((2, 3), (2, 2), 2)
    if build_first:
        layer.build((None, 6))
    with pytest.raises(ValueError, match=str(features)):
        layer(np.zeros((4, features), "float32"))


def trained(features=24, units=12, *, activation="tanh", use_bias=True, rank=None, **options):
    """A dense layer with a bias that shows, of low rank in the modes (2, 3, 4) x (3, 2, 2)."""
    layer = keras.layers.Dense(units, activation=activation, use_bias=use_bias, **options)
    layer.build((None, features))
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((features, units))
    if rank:
        cores = oracle.random_cores(rng, (2, 3, 4), (3, 2, 2), (1, rank, rank, 1))
        kernel = oracle.kernel_by_definition(cores)
    layer.set_weights([kernel, *[rng.standard_normal(units)] * use_bias])
    return layer


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("activation", ["tanh", "softmax", None])
def test_from_dense_computes_what_the_dense_layer_does(use_bias, activation):
    """Exactly, where the kernel has the ranks. Red for a bias or an activation left behind."""
    dense = trained(activation=activation, use_bias=use_bias, rank=2)
    modes = {"tt_input_shape": (2, 3, 4), "tt_output_shape": (3, 2, 2)}
    x = inputs(5, 24)
    for bound in (
        {"tt_ranks": 2},
        {"relative_error": 1e-5},
        {"tt_ranks": 9, "relative_error": 1e-5},
    ):
        layer = TTDense.from_dense(dense, **bound, **modes)
        assert layer.tt_ranks == (1, 2, 2, 1)
        np.testing.assert_allclose(layer(x), dense(x), atol=1e-5)
        assert layer.units == dense.units
        again = TTDense.from_config(layer.get_config())
        again.build((None, 24))
        again.set_weights(layer.get_weights())
        np.testing.assert_allclose(again(x), layer(x), atol=1e-6)


@pytest.mark.parametrize("relative_error", [0.05, 0.3, 0.7])
def test_from_dense_holds_the_error(relative_error):
    """Of the full kernel, by its definition, against NumPy's norm."""
    dense = trained()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = TTDense.from_dense(dense, relative_error=relative_error)
    kernel = np.asarray(dense.kernel)
    cores = [np.asarray(core, "float64") for core in parts(layer)[:-1]]
    error = np.linalg.norm(oracle.kernel_by_definition(cores) - kernel)
    assert 0 < error <= relative_error * np.linalg.norm(kernel)
    assert layer.tt_ranks == (1, *(core.shape[3] for core in cores))


def test_from_dense_warns_where_it_grows():
    """A kernel of full rank, kept exactly, has more weights as a tensor train."""
    dense = trained()
    with pytest.warns(UserWarning, match="more weights than the kernel of dense"):
        layer = TTDense.from_dense(dense, relative_error=0)
    assert layer.num_tt_params > 24 * 12
    np.testing.assert_allclose(layer(inputs(5, 24)), dense(inputs(5, 24)), atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        TTDense.from_dense(dense, 2)


@pytest.mark.parametrize(
    ("features", "units", "modes"),
    [
        (256, 64, ((4, 4, 4, 4), (2, 2, 4, 4))),
        (57600, 256, ((15, 15, 16, 16), (4, 4, 4, 4))),
        (24, 12, ((2, 3, 4), (2, 2, 3))),
        (97, 10, ((1, 97), (2, 5))),
    ],
)
def test_from_dense_chooses_modes(features, units, modes):
    dense = keras.layers.Dense(units)
    dense.build((None, features))
    dense.set_weights([np.zeros((features, units)), np.zeros(units)])
    shape = TTDense.from_dense(dense, 1).tt_shape
    assert (shape.input_modes, shape.output_modes) == modes


def test_from_dense_takes_other_arguments():
    dense = trained(dtype="mixed_bfloat16", activity_regularizer=keras.regularizers.L2(0.1))
    layer = TTDense.from_dense(
        dense, 2, name="small", kernel_regularizer="l2", tt_input_shape=(4, 6)
    )
    assert (layer.name, layer.tt_shape.output_modes) == ("small", (3, 4))
    assert layer.dtype_policy.name == "mixed_bfloat16"
    assert layer.activity_regularizer is dense.activity_regularizer
    assert layer.kernel_regularizer.l2 == pytest.approx(0.01)
    dense.trainable = False
    assert not TTDense.from_dense(dense, 2).trainable


def not_finite():
    layer = trained()
    layer.kernel.assign(np.full(layer.kernel.shape, np.nan))
    return layer


def quantized():
    layer = trained()
    layer.quantize("int8")
    return layer


@pytest.mark.parametrize(
    ("layer", "bound", "message"),
    [
        (keras.layers.Dense(4), {"tt_ranks": 2}, "needs a built keras.layers.Dense"),
        (keras.layers.ReLU(), {"tt_ranks": 2}, "needs a built keras.layers.Dense"),
        (trained(), {}, "Give tt_ranks or relative_error"),
        (trained(), {"tt_ranks": 0.1}, "give relative_error=0.1"),
        (trained(), {"tt_ranks": 0}, "positive integers"),
        (trained(), {"tt_ranks": 2, "tt_input_shape": (5, 5)}, "choose modes for that shape"),
        (not_finite(), {"tt_ranks": 2}, "finite numbers"),
        (quantized(), {"tt_ranks": 2}, "quantized to int8"),
    ],
)
def test_from_dense_refuses(layer, bound, message):
    with pytest.raises(ValueError, match=message):
        TTDense.from_dense(layer, **bound)
