"""Helpers of the tests of every layer: one routine of checks, random weights, gradients."""

import inspect
import json

import keras
import numpy as np
import oracle
import tensorflow as tf

import ttrnn

LAYERS = {"rnn": ttrnn.TTSimpleRNN, "gru": ttrnn.TTGRU, "lstm": ttrnn.TTLSTM}
CELLS = {"rnn": ttrnn.TTSimpleRNNCell, "gru": ttrnn.TTGRUCell, "lstm": ttrnn.TTLSTMCell}
KINDS = tuple(LAYERS)
MODES = {"tt_input_shape": (2, 3), "tt_output_shape": (2, 2), "tt_ranks": (1, 2, 1)}
FEATURES, UNITS = 6, 4


def run_layer_test(cls, init_kwargs, input_shape, output_shape, weight_shapes, tmp_path):
    """Run the checks that hold for any layer, in the order in which a user would meet them."""
    check_config(cls, init_kwargs)
    keras.utils.set_random_seed(1)  # of some first weights, no output of a ReLU is above 0
    x = np.random.default_rng(0).standard_normal(input_shape).astype("float32")

    layer = cls(**init_kwargs)
    config = json.dumps(layer.get_config())
    assert layer.compute_output_shape((None, *input_shape[1:])) == (None, *output_shape[1:])
    eager = layer(x)
    assert eager.shape == output_shape
    assert keras.backend.standardize_dtype(eager.dtype) == "float32"
    assert [tuple(w.shape) for w in layer.trainable_weights] == weight_shapes
    assert layer.count_params() == sum(np.prod(shape) for shape in weight_shapes)
    assert json.dumps(layer.get_config()) == config, "build altered an argument"

    inputs = keras.Input(input_shape[1:])
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, *output_shape[1:])
    np.testing.assert_allclose(model.predict(x, verbose=0), eager, atol=1e-6)

    check_training_step(model, x, output_shape)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(reloaded(x), model(x), atol=1e-6)
    check_dtype_policies(cls, init_kwargs, x, layer.get_weights())


def check_config(cls, init_kwargs):
    """Check that the config has every constructor argument as given, also through JSON."""
    layer = cls(**init_kwargs)
    config = json.loads(json.dumps(layer.get_config()))
    arguments = {
        name
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    }
    assert arguments <= config.keys()
    for name, given in init_kwargs.items():
        if isinstance(given, int | float | str | tuple | list | None):
            plain = list(given) if isinstance(given, tuple) else given
            by_name = isinstance(given, str) and isinstance(config[name], dict)
            assert by_name or config[name] == plain, name
    for again in (cls.from_config(layer.get_config()), cls.from_config(config)):
        assert json.loads(json.dumps(again.get_config())) == config


def check_training_step(model, x, output_shape):
    """Check that a step of gradient descent changes every weight, so that all are in the graph."""
    before = [w.numpy() for w in model.trainable_weights]
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.fit(x, np.full(output_shape, 3.0), epochs=1, batch_size=len(x), verbose=0)
    for old, weight in zip(before, model.trainable_weights, strict=True):
        assert np.isfinite(weight.numpy()).all(), weight.path
        assert not np.allclose(old, weight), weight.path


def check_dtype_policies(cls, init_kwargs, x, weights):
    outputs = {}
    for policy, compute, stored in [
        ("float32", "float32", "float32"),
        ("float64", "float64", "float64"),
        ("mixed_bfloat16", "bfloat16", "float32"),
    ]:
        layer = cls(**init_kwargs, dtype=policy)
        layer.build(x.shape)
        layer.set_weights(weights)
        y = layer(x)
        assert keras.backend.standardize_dtype(y.dtype) == compute, policy
        assert {keras.backend.standardize_dtype(w.dtype) for w in layer.weights} <= {stored}
        outputs[policy] = keras.ops.convert_to_numpy(keras.ops.cast(y, "float64"))
    scale = np.abs(outputs["float64"]).max()
    np.testing.assert_allclose(outputs["float32"], outputs["float64"], atol=1e-5 * scale)
    np.testing.assert_allclose(outputs["mixed_bfloat16"], outputs["float64"], atol=0.05 * scale)


def parts(layer):
    """Cores, recurrent kernel and bias of a layer or cell, as far as it has them."""
    cell = getattr(layer, "cell", layer)
    variables = [*cell.cores, getattr(cell, "recurrent_kernel", None), getattr(cell, "bias", None)]
    return [v for v in variables if v is not None]


def randomise(layer, seed=0, scale=0.6):
    """Give every weight, the bias too, a random value; return (cores, recurrent, bias), float64."""
    rng = np.random.default_rng(seed)
    for variable in parts(layer):
        variable.assign(scale * rng.standard_normal(variable.shape))
    values = [np.asarray(v, "float64") for v in parts(layer)]
    num_cores = len(getattr(layer, "cell", layer).cores)
    return values[:num_cores], *values[num_cores:]


def make(kind, x_shape=(3, 5, FEATURES), *, modes=MODES, seed=0, **options):
    """Build a layer with random weights. Returns (layer, cores, recurrent, bias)."""
    layer = LAYERS[kind](**modes, **options)
    layer.build(x_shape)
    return layer, *randomise(layer, seed)


def inputs(*shape, seed=1, dtype="float32"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def dense_twin(kind, cores, recurrent, bias, **options):
    """Build keras.layers.SimpleRNN/GRU/LSTM with the kernel that the cores represent."""
    classes = {"rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}
    if kind == "gru":
        options["reset_after"] = False
    kernel = oracle.kernel_by_definition(cores)
    layer = classes[kind](len(recurrent), **options)
    layer.build((None, None, len(kernel)))
    layer.set_weights([kernel, recurrent, bias])
    return layer


def gradients(layer, x, variables, *, probe, compiled=False, **call):
    """Gradients d sum(probe * outputs) / d (x, *variables); several outputs take several probes."""
    x = tf.convert_to_tensor(x)
    variables = [getattr(v, "value", v) for v in variables]

    def run():
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = tf.nest.flatten(layer(x, **call))
            terms = zip(outputs, tf.nest.flatten(probe), strict=True)
            loss = sum(tf.reduce_sum(y * tf.cast(p, y.dtype)) for y, p in terms)
        return tape.gradient(loss, [x, *variables])

    if compiled:  # without AutoGraph, which takes longest here and finds nothing to convert
        run = tf.function(run, autograph=False)
    return [g.numpy() for g in run()]
