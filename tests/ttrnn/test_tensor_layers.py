"""TensorDense, TensorSimpleRNN, TensorGRU, TensorLSTM with every format, beside Keras's layers."""

import warnings

import format_oracle
import keras
import numpy as np
import pytest
import tensorflow as tf
from format_oracle import NAMES, matrix_by_definition
from layer_check import KINDS, gradients, inputs, run_layer_test

import ttrnn
from ttrnn.engine import recurrence
from ttrnn.engine.contraction import Plan, all_plans

LAYERS = {"rnn": ttrnn.TensorSimpleRNN, "gru": ttrnn.TensorGRU, "lstm": ttrnn.TensorLSTM}
CELLS = {
    "rnn": ttrnn.TensorSimpleRNNCell,
    "gru": ttrnn.TensorGRUCell,
    "lstm": ttrnn.TensorLSTMCell,
}
DENSE = {"rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}
BATCH, STEPS, FEATURES, UNITS = 3, 4, 12, 8
MASK = np.array([[1, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0]], bool)
# Every format once as kernel and once as recurrent matrix; None is the dense matrix.
PAIRS = [
    ("tt", None),
    (None, "tr"),
    ("tr", "tr nodes"),
    ("tr nodes", "cp"),
    ("bt", "tucker"),
    ("tucker", "kcp"),
    ("tucker2", "bt"),
    ("cp", "tucker2"),
    ("kcp", "ht"),
    ("ht", "tt"),
]


def kernel_format(name, rank=3):
    return None if name is None else format_oracle.make(name, (3, 2, 2), (2, 2, 2), rank)


def recurrent_format(name, rank=3):
    return None if name is None else format_oracle.make(name, (2, 2, 2), (2, 2, 2), rank, seed=1)


def make(kind, kernel, recurrent, **options):
    """Build a layer with random weights, and Keras's dense layer with the same matrices."""
    layer = LAYERS[kind](
        UNITS,
        kernel_format=kernel_format(kernel),
        recurrent_format=recurrent_format(recurrent),
        **options,
    )
    layer.build((None, None, FEATURES))
    rng = np.random.default_rng(0)
    for variable in layer.trainable_variables:
        variable.assign(0.7 * rng.standard_normal(variable.shape))
    fixed = {"reset_after": False} if kind == "gru" else {}
    dense = DENSE[kind](UNITS, **fixed, **options)
    dense.build((None, None, FEATURES))
    dense.set_weights([*matrices(layer), np.asarray(layer.cell.bias)])
    return layer, dense


def matrices(layer):
    """Kernel and recurrent matrix of a layer by the definition of their formats."""
    cell = layer.cell
    found = [matrix_by_definition(cell.gated_kernel_format, [np.asarray(c) for c in cell.cores])]
    if cell.gated_recurrent_format is None:
        return [*found, np.asarray(cell.recurrent_kernel)]
    cores = [np.asarray(core) for core in cell.recurrent_cores]
    return [*found, matrix_by_definition(cell.gated_recurrent_format, cores)]


def expected_gradients(layer, by_kernel, by_recurrent, by_bias):
    """Gradients of the cores from those of the dense matrices; exact, each core being linear."""
    cell, found = layer.cell, []
    pairs = [(cell.gated_kernel_format, cell.cores, by_kernel)]
    if cell.gated_recurrent_format is None:
        pairs.append((None, [cell.recurrent_kernel], by_recurrent))
    else:
        pairs.append((cell.gated_recurrent_format, cell.recurrent_cores, by_recurrent))
    for shape, variables, upstream in pairs:
        if shape is None:
            found.append(upstream)
            continue
        cores = [np.asarray(core, "float64") for core in variables]
        for k, core in enumerate(cores):
            gradient = np.empty_like(core)
            for index in np.ndindex(*core.shape):
                unit = np.zeros_like(core)
                unit[index] = 1
                slope = shape.matrix([*cores[:k], unit, *cores[k + 1 :]])
                gradient[index] = np.vdot(upstream, slope)
            found.append(gradient)
    return [*found, by_bias]


# The GRU's matrix is split, which is the hardest; one ring and one dense pair do for the others.
@pytest.mark.parametrize(
    ("kind", "kernel", "recurrent"),
    [("gru", *pair) for pair in PAIRS]
    + [(k, *pair) for k in ("rnn", "lstm") for pair in PAIRS[:2]],
)
def test_outputs_and_gradients_are_the_dense_layers(kind, kernel, recurrent):
    """On the fast path. Red for gates in another place, or a gradient that one core lacks."""
    layer, dense = make(kind, kernel, recurrent, return_sequences=True)
    assert layer.is_compiled
    x = inputs(BATCH, STEPS, FEATURES)
    np.testing.assert_allclose(layer(x), dense(x), atol=1e-5)
    probe = inputs(BATCH, STEPS, UNITS, seed=9)
    by_x, *by_weights = gradients(dense, x, dense.trainable_variables, probe=probe)
    wanted = [by_x, *expected_gradients(layer, *by_weights)]
    found = gradients(layer, x, layer.trainable_variables, probe=probe)
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4 * max(1, abs(theirs).max()))


def test_a_planned_recurrent_matrix_equals_the_dense_one(monkeypatch):
    """With its kernels multiplied one after the other in every step, which large matrices are.

    Red where the plan is made, or its gradient taken, for other gates.
    """
    chosen = []

    def stepwise(shapes, *args, **options):
        steps = max(all_plans(shapes), key=len)
        chosen.append(len(steps))
        return Plan(shapes, steps, 1, "float32", 0.0)

    monkeypatch.setattr(recurrence, "plan", stepwise)
    for kind in KINDS:
        for recurrent in ("tt", "tr", "cp", "ht"):
            layer, dense = make(kind, "cp", recurrent, recurrent_dropout=0.0)
            x, mask = inputs(BATCH, STEPS, FEATURES), tf.constant(MASK)
            np.testing.assert_allclose(layer(x, mask=mask), dense(x, mask=mask), atol=1e-5)
            probe = inputs(BATCH, UNITS, seed=9)
            by_x, *by_weights = gradients(
                dense, x, dense.trainable_variables, probe=probe, mask=mask
            )
            wanted = [by_x, *expected_gradients(layer, *by_weights)]
            found = gradients(layer, x, layer.trainable_variables, probe=probe, mask=mask)
            for mine, theirs in zip(found, wanted, strict=True):
                scale = max(1, abs(theirs).max())
                np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4 * scale)
    assert min(chosen) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_masks_states_and_directions_are_keras_own(kind):
    """Beside keras.layers.RNN over the layer's cell, which has no fast path."""
    options = {"return_sequences": True, "return_state": True, "go_backwards": True}
    layer, _ = make(kind, "ht", "cp", **{"return_sequences": True})
    layer = type(layer).from_config({**layer.get_config(), **options})
    layer.build((None, None, FEATURES))
    x, mask = inputs(BATCH, STEPS, FEATURES), tf.constant(MASK)
    states = [inputs(BATCH, UNITS, seed=k) for k in range(len(layer.state_size))]
    plain = keras.layers.RNN(layer.cell, **options)
    for mine, theirs in zip(
        layer(x, mask=mask, initial_state=states),
        plain(x, mask=mask, initial_state=states),
        strict=True,
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    portable = type(layer).from_config({**layer.get_config(), "unroll": True})
    portable.build((None, STEPS, FEATURES))
    portable.set_weights(layer.get_weights())
    np.testing.assert_allclose(portable(x, mask=mask)[0], layer(x, mask=mask)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "kernel", "recurrent"), [("gru", "bt", "ht"), ("lstm", None, "tr")]
)
def test_layer_routine(kind, kernel, recurrent, tmp_path):
    """Config, training, saving and dtypes, as for the tensor-train layers."""
    options = {
        "units": UNITS,
        "kernel_format": kernel_format(kernel),
        "recurrent_format": recurrent_format(recurrent),
        "kernel_regularizer": keras.regularizers.L2(1e-3),
        "seed": 3,
    }
    layer = LAYERS[kind](**options)
    layer.build((None, None, FEATURES))
    weights = [tuple(variable.shape) for variable in layer.trainable_variables]
    # Formats are compared below: run_layer_test knows plain values only.
    run_layer_test(
        LAYERS[kind], options, (BATCH, STEPS, FEATURES), (BATCH, UNITS), weights, tmp_path
    )
    again = LAYERS[kind].from_config(layer.get_config())
    assert again.cell.kernel_format == options["kernel_format"]
    assert again.cell.recurrent_format == options["recurrent_format"]


def make_joint(kind, name, **options):
    """Build a layer with a joint matrix, and Keras's dense layer with its two parts."""
    joint = format_oracle.make(name, (5, 2, 2), (2, 2, 2), 3)
    layer = LAYERS[kind](UNITS, joint_format=joint, **options)
    layer.build((None, None, FEATURES))
    rng = np.random.default_rng(0)
    for variable in layer.trainable_variables:
        variable.assign(0.7 * rng.standard_normal(variable.shape))
    cores = [np.asarray(core, "float64") for core in layer.cell.cores]
    matrix = matrix_by_definition(layer.cell.gated_joint_format, cores)
    dense = DENSE[kind](UNITS, **({"reset_after": False} if kind == "gru" else {}), **options)
    dense.build((None, None, FEATURES))
    dense.set_weights([matrix[:FEATURES], matrix[FEATURES:], np.asarray(layer.cell.bias)])
    return layer, dense


@pytest.mark.parametrize(("kind", "name"), [("gru", "tr"), ("lstm", "ht"), ("rnn", "cp")])
def test_a_joint_matrix_is_that_of_inputs_and_states(kind, name):
    """Red for states before the inputs, or a gradient of one part only."""
    layer, dense = make_joint(kind, name)
    cell = layer.cell
    assert layer.is_compiled
    x, mask = inputs(BATCH, STEPS, FEATURES), tf.constant(MASK)
    np.testing.assert_allclose(layer(x, mask=mask), dense(x, mask=mask), atol=1e-5)
    portable = type(layer).from_config({**layer.get_config(), "unroll": True})
    portable.build((None, STEPS, FEATURES))
    portable.set_weights(layer.get_weights())
    np.testing.assert_allclose(portable(x, mask=mask), dense(x, mask=mask), atol=1e-5)
    probe = inputs(BATCH, UNITS, seed=9)
    by_x, by_kernel, by_recurrent, by_bias = gradients(
        dense, x, dense.trainable_variables, probe=probe
    )
    upstream = np.concatenate([by_kernel, by_recurrent])
    wanted = [by_x]
    cores = [np.asarray(core, "float64") for core in cell.cores]
    for k, core in enumerate(cores):
        gradient = np.empty_like(core)
        for index in np.ndindex(*core.shape):
            unit = np.zeros_like(core)
            unit[index] = 1
            slope = cell.gated_joint_format.matrix([*cores[:k], unit, *cores[k + 1 :]])
            gradient[index] = np.vdot(upstream, slope)
        wanted.append(gradient)
    found = gradients(layer, x, layer.trainable_variables, probe=probe)
    for mine, theirs in zip(found, [*wanted, by_bias], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4 * max(1, abs(theirs).max()))
    weights = sum(core.size for core in cores)
    assert layer.num_kernel_params == weights
    assert layer.count_params() == weights + cell.bias.shape[0]
    assert layer.compression.layer == pytest.approx(dense.count_params() / layer.count_params())


def test_a_layer_with_a_joint_matrix_is_saved(tmp_path):
    layer, _ = make_joint("gru", "tt")
    x = inputs(BATCH, STEPS, FEATURES)
    model = keras.Sequential([keras.Input((None, FEATURES)), layer])
    expected = model(x)
    model.save(tmp_path / "joint.keras")
    again = keras.saving.load_model(tmp_path / "joint.keras")
    np.testing.assert_array_equal(again(x), expected)
    assert again.layers[-1].cell.joint_format == layer.cell.joint_format
    modes = {"tt_input_shape": (3, 4), "tt_output_shape": (4, 2), "tt_ranks": 2}
    assert "joint_format" not in ttrnn.TTGRU(**modes).get_config()


def test_a_tensor_train_layer_may_have_a_recurrent_format_too():
    """Its config, which saved files hold, names the format only where there is one."""
    modes = {"tt_input_shape": (3, 4), "tt_output_shape": (4, 2), "tt_ranks": 2}
    assert "recurrent_format" not in ttrnn.TTGRU(**modes).get_config()
    layer = ttrnn.TTGRU(**modes, recurrent_format=recurrent_format("ht"))
    again = ttrnn.TTGRU.from_config(layer.get_config())
    assert again.cell.recurrent_format == layer.cell.recurrent_format
    assert not {"kernel_format", "units"} & layer.get_config().keys()


@pytest.mark.parametrize("name", ["tr", None])
def test_dense_layer_routine(name, tmp_path):
    options = {
        "units": UNITS,
        "kernel_format": kernel_format(name),
        "activation": "softsign",
        "bias_initializer": "random_normal",
    }
    layer = ttrnn.TensorDense(**options)
    layer.build((None, FEATURES))
    weights = [tuple(variable.shape) for variable in layer.trainable_variables]
    run_layer_test(
        ttrnn.TensorDense,
        options,
        (BATCH, STEPS, FEATURES),
        (BATCH, STEPS, UNITS),
        weights,
        tmp_path,
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_dense_layer_equals_keras_dense(name):
    layer = ttrnn.TensorDense(UNITS, kernel_format(name), activation="tanh")
    layer.build((None, FEATURES))
    rng = np.random.default_rng(0)
    for variable in layer.trainable_variables:
        variable.assign(rng.standard_normal(variable.shape))
    dense = keras.layers.Dense(UNITS, activation="tanh")
    dense.build((None, FEATURES))
    cores = [np.asarray(core, "float64") for core in layer.cores]
    dense.set_weights([matrix_by_definition(layer.kernel_format, cores), layer.bias.numpy()])
    x = inputs(5, FEATURES)
    np.testing.assert_allclose(layer(x), dense(x), atol=1e-5)
    assert layer.num_kernel_params == sum(core.size for core in cores)
    assert sum(plan.steps[-1].size_out for plan in layer.plans()) % UNITS == 0


def test_a_dense_default_is_drawn_as_keras_does():
    """Red where the variance rule of the formats draws a dense kernel, or moves the seeds."""
    seeded = keras.initializers.GlorotUniform(3)
    layer = ttrnn.TensorLSTM(
        UNITS,
        kernel_initializer=seeded,
        recurrent_initializer=keras.initializers.Orthogonal(seed=4),
    )
    dense = keras.layers.LSTM(
        UNITS,
        kernel_initializer=keras.initializers.GlorotUniform(3),
        recurrent_initializer=keras.initializers.Orthogonal(seed=4),
    )
    for one in (layer, dense):
        one.build((None, None, FEATURES))
    for mine, theirs in zip(layer.get_weights(), dense.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_dropout_and_a_short_training():
    """The loss falls with both dropouts, compiled; masks are drawn anew for every batch."""
    keras.utils.set_random_seed(0)
    x = inputs(16, STEPS, FEATURES)
    layer = ttrnn.TensorGRU(
        UNITS,
        kernel_format=kernel_format("tr"),
        recurrent_format=recurrent_format("cp"),
        dropout=0.1,
        recurrent_dropout=0.1,
        seed=1,
    )
    model = keras.Sequential([layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.03), "mse")
    losses = model.fit(x, x[:, -1, :1], epochs=12, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_format": ttrnn.CP((4, 3), (3, 4), 2)}, "output_modes of kernel_format"),
        ({"recurrent_format": ttrnn.CP((4, 3), (2, 4), 2)}, "input_modes of recurrent_format"),
        ({"kernel_format": "tt"}, "make_format"),
        ({"joint_format": ttrnn.CP((4, 5), (3, 4), 2)}, "output_modes of joint_format"),
        (
            {"joint_format": ttrnn.CP((4, 5), (4, 2), 2), "kernel_format": kernel_format("cp")},
            "both matrices in one",
        ),
    ],
)
def test_formats_that_do_not_fit_are_told(options, message):
    for make_one in (*LAYERS.values(), *CELLS.values()):
        with pytest.raises(ValueError, match=message):
            make_one(UNITS, **options)
    layer = ttrnn.TensorGRU(UNITS, kernel_format=ttrnn.CP((4, 5), (4, 2), 2))
    with pytest.raises(ValueError, match="must equal the feature size 12"):
        layer.build((None, None, FEATURES))
    layer = ttrnn.TensorGRU(UNITS, joint_format=ttrnn.CP((4, 3), (4, 2), 2))
    with pytest.raises(ValueError, match="must multiply to 20, for 12 features and 8 units"):
        layer.build((None, None, FEATURES))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ttrnn.TensorGRU(UNITS, kernel_format=kernel_format("cp")).build((None, None, FEATURES))
