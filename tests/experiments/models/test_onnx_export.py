"""Exported graphs in ONNX Runtime against Keras."""

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from experiments.models.onnx_export import to_onnx
from ttrnn.models import build_alexnet
from ttrnn.models.alexnet import GroupedConv2D, LocalResponseNormalization, PixelConv2D


def run(proto, x):
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    return session.run(["output"], {"input": x})[0]


def small_network():
    """Convolution, batch normalisation, a layer used twice, dropout with its seed."""
    layers = keras.layers
    dense = layers.Dense(6, activation="gelu")
    inputs = keras.Input((8, 9, 3))
    x = layers.Conv2D(4, 3, strides=2)(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(2)(layers.ReLU()(x))
    x = layers.Dropout(0.5, seed=1)(layers.Dense(6)(layers.Flatten()(x)))
    model = keras.Model(inputs, layers.Softmax()(dense(dense(x))))
    random = np.random.default_rng(0)
    model.set_weights([0.2 + 0.3 * random.random(w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("batch", [1, 3, 17])
def test_any_batch_gives_keras_outputs(batch):
    """Red when a weight lands in another's place, or the batch is fixed."""
    model = small_network()
    proto = to_onnx(model)
    x = np.random.default_rng(1).normal(size=(batch, 8, 9, 3)).astype(np.float32)
    np.testing.assert_allclose(run(proto, x), model(x), atol=1e-5)


def test_the_graph_is_tidy():
    proto = to_onnx(small_network())
    onnx.checker.check_model(proto)
    assert [value.name for value in proto.graph.input] == ["input"]
    used = {name for node in proto.graph.node for name in node.input}
    assert {weight.name for weight in proto.graph.initializer} <= used


def test_alexnets_layers_survive():
    """Red when a grouped convolution of Keras's own, or the fused normalisation, gets in."""
    frames = keras.Input((23, 23, 3), dtype="uint8")
    x = PixelConv2D(8, 5, strides=2, padding="valid", mean_rgb=(104.0, 116.7, 122.7))(frames)
    x = LocalResponseNormalization(alpha=0.5, fused=True)(x)
    x = keras.layers.MaxPooling2D(3, 2)(x)
    x = GroupedConv2D(6, 3, groups=2)(x)
    outputs = keras.layers.Softmax()(keras.layers.Dense(5)(keras.layers.Flatten()(x)))
    model = keras.Model(frames, outputs)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            scale = (2 / np.prod(layer.kernel.shape[:-1])) ** 0.5
            kernel = scale * random.standard_normal(layer.kernel.shape, np.float32)
            layer.set_weights([kernel, random.standard_normal(layer.bias.shape, np.float32)])
    given = random.integers(0, 256, (2, 23, 23, 3), np.uint8)
    expected = model(given)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(run(to_onnx(model), given), expected, atol=1e-4)


@pytest.mark.slow
def test_alexnet_survives():
    """Red when a grouped convolution of Keras's own, or the fused normalisation, gets in."""
    model = build_alexnet(num_classes=5)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            scale = (2 / np.prod(layer.kernel.shape[:-1])) ** 0.5
            kernel = scale * random.standard_normal(layer.kernel.shape, np.float32)
            layer.set_weights([kernel, np.zeros(layer.bias.shape, np.float32)])
    frames = random.integers(0, 256, (2, 227, 227, 3), np.uint8)
    expected = model(frames)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(run(to_onnx(model), frames), expected, atol=1e-4)
