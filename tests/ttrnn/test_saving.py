"""Saved models open in a process that has done nothing but import ttrnn."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from layer_check import CELLS, FEATURES, KINDS, LAYERS, MODES, inputs, randomise

from tests.processes import PATIENCE_SECONDS
from ttrnn import Keras2FlatGlorotUniform, TTDense

READ = """
import sys
import numpy as np, keras, ttrnn
folder = sys.argv[1]
model = keras.models.load_model(f"{folder}/model.keras")
expected = np.load(f"{folder}/expected.npy")
found = model.predict(np.load(f"{folder}/x.npy"), verbose=0)
np.testing.assert_allclose(found, expected, atol=1e-6)
print("equal")
"""


def model_of_everything():
    """Each layer and each cell, each with settings of its own that must come back."""
    published = {
        "recurrent_activation": "keras2_hard_sigmoid",
        "kernel_initializer": Keras2FlatGlorotUniform(1),
    }
    entry = keras.Input((None, FEATURES))
    layers = []
    for kind in KINDS:
        options = {} if kind == "rnn" else published
        layers += [
            LAYERS[kind](**MODES, recurrent_dropout=0.2, go_backwards=True, **options),
            keras.layers.RNN(CELLS[kind](**MODES, activation="softsign", **options)),
        ]
    dense = TTDense((2, 6, 2), (2, 1, 2), (1, 2, 3, 1), activation="keras2_hard_sigmoid")
    joined = keras.layers.Concatenate()([layer(entry) for layer in layers])
    model = keras.Model(entry, dense(joined))
    for seed, layer in enumerate([*layers, dense]):
        randomise(layer, seed)
    return model


@pytest.mark.slow
def test_a_fresh_process_reads_every_layer(tmp_path):
    """Red for a class or an activation that is registered only when something else is imported."""
    model, x = model_of_everything(), 3 * inputs(4, 5, FEATURES)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "expected.npy", model.predict(x, verbose=0))
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1] == "equal"


def test_clone_and_weights_file(tmp_path):
    """clone_model rebuilds by config; a weights file finds every variable by its path."""
    model, x = model_of_everything(), inputs(4, 5, FEATURES)
    model.save_weights(tmp_path / "all.weights.h5")
    clone = keras.models.clone_model(model)
    expected = np.asarray(model(x))
    assert np.abs(clone(x) - expected).max() > 1e-3
    clone.load_weights(tmp_path / "all.weights.h5")
    np.testing.assert_allclose(clone(x), expected, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_dtype_policy_round_trips_to_the_cell(kind, policy):
    layer = LAYERS[kind](**MODES, dtype=policy)
    again = LAYERS[kind].from_config(layer.get_config())
    assert again.dtype_policy.name == again.cell.dtype_policy.name == policy
