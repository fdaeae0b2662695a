"""Models written by Keras's own `export` give Keras's numbers in the other runtimes."""

import format_oracle
import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from layer_check import FEATURES, LAYERS, MODES, UNITS, inputs

import ttrnn
from tests.grids import slow
from ttrnn.models.alexnet import LocalResponseNormalization

SIZES = [(3, 5), (1, 5), (2, 9)]  # batch and time, none of them known when the graph is made
NEXT = {"tt_input_shape": (2, 2), "tt_output_shape": (2, 2), "tt_ranks": 2}  # of 4 features


def sequence_model(*layers, time=None):
    """Masked where all features are zero, as in the published code."""
    return keras.Sequential([keras.Input((time, FEATURES)), keras.layers.Masking(), *layers])


def models():
    yield from (
        (kind, lambda cls=cls: sequence_model(cls(**MODES))) for kind, cls in LAYERS.items()
    )
    gru, lstm = ttrnn.TTGRU, ttrnn.TTLSTM
    options = {"return_sequences": True}
    yield "outputs", lambda: sequence_model(gru(**MODES, **options))
    yield "backwards", lambda: sequence_model(lstm(**MODES, **options, go_backwards=True))
    zeros = options | {"zero_output_for_mask": True, "recurrent_dropout": 0.5, "dropout": 0.5}
    yield "zeros", lambda: sequence_model(gru(**MODES, **zeros))
    yield "stacked", lambda: sequence_model(gru(**MODES, **options), lstm(**NEXT))
    two_ways = keras.layers.Bidirectional
    yield "both ways", lambda: sequence_model(two_ways(gru(**MODES, **options)))
    yield "other gates", lambda: sequence_model(gru(**MODES, recurrent_activation="hard_sigmoid"))
    yield "no known slope", lambda: sequence_model(gru(**MODES, activation="softmax"))
    yield "dense", lambda: sequence_model(ttrnn.TTDense(**MODES, activation="tanh"))
    # A ring's trace and carried index, a tree, and blocks; a core of ones and a diagonal.
    for kernel, recurrent in (("tr", "ht"), ("bt", "kcp")):
        formats = {
            "kernel_format": format_oracle.make(kernel, (2, 3), (2, 2), 2),
            "recurrent_format": format_oracle.make(recurrent, (2, 2), (2, 2), 2),
        }
        yield kernel, lambda formats=formats: sequence_model(ttrnn.TensorGRU(UNITS, **formats))
    yield "half", lambda: sequence_model(gru(**MODES, dtype="mixed_float16"))


MODELS = dict(models())


def sequences(batch, time):
    x = inputs(batch, time, FEATURES, seed=batch)
    x[0, :2] = x[-1, 3] = 0
    return x


def run_onnx(model, path, *arrays):
    model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)
    names = [value.name for value in session.get_inputs()]
    return [session.run(None, dict(zip(names, given, strict=True))) for given in arrays]


# What these have alone is in one of the others: "both ways" is a GRU with all outputs that goes
# backwards, too, and its layers follow another. The slow tests take them.
ALONE = ("gru", "outputs", "backwards", "stacked")


@pytest.mark.parametrize("name", [*(n for n in MODELS if n not in ALONE), *slow(*ALONE)])
def test_onnx_runtime_gives_keras_numbers(name, tmp_path):
    """Red where the graph has arrays of blocks of rows, which no ONNX runtime loads."""
    model = MODELS[name]()
    given = [sequences(*size) for size in SIZES]
    expected = [np.asarray(model(x)) for x in given]
    found = run_onnx(model, tmp_path / "m.onnx", *([x] for x in given))
    tolerance = 5e-3 if name == "half" else 1e-5
    for (mine,), theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=tolerance)
    assert np.ptp(expected[0]) > 0.01


@pytest.mark.parametrize("kind", ["lstm", "dense", *slow("rnn", "gru")])
def test_bfloat16_is_refused_before_a_file_is_written(kind, tmp_path):
    """Red where tf2onnx writes a file whose types ONNX Runtime does not load, and where other
    formats than ONNX are refused too."""
    layer = LAYERS.get(kind, ttrnn.TTDense)
    model, x = sequence_model(layer(**MODES, dtype="mixed_bfloat16")), sequences(2, 5)
    model(x)  # which Keras wants before an export
    with pytest.raises(ValueError, match="must not compute in bfloat16"):
        model.export(tmp_path / "m.onnx", format="onnx", verbose=False)
    assert not list(tmp_path.iterdir())
    model.export(tmp_path / "saved", format="tf_saved_model", verbose=False)
    plain = sequence_model(layer(**MODES))
    plain.set_weights(model.get_weights())
    plain(x)
    ((found,),) = run_onnx(plain, tmp_path / "m.onnx", [x])
    np.testing.assert_allclose(found, np.asarray(plain(x)), atol=1e-5)


def lite(content):
    """A function that runs a LiteRT file, with its own operations alone."""
    with pytest.warns(UserWarning, match="deprecated"):
        interpreter = tf.lite.Interpreter(
            model_content=content,
            experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN,
        )
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(x):
        interpreter.resize_tensor_input(source["index"], x.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(source["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])

    return run


@pytest.mark.parametrize(
    "name",
    [
        *("rnn", "lstm", "zeros", "both ways", "dense"),
        *slow("gru", "backwards", "outputs", "stacked"),
    ],
)
def test_lite_rt_needs_no_flex_operations(name, tmp_path):
    """Whatever batch and time. Keras's own GRU needs them: its loop keeps arrays of tensors."""
    model = MODELS[name]()
    path = tmp_path / "m.tflite"
    builtins = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    model.export(path, format="litert", verbose=False, target_spec=builtins)
    run = lite(path.read_bytes())
    for size in SIZES:
        x = sequences(*size)
        np.testing.assert_allclose(run(x), np.asarray(model(x)), atol=1e-5)


@pytest.mark.parametrize("kind", ["lstm", *slow("rnn", "gru")])
def test_a_graph_traced_elsewhere_can_be_portable(kind):
    """Its operations say so: no arrays of tensors, nothing compiled by XLA, no sorting of rows."""
    model, x = MODELS[kind](), sequences(3, 5)
    spec = tf.TensorSpec((None, None, FEATURES))
    with ttrnn.portable_operations():
        portable = tf.function(model).get_concrete_function(spec)
    fast = tf.function(model).get_concrete_function(spec)
    special = [
        {
            op.type
            for op in each.graph.get_operations()
            if op.type.startswith(("TensorList", "TopK"))
        }
        for each in (portable, fast)
    ]
    assert not special[0]
    assert special[1], "the fast path has none of these any more: look for others"
    np.testing.assert_allclose(portable(x), fast(x), atol=1e-5)


@pytest.mark.parametrize("name", ["both ways", *slow("lstm")])
def test_a_saved_model_gives_keras_numbers(name, tmp_path):
    model = MODELS[name]()
    model.export(tmp_path / "saved", format="tf_saved_model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "saved")
    for size in SIZES:
        x = sequences(*size)
        np.testing.assert_allclose(loaded.serve(x), np.asarray(model(x)), atol=1e-5)


def test_states_go_in_and_out(tmp_path):
    x, h, c = keras.Input((None, FEATURES)), keras.Input((UNITS,)), keras.Input((UNITS,))
    outputs = ttrnn.TTLSTM(**MODES, return_state=True)(x, initial_state=[h, c])
    model = keras.Model([x, h, c], outputs)
    given = [sequences(3, 5), inputs(3, UNITS, seed=5), inputs(3, UNITS, seed=6)]
    expected = model.predict(given, verbose=0)
    (found,) = run_onnx(model, tmp_path / "m.onnx", given)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"unroll": True, "go_backwards": True}, *slow({"unroll": True})]
)
def test_an_unrolled_layer(options, tmp_path):
    model = sequence_model(ttrnn.TTGRU(**MODES, return_sequences=True, **options), time=5)
    x = sequences(3, 5)
    expected = np.asarray(model(x))
    ((found,),) = run_onnx(model, tmp_path / "m.onnx", [x])
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", *slow("last")])
def test_clips_of_different_lengths(pooling, tmp_path):
    """The whole network from bytes, the numbers of frames told at each run."""
    options = {"inputs": "motion", "scene": True, "pooling": pooling, "pixel_scale": 64.0}
    modes = {"tt_input_shape": (8, 9), "tt_output_shape": (4, 4), "tt_ranks": 3}
    model = ttrnn.models.build_video_rnn((4, 6, 3), 3, cell="lstm", **modes, **options)
    rng = np.random.default_rng(0)
    given, expected = [], []
    for lengths in ([2, 5, 1], [4]):
        frames = rng.integers(0, 256, (sum(lengths), 4, 6, 3), np.uint8)
        given.append([frames, np.array(lengths, np.int32)])
        expected.append(model(dict(zip(("frames", "num_frames"), given[-1], strict=True))))
    found = run_onnx(model, tmp_path / "m.onnx", *given)
    for (mine,), theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_a_layer_compiled_by_xla(tmp_path):
    layer = LocalResponseNormalization(alpha=0.5, fused=True)
    model = keras.Sequential([keras.Input((4, 5, 6)), layer])
    x = inputs(3, 4, 5, 6)
    expected = np.asarray(model(x))
    ((found,),) = run_onnx(model, tmp_path / "m.onnx", [x])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_only_an_export_leaves_the_fast_path(tmp_path, monkeypatch):
    """Red where training or prediction, traced as well, would lose it."""
    from ttrnn import rnn

    calls = []
    fast = rnn.run_sequences
    monkeypatch.setattr(rnn, "run_sequences", lambda *a, **k: (calls.append(1), fast(*a, **k))[1])
    model, x = MODELS["gru"](), sequences(3, 5)
    model(x)
    calls.clear()
    model.export(tmp_path / "m.onnx", format="onnx", verbose=False)
    assert not calls
    model.compile("sgd", "mse")
    model.fit(x, np.zeros((3, UNITS)), verbose=0)
    num_fit = len(calls)
    model.predict(x, verbose=0)
    assert 0 < num_fit < len(calls)
