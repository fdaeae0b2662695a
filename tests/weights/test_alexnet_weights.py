"""AlexNet's file: its names, shapes and types, exactly."""

import math
import shutil

import numpy as np
import pytest

from tests.weights.pickles import file, python2
from weights import WeightsError, read_alexnet_npy
from weights.alexnet import ALEXNET_SHAPES

SHAPES = {"conv1/kernel": (3, 3, 2, 4), "conv1/bias": (4,), "fc6/kernel": (8, 5), "fc6/bias": (5,)}


def small():
    rng = np.random.default_rng(0)
    return {
        layer: [
            rng.standard_normal(SHAPES[f"{layer}/{part}"]).astype("float32")
            for part in ("kernel", "bias")
        ]
        for layer in ("fc6", "conv1")
    }


@pytest.fixture
def read(tmp_path):
    def read_layers(layers):
        path = tmp_path / "small.npy"
        np.save(path, np.array(layers, dtype=object))
        return read_alexnet_npy(path, shapes=SHAPES)

    return read_layers


def test_the_table_is_alexnet():
    """The published count: red for a wrong digit in any shape."""
    assert sum(map(math.prod, ALEXNET_SHAPES.values())) == 60_965_224
    assert len(ALEXNET_SHAPES) == 16


def test_arrays_get_their_names(read):
    """Red if kernel and bias, or the layers, change places."""
    layers = small()
    arrays = read(layers)
    assert list(arrays) == list(SHAPES)
    for name, array in arrays.items():
        layer, _, part = name.partition("/")
        np.testing.assert_array_equal(array, layers[layer][part == "bias"])
        assert array.dtype == np.float32


def changed(layer, part, change):
    def make(layers):
        layers[layer][part] = change(layers[layer][part])
        return layers

    return make


def with_a_nan(array):
    array.flat[-1] = np.nan
    return array


WRONG = {
    "a layer is missing": (lambda x: {"conv1": x["conv1"]}, r"Received \['conv1'\]"),
    "a layer too many": (lambda x: x | {"fc9": x["fc6"]}, "fc9"),
    "a layer of another name": (lambda x: {"conv1": x["conv1"], "fc7": x["fc6"]}, "fc7"),
    "names that are numbers": (lambda x: {1: x["conv1"], 2: x["fc6"]}, r"\['1', '2'\]"),
    "no dict": (lambda x: "conv1", "Received str"),
    "no bias": (lambda x: x | {"fc6": x["fc6"][:1]}, r"\[kernel, bias\] for fc6"),
    "a kernel alone": (lambda x: x | {"fc6": x["fc6"][0]}, r"\[kernel, bias\] for fc6"),
    "a transposed kernel": (changed("fc6", 0, np.transpose), r"float32 \(8, 5\).*\(5, 8\)"),
    "a flat kernel": (changed("conv1", 0, np.ravel), r"conv1/kernel"),
    "a bias of one": (changed("conv1", 1, lambda a: a[:1]), r"conv1/bias"),
    "float64": (changed("fc6", 0, lambda a: a.astype("float64")), "Received float64"),
    "integers": (changed("fc6", 1, lambda a: a.astype("int32")), "Received int32"),
    "a number": (changed("fc6", 1, lambda a: 1.0), "Received float"),
    "not a number": (changed("conv1", 0, with_a_nan), "conv1/kernel.* NaN or infinity"),
    "infinity": (changed("fc6", 1, lambda a: a / 0 * 0 + np.inf), "fc6/bias.* NaN or infinity"),
}


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("case", WRONG)
def test_another_file_is_told(read, case):
    change, message = WRONG[case]
    with pytest.raises(WeightsError, match=message):
        read(change(small()))


def test_a_hostile_file_is_refused(tmp_path):
    path = tmp_path / "bvlc_alexnet.npy"
    path.write_bytes(file(b"cos\nsystem\n"))
    with pytest.raises(WeightsError, match=r"bvlc_alexnet\.npy is refused: .* os\.system"):
        read_alexnet_npy(path)


@pytest.mark.slow
def test_the_full_size(tmp_path):
    """As Python 2 wrote it, 244 MB; seconds, but a gigabyte of memory."""
    if shutil.disk_usage(tmp_path).free < 2**30:
        pytest.skip("needs 1 GiB of disk")
    layers = {name.partition("/")[0]: [] for name in ALEXNET_SHAPES}
    rng = np.random.default_rng(0)
    for name, shape in ALEXNET_SHAPES.items():
        layers[name.partition("/")[0]].append(rng.standard_normal(shape, dtype="float32"))
    path = tmp_path / "bvlc_alexnet.npy"
    path.write_bytes(python2(layers))
    arrays = read_alexnet_npy(path)
    assert sum(array.size for array in arrays.values()) == 60_965_224
    for name, array in arrays.items():
        layer, _, part = name.partition("/")
        np.testing.assert_array_equal(array, layers[layer][part == "bias"])
