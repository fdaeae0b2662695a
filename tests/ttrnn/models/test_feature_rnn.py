"""The classifier of features, against NumPy."""

import keras
import numpy as np
import pytest

from ttrnn.models.feature_rnn import build_feature_rnn, on_frames, standardize_features


def clips():
    rng = np.random.default_rng(0)
    rows = rng.normal(3, 2, (9, 6)).astype("float32")
    return {"features": rows, "num_frames": np.array([2, 3, 4], "int32")}


def give_scores(model):
    """Set the output kernel, which is zero at first."""
    layer = model.get_layer("probabilities")
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=array.shape) for array in layer.get_weights()])


def test_the_mean_is_a_linear_classifier_of_standardized_means():
    """Red when padding counts as frames, or mean and deviation are another's."""
    model, inputs = build_feature_rnn(6, 4, cell="mean", feature_scale=2.0), clips()
    rows = inputs["features"]
    standardize_features(model, rows)
    z = (rows - rows.mean(0)) / rows.std(0) / 2
    means = np.stack([part.mean(0) for part in np.split(z, [2, 5])])
    kernel = np.random.default_rng(1).normal(size=(6, 4)).astype("float32")
    bias = np.arange(4, dtype="float32")
    model.get_layer("probabilities").set_weights([kernel, bias])
    scores = np.exp(means @ kernel + bias)
    expected = scores / scores.sum(1, keepdims=True)
    np.testing.assert_allclose(model(inputs), expected, rtol=1e-4)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_clip_does_not_depend_on_its_neighbours(cell, pooling, tmp_path):
    """Red when padding reaches a state, or a saved model forgets mean and deviation."""
    model = build_feature_rnn(
        *(6, 4), cell=cell, tt_input_shape=(2, 3), tt_output_shape=(2, 2), tt_ranks=2,
        pooling=pooling, seed=1,
    )  # fmt: skip
    inputs = clips()
    standardize_features(model, inputs["features"])
    give_scores(model)
    together = np.array(model(inputs))
    parts = np.split(inputs["features"], [2, 5])
    alone = [model({"features": rows, "num_frames": np.array([len(rows)])})[0] for rows in parts]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(loaded(inputs), together, atol=1e-6)


def test_a_network_joined_with_it_gives_the_same(tmp_path):
    pixels = keras.Input((4, 5, 3))
    network = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(pixels))
    model = build_feature_rnn(3, 4, cell="mean", seed=1)
    frames = np.random.default_rng(0).integers(0, 256, (5, 4, 5, 3), np.uint8)
    features = frames.mean(axis=(1, 2), dtype="float32")
    standardize_features(model, features)
    give_scores(model)
    num_frames = np.array([2, 3], "int32")
    expected = model({"features": features, "num_frames": num_frames})
    on_frames(model, network).save(tmp_path / "whole.keras")
    whole = keras.models.load_model(tmp_path / "whole.keras", compile=False)
    np.testing.assert_allclose(
        whole({"frames": frames, "num_frames": num_frames}), expected, atol=1e-4
    )


def test_other_cells_and_poolings_are_refused():
    with pytest.raises(ValueError, match="cell must be"):
        build_feature_rnn(6, 4, cell="median")
    with pytest.raises(ValueError, match="pooling must be"):
        build_feature_rnn(6, 4, cell="mean", pooling="max")
