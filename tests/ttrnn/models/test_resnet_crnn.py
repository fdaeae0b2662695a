"""ResNetCRNN against plain PyTorch; golden/make_ucf101_models.py says how its arrays were made."""

import keras
import numpy as np
import pytest
from ucf101_golden import (
    GOLDEN,
    GOLDEN_FOLDER,
    LENGTHS,
    check,
    check_statistics,
    clips,
    logits,
    numpy,
    of_shape,
    published_state,
    small_resnet_crnn,
)

from tests.grids import slow
from ttrnn.models import build_resnet_crnn
from weights.assign import assign_arrays, model_arrays
from weights.resnet import resnet_arrays
from weights.ucf101_models import resnet_crnn_arrays


@pytest.fixture(scope="module")
def model():
    """To be looked at only."""
    return small_resnet_crnn()


def three_clips():
    return clips(LENGTHS, 64, 48)


def features_of(model, inputs):
    resnet = model.get_layer("resnet50")
    return {"features": numpy(resnet(inputs["frames"])), "num_frames": inputs["num_frames"]}


def test_logits_are_torchs(model):
    """Red for what test_crnn.py says, ReLU before the norm, pixels from 0 to 255."""
    check(logits(model, three_clips()), "resnet_crnn_logits")


def test_features_do_in_place_of_frames(model):
    from_features = small_resnet_crnn(inputs="features")
    found = logits(from_features, features_of(model, three_clips()))
    check(found, "resnet_crnn_logits")


def test_weights_trained_on_features_serve_on_frames(model):
    """As the docstring says: those of the two models together."""
    trained = small_resnet_crnn(inputs="features", seed=3)
    whole = build_resnet_crnn(5, depth=50, height=64, width=48)
    assign_arrays(whole, model_arrays(model.get_layer("resnet50")) | model_arrays(trained))
    check(logits(whole, three_clips()), "resnet_crnn_logits")


def test_training_is_torchs_with_a_resnet_in_evaluation():
    """Red when the frozen network normalises by the batch."""
    model = small_resnet_crnn(norm_momentum=0.99**10)
    norm = model.get_layer("encoder_bn2")
    before = numpy(norm.moving_variance)
    check(logits(model, three_clips(), training=True), "resnet_crnn_train_logits", 1e-3)
    check_statistics(norm, before, "resnet_crnn_train", sum(LENGTHS))


def test_sizes_and_names_are_the_originals():
    """The heads' by a model of features, the ResNet's by torchvision's own list of names."""
    model = build_resnet_crnn(101, inputs="features")
    parts = ("resnet_encoder", "decoder")
    torchs = sum(int(GOLDEN[f"{part}_parameters"]) for part in parts)
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    resnet = 58_143_808  # torchvision's ResNet-152 less its last layer
    assert trainable == torchs - resnet - 3 * 4 * 512 == 9_737_573
    states = [published_state(part, of_shape) for part in parts]
    shapes = {name: array.shape for name, array in resnet_crnn_arrays(*states).items()}
    heads = {name: array.shape for name, array in model_arrays(model).items()}
    torchvisions = np.load(GOLDEN_FOLDER / "resnet.npz")
    keys = zip(torchvisions["152_keys"], torchvisions["152_shapes"], strict=True)
    state = {str(key): of_shape(key, shape[shape >= 0]) for key, shape in keys if "fc." not in key}
    assert shapes == heads | {name: a.shape for name, a in resnet_arrays(state).items()}


@pytest.mark.parametrize("reloaded", [True, *slow(False)])
def test_frozen_means_frozen(tmp_path, reloaded):
    """A training step moves all of the heads, statistics too, and nothing of the ResNet."""
    model = build_resnet_crnn(5, depth=18, height=64, width=48, seed=0)
    if reloaded:
        model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
    before = model_arrays(model)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", run_eagerly=True)
    model.train_on_batch(three_clips(), np.array([1, 2, 3]))
    after = model_arrays(model)
    moved = {name for name in after if not np.array_equal(before[name], after[name])}
    no_gradient = {"encoder_fc1/bias", "encoder_fc2/bias"}  # what is added before a norm
    heads = {name for name in after if name.startswith(("encoder_", "decoder_"))}
    assert moved | no_gradient == heads
    assert "encoder_bn1/moving_variance" in moved


@pytest.mark.parametrize(("depth", "size"), [(34, 512), (50, 2048)])
def test_features_have_the_resnets_size(depth, size):
    model = build_resnet_crnn(2, depth=depth, inputs="features")
    assert model.get_layer("features").output.shape == (None, size)
    assert model.name == f"resnet{depth}_crnn"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": "pixels"}, "inputs must be frames or features. Received 'pixels'"),
        ({"inputs": "features", "depth": 20}, r"18, 34, 50, 101, 152\. Received 20"),
        ({"depth": 20}, r"18, 34, 50, 101, 152\. Received 20"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build_resnet_crnn(5, **options)
