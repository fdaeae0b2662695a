"""CRNN against plain PyTorch; golden/make_ucf101_models.py says how its arrays were made."""

import keras
import numpy as np
import pytest
from ucf101_golden import (
    GOLDEN,
    LENGTHS,
    check,
    check_statistics,
    clips,
    logits,
    numpy,
    of_shape,
    published_state,
    small_crnn,
)

from ttrnn.models import build_crnn
from ttrnn.models.crnn import PadClips
from weights.assign import model_arrays
from weights.ucf101_models import crnn_arrays


@pytest.fixture(scope="module")
def model():
    return small_crnn()


def test_logits_are_torchs(model):
    """Each clip there was alone. Red for the state after padding, clips told apart wrongly, gates
    in another order, one of the LSTM's biases, the columns of fc1 in Keras's order."""
    check(logits(model, clips(LENGTHS, 64, 80)), "crnn_logits")


def test_a_black_frame_is_no_padding(model):
    inputs = clips((4,), 64, 80)
    cut = {"frames": inputs["frames"][:2], "num_frames": np.array([2], np.int32)}
    inputs["frames"][2:] = 0
    assert np.abs(logits(model, inputs) - logits(model, cut)).max() > 1e-3


def test_training_is_torchs():
    """Of frames normalised together. Red for a momentum of 0.01, or another epsilon."""
    model = small_crnn(norm_momentum=0.99**10)
    norm = model.get_layer("encoder_bn4")
    before = numpy(norm.moving_variance)
    check(logits(model, clips((10, 10), 64, 80), training=True), "crnn_train_logits", 1e-3)
    check_statistics(norm, before, "crnn_train", 2 * 10 * 2 * 3)
    # the original takes 10 steps of momentum 0.01 on 2 frames each: the same but for their order
    check_statistics(norm, before, "crnn_steps", 2 * 2 * 3, tolerance=0.03)


def test_sizes_and_names_are_the_originals():
    """Red for a layer too many, a bias too few, a name off the converter's rule."""
    model = build_crnn(101)
    parts = ("crnn_encoder", "decoder")
    torchs = sum(int(GOLDEN[f"{part}_parameters"]) for part in parts)
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable == torchs - 3 * 4 * 512 == 81_428_069  # one bias an LSTM
    states = [published_state(part, of_shape) for part in parts]
    wanted = {name: array.shape for name, array in crnn_arrays(*states).items()}
    variables = {name: array.shape for name, array in model_arrays(model).items()}
    assert variables == wanted
    assert model.get_layer("encoder_bn1").momentum == pytest.approx(0.99**28)  # 28 frames


def test_pad_clips():
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    padded, is_frame = map(numpy, PadClips()(rows, np.array([1, 3, 2], np.int32)))
    assert is_frame.tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 0]]
    assert padded.shape == (3, 3, 2)
    np.testing.assert_array_equal(padded[is_frame], rows)


def test_sides_that_are_too_small_are_named():
    assert build_crnn(2, height=33, width=33).get_layer("encoder_relu4").output.shape[1:3] == (1, 1)
    with pytest.raises(ValueError, match=r"33 or more.*Received 32 x 40; resize"):
        build_crnn(2, height=32, width=40)


def test_the_start_is_torchs():
    """Red for Keras's own start: Glorot, orthogonal, zeros, a forget gate of one."""
    model = build_crnn(5, height=64, width=80, seed=1)
    fans = {"encoder_conv1": 75, "encoder_fc1": 1536, "decoder_lstm2": 512, "decoder_fc2": 256}
    for name, fan in fans.items():
        for weight in model.get_layer(name).get_weights():
            share = np.abs(weight).max() * fan**0.5
            assert 0.2 < share <= 1 if weight.size < 9 else 0.9 < share <= 1


def test_a_seed_makes_layers_that_differ():
    """Red when layers of one shape start alike, or a seed does not say everything."""
    first, again, other = (build_crnn(5, height=33, width=33, seed=seed) for seed in (1, 1, 2))
    for one, two in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    kernels = [model.get_layer("decoder_lstm2").get_weights()[0] for model in (first, other)]
    kernels += first.get_layer("decoder_lstm2").get_weights()[1:2]
    kernels += first.get_layer("decoder_lstm3").get_weights()[:2]
    for number, kernel in enumerate(kernels):
        assert not any(np.array_equal(kernel, later) for later in kernels[number + 1 :])


def test_dropout_is_where_the_originals_is():
    model = build_crnn(5, height=33, width=33, dropout=0.3)
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    found = {layer.name: layer.rate for layer in layers}
    assert found == {"encoder_dropout": 0.3, "decoder_dropout": 0.3}
