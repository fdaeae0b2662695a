"""ResNets against plain PyTorch; golden/make_resnet.py says how its arrays were made."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.golden.weight_rule import value
from tests.grids import slow
from tests.processes import PATIENCE_SECONDS
from ttrnn.models import build_resnet
from weights.assign import assign_arrays, model_arrays
from weights.errors import WeightsError
from weights.resnet import resnet_arrays

ROOT = Path(__file__).parents[3]
GOLDEN = np.load(ROOT / "tests" / "golden" / "resnet.npz")
SEED = 2015
CASES = [(18, 64, 48), (18, 67, 45), (18, 160, 33), (50, 64, 48), (50, 51, 37)]
NUM_PARAMETERS = {  # as torchvision publishes them
    18: 11_689_512,
    34: 21_797_672,
    50: 25_557_032,
    101: 44_549_160,
    152: 60_192_808,
}


def pixels(height, width):
    rng = np.random.default_rng([SEED, height, width])
    return rng.standard_normal((2, height, width, 3)).astype(np.float32)


def torch_state(depth, make=value):
    """What torch's state_dict() would give, by its own keys and shapes."""
    shapes = GOLDEN[f"{depth}_shapes"]
    return {
        str(key): make(str(key), tuple(shape[shape >= 0]))
        for key, shape in zip(GOLDEN[f"{depth}_keys"], shapes, strict=True)
    }


@pytest.fixture(scope="module")
def arrays():
    """Ours, from torch's, by depth."""
    return {depth: resnet_arrays(torch_state(depth)) for depth in (18, 50)}


@pytest.fixture(scope="module")
def models(arrays):
    found = {depth: build_resnet(depth, input_shape=(None, None, 3)) for depth in arrays}
    for depth, model in found.items():
        assign_arrays(model, arrays[depth])
    return found


@pytest.fixture
def small(arrays):
    """ResNet-18, to be altered."""
    model = build_resnet(18, input_shape=(64, 48, 3))
    assign_arrays(model, arrays[18])
    return model


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def check(found, golden, tolerance=1e-4):
    """Differences as a share of the largest value."""
    np.testing.assert_allclose(
        numpy(found), GOLDEN[golden], rtol=0, atol=tolerance * np.abs(GOLDEN[golden]).max()
    )


def test_the_rule_still_gives_the_same_weights():
    """Red when NumPy's generator changes: then make the golden arrays anew."""
    np.testing.assert_array_equal(value("conv1.weight", (64, 3, 7, 7)).flat[:4], GOLDEN["probe"])


@pytest.mark.parametrize(("depth", "height", "width"), CASES)
def test_logits_are_torchs(depth, height, width, models):
    """Red for a stride in the wrong convolution, Keras's "same" padding (odd and even sides), an
    epsilon of 1e-3, gamma for beta, mean for variance, a kernel's axes, a shortcut left out."""
    logits = models[depth](pixels(height, width))
    assert np.ptp(GOLDEN[f"{depth}_{height}x{width}_logits"], axis=1).min() > 1
    check(logits, f"{depth}_{height}x{width}_logits")


@pytest.mark.parametrize("depth", [18, 50])
def test_features_are_torchs(depth, arrays):
    """Red when a model without classes has a last layer, or pools otherwise."""
    model = build_resnet(depth, None, input_shape=(64, 48, 3))
    assign_arrays(model, arrays[depth], ignore=["fc"])
    check(model(pixels(64, 48)), f"{depth}_64x48_features")


@pytest.mark.parametrize("depth", [18, 50, *slow(34, 101, 152)])
def test_sizes_and_names_are_torchvisions(depth):
    """Red for a block too many, a bias beside a batch normalisation, a name off torch's rule."""
    model = build_resnet(depth)
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable == NUM_PARAMETERS[depth]
    empty = torch_state(depth, lambda key, shape: np.broadcast_to(np.float32(0), shape))
    wanted = {name: array.shape for name, array in resnet_arrays(empty).items()}
    assert {name: array.shape for name, array in model_arrays(model).items()} == wanted


def test_training_is_torchs(small):
    """Red for a momentum of 0.1 or 0.99, or normalisation by the moving statistics."""
    norm = small.get_layer("layer4_1_bn2")
    before = numpy(norm.moving_variance)
    check(small(pixels(64, 48), training=True), "train_logits", 1e-3)
    check(norm.moving_mean, "train_mean")
    unbiased = 8 / 7  # torch's variance is of n - 1; here n = 2 pictures of 2 x 2
    variance = 0.9 * before + (numpy(norm.moving_variance) - 0.9 * before) * unbiased
    np.testing.assert_allclose(variance, GOLDEN["train_variance"], rtol=1e-3)


def test_a_training_step_moves_every_weight(small):
    before = small.get_weights()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    small.compile(keras.optimizers.SGD(1e-2), loss, run_eagerly=True)  # no time for XLA
    small.fit(pixels(64, 48), np.array([3, 5]), verbose=0)
    for weight, old in zip(small.weights, before, strict=True):
        assert np.isfinite(numpy(weight)).all(), weight.path
        assert not np.array_equal(numpy(weight), old), weight.path


def test_a_frozen_network_keeps_its_statistics(small):
    """Red when training a new last layer drifts the network under it."""
    small.trainable = False
    before = small.get_weights()
    check(small(pixels(64, 48), training=True), "18_64x48_logits")
    for new, old in zip(small.get_weights(), before, strict=True):
        np.testing.assert_array_equal(new, old)


def test_normalisation_in_the_model(arrays, models):
    """Red for pixels left at 0 to 255, BGR, or another mean; uint8 and float are the same."""
    model = build_resnet(18, input_shape=(64, 48, 3), normalize=True)
    assign_arrays(model, arrays[18])
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 48, 3), np.uint8)
    by_hand = (frames / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    expected = numpy(models[18](by_hand.astype(np.float32)))
    for pixels_given in (frames, frames.astype(np.float32)):
        np.testing.assert_allclose(
            numpy(model(pixels_given)), expected, atol=1e-4 * np.abs(expected).max()
        )


def test_bfloat16_is_close(arrays):
    model = build_resnet(18, input_shape=(64, 48, 3), dtype="mixed_bfloat16")
    assign_arrays(model, arrays[18])
    logits = model(pixels(64, 48))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert model.get_layer("layer4_1_relu").output.dtype == "bfloat16"
    check(logits, "18_64x48_logits", 0.05)


def test_saved_and_loaded(tmp_path):
    model = build_resnet(18, 7, input_shape=(None, None, 3), normalize=True, name="eye")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.name == "eye"
    x = 255 * pixels(64, 48)
    np.testing.assert_allclose(numpy(again(x)), numpy(model(x)), atol=1e-6)


def test_onnx(models):
    """Red when an explicit padding is lost on the way, or sides are fixed."""
    from onnxruntime import InferenceSession

    from experiments.models.onnx_export import to_onnx

    session = InferenceSession(to_onnx(models[18]).SerializeToString())
    for height, width in [(64, 48), (67, 45)]:
        (logits,) = session.run(["output"], {"input": pixels(height, width)})
        check(logits, f"18_{height}x{width}_logits")


@pytest.mark.parametrize("depth", [18, 50])
def test_how_weights_start(depth):
    """Red for fan_in, or a zero gamma within a block."""
    model = build_resnet(depth, zero_init_residual=True)
    stem = numpy(model.get_layer("conv1").kernel)
    assert np.std(stem) == pytest.approx((2 / (7 * 7 * 64)) ** 0.5, rel=0.05)
    twins = [numpy(model.get_layer(f"layer1_{block}_conv2").kernel) for block in (0, 1)]
    assert not np.array_equal(*twins)
    last = "bn2" if depth == 18 else "bn3"
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert (numpy(layer.gamma) == (not layer.name.endswith(last))).all(), layer.name


@pytest.mark.parametrize("depth", [20, "18", None])
def test_an_unknown_depth_is_named(depth):
    with pytest.raises(ValueError, match=r"18, 34, 50, 101, 152\. Received"):
        build_resnet(depth)


def test_other_channels():
    assert build_resnet(18, None, input_shape=(32, 32, 2)).output_shape == (None, 512)
    with pytest.raises(ValueError, match="3 channels"):
        build_resnet(18, input_shape=(32, 32, 2), normalize=True)


def test_a_prefix_does_not_matter():
    state = {"conv1.weight": np.zeros((64, 3, 7, 7)), "bn1.num_batches_tracked": np.array(9)}
    for prefix in ("", "module."):
        (name,) = found = resnet_arrays({prefix + key: array for key, array in state.items()})
        assert name == "conv1/kernel"
        assert found[name].shape == (7, 7, 3, 64)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"features.0.weight": (3, 3, 3, 3)}, "others: features.0.weight"),
        ({"layer5.0.conv1.weight": (3, 3, 3, 3), "fc.bias": (9,)}, "others: layer5"),
        ({"layer1.0.conv1.bias": (64,)}, "others: layer1.0.conv1.bias"),
        ({"fc.running_mean": (64,)}, "others: fc.running_mean"),
        ({f"a{number}": () for number in range(5)}, "5 others: a0, a1, a2 and 2 more"),
        ({"a\x1b[2J": ()}, r"others: 'a\\x1b"),
        ({"conv1.weight": (64, 3)}, r"conv1.weight must have 4 axes. Received shape \(64, 3\)"),
        ({"bn1.bias": (64,), "module.bn1.bias": (64,)}, "bn1/beta is there under two keys"),
    ],
)
def test_foreign_keys_are_named(state, message):
    with pytest.raises(WeightsError, match=message):
        resnet_arrays({key: np.zeros(shape) for key, shape in state.items()})


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend):
    """The golden tests again, in a process of its own. Red for a TensorFlow call."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        pytest.skip("it is this process's")
    tests = [
        f"{__file__}::{name}" for name in ("test_logits_are_torchs", "test_training_is_torchs")
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *tests],
        env={**os.environ, "KERAS_BACKEND": backend},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stdout[-3000:]
