"""What holds for each of the UCF101 models: saving, number types, training, other backends."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from ucf101_golden import clips, logits

from tests.processes import PATIENCE_SECONDS
from ttrnn.models import build_conv3d, build_crnn, build_resnet_crnn
from weights.assign import model_arrays

HERE = Path(__file__).parent
SMALL = {
    "conv3d": lambda **options: build_conv3d(3, num_frames=9, height=40, width=40, **options),
    "crnn": lambda **options: build_crnn(3, height=40, width=40, **options),
    "resnet_crnn": lambda **options: build_resnet_crnn(3, depth=18, inputs="features", **options),
}


def inputs_of(name, lengths=None):
    """Clips as a model takes them: of those lengths, or two."""
    inputs = clips(lengths or {"conv3d": (9, 9)}.get(name, (3, 5)), 40, 40)
    if name == "resnet_crnn":
        frames = inputs.pop("frames")
        inputs["features"] = frames.reshape(len(frames), -1)[:, :512] / np.float32(255)
    return inputs


@pytest.mark.parametrize("name", SMALL)
def test_saved_and_loaded_it_says_the_same(tmp_path, name):
    """Red when a layer is not registered, loses an argument, or an input its name."""
    model = SMALL[name](dropout=0.2, name="eye")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.name == "eye"
    np.testing.assert_allclose(again(inputs_of(name)), model(inputs_of(name)), atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_probabilities(name):
    """The softmax of the logits, and in float32 under bfloat16 as well."""
    scores = np.exp(logits(model := SMALL[name](), inputs_of(name)))
    wanted = scores / scores.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model(inputs_of(name)), wanted, atol=1e-6)
    low = SMALL[name](dtype="mixed_bfloat16")
    low.set_weights(model.get_weights())
    found = low(inputs_of(name))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    assert low.get_layer("probabilities").input.dtype == "float32"
    assert {weight.dtype for weight in low.weights} == {"float32"}
    np.testing.assert_allclose(found, wanted, atol=0.02)


@pytest.mark.parametrize("name", SMALL)
def test_a_batch_of_one_trains_every_weight(name):
    """The original stops at one, for its norms have a single value. Red for a layer beside the
    path, a norm that makes NaN of one clip, an LSTM that is left out."""
    model = SMALL[name]()
    inputs = inputs_of(name, (9,) if name == "conv3d" else (1,))
    before = model_arrays(model)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", run_eagerly=True)
    assert np.isfinite(model.train_on_batch(inputs, np.array([1])))
    after = model_arrays(model)
    assert all(np.isfinite(array).all() for array in after.values())
    if name == "conv3d":  # one frame alone leaves the norms at zero, and what is before them too
        assert not [key for key in after if np.array_equal(before[key], after[key])]
    model.train_on_batch(inputs_of(name), np.array([1, 2]))


@pytest.mark.parametrize("name", ["conv3d", "crnn"])
def test_a_compiled_step(name):
    """As experiments/training/loop.py does it: clips of any number and length through one graph."""
    from experiments.training.loop import Classifier

    classifier = Classifier(SMALL[name](seed=0), keras.optimizers.Adam(1e-3))
    tf = pytest.importorskip("tensorflow")
    inputs = {key: tf.constant(array) for key, array in inputs_of(name).items()}
    losses = [classifier.train_batch(inputs, tf.constant([0, 2]))[0] for _ in range(3)]
    assert losses[-1] < losses[0]
    one = {key: tf.constant(array) for key, array in inputs_of(name, (9,)).items()}
    assert np.isfinite(classifier.train_batch(one, tf.constant([1]))[0])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend):
    """The golden tests again, in a process of its own. Red for a TensorFlow call."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        pytest.skip("it is this process's")
    tests = [
        f"{HERE / file}::{name}"
        for file in ("test_conv3d.py", "test_crnn.py", "test_resnet_crnn.py")
        for name in ("test_logits_are_torchs",)
    ]
    tests += [f"{HERE / 'test_conv3d.py'}::test_training_is_torchs"]
    tests += [f"{HERE / 'test_crnn.py'}::test_training_is_torchs"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *tests],
        env={**os.environ, "KERAS_BACKEND": backend},
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stdout[-3000:]
