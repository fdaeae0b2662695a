"""`python -m weights` as a person types it."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from experiments.models import zoo as weights_models
from tests.weights.pickles import file
from tests.weights.torch_pickles import state_dict, zip_file
from weights import WeightsError, model_arrays, read_arrays, write_safetensors
from weights.alexnet import ALEXNET_SHAPES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def small(monkeypatch):
    """A small model in place of all of keras.applications' MobileNets."""

    def build(weights, alpha):
        assert weights is None
        return keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(2, name="preds")], name=f"small_{alpha}"
        )

    monkeypatch.setattr(keras.applications, "MobileNet", build)
    return {
        "preds/kernel": np.arange(6, dtype="float32").reshape(3, 2),
        "preds/bias": np.ones(2, "float32"),
    }


def test_the_door_leads_to_the_command():
    run = subprocess.run(
        [sys.executable, "-m", "weights", "list", "--folder", "nowhere"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "bvlc_alexnet.npy" in run.stdout
    assert run.stderr == ""


def test_list_says_what_is_here(command, tmp_path):
    (tmp_path / "bvlc_alexnet.npy").touch()
    code, out, _ = command("list", "--folder", tmp_path)
    assert code == 0
    header, *rows = out.splitlines()
    lines = {row.split()[0]: row[: header.index("licence")].split() for row in rows}
    assert lines["alexnet"] == ["alexnet", "bvlc_alexnet.npy", "60,965,224", "244", "-", "yes"]
    assert lines["vgg16"][2:] == ["138,357,544", "553", "md5", "no"]
    assert len(rows) == 11


def test_fetch_and_verify(command, monkeypatch, tmp_path):
    """What the flags become; the download itself is test_fetch.py's."""
    calls = []

    def fetch(entry, folder, url):
        calls.append((entry.name, folder, url))
        return folder / entry.file_name

    monkeypatch.setattr("weights.fetch.fetch", fetch)
    monkeypatch.setattr("weights.registry.verify", lambda path, entry: calls.append(entry.name))
    code, out, _ = command("fetch", "alexnet", "--folder", tmp_path, "--url", "http://a")
    assert (code, calls) == (0, [("alexnet", tmp_path, "http://a")])
    assert "bvlc_alexnet.npy is there and verified" in out
    assert command("verify", "somewhere/efficientnetb0.h5")[0] == 0
    assert command("verify", "mine.h5", "--name", "vgg16")[0] == 0
    assert calls[1:] == ["efficientnetb0", "vgg16"]


def test_an_interrupted_fetch_says_how_to_go_on(command, monkeypatch, tmp_path):
    def fetch(entry, folder, url):
        raise KeyboardInterrupt

    monkeypatch.setattr("weights.fetch.fetch", fetch)
    code, _, err = command("fetch", "alexnet", "--folder", tmp_path / "a b")
    assert code == 130
    assert f"go on with: python -m weights fetch alexnet --folder '{tmp_path}/a b'" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["fetch", "nothing"], "Known weights are alexnet"),
        (["verify", "nothing.h5"], "Known weights are alexnet"),
        (["verify", "no/bvlc_alexnet.npy"], "No such file"),
        (["convert", "a.npy", "b.h5"], "OUT must end in .weights.h5"),
        (["convert", "a.npz", "b.weights.h5"], "Give --model"),
        (["convert", "a.npz", "b.weights.h5", "--model", "x"], "--model must be one of"),
        (["convert", "a.npy", "b.weights.h5", "--model", "vgg16"], "read as alexnet's"),
        (["convert", "a.npz", "no/b.safetensors"], "no folder no"),
        (["convert", "no.npz", "b.safetensors"], "no such file"),
        (["convert", "no.npy", "b.safetensors"], "No such file"),
        (["convert", "no.h5", "b.safetensors"], "from .npz and .safetensors"),
    ],
)
def test_bad_input_is_told_in_a_line(command, monkeypatch, tmp_path, args, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*args)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_hostile_file_is_not_converted(command, tmp_path):
    path = tmp_path / "bvlc_alexnet.npy"
    path.write_bytes(file(b"cos\nsystem\n"))
    code, _, err = command("convert", path, tmp_path / "a.weights.h5")
    assert code == 2
    assert "asks for os.system" in err
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("model", [[], ["--model", "mobilenet_0.25"]])
def test_npz_to_safetensors(command, small, tmp_path, model):
    np.savez(tmp_path / "a.npz", **small)
    code, out, _ = command("convert", tmp_path / "a.npz", tmp_path / "a.safetensors", *model)
    assert code == 0
    assert "2 arrays, 8 parameters" in out
    arrays = read_arrays(tmp_path / "a.safetensors")
    assert set(arrays) == set(small)
    for name, array in small.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_to_keras_weights(command, small, tmp_path):
    """What is written must load into a fresh model, and bring every value back."""
    write_safetensors(tmp_path / "a.safetensors", small)
    out = tmp_path / "a.weights.h5"
    args = ("convert", tmp_path / "a.safetensors", out, "--model", "mobilenet_0.5")
    assert command(*args)[0] == 0
    fresh = keras.applications.MobileNet(weights=None, alpha=0.5)
    fresh.load_weights(out)
    for name, array in model_arrays(fresh).items():
        np.testing.assert_array_equal(array, small[name])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "a.weights.h5"]
    code, _, err = command(*args)
    assert code == 2
    assert "exists. Choose another name, or give --overwrite." in err
    assert command(*args, "--overwrite")[0] == 0


def test_a_save_that_fails_leaves_the_old_file(command, small, monkeypatch, tmp_path):
    """Red if Keras writes under the final name."""

    def fail(self, path, overwrite):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save_weights", fail)
    np.savez(tmp_path / "a.npz", **small)
    out = tmp_path / "a.weights.h5"
    out.write_bytes(b"old")
    args = ("convert", tmp_path / "a.npz", out, "--model", "mobilenet_0.5", "--overwrite")
    code, _, err = command(*args)
    assert code == 2
    assert "No space left on device" in err
    assert out.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "a.weights.h5"]


def test_arrays_of_another_model_are_told(command, small, tmp_path):
    np.savez(tmp_path / "a.npz", **{"conv/kernel": small["preds/kernel"]})
    args = (tmp_path / "a.npz", tmp_path / "a.weights.h5", "--model", "mobilenet_0.5")
    code, _, err = command("convert", *args)
    assert code == 2
    assert "2 of the model have no array: preds/bias, preds/kernel" in err
    assert not (tmp_path / "a.weights.h5").exists()


def test_alexnets_layers_are_the_files():
    """The model that conversion fills: red if a layer or a shape of it has another name."""
    from ttrnn.models.alexnet import build_alexnet
    from weights.assign import _variables

    variables = _variables(build_alexnet())
    assert {name: tuple(v.shape) for name, v in variables.items()} == ALEXNET_SHAPES


@pytest.mark.parametrize("name", sorted(set(weights_models.MODELS) - {"alexnet"}))
def test_models_are_keras_own(name):
    """Red for a builder that keras.applications does not have."""
    function, _ = weights_models.MODELS[name]
    assert callable(getattr(keras.applications, function))


def test_importing_weights_starts_nothing_heavy():
    program = (
        "import sys, weights, weights.__main__\n"
        "print([name for name in ('tensorflow', 'keras', 'h5py', 'requests') "
        "if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_weights_error_is_no_value_error():
    """Callers that catch ValueError for their own arguments must not hide a hostile file."""
    assert not issubclass(WeightsError, ValueError)


def test_a_torchvision_checkpoint_becomes_ours(command, tmp_path):
    """Red when a .pth is taken for arrays by our names, or the head keeps 1,000 classes."""
    golden = np.load(ROOT / "tests" / "golden" / "resnet.npz")
    state = {
        str(key): np.full(shape[shape >= 0], 0.5, np.float32)
        for key, shape in zip(golden["18_keys"], golden["18_shapes"], strict=True)
        if not key.endswith("num_batches_tracked")
    }
    state["fc.weight"], state["fc.bias"] = state["fc.weight"][:2], np.array([3, 4], np.float32)
    path, out = tmp_path / "resnet18.pth", tmp_path / "resnet18.safetensors"
    path.write_bytes(zip_file(*state_dict(state)))
    code, output, _ = command("convert", path, out, "--model", "torchvision_resnet18")
    assert code == 0
    assert "122 arrays" not in output  # torch's, with its counts
    found = read_arrays(out)
    assert found["layer4_1_conv2/kernel"].shape == (3, 3, 512, 512)
    assert found["fc/kernel"].shape == (512, 2)
    np.testing.assert_array_equal(found["fc/bias"], [3, 4])
