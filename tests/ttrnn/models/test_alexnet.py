"""AlexNet against a plain NumPy account of it, and its layers one by one."""

import keras
import layer_check
import numpy as np
import pytest

from tests.grids import slow
from ttrnn.models.alexnet import (
    GroupedConv2D,
    LocalResponseNormalization,
    PixelConv2D,
    build_alexnet,
)


def convolve(x, kernel, bias, stride=1, padding=0, groups=1):
    """ReLU of a convolution in float64: x (B, H, W, C), kernel (k, k, C / groups, F)."""
    if isinstance(padding, int):
        padding = (padding, padding)
    x = np.pad(x, [(0, 0), padding, padding, (0, 0)])
    size = kernel.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]  # (B, h, w, C, k, k)
    channels, filters = x.shape[-1] // groups, kernel.shape[-1] // groups
    outputs = []
    for group in range(groups):
        part = windows[:, :, :, group * channels : (group + 1) * channels]
        own = kernel[..., group * filters : (group + 1) * filters]
        outputs.append(np.tensordot(part, own, axes=([3, 4, 5], [2, 0, 1])))
    return np.maximum(np.concatenate(outputs, axis=-1) + bias, 0)


def normalise(x, radius=2, alpha=2e-5, bias=1.0):
    """Channel by channel, with the power itself."""
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        near = x[..., max(c - radius, 0) : c + radius + 1]
        y[..., c] = x[..., c] / (bias + alpha * (near**2).sum(axis=-1)) ** 0.75
    return y


def pool(x):
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    return windows[:, ::2, ::2].max(axis=(-2, -1))


def numpy_alexnet(variant, weights, frames):
    """Probabilities in float64, from RGB frames."""
    x = frames.astype(np.float64)[..., ::-1]  # BGR
    if variant == "caffe":
        x = x - (104.0, 116.7, 122.7)
        x = convolve(x, *weights["conv1"], stride=4)
    else:
        x = convolve(x, *weights["conv1"], stride=4, padding=(4, 4))  # 227 -> 57: 8 in all
    x = pool(normalise(x))
    x = pool(normalise(convolve(x, *weights["conv2"], padding=2, groups=2)))
    x = convolve(x, *weights["conv3"], padding=1)
    x = convolve(x, *weights["conv4"], padding=1, groups=2)
    x = pool(convolve(x, *weights["conv5"], padding=1, groups=2))
    x = x.reshape(len(x), -1)
    for name in ("fc6", "fc7", "fc8"):
        kernel, bias = weights[name]
        x = x @ kernel + bias
        x = np.maximum(x, 0) if name != "fc8" else x
    shares = np.exp(x - x.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def weights():
    """Random ones that keep the values' size from layer to layer, biases included."""
    random = np.random.default_rng(0)
    shapes = {
        "conv1": (11, 11, 3, 96),
        "conv2": (5, 5, 48, 256),
        "conv3": (3, 3, 256, 384),
        "conv4": (3, 3, 192, 384),
        "conv5": (3, 3, 192, 256),
        "fc6": (9216, 4096),
        "fc7": (4096, 4096),
        "fc8": (4096, 1000),
    }
    found = {}
    for name, shape in shapes.items():
        scale = (2 / np.prod(shape[:-1])) ** 0.5 * (0.02 if name == "fc8" else 1)
        kernel = random.standard_normal(shape, np.float32) * np.float32(scale)
        found[name] = [kernel, random.standard_normal(shape[-1], np.float32) * np.float32(0.1)]
    return found


def with_weights(model, weights):
    for name, values in weights.items():
        model.get_layer(name).set_weights(values)
    return model


def some_frames(variant):
    random = np.random.default_rng(1)
    frames = random.integers(0, 256, (2, 227, 227, 3), np.uint8)
    return frames if variant == "caffe" else frames.astype(np.float32) - 120.5


@pytest.mark.parametrize("variant", ["caffe", *slow("seed")])
def test_probabilities_are_numpys(variant, weights):
    """Red when colours, mean, padding, groups, pooling, neighbours or weight order are off."""
    frames = some_frames(variant)
    expected = numpy_alexnet(variant, weights, frames)
    assert expected.max() > 3 / 1000  # far enough from uniform to say something
    model = with_weights(build_alexnet(variant), weights)
    assert model.count_params() == 60_965_224
    np.testing.assert_allclose(model(frames), expected, atol=1e-4, rtol=1e-3)
    fused = with_weights(build_alexnet(variant, fused=True), weights)
    np.testing.assert_allclose(fused(frames), expected, atol=1e-4, rtol=1e-3)


def test_the_variants_differ(weights):
    """Red when a named choice changes nothing: SAME and VALID reach the same 6 x 6 x 256."""
    frames = some_frames("caffe")
    caffe = with_weights(build_alexnet("caffe"), weights)(frames)
    seed = with_weights(build_alexnet("seed"), weights)(frames.astype(np.float32))
    assert np.abs(caffe - seed).max() > 1e-3


def test_bfloat16_is_close(weights):
    frames = some_frames("caffe")
    expected = numpy_alexnet("caffe", weights, frames)
    model = with_weights(build_alexnet("caffe", fused=True, dtype="mixed_bfloat16"), weights)
    assert keras.backend.standardize_dtype(model(frames).dtype) == "float32"
    np.testing.assert_allclose(model(frames), expected, rtol=0.15, atol=1e-4)


def test_an_unknown_variant_is_named():
    with pytest.raises(ValueError, match=r"caffe or seed.*'torch'"):
        build_alexnet("torch")


@pytest.mark.parametrize("groups", [1, 2])
def test_grouped_convolution(groups, tmp_path):
    layer_check.run_layer_test(
        GroupedConv2D,
        {"filters": 4, "kernel_size": 3, "strides": 1, "padding": "same", "groups": groups},
        (2, 5, 6, 4),
        (2, 5, 6, 4),
        [(3, 3, 4 // groups, 4), (4,)],
        tmp_path,
    )


def test_pixel_convolution(tmp_path):
    layer_check.run_layer_test(
        PixelConv2D,
        {"filters": 4, "kernel_size": 3, "padding": "valid", "mean_rgb": (10.0, 20.0, 30.0)},
        (2, 5, 6, 3),
        (2, 3, 4, 4),
        [(3, 3, 3, 4), (4,)],
        tmp_path,
    )


def test_padding_and_a_mean_do_not_go_together():
    with pytest.raises(ValueError, match="padding"):
        PixelConv2D(4, 3, padding="same", mean_rgb=(1.0, 2.0, 3.0))


def test_groups_must_divide():
    with pytest.raises(ValueError, match="groups must divide"):
        GroupedConv2D(4, 3, groups=2).build((None, 5, 5, 3))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("radius", [0, 1, 2, 7])
def test_local_response_normalization(radius, fused):
    """Red at the first and last channels, which have fewer neighbours."""
    x = np.random.default_rng(0).normal(0, 50, (2, 3, 4, 6)).astype("float32")
    layer = LocalResponseNormalization(radius, alpha=0.01, bias=2.0, fused=fused)
    expected = normalise(x.astype(np.float64), radius, 0.01, 2.0)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_local_response_normalization_as_a_layer(fused, tmp_path):
    layer_check.run_layer_test(
        LocalResponseNormalization,
        {"radius": 1, "alpha": 0.1, "bias": 1.5, "fused": fused},
        (2, 3, 3, 5),
        (2, 3, 3, 5),
        [],
        tmp_path,
    )
