"""Keras's own tools take the layers as they take Keras's: fit with callbacks, int8, LoRA."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from layer_check import FEATURES, MODES, UNITS, inputs

from ttrnn import TTGRU, TTDense


def compiled_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((None, FEATURES)),
            TTGRU(**MODES, name="recurrent"),
            keras.layers.Dense(FEATURES, name="dense"),
            TTDense(**MODES, name="train"),
        ]
    )
    model.compile("adam", "mse")
    return model


def clips() -> tuple[np.ndarray, np.ndarray]:
    return inputs(8, 5, FEATURES), inputs(8, UNITS, seed=1)


def test_fit_with_callbacks_goes_on_where_it_was_stopped(tmp_path):
    """Red when a layer has state that Keras's backup does not see: an interrupted training then
    ends with other weights than a whole one."""

    class Stopped(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    x, y = clips()
    options = {"epochs": 4, "batch_size": 4, "shuffle": False, "verbose": 0}
    whole = compiled_model()
    patient = keras.callbacks.EarlyStopping("loss", patience=3)
    history = whole.fit(x, y, callbacks=[patient], **options).history["loss"]
    assert len(history) == 4
    assert history[-1] < history[0]
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        compiled_model().fit(x, y, callbacks=[backup, Stopped()], **options)
    resumed = compiled_model()
    rest = resumed.fit(x, y, callbacks=[backup], **options).history["loss"]
    np.testing.assert_allclose(rest, history[2:], rtol=1e-4)
    for mine, other in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)


def test_int8_leaves_trains_as_they_are_and_says_so(tmp_path):
    """Red when a tensor train is quantized without a rule for it, or a saved model is another."""
    model, (x, _) = compiled_model(), clips()
    before, train = model.predict(x, verbose=0), model.get_layer("train").get_weights()
    with pytest.warns(UserWarning, match="Layer TTDense does not have a `quantize"):
        model.quantize("int8")
    assert model.get_layer("dense").quantization_mode == "int8"
    after = model.predict(x, verbose=0)
    np.testing.assert_allclose(after, before, atol=0.05 * np.abs(before).max())
    for mine, other in zip(model.get_layer("train").get_weights(), train, strict=True):
        np.testing.assert_array_equal(mine, other)
    model.save(tmp_path / "int8.keras")
    again = keras.models.load_model(tmp_path / "int8.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), after, atol=1e-6)


def test_lora_is_for_dense_layers_beside_a_train():
    """Red when the dense layers of a model with trains can no longer be tuned by it."""
    model, (x, y) = compiled_model(), clips()
    assert not hasattr(model.get_layer("train"), "enable_lora")  # it is of low rank already
    dense = model.get_layer("dense")
    dense.enable_lora(2)
    kernel = np.array(dense._kernel)
    model.compile("adam", "mse")
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(kernel, dense._kernel)
    assert np.abs(dense.lora_kernel_b).max() > 0
