"""TTSimpleRNN, TTGRU, TTLSTM against the NumPy oracle and against Keras's own dense layers."""

import keras
import numpy as np
import oracle
import pytest
import tensorflow as tf
from layer_check import (
    CELLS,
    FEATURES,
    KINDS,
    LAYERS,
    MODES,
    UNITS,
    dense_twin,
    gradients,
    inputs,
    make,
    parts,
    randomise,
    run_layer_test,
)

from tests.grids import pairwise, slow
from weights import load_legacy_tt

BATCH, STEPS = 3, 5
MASKS = {
    "none": None,
    "front": np.array([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]], bool),
    "end": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], bool),
    "gaps": np.array([[1, 0, 1, 1, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]], bool),
}
# (modes in, modes out, ranks): 1 to 4 modes, unequal ranks, ones among the modes
TT_SHAPES = [
    ((6,), (4,), (1, 1)),
    ((2, 3), (3, 2), (1, 4, 1)),
    ((2, 3, 4), (2, 1, 3), (1, 2, 3, 1)),
    ((2, 2, 1, 3), (1, 2, 2, 1), (1, 2, 4, 2, 1)),
]


def num_gates(kind):
    return oracle.GATES[kind]


def weight_shapes(kind):
    (m0, m1), (n0, n1), (_, r, _) = MODES.values()
    gates = num_gates(kind)
    cores = [(1, m0, gates * n0, r), (r, m1, n1, 1)]
    return [*cores, (UNITS, gates * UNITS), (gates * UNITS,)]


@pytest.mark.parametrize(
    ("kind", "return_sequences"),
    [*((kind, kind == "gru") for kind in KINDS), *slow(*((kind, kind != "gru") for kind in KINDS))],
)
def test_layer_routine(kind, return_sequences, tmp_path):
    options = {
        **MODES,
        "return_sequences": return_sequences,
        "activation": "softsign",
        "bias_initializer": "random_normal",
        "kernel_regularizer": keras.regularizers.L2(1e-3),
        "recurrent_constraint": keras.constraints.MaxNorm(2.0),
        "dropout": 0.0,
        "recurrent_dropout": 0.0,
        "seed": 3,
    }
    shape = (BATCH, STEPS, UNITS) if return_sequences else (BATCH, UNITS)
    run_layer_test(
        LAYERS[kind], options, (BATCH, STEPS, FEATURES), shape, weight_shapes(kind), tmp_path
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [LAYERS, CELLS])
def test_the_config_holds_every_argument(kind, classes):
    """Those of Keras's dense cell too, which the signature need not name. Red for a lost seed."""
    given = {
        "activation": "softsign",
        "use_bias": False,
        "kernel_initializer": "he_uniform",
        "recurrent_initializer": "glorot_normal",
        "bias_initializer": "ones",
        "kernel_regularizer": "l1",
        "recurrent_regularizer": "l2",
        "bias_regularizer": "l1",
        "kernel_constraint": "non_neg",
        "recurrent_constraint": "unit_norm",
        "bias_constraint": "max_norm",
        "dropout": 0.1,
        "recurrent_dropout": 0.2,
        "seed": 5,
    }
    if kind != "rnn":
        given["recurrent_activation"] = "hard_sigmoid"
    if kind == "lstm":
        given["unit_forget_bias"] = False
    if classes is LAYERS:
        names = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll")
        given |= dict.fromkeys(names, True)
    config = classes[kind](**MODES, **given).get_config()
    for name, value in given.items():
        kept = config[name]
        if isinstance(kept, dict):  # Keras's serialized form of "he_uniform": HeUniform
            kept = kept["class_name"].lower()
            value = value.replace("_", "")
        assert kept == value, name
    again = classes[kind].from_config(config)
    assert again.get_config() == config


# ---------------------------------------------------------------- forward


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shapes", TT_SHAPES)
def test_forward_equals_the_oracle_at_many_shapes(kind, shapes):
    modes = dict(zip(MODES, shapes, strict=True))
    x = inputs(2, 3, np.prod(shapes[0]))
    layer, *weights = make(kind, x.shape, modes=modes, return_sequences=True)
    sequence, _ = oracle.forward(kind, x.astype("float64"), *weights)
    np.testing.assert_allclose(layer(x), sequence, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "mask", "go_backwards", "dtype"),
    pairwise(KINDS, [*MASKS], [False, True], ["float32", "float64"]),
)
def test_forward_equals_the_oracle(kind, mask, go_backwards, dtype):
    """Sequence, last output and last states, under every kind of mask, in both directions."""
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
    x, mask = inputs(BATCH, STEPS, FEATURES, dtype=dtype), MASKS[mask]
    options = {"go_backwards": go_backwards, "return_state": True, "dtype": dtype}
    layer, *weights = make(kind, return_sequences=True, **options)
    expected, states = oracle.forward(
        kind, x.astype("float64"), *weights, mask=mask, go_backwards=go_backwards
    )
    sequence, *last = layer(x, mask=mask)
    np.testing.assert_allclose(sequence, expected, atol=tolerance)
    assert len(last) == len(states)
    for state, expected_state in zip(last, states, strict=True):
        np.testing.assert_allclose(state, expected_state, atol=tolerance)

    only_last, *_ = _same_weights(layer, kind, **options)(x, mask=mask)
    np.testing.assert_allclose(only_last, expected[:, -1], atol=tolerance)


def _same_weights(layer, kind, **options):
    twin = LAYERS[kind](**MODES, **options)
    twin.build((BATCH, STEPS, FEATURES))
    twin.set_weights(layer.get_weights())
    return twin


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_the_keras2_hard_sigmoid_reaches_the_gates(kind):
    """Wide weights, so that gates saturate: there the 0.2 and the 1/6 slopes differ most."""
    x = 3 * inputs(BATCH, STEPS, FEATURES)
    layer, *weights = make(kind, recurrent_activation="keras2_hard_sigmoid", activation="softsign")
    sequence, _ = oracle.forward(
        kind,
        x.astype("float64"),
        *weights,
        activation=lambda v: v / (1 + abs(v)),
        recurrent_activation=oracle.keras2_hard_sigmoid,
    )
    np.testing.assert_allclose(layer(x), sequence[:, -1], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_keras_3s(kind):
    layer = LAYERS[kind](**MODES)
    dense = {"rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}
    ours, theirs = layer.get_config(), dense[kind](UNITS).get_config()
    for name in ("activation", "recurrent_activation", "use_bias", "dropout", "recurrent_dropout"):
        if name in theirs:
            assert ours[name] == theirs[name], name
    layer.build((None, None, FEATURES))
    bias = np.asarray(layer.cell.bias)
    expected = np.repeat([0, 1, 0, 0], UNITS) if kind == "lstm" else np.zeros_like(bias)
    np.testing.assert_array_equal(bias, expected)
    recurrent = np.asarray(layer.cell.recurrent_kernel)
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(UNITS), atol=1e-5)


def test_unit_forget_bias_can_be_off():
    layer = LAYERS["lstm"](**MODES, unit_forget_bias=False)
    layer.build((None, None, FEATURES))
    np.testing.assert_array_equal(layer.cell.bias, np.zeros(4 * UNITS))


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_bias(kind):
    x = inputs(BATCH, STEPS, FEATURES)
    layer, cores, recurrent = make(kind, use_bias=False)
    assert len(layer.trainable_weights) == 3
    sequence, _ = oracle.forward(kind, x.astype("float64"), cores, recurrent)
    np.testing.assert_allclose(layer(x), sequence[:, -1], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("go_backwards", [False, True])
def test_one_step_one_clip(kind, go_backwards):
    """Sizes of 1, where a squeeze or a loop that runs once too often shows."""
    x = inputs(1, 1, FEATURES)
    layer, *weights = make(kind, x.shape, return_sequences=True, go_backwards=go_backwards)
    np.testing.assert_allclose(
        layer(x), oracle.forward(kind, x.astype("float64"), *weights)[0], atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_initial_state(kind):
    x = inputs(BATCH, STEPS, FEATURES)
    layer, *weights = make(kind)
    states = [inputs(BATCH, UNITS, seed=7 + k) for k in range(2 if kind == "lstm" else 1)]
    sequence, _ = oracle.forward(kind, x.astype("float64"), *weights, initial_state=states)
    np.testing.assert_allclose(layer(x, initial_state=states), sequence[:, -1], atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "use_bias", "dtype"), pairwise(KINDS, [False, True], ["int8", "uint8", "int32"])
)
def test_integer_frames(kind, use_bias, dtype):
    """The published inputs are int8 (trap 5). Red if the cores are cast to the inputs' dtype."""
    x = np.random.default_rng(0).integers(0, 100, (2, 3, FEATURES)).astype(dtype)
    layer, *_ = make(kind, x.shape, use_bias=use_bias)
    expected = layer(x.astype("float32"))
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask", MASKS)
def test_unrolled(kind, mask):
    x, mask = inputs(BATCH, STEPS, FEATURES), MASKS[mask]
    layer, *weights = make(kind, unroll=True, return_sequences=True)
    sequence, _ = oracle.forward(kind, x.astype("float64"), *weights, mask=mask)
    np.testing.assert_allclose(layer(x, mask=mask), sequence, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_zero_output_for_mask(kind):
    """Masked steps put out zeros, and the state underneath is carried all the same."""
    x, mask = inputs(BATCH, STEPS, FEATURES), MASKS["gaps"]
    layer, *weights = make(kind, zero_output_for_mask=True, return_sequences=True)
    sequence, _ = oracle.forward(kind, x.astype("float64"), *weights, mask=mask)
    np.testing.assert_allclose(layer(x, mask=mask), sequence * mask[:, :, None], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_symbolic_initial_state_survives_saving(kind, tmp_path):
    """Encoder and decoder: the states of one layer start the next."""
    entry = keras.Input((None, FEATURES))
    _, *states = LAYERS[kind](**MODES, return_state=True)(entry)
    output = LAYERS[kind](**MODES)(entry, initial_state=states)
    model, x = keras.Model(entry, output), inputs(BATCH, STEPS, FEATURES)
    encoder, decoder = model.layers[1:]
    (cores, *rest), (encoder_cores, *encoder_rest) = randomise(decoder, 1), randomise(encoder, 2)
    _, states = oracle.forward(kind, x.astype("float64"), encoder_cores, *encoder_rest)
    sequence, _ = oracle.forward(kind, x.astype("float64"), cores, *rest, initial_state=states)
    model.save(tmp_path / "pair.keras")
    for each in (model, keras.models.load_model(tmp_path / "pair.keras")):
        np.testing.assert_allclose(each(x), sequence[:, -1], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_and_of_any_length(kind):
    """Keras's symbolic call and tf.function agree with eager, at any batch and length."""
    layer, *weights = make(kind)
    entry = keras.Input((None, FEATURES))
    model = keras.Model(entry, layer(entry))
    signature = [tf.TensorSpec((None, None, FEATURES))]
    compiled = tf.function(layer.__call__, input_signature=signature)
    for batch, steps in [(3, 5), (1, 2), (4, 9)]:
        x = inputs(batch, steps, FEATURES)
        expected = oracle.forward(kind, x.astype("float64"), *weights)[0][:, -1]
        for call in (layer, model, compiled):
            np.testing.assert_allclose(call(tf.constant(x)), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_stateful(kind):
    """Two halves in turn equal the whole; reset_state() forgets."""
    x = inputs(BATCH, 6, FEATURES)
    layer, *weights = make(kind, (BATCH, 3, FEATURES), stateful=True, return_sequences=True)
    sequence, _ = oracle.forward(kind, x.astype("float64"), *weights)
    for _ in range(2):
        halves = [np.asarray(layer(x[:, :3])), np.asarray(layer(x[:, 3:]))]
        np.testing.assert_allclose(np.concatenate(halves, axis=1), sequence, atol=1e-5)
        layer.reset_state()


# ---------------------------------------------------------------- gradients


# Whether a step is compiled, of each type: eager in float64 and compiled in float32, or crosswise.
@pytest.mark.parametrize(
    "compiled",
    [{"float64": False, "float32": True}, *slow({"float64": True, "float32": False})],
)
@pytest.mark.parametrize(("kind", "go_backwards", "mask"), pairwise(KINDS, [False, True], [*MASKS]))
def test_gradients_equal_finite_differences(kind, go_backwards, mask, compiled):
    """Every weight and the input, through sequence and states at once, float64 and float32.

    Red for a term of the backward pass that is left out, or of the wrong step.
    """
    mask = MASKS[mask]
    options = {"go_backwards": go_backwards, "return_sequences": True, "return_state": True}
    layer, cores, recurrent, bias = make(kind, dtype="float64", **options)
    x = inputs(BATCH, STEPS, FEATURES, dtype="float64")
    probe = [inputs(*y.shape, seed=9 + k, dtype="float64") for k, y in enumerate(layer(x))]

    def loss(x, recurrent, bias, *cores):
        sequence, states = oracle.forward(
            kind, x, cores, recurrent, bias, mask=mask, go_backwards=go_backwards
        )
        return sum(np.vdot(p, y) for p, y in zip(probe, [sequence, *states], strict=True))

    g_x, g_recurrent, g_bias, *g_cores = oracle.numeric_gradient(loss, [x, recurrent, bias, *cores])
    expected = [g_x, *g_cores, g_recurrent, g_bias]
    single = make(kind, **options)[0]
    for twin, dtype, tolerance in [(layer, "float64", 1e-7), (single, "float32", 1e-5)]:
        call = {"probe": probe, "mask": mask, "compiled": compiled[dtype]}
        found = gradients(twin, x.astype(dtype), parts(twin), **call)
        for mine, numeric in zip(found, expected, strict=True):
            scale = max(1, np.abs(numeric).max())
            np.testing.assert_allclose(mine, numeric, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activations", [("relu", "keras2_hard_sigmoid"), ("elu", "linear")])
def test_gradients_with_other_activations(kind, activations):
    """Red for a hand-written backward pass that assumes tanh and sigmoid."""
    options = {"activation": activations[0], "dtype": "float64", "return_sequences": True}
    if kind != "rnn":
        options["recurrent_activation"] = activations[1]
    layer, cores, recurrent, bias = make(kind, **options)
    x = 0.5 * inputs(2, 4, FEATURES, dtype="float64")
    probe = inputs(2, 4, UNITS, seed=9, dtype="float64")
    functions = {
        "relu": lambda v: np.maximum(v, 0),
        "elu": lambda v: np.where(v > 0, v, np.expm1(np.minimum(v, 0))),
        "keras2_hard_sigmoid": oracle.keras2_hard_sigmoid,
        "linear": lambda v: v,
    }
    activation, recurrent_activation = (functions[name] for name in activations)

    def loss(recurrent, bias, *cores):
        return np.vdot(
            probe,
            oracle.forward(
                kind,
                x,
                cores,
                recurrent,
                bias,
                activation=activation,
                recurrent_activation=recurrent_activation,
            )[0],
        )

    g_recurrent, g_bias, *g_cores = oracle.numeric_gradient(loss, [recurrent, bias, *cores])
    found = gradients(layer, x, parts(layer), probe=probe)[1:]
    for mine, numeric in zip(found, [*g_cores, g_recurrent, g_bias], strict=True):
        np.testing.assert_allclose(mine, numeric, rtol=0, atol=1e-6 * max(1, abs(numeric).max()))


@pytest.mark.parametrize(
    ("kind", "mask", "shapes"), pairwise(KINDS, ["none", "front"], TT_SHAPES[1:])
)
def test_equal_to_the_dense_layer(kind, mask, shapes):
    """Outputs and gradients of keras.layers.SimpleRNN, GRU(reset_after=False), LSTM.

    The kernel's gradient reaches the cores by the chain rule, which is exact: W is multilinear.
    """
    modes, mask = dict(zip(MODES, shapes, strict=True)), MASKS[mask]
    x = inputs(BATCH, STEPS, np.prod(shapes[0]), dtype="float64")
    options = {"return_sequences": True, "dtype": "float64"}
    layer, *weights = make(kind, x.shape, modes=modes, **options)
    dense = dense_twin(kind, *weights, **options)
    np.testing.assert_allclose(layer(x, mask=mask), dense(x, mask=mask), atol=1e-12)

    probe = inputs(BATCH, STEPS, np.prod(shapes[1]), seed=9, dtype="float64")
    g_x, g_kernel, g_recurrent, g_bias = gradients(dense, x, dense.weights, probe=probe, mask=mask)
    expected = [g_x, *oracle.core_gradients(weights[0], g_kernel), g_recurrent, g_bias]
    found = gradients(layer, x, parts(layer), probe=probe, mask=mask)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-10 * max(1, abs(theirs).max()))


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_reaches_the_initial_state(kind):
    layer, *weights = make(kind, dtype="float64")
    x = inputs(BATCH, STEPS, FEATURES, dtype="float64")
    states = [
        inputs(BATCH, UNITS, seed=7 + k, dtype="float64") for k in range(2 if kind == "lstm" else 1)
    ]
    tensors = [tf.constant(s) for s in states]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        loss = tf.reduce_sum(layer(x, initial_state=tensors))
    expected = oracle.numeric_gradient(
        lambda *s: oracle.forward(kind, x, *weights, initial_state=list(s))[0][:, -1].sum(), states
    )
    for mine, numeric in zip(tape.gradient(loss, tensors), expected, strict=True):
        np.testing.assert_allclose(mine, numeric, atol=1e-7)


# ---------------------------------------------------------------- masks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("go_backwards", [False, True])
def test_padding_changes_nothing(kind, go_backwards):
    """A clip alone, padded at the front, at the end and in its middle: the same last state.

    Padding holds large numbers, not zeros: known by the mask, never by value.
    """
    clip = inputs(1, 4, FEATURES)
    junk = 50 * inputs(1, 6, FEATURES, seed=5)
    layer = make(kind, go_backwards=go_backwards, return_state=True)[0]
    alone = [np.asarray(y) for y in layer(clip)]
    for places in ([2, 3, 4, 5], [0, 1, 2, 3], [0, 2, 3, 5], [1, 2, 3, 4]):
        x, mask = junk.copy(), np.zeros((1, 6), bool)
        x[:, places], mask[:, places] = clip, True
        for y, expected in zip(layer(x, mask=mask), alone, strict=True):
            np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_zero_frame_is_not_padding(kind):
    """Trap 4: without a mask every step counts, an all-zero frame too."""
    x = inputs(BATCH, STEPS, FEATURES)
    x[:, 2] = 0
    layer, *weights = make(kind)
    sequence, _ = oracle.forward(kind, x.astype("float64"), *weights)
    np.testing.assert_allclose(layer(x), sequence[:, -1], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_masked_steps_get_no_gradient(kind):
    x, mask = inputs(BATCH, STEPS, FEATURES), MASKS["gaps"]
    layer = make(kind)[0]
    probe = inputs(BATCH, UNITS, seed=9)
    g_x, *_ = gradients(layer, x, parts(layer), probe=probe, mask=mask)
    assert not g_x[~mask].any()
    assert g_x[:2][mask[:2]].any(axis=-1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_masking_layer_before_and_a_dense_after(kind):
    """keras.layers.Masking hands its mask over, and a sequence hands it on."""
    x = inputs(BATCH, STEPS, FEATURES)
    x[1, :2], x[2, :4] = 0, 0
    layer, *weights = make(kind, return_sequences=True)
    entry = keras.Input((None, FEATURES))
    masked = keras.layers.Masking()(entry)
    model = keras.Model(entry, layer(masked))
    expected, _ = oracle.forward(kind, x.astype("float64"), *weights, mask=MASKS["front"])
    np.testing.assert_allclose(model(x), expected, atol=1e-5)
    assert layer.supports_masking
    assert layer.compute_mask(x, tf.constant(MASKS["front"])) is not None


# ---------------------------------------------------------------- dropout

SQUARE = {"tt_input_shape": (2, 3), "tt_output_shape": (2, 3), "tt_ranks": (1, 1, 1)}
DROPOUT_RATES = [
    {"recurrent_dropout": 0.5},
    {"dropout": 0.5},
    {"dropout": 0.5, "recurrent_dropout": 0.4},
]


def dropout_layer(kind, batch=4, *, in_keras_rnn=False, **options):
    if in_keras_rnn:
        layer = keras.layers.RNN(CELLS[kind](**SQUARE, **options), return_sequences=True)
    else:
        layer = LAYERS[kind](**SQUARE, return_sequences=True, **options)
    layer.build((batch, 3, 6))
    return layer


def seen_mask(kind, which, batch=4, **options):
    """The mask that a new layer draws on its first call, made visible in its outputs.

    Linear activations, and gates held open by the bias, leave h_t = h_{t-1} * M for "recurrent" and
    h_t = D * x for "input". Returns h over time, from h_0 = x = 1.
    """
    gates = {} if kind == "rnn" else {"recurrent_activation": "linear"}
    layer = dropout_layer(kind, batch, activation="linear", **gates, **options)
    candidate = {"rnn": 0, "gru": 2, "lstm": 2}[kind]
    block = np.zeros((num_gates(kind), 6, 6))
    block[candidate] = np.eye(6)
    first = np.zeros((1, 2, num_gates(kind), 2, 1))
    first[0, :, candidate, :, 0] = np.eye(2)
    recurrent = which == "recurrent"
    cores = [first.reshape(1, 2, -1, 1) * (not recurrent), np.eye(3).reshape(1, 3, 3, 1)]
    bias = {"rnn": [0], "gru": [0, 1, 0], "lstm": [1, 0, 0, 1]}[kind]
    values = [*cores, np.concatenate(block, axis=1) * recurrent, np.repeat(bias, 6)]
    for variable, value in zip(parts(layer), values, strict=True):
        variable.assign(value)
    states = [np.ones((batch, 6), "float32")] * (2 if kind == "lstm" else 1)
    x = np.ones((batch, 3, 6), "float32")
    return np.asarray(layer(x, initial_state=states, training=True))


@pytest.mark.parametrize(
    ("kind", "rates", "in_keras_rnn"), pairwise(KINDS, DROPOUT_RATES, [False, True])
)
def test_dropout_equals_the_oracle(kind, rates, in_keras_rnn):
    """One mask a clip, fixed over time, the same for every gate, on the products alone.

    Red for a mask a gate or a step, a mask on the carried state, or one left out of r * h * M.
    """
    x = inputs(4, 3, 6)
    options = {"in_keras_rnn": in_keras_rnn, "seed": 11, **rates}
    seen = {which: seen_mask(kind, which, **options) for which in ("input", "recurrent")}
    layer = dropout_layer(kind, **options)
    weights = randomise(layer)
    masks = {"input_mask": seen["input"][:, 0], "recurrent_mask": seen["recurrent"][:, 0]}
    expected, _ = oracle.forward(kind, x.astype("float64"), *weights, **masks)
    np.testing.assert_allclose(layer(x, training=True), expected, atol=1e-5)
    for name, rate in [("input_mask", "dropout"), ("recurrent_mask", "recurrent_dropout")]:
        values = [0, 1 / (1 - rates[rate])] if rate in rates else [1]
        np.testing.assert_allclose(np.unique(masks[name]), values, rtol=1e-6)
    if len(rates) == 2:
        assert ((masks["input_mask"] > 0) != (masks["recurrent_mask"] > 0)).any()

    plain, _ = oracle.forward(kind, x.astype("float64"), *weights)
    np.testing.assert_allclose(layer(x, training=False), plain, atol=1e-5)
    np.testing.assert_allclose(layer(x), plain, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_originals_layer_under_recurrent_dropout(kind):
    """Its saved weights, hard gates and front padding, in its own order of work.

    The mask is the layer's own draw; what it multiplies, and what it leaves, is the original's.
    """
    in_modes, out_modes, ranks, units = (3, 2, 4), (2, 3, 2), (1, 3, 2, 1), 12
    gated = (num_gates(kind) * out_modes[0], *out_modes[1:])
    rng = np.random.default_rng(9)
    cores = oracle.random_cores(rng, in_modes, gated, ranks)
    flat, bias = oracle.flat_kernel(cores), rng.standard_normal(num_gates(kind) * units)
    recurrent = 0.4 * rng.standard_normal((units, num_gates(kind) * units))
    hard = {} if kind == "rnn" else {"recurrent_activation": "keras2_hard_sigmoid"}
    layer = LAYERS[kind](
        in_modes, out_modes, ranks, recurrent_dropout=0.25, return_sequences=True, seed=3, **hard
    )
    x = rng.integers(-128, 128, (4, 6, 24)).astype("float32") / 64
    x[0, :2] = x[1, :5] = 0  # padding: every feature is 0
    layer.build(x.shape)
    load_legacy_tt(layer, [flat, bias, recurrent])
    drawn = []
    draw = layer.cell.get_recurrent_dropout_mask
    layer.cell.get_recurrent_dropout_mask = lambda state: drawn.append(draw(state)) or drawn[-1]
    found = layer(x, mask=tf.constant((x != 0).any(axis=2)), training=True)

    mask = np.asarray(drawn[-1], "float64")
    np.testing.assert_allclose(np.unique(mask), [0, 1 / 0.75], rtol=1e-6)
    assert all(np.array_equal(other, drawn[-1]) for other in drawn)
    steps = [
        oracle.original_matmul(x[:, t].astype("float64"), flat, in_modes, gated, ranks) + bias
        for t in range(6)
    ]
    expected, _ = oracle.recur(
        kind,
        np.stack(steps, axis=1),
        recurrent,
        mask=(x != 0).any(axis=2),
        recurrent_mask=mask,
        recurrent_activation=oracle.keras2_hard_sigmoid,
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_dropout_is_fixed_over_time(kind):
    """h_t = M ** t, which no mask drawn anew for a step gives; and the rate is as asked."""
    batch, rate = 500, 0.3
    h = seen_mask(kind, "recurrent", batch=batch, recurrent_dropout=rate, seed=5)
    for t in (1, 2):
        np.testing.assert_allclose(h[:, t], h[:, 0] ** (t + 1), rtol=1e-5)
    share = (h[:, 0] == 0).mean()
    assert abs(share - rate) < 4.5 * np.sqrt(rate * (1 - rate) / (6 * batch))
    by_input = seen_mask(kind, "input", batch=batch, dropout=rate, seed=5)
    np.testing.assert_array_equal(by_input[:, 2], by_input[:, 0])


@pytest.mark.parametrize(
    ("kind", "rate", "compiled"), pairwise(KINDS, ["dropout", "recurrent_dropout"], [False, True])
)
def test_dropout_is_drawn_anew_each_call_and_again_from_its_seed(kind, rate, compiled):
    """Red for a mask cached in the cell or frozen into a traced function."""

    def run(seed):
        layer = dropout_layer(kind, seed=seed, **{rate: 0.5})
        randomise(layer)
        call = tf.function(layer.__call__, autograph=False) if compiled else layer
        return [np.asarray(call(tf.constant(inputs(4, 3, 6)), training=True)) for _ in range(2)]

    first, second = run(1)
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(run(1), [first, second])
    assert np.abs(run(2)[0] - first).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_under_dropout(kind):
    """The backward pass must see the mask that the forward pass drew."""
    rates = {"dropout": 0.5, "recurrent_dropout": 0.4, "seed": 11, "dtype": "float64"}
    x = inputs(4, 3, 6, dtype="float64")
    probe = inputs(4, 3, 6, seed=9, dtype="float64")
    masks = {
        f"{which}_mask": seen_mask(kind, which, **rates)[:, 0].astype("float64")
        for which in ("input", "recurrent")
    }
    layer = dropout_layer(kind, **rates)
    cores, recurrent, bias = randomise(layer)

    def loss(x, recurrent, bias, *cores):
        return np.vdot(probe, oracle.forward(kind, x, cores, recurrent, bias, **masks)[0])

    g_x, g_recurrent, g_bias, *g_cores = oracle.numeric_gradient(loss, [x, recurrent, bias, *cores])
    found = gradients(layer, x, parts(layer), probe=probe, training=True)
    for mine, numeric in zip(found, [g_x, *g_cores, g_recurrent, g_bias], strict=True):
        np.testing.assert_allclose(mine, numeric, rtol=0, atol=1e-6 * max(1, abs(numeric).max()))


# ---------------------------------------------------------------- with the rest of Keras


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask", ["none", "gaps"])
def test_cell_in_keras_rnn_equals_the_layer(kind, mask, tmp_path):
    x, mask = inputs(BATCH, STEPS, FEATURES), MASKS[mask]
    layer = make(kind, return_sequences=True)[0]
    wrapped = keras.layers.RNN(CELLS[kind](**MODES), return_sequences=True)
    wrapped.build(x.shape)
    for mine, theirs in zip(parts(wrapped), parts(layer), strict=True):
        mine.assign(theirs)
    np.testing.assert_allclose(wrapped(x, mask=mask), layer(x, mask=mask), atol=1e-6)

    model = keras.Sequential([keras.Input((None, FEATURES)), wrapped])
    model.save(tmp_path / "cell.keras")
    again = keras.models.load_model(tmp_path / "cell.keras")
    np.testing.assert_allclose(again(x), wrapped(x), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_bidirectional(kind):
    """The wrapper copies the layer by its config, turns it round, and adds up the states."""
    x = inputs(BATCH, STEPS, FEATURES)
    both = keras.layers.Bidirectional(LAYERS[kind](**MODES, return_sequences=True))
    both.build(x.shape)
    weights = [randomise(both.forward_layer, 1), randomise(both.backward_layer, 2)]
    there, _ = oracle.forward(kind, x.astype("float64"), *weights[0])
    back, _ = oracle.forward(kind, x.astype("float64"), *weights[1], go_backwards=True)
    expected = np.concatenate([there, back[:, ::-1]], axis=-1)
    np.testing.assert_allclose(both(x), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_regularizers_and_constraints_act(kind):
    layer = LAYERS[kind](
        **MODES,
        kernel_regularizer=keras.regularizers.L2(0.1),
        recurrent_regularizer=keras.regularizers.L2(0.01),
        bias_regularizer=keras.regularizers.L2(0.001),
        kernel_constraint="non_neg",
        recurrent_constraint="non_neg",
        bias_constraint="non_neg",
    )
    layer.build((BATCH, STEPS, FEATURES))
    cores, recurrent, bias = randomise(layer)
    layer(inputs(BATCH, STEPS, FEATURES))
    on_cores = sum((core**2).sum() for core in cores)
    expected = 0.1 * on_cores + 0.01 * (recurrent**2).sum() + 0.001 * (bias**2).sum()
    np.testing.assert_allclose(sum(layer.losses), expected, rtol=1e-5)

    model = keras.Sequential([layer])
    model.compile("sgd", "mse")
    model.fit(inputs(BATCH, STEPS, FEATURES), inputs(BATCH, UNITS), verbose=0)
    assert all((np.asarray(v) >= 0).all() for v in parts(layer))


@pytest.mark.parametrize("kind", ["lstm", *slow("rnn", "gru")])
def test_learns(kind):
    """A task that needs memory: tell which of two frames came first. Red for a dead gradient."""
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=64)
    x = 0.1 * rng.standard_normal((64, 6, FEATURES)).astype("float32")
    x[np.arange(64), 0, label] += 2
    keras.utils.set_random_seed(0)
    layer = LAYERS[kind](**{**MODES, "tt_output_shape": (4, 4)}, seed=0)
    model = keras.Sequential([layer, keras.layers.Dense(2, activation="softmax")])
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(x, label, epochs=25, batch_size=16, verbose=0)
    assert np.mean(np.argmax(model(x), axis=1) == label) > 0.95


# ---------------------------------------------------------------- counts and errors


@pytest.mark.parametrize(
    ("kind", "tt", "dense"),
    [("rnn", 2_976, 14_745_600), ("gru", 3_232, 44_236_800), ("lstm", 3_360, 58_982_400)],
)
def test_counts_of_the_papers_ucf11_layers(kind, tt, dense):
    layer = LAYERS[kind]((8, 20, 20, 18), (4, 4, 4, 4), (1, 4, 4, 4, 1))
    layer.build((None, None, 57_600))
    rest = num_gates(kind) * 256 * 257
    assert layer.num_tt_params == tt
    assert layer.count_params() == tt + rest
    assert layer.compression.kernel == pytest.approx(dense / tt)
    assert layer.compression.layer == pytest.approx((dense + rest) / (tt + rest))
    if kind == "gru":
        assert layer.count_params() == 200_608
        assert round(layer.compression.kernel) == 13_687
        assert round(layer.compression.layer) == 221


@pytest.mark.parametrize("kind", KINDS)
def test_cells_count_too(kind):
    cell = CELLS[kind]((8, 20, 20, 18), (4, 4, 4, 4), (1, 4, 4, 4, 1))
    layer = LAYERS[kind]((8, 20, 20, 18), (4, 4, 4, 4), 4)
    assert cell.num_tt_params == layer.num_tt_params
    assert cell.compression == layer.compression


GOOD = {
    "tt_input_shape": (8, 20, 20, 18),
    "tt_output_shape": (4, 4, 4, 4),
    "tt_ranks": (1, 4, 4, 4, 1),
}


@pytest.mark.parametrize("cls", [*LAYERS.values(), *CELLS.values()])
@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"tt_input_shape": (8, 20, 20)}, ["tt_input_shape", "tt_output_shape"]),
        ({"tt_output_shape": (4, 4, 4)}, ["tt_output_shape"]),
        ({"tt_ranks": (1, 4, 4, 1)}, ["tt_ranks", "5"]),
        ({"tt_ranks": (2, 4, 4, 4, 1)}, ["tt_ranks", "1"]),
        ({"tt_ranks": (1, 4, 4, 4, 4)}, ["tt_ranks", "1"]),
        ({"tt_ranks": (1, 4, 0, 4, 1)}, ["tt_ranks", "0"]),
        ({"tt_input_shape": (8, 20, -20, 18)}, ["tt_input_shape", "-20"]),
        ({"tt_output_shape": ()}, ["tt_output_shape"]),
    ],
)
def test_wrong_modes_and_ranks_are_told(cls, wrong, expected):
    """At construction, naming the argument and what came: not a reshape error in build."""
    with pytest.raises(ValueError, match="Received") as error:
        cls(**{**GOOD, **wrong})
    message = str(error.value)
    assert all(one in message for one in expected), message
    assert len(message.split()) > 8, message


@pytest.mark.parametrize("cls", LAYERS.values())
def test_a_wrong_feature_size_is_told(cls):
    with pytest.raises(ValueError, match=r"tt_input_shape.*57600.*3200"):
        cls(**{**GOOD, "tt_input_shape": (8, 20, 20, 1)})(np.zeros((1, 2, 57_600), "float32"))


@pytest.mark.parametrize("cls", LAYERS.values())
@pytest.mark.parametrize("features", [3, 12])
def test_a_wrong_feature_size_after_build_is_told(cls, features):
    """Not the backend's "Input to reshape is a tensor with 64 values"."""
    layer = cls(**MODES)
    layer.build((None, None, FEATURES))
    with pytest.raises(ValueError, match=str(features)):
        layer(np.zeros((2, 4, features), "float32"))


@pytest.mark.parametrize("cls", LAYERS.values())
def test_an_unknown_feature_size_is_told(cls):
    with pytest.raises(ValueError, match=r"feature|last (axis|dimension)"):
        cls(**MODES)(keras.Input((None, None)))


@pytest.mark.parametrize("cls", LAYERS.values())
@pytest.mark.parametrize("shape", [(2, 6), (2, 3, 2, 3)])
def test_a_wrong_number_of_axes_is_told(cls, shape):
    with pytest.raises(ValueError, match=r"ndim|shape|time"):
        cls(**MODES)(np.zeros(shape, "float32"))
