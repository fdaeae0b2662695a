"""Conv3D against plain PyTorch; golden/make_ucf101_models.py says how its arrays were made."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ucf101_golden import (
    GOLDEN,
    check,
    check_statistics,
    clip,
    clips,
    logits,
    numpy,
    small_conv3d,
    value,
)

from tests.processes import PATIENCE_SECONDS
from ttrnn.models import build_conv3d
from ttrnn.models.conv3d import Grey, conv3d_sizes

SMALL = {"num_frames": 9, "height": 11, "width": 10}


@pytest.fixture(scope="module")
def model():
    return small_conv3d()


def two_clips():
    return clips((10, 10), 64, 80)


def test_the_rule_still_gives_the_same_weights():
    """Red when NumPy's generator changes: then make the golden arrays anew."""
    found = value("conv3d.conv1.weight", (32, 1, 5, 5, 5))
    np.testing.assert_array_equal(found.flat[:4], GOLDEN["probe"])


def test_logits_are_torchs(model):
    """Red for padding, a stride, fc1's columns in Keras's order, ReLU before the norm, BGR."""
    check(logits(model, two_clips()), "conv3d_logits")


def test_the_normalization_is_the_one_in_the_originals_scripts():
    """Red for one that was never published, or for the older one as the default."""
    found = []
    for options in ({}, {"normalization": "half"}, {"normalization": "imagenet"}):
        layer = build_conv3d(2, **SMALL, **options).get_layer("normalize")
        scale, offset = np.squeeze(layer.scale), np.squeeze(layer.offset)
        found.append([-offset / (255 * scale), 1 / (255 * scale)])  # mean and deviation
    now, before = GOLDEN["conv3d_normalization"]
    np.testing.assert_allclose(found, [now, now, before], rtol=1e-6)


def test_logits_of_older_weights_are_torchs():
    check(logits(small_conv3d(normalization="imagenet"), two_clips()), "conv3d_imagenet_logits")


def test_training_is_torchs():
    """Red for a momentum of 0.1 or 0.99, or normalisation by the moving statistics."""
    model = small_conv3d()
    norm = model.get_layer("bn2")
    before = numpy(norm.moving_variance)
    check(logits(model, two_clips(), training=True), "conv3d_train_logits", 1e-3)
    check_statistics(norm, before, "conv3d_train", 2 * 14 * 18)


def test_sizes_are_the_originals():
    """Red for a layer, a bias or a norm too many or too few."""
    sizes = conv3d_sizes(101)
    assert sizes.num_parameters == GOLDEN["conv3d_parameters"] == 320_117_237
    assert sizes.largest_kernel == 319_979_520


@settings(max_examples=12, deadline=None)
@given(
    st.tuples(*[st.integers(9, 24)] * 3),
    st.sampled_from([1, 3]),
    st.sampled_from(["dense", "gap"]),
)
def test_sizes_are_known_before_anything_is_built(shape, channels, head):
    options = dict(zip(SMALL, shape, strict=True), channels=channels, head=head)
    sizes = conv3d_sizes(3, **options)
    weights = build_conv3d(3, **options).trainable_weights
    assert sizes.num_parameters == sum(int(np.prod(weight.shape)) for weight in weights)
    assert sizes.largest_kernel == int(np.prod(weights[8].shape))


def test_memory_grows_with_clips_and_not_with_the_gap_heads_frames():
    dense, gap = (conv3d_sizes(101, head=head) for head in ("dense", "gap"))
    assert 8.5e9 < dense.training_bytes(4) < 12e9  # 8.5 GB were seen
    assert 1.7e9 < gap.training_bytes(4) < 2e9  # 1.71 GB were seen
    assert 7.31e9 < gap.training_bytes(30) < 8e9  # 7.31 GB were seen


def test_the_gap_head_sees_each_channels_mean(model):
    """Red for a maximum, or a mean over the pictures alone."""
    gap = build_conv3d(5, num_frames=10, height=64, width=80, head="gap")
    for name in ("conv1", "bn1", "conv2", "bn2"):
        gap.get_layer(name).set_weights(model.get_layer(name).get_weights())
    inputs = two_clips()
    ends = [gap.get_layer("relu2").output, gap.get_layer("fc1").output]
    values, hidden = keras.Model(gap.inputs, ends)([inputs["frames"], inputs["num_frames"]])
    kernel, bias = gap.get_layer("fc1").get_weights()
    np.testing.assert_allclose(hidden, numpy(values).mean((1, 2, 3)) @ kernel + bias, atol=1e-4)


def test_grey_is_pillows():
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)
    pixels[0, :256] = np.arange(256)[:, None]
    wanted = np.array(image.fromarray(pixels).convert("L"))
    np.testing.assert_array_equal(numpy(Grey()(pixels))[..., 0], wanted)


def test_rgb_is_normalised_channel_by_channel():
    model = build_conv3d(2, **SMALL, channels=3)
    frames = clip(0, 18, 16, 16)[:, :11, :10]
    seen = keras.Model(model.inputs, model.get_layer("clips").output)([frames, np.array([9, 9])])
    wanted = (frames / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)  # ImageNet's
    np.testing.assert_allclose(seen, wanted.reshape(2, 9, 11, 10, 3), atol=1e-5)


def test_whole_channels_are_dropped():
    """Red for dropout of single values between the convolutions, or none."""
    model = build_conv3d(2, num_frames=20, height=20, width=20, dropout=0.5, seed=0)
    for number in (1, 2):
        layer = model.get_layer(f"dropout{number}")
        dropped = numpy(layer(np.ones((2, *layer.input.shape[1:]), np.float32), training=True))
        assert set(np.unique(dropped)) == {0, 2}
        assert (np.ptp(dropped, axis=(1, 2, 3)) == 0).all()
    assert model.get_layer("fc2_dropout").rate == 0.5


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("lengths", [(9, 11), (9, 8), (20,)])
def test_clips_of_another_length_are_refused(lengths, compiled):
    """Red when 9 + 11 frames pass for two clips of 10."""
    import tensorflow as tf

    model = build_conv3d(2, num_frames=10, height=16, width=16, head="gap")
    inputs = {name: tf.constant(array) for name, array in clips(lengths, 16, 16).items()}
    if compiled:
        spec = {name: tf.TensorSpec([None, *t.shape[1:]], t.dtype) for name, t in inputs.items()}
        model = tf.function(model, input_signature=[spec])
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have 10 frames"):
        model(inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 8}, "9 or more, for two convolutions of stride 2. Received 8, 256 and 342"),
        ({"width": 8}, "Received 28, 256 and 8"),
        ({"channels": 2}, "channels must be 1, grey, or 3, RGB. Received 2"),
        ({"head": "flat"}, "head must be dense or gap. Received 'flat'"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    for function in (build_conv3d, conv3d_sizes):
        with pytest.raises(ValueError, match=message):
            function(5, **options)


@pytest.mark.slow
def test_training_at_the_originals_sizes_takes_less_than_12_gb():
    """Two steps of Adam at batch 4, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", TRAIN], capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, done.stderr[-3000:]
    peak = int(done.stdout.split()[-1])
    assert peak < conv3d_sizes(101).training_bytes(4) < 12e9


TRAIN = """
import resource
import keras, numpy as np, tensorflow as tf
from experiments.training.loop import Classifier
from ttrnn.models import build_conv3d
classifier = Classifier(build_conv3d(101), keras.optimizers.Adam(1e-4))
frames = tf.zeros((4 * 28, 256, 342, 3), tf.uint8)
for _ in range(2):
    classifier.train_batch({"frames": frames, "num_frames": tf.fill([4], 28)}, tf.range(4))
print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
