"""compress: what the compressed layer or model computes, beside the dense one with its matrices."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_check import inputs

import ttrnn
from ttrnn.models.feature_rnn import build_feature_rnn
from ttrnn.models.video_rnn import build_video_rnn

FORMATS = ("tt", "tr", "bt", "tucker", "cp", "kcp", "ht", "tucker2")


def trained(layer, shape, seed=0):
    """A built layer with random weights, the bias too."""
    layer.build(shape)
    rng = np.random.default_rng(seed)
    for variable in layer.trainable_variables:
        variable.assign(0.5 * rng.standard_normal(variable.shape))
    return layer


@pytest.mark.parametrize("name", FORMATS)
def test_a_dense_layer_computes_its_approximation(name):
    """The kernel is the decomposition's; bias, activation and name stay."""
    dense = trained(keras.layers.Dense(12, activation="tanh", name="middle"), (None, 24))
    layer = ttrnn.compress(dense, name, rank=2)
    assert (layer.name, layer.activation, layer.units) == ("middle", dense.activation, 12)
    kernel = np.asarray(layer.full_kernel())
    x = inputs(5, 24)
    np.testing.assert_allclose(layer(x), np.tanh(x @ kernel + dense.bias.numpy()), atol=1e-5)
    assert 0 < np.linalg.norm(kernel - dense.kernel.numpy()) < np.linalg.norm(dense.kernel.numpy())


def test_an_error_bounds_the_kernel():
    dense = trained(keras.layers.Dense(12), (None, 24))
    for name in ("tt", "tr", "tucker", "ht"):
        with pytest.warns(UserWarning, match="more weights than the kernel of"):
            layer = ttrnn.compress(dense, name, error=0.05)
        kernel = dense.kernel.numpy()
        error = np.linalg.norm(np.asarray(layer.full_kernel()) - kernel) / np.linalg.norm(kernel)
        assert error <= 0.05


RECURRENT = [
    keras.layers.SimpleRNN(8, return_sequences=True),
    keras.layers.GRU(8, reset_after=False, recurrent_activation="hard_sigmoid"),
    keras.layers.LSTM(8, go_backwards=True, dropout=0.1, seed=1),
    ttrnn.TTGRU((24,), (8,), 1, return_sequences=True),
    ttrnn.TensorLSTM(8),
]


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("layer", RECURRENT, ids=lambda layer: type(layer).__name__)
def test_a_recurrent_layer_computes_its_approximation(layer, recurrent):
    """Against the layer itself, given the matrices that the cores stand for."""
    if not layer.built:
        trained(layer, (None, None, 24))
    before = layer.get_weights()
    small = ttrnn.compress(layer, "tr", rank=4, recurrent=recurrent)
    for mine, theirs in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (small.cell.recurrent_format is not None) == recurrent
    kernel, matrix = small.cell.full_kernel(), small.cell.full_recurrent_kernel()
    twin = type(layer).from_config(layer.get_config())
    twin.build((None, None, 24))
    kernel = tf.reshape(kernel, twin.get_weights()[0].shape)
    twin.set_weights([np.asarray(kernel), np.asarray(matrix), before[2]])
    x = inputs(3, 5, 24)
    np.testing.assert_allclose(small(x), twin(x), atol=1e-5)


def test_a_model_is_compressed_and_trained_on(tmp_path):
    """Its large kernels alone; the copy has the other weights, is saved, and learns."""
    keras.utils.set_random_seed(0)
    entry = keras.Input((6, 48))
    x = keras.layers.LSTM(16)(entry)
    # Cores cannot be drawn as zeros are: the copy has another initializer.
    x = keras.layers.Dense(64, activation="relu", kernel_initializer="zeros", name="head")(x)
    model = keras.Model(entry, keras.layers.Dense(3, name="out")(x))
    kernel = model.get_layer("head").kernel
    kernel.assign(np.random.default_rng(0).standard_normal(kernel.shape))
    small = ttrnn.compress(model, "bt", rank=2, blocks=2)
    part = ttrnn.compress(model, "bt", rank=2, layers=["head"])
    assert [type(layer).__name__ for layer in part.layers[1:3]] == ["LSTM", "TensorDense"]
    kinds = [type(layer).__name__ for layer in small.layers]
    assert kinds == ["InputLayer", "TensorLSTM", "TensorDense", "Dense"]
    assert small.count_params() < model.count_params()
    for mine, theirs in zip(
        small.get_layer("out").get_weights(), model.get_layer("out").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    x = inputs(16, 6, 48)
    goal = model.predict(x, verbose=0)
    small.compile(keras.optimizers.Adam(0.01), "mse")
    losses = small.fit(x, goal, epochs=8, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    small.save(tmp_path / "small.keras")
    again = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(again(x), small(x), atol=1e-6)


def test_models_of_clips_are_compressed():
    """Dense GRUs as --no-tt builds them: of pixels, inside a FrameRNN, and of features."""
    dense = {"tt_output_shape": (16,), "tt_ranks": 1, "seed": 0}
    pixels = build_video_rnn((6, 8, 3), 3, tt_input_shape=(144,), **dense)
    features = build_feature_rnn(144, 3, tt_input_shape=(144,), **dense)
    frames = np.random.default_rng(0).integers(0, 256, (5, 6, 8, 3), np.uint8)
    num_frames = np.array([2, 3], np.int32)
    seen = [{"frames": frames}, {"features": frames.reshape(5, -1).astype("float32")}]
    for model, clips in zip((pixels, features), seen, strict=True):
        clips = {**clips, "num_frames": num_frames}
        exact = ttrnn.compress(model, "tt", error=1e-6)
        np.testing.assert_allclose(exact(clips), model(clips), atol=1e-5)
        small = ttrnn.compress(model, "cp", rank=4)
        assert small.count_params() < 0.3 * model.count_params()
        layer = small.get_layer("gru")
        cell = getattr(layer, "rnn", layer).cell
        assert isinstance(cell.kernel_format, ttrnn.CP)


def no_dense():
    entry = keras.Input((4,))
    return keras.Model(entry, keras.layers.Dense(2)(entry))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda: trained(keras.layers.Dense(4), (None, 4)), {}, "Give rank or error"),
        (lambda: trained(keras.layers.Dense(4), (None, 4)), {"rank": 0.1}, "error=0.1"),
        (lambda: keras.layers.Dense(4), {"rank": 2}, "needs a built layer"),
        (lambda: keras.layers.ReLU(), {"rank": 2}, "needs a built layer"),
        (lambda: trained(keras.layers.GRU(4), (None, None, 4)), {"rank": 2}, "reset_after=False"),
        (no_dense, {"rank": 2}, "at least 1,024 weights"),
        (no_dense, {"rank": 2, "input_modes": (2, 2)}, "those of one layer"),
    ],
)
def test_what_cannot_be_compressed_is_told(make, options, message):
    with pytest.raises(ValueError, match=message):
        ttrnn.compress(make(), "tt", **options)
    with pytest.raises(ValueError, match="must be one of"):
        ttrnn.compress(make(), "svd", rank=2)
