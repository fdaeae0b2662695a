"""The Keras-2 hard sigmoid, by formula and by name."""

import keras
import numpy as np
import pytest
from layer_check import CELLS, LAYERS, MODES

X = np.linspace(-6, 6, 241).astype("float32")


def test_keras2_hard_sigmoid_is_the_formula():
    function = keras.activations.get("keras2_hard_sigmoid")
    np.testing.assert_allclose(function(X), np.clip(0.2 * X + 0.5, 0, 1), atol=1e-6)


def test_keras2_hard_sigmoid_is_not_keras3s():
    """Trap 1: the slopes are 1/5 and 1/6. Red if the name is an alias of Keras 3's."""
    ours = np.asarray(keras.activations.get("keras2_hard_sigmoid")(X))
    theirs = np.asarray(keras.activations.get("hard_sigmoid")(X))
    np.testing.assert_allclose(theirs, np.clip(X + 3, 0, 6) / 6, atol=1e-6)
    assert np.abs(ours - theirs).max() > 0.08


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("classes", [LAYERS, CELLS])
def test_layers_take_it_by_name_and_keep_it_in_their_config(kind, classes):
    layer = classes[kind](**MODES, recurrent_activation="keras2_hard_sigmoid")
    again = type(layer).from_config(layer.get_config())
    cell = getattr(again, "cell", again)
    np.testing.assert_allclose(
        cell.recurrent_activation(X), np.clip(0.2 * X + 0.5, 0, 1), atol=1e-6
    )
