"""Graphs of models of pictures in ONNX Runtime, against Keras."""

import keras
import numpy as np
import onnxruntime
import pytest

from experiments.clips.export.subjects import ImageSubject, load_subject
from experiments.clips.images import ImageSettings
from experiments.highlights.scoring.scorer_network import build_scorer
from experiments.models.onnx_files import About
from tests.experiments.clips.export.small_models import lively
from ttrnn import TTDense
from ttrnn.models.alexnet import LocalResponseNormalization
from ttrnn.models.resnet import BLOCKS


def small(*, softmax, fused=False):
    inputs = keras.Input((12, 10, 3), dtype="uint8")
    x = keras.layers.Conv2D(6, 3, strides=2)(keras.layers.Rescaling(1 / 128, -1)(inputs))
    x = LocalResponseNormalization(fused=fused)(x)
    outputs = keras.layers.Dense(5)(keras.layers.Flatten()(x))
    outputs = keras.layers.Softmax()(outputs) if softmax else outputs
    return lively(keras.Model(inputs, outputs), 1)


MODELS = {
    "probabilities": lambda: small(softmax=True),
    "logits": lambda: small(softmax=False),
    "fused": lambda: small(softmax=True, fused=True),
    "scorer": lambda: lively(build_scorer(18, ImageSettings(side=32), layout="two-inputs"), 1),
}


def run(proto, images):
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    return session.run(["probabilities"], {"frames": images})[0]


def images(model, batch):
    random = np.random.default_rng(batch)
    shape = model.input_shape[1:]
    colours = random.integers(0, 200, (batch, 1, 1, 3)) + random.integers(0, 56, (batch, *shape))
    return colours.astype(model.input.dtype)


@pytest.mark.parametrize("name", MODELS)
def test_any_batch_gives_keras_probabilities(name, monkeypatch):
    """Red when a softmax is missing or doubled, or a step fused by XLA gets in."""
    monkeypatch.setitem(BLOCKS, 18, (1, 1, 1, 1))  # half of a ResNet-18
    model = MODELS[name]()
    subject = ImageSubject(model, About("pictures"))
    proto = subject.graph()
    for batch in (1, 4):
        seen = images(model, batch)
        expected = model(seen, training=False).numpy()
        if name == "logits":
            expected = keras.ops.softmax(expected).numpy()
        np.testing.assert_allclose(run(proto, seen), expected, atol=1e-4)
    assert np.ptp(expected, axis=0).max() > 0.01
    assert any("softmax" in note for note in subject.notes) == (name == "logits")
    assert any("rebuilt" in note for note in subject.notes) == (name == "fused")


def test_every_export_is_whole():
    """Red when tf2onnx's reshape_optimizer is let in: 5 of 12 such graphs could not be loaded."""
    for _ in range(8):  # with other names of layers each, on which it depends
        proto = ImageSubject(small(softmax=True), About("pictures")).graph()
        onnxruntime.InferenceSession(proto.SerializeToString())


@pytest.mark.parametrize("shape", [(7,), (8, 9, 1), (4, 8, 9, 3)])
def test_other_models_are_refused(shape):
    """Red when what is no model of pictures ends in a traceback of tf2onnx."""
    inputs = keras.Input(shape)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    with pytest.raises(ValueError, match="must take one batch of RGB pictures"):
        ImageSubject(model, About("pictures"))


def sequential(inner=False):
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(4, 3), keras.layers.Flatten()]
    if inner:
        layers = [keras.Sequential([keras.Input((8, 9, 3)), *layers])]
    tail = [TTDense((6, 4, 7), (2, 2, 2), 3), keras.layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input((8, 9, 3)), *layers, *tail])


def of_one_key():
    model = sequential()
    return keras.Model({"image": model.inputs[0]}, {"scores": model.outputs[0]})


@pytest.mark.parametrize(
    "model", [sequential(), sequential(inner=True), of_one_key()], ids=["plain", "nested", "keys"]
)
def test_a_sequential_model_from_its_file(model, tmp_path):
    """Red where such a model, which has inputs but no `input`, ends in a traceback."""
    model.save(tmp_path / "model.keras")
    subject = load_subject(tmp_path / "model.keras")
    seen = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 3)).astype("float32")
    expected = keras.Model(model.inputs[0], model.outputs[0])(seen)
    np.testing.assert_allclose(run(subject.graph(), seen), expected, atol=1e-5)
    assert subject.notes == ()


def test_a_sequential_model_that_was_never_built(tmp_path):
    keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)]).save(tmp_path / "new.keras")
    with pytest.raises(ValueError, match="needs to know the shape of its input"):
        load_subject(tmp_path / "new.keras")


def test_a_model_of_sequences_hears_of_keras_own_export():
    model = keras.Sequential([keras.Input((5, 6)), keras.layers.GRU(2)])
    with pytest.raises(ValueError, match=r"takes \(None, 5, 6\) and gives .* model.export\(path"):
        ImageSubject(model, About("pictures"))
