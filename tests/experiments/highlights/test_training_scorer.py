"""The network and its directory: what it sees, what it begins from, what is refused."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from experiments.clips.features import load_network
from experiments.clips.images import Box, ImageSettings
from experiments.clips.scorer import ScorerError, write_scorer
from experiments.clips.scorer_model import Scorer, load_scorer
from experiments.highlights.scoring.scorer_network import begin_from, build_scorer
from experiments.highlights.training.recipes import (
    ORIGINAL,
    TUNED,
    TrainOptions,
    settled,
    with_least_steps,
)
from tests.weights import torch_pickles
from ttrnn.models.resnet import BLOCKS, build_resnet
from weights.arrays import write_safetensors
from weights.assign import model_arrays

SETTINGS = ImageSettings(side=32)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, *SETTINGS.frame_shape)).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def shallow():
    """Build ResNets of half the blocks, 18's still fewer than 34's, in half the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BLOCKS, 18, (1, 1, 1, 1))
        patch.setitem(BLOCKS, 34, (1, 2, 2, 1))
        yield


@pytest.fixture(scope="module")
def networks():
    """One of each layout."""
    keras.utils.set_random_seed(0)
    return {
        "stacked": build_scorer(18, SETTINGS, layout="stacked"),
        "two-inputs": build_scorer(18, SETTINGS, layout="two-inputs"),
    }


@pytest.fixture(scope="module")
def run_dir(networks, tmp_path_factory):
    """What a training would leave."""
    folder = tmp_path_factory.mktemp("run")
    networks["two-inputs"].save(folder / "best.keras")
    write_scorer(folder, SETTINGS, box=Box(0.5, 0.0, 1.0, 0.25), threshold=0.4)
    return folder


@pytest.fixture
def copy(run_dir, tmp_path):
    """Of that directory, to damage."""
    for path in run_dir.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_scorer_comes_back_as_it_was(networks, run_dir):
    """Red when a weight, the order of the classes, a setting or the box is lost."""
    loaded = load_scorer(run_dir)
    model = networks["two-inputs"]
    expected = np.asarray(model(IMAGES, training=False))[:, 1]
    np.testing.assert_allclose(loaded.predict(IMAGES), expected, atol=1e-6)
    assert loaded.predict(IMAGES).dtype == np.float32
    assert loaded.settings == SETTINGS
    assert loaded.box == Box(0.5, 0.0, 1.0, 0.25)
    assert loaded.threshold == 0.4


def test_the_number_of_pictures_does_not_matter(networks):
    """Red when a picture's score depends on its neighbours, or many are cut wrongly."""
    scorer = Scorer(networks["stacked"], SETTINGS)
    many = np.concatenate([IMAGES] * 27)[:131]  # more than are computed at once
    together = scorer.predict(many)
    assert together.shape == (131,)
    one_by_one = [scorer.predict(image[None])[0] for image in IMAGES]
    np.testing.assert_allclose(together, np.resize(one_by_one, 131), atol=1e-5)
    assert scorer.predict(IMAGES[:0]).shape == (0,)
    assert np.ptp(one_by_one) > 1e-4


def test_other_pictures_are_refused(networks):
    scorer = Scorer(networks["stacked"], SETTINGS)
    with pytest.raises(ValueError, match=r"\(N, 64, 32, 3\)\. Received uint8 \(5, 32, 32, 3\)"):
        scorer.predict(IMAGES[:, :32])
    with pytest.raises(ValueError, match="float32"):
        scorer.predict(IMAGES.astype(np.float32))


def test_two_inputs_see_each_their_own_part(networks):
    """Red when a tower sees the other's part, or all of the picture."""
    model = networks["two-inputs"]
    towers = {name: model.get_layer(name).output for name in ("seen", "heard")}
    joined = model.get_layer("features")
    features = keras.Model(model.input, joined.output)
    assert all(tower.shape[-1] == 512 for tower in towers.values())
    other_face, other_sound = IMAGES.copy(), IMAGES.copy()
    other_face[:, :32] = 255 - other_face[:, :32]
    other_sound[:, 32:] = 255 - other_sound[:, 32:]
    seen, heard = slice(0, 512), slice(512, 1024)
    plain, face, sound = (np.asarray(features(p)) for p in (IMAGES, other_face, other_sound))
    np.testing.assert_array_equal(plain[:, heard], face[:, heard])
    np.testing.assert_array_equal(plain[:, seen], sound[:, seen])
    assert np.abs(plain[:, seen] - face[:, seen]).max() > 0.1
    assert np.abs(plain[:, heard] - sound[:, heard]).max() > 0.1


def test_pixels_are_normalised_as_the_weights_of_imagenet_want_them(networks):
    """Red when a picture comes unscaled, or scaled twice."""
    tower = networks["stacked"].get_layer("all")
    normalised = keras.Model(tower.input, tower.get_layer("normalize").output)
    expected = (IMAGES / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(np.asarray(normalised(IMAGES)), expected, atol=1e-5)


def test_a_pretrained_network_sees_the_face_and_stays_as_it_is():
    """Red when it sees other pixels than ImageNet's network, or is trained."""
    model = build_scorer(18, SETTINGS, layout="pretrained")
    network = load_network("efficientnet_lite0", None, input_shape=(128, 128, 3), policy="float32")
    larger = tf.round(tf.image.resize(IMAGES[:, :32], (128, 128)))  # pixels again
    features = keras.Model(model.input, model.get_layer("features").output)
    found = np.asarray(features(IMAGES))
    np.testing.assert_allclose(found[:, :1280], np.asarray(network(larger)), atol=1e-4)
    assert found.shape[1] == 1280 + 512
    before = model_arrays(network)
    # The statistics of its normalization would move, too, in a layer that is trained.
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(IMAGES, np.arange(len(IMAGES)) % 2, verbose=0)
    frozen = next(layer for layer in model.layers if layer.output.shape[-1] == 1280)
    for name, array in model_arrays(frozen).items():
        np.testing.assert_array_equal(array, before[name])
    assert np.abs(np.asarray(features(IMAGES)) - found)[:, 1280:].max() > 0


@pytest.mark.parametrize(
    ("changes", "parts", "layout"),
    [
        ({}, ("box", "sound"), "pretrained"),
        ({}, ("box", "frame", "sound"), "pretrained"),
        ({}, ("box",), "stacked"),
        ({}, ("sound",), "stacked"),
        ({"recipe": "original"}, ("box", "sound"), "stacked"),
        ({"weights": Path("resnet18.pth")}, ("box", "sound"), "stacked"),
        ({"depth": 34}, ("box", "sound"), "stacked"),
        ({"layout": "two-inputs"}, ("box", "sound"), "two-inputs"),
    ],
)
def test_the_layout_by_default(changes, parts, layout):
    options = TrainOptions(Path("labels.csv"), Path("shards"), **changes)
    assert settled(options, ImageSettings(parts=parts, side=32)).layout == layout


@pytest.mark.parametrize(
    ("recipe", "num_pictures", "epochs", "expected"),
    [(TUNED, 114, None, 40), (TUNED, 640, None, 8), (TUNED, 114, 3, 3), (ORIGINAL, 114, None, 30)],
)
def test_few_pictures_are_passed_over_more_often(recipe, num_pictures, epochs, expected):
    options = TrainOptions(Path("labels.csv"), Path("shards"), epochs=epochs)
    recipe = recipe.override((), epochs=epochs)
    assert with_least_steps(recipe, options, num_pictures).epochs == expected


@pytest.mark.parametrize("parts", [("box", "frame"), ("sound",)])
def test_two_inputs_need_both(parts):
    with pytest.raises(ValueError, match="two networks needs pictures of sound and of something"):
        build_scorer(18, ImageSettings(parts=parts, side=32), layout="two-inputs")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "scorer.json").write_text("{"), "is damaged"),
        (lambda run: (run / "scorer.json").write_text("[]"), "is damaged"),
        (lambda run: change(run, "version", 7), "must be of version 1. Received 7"),
        (lambda run: change(run, "threshold", None), "is damaged"),
        (lambda run: change(run, "threshold", 1.5), "threshold"),
        (lambda run: change(run, "box", [0, 0, 0, 0]), "is damaged"),
        (lambda run: change(run, "settings", {"side": -1}), "side must be at least 1"),
        (lambda run: change(run, "settings", {"wide": 3}), "is damaged"),
        (lambda run: change(run, "settings", SETTINGS.to_json() | {"side": 64}), "must take"),
        (lambda run: (run / "best.keras").unlink(), "not best.keras"),
        (lambda run: append(run / "best.keras"), "is not the model that scorer.json speaks of"),
        (lambda run: (run / "scorer.json").unlink(), "train LABELS SHARDS"),
    ],
)
def test_a_damaged_directory_is_told_in_one_line(copy, damage, message):
    damage(copy)
    with pytest.raises(ScorerError) as caught:
        load_scorer(copy)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_training_that_was_stopped_is_no_scorer(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ScorerError, match="--resume"):
        load_scorer(tmp_path)
    with pytest.raises(ScorerError, match="nowhere"):
        load_scorer(Path("nowhere"))


def change(run, name, value):
    content = json.loads((run / "scorer.json").read_text())
    (run / "scorer.json").write_text(json.dumps(content | {name: value}))


def append(path):
    path.write_bytes(path.read_bytes() + b"x")


def torch_arrays(arrays):
    """By torchvision's names and axes."""
    torch_names = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}
    torch_names |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    renamed = {}
    for name, array in arrays.items():
        layer, _, variable = name.partition("/")
        axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[array.ndim]
        layer = layer.replace("_", ".")
        renamed[f"{layer}.{torch_names[variable]}"] = np.ascontiguousarray(array.transpose(axes))
    return renamed


@pytest.fixture(scope="module")
def weight_files(tmp_path_factory):
    """A ResNet-18's weights in each kind of file."""
    folder = tmp_path_factory.mktemp("weights")
    model = build_resnet(18, 1000)
    arrays = model_arrays(model)
    write_safetensors(folder / "converted.safetensors", arrays)
    write_safetensors(folder / "torch.safetensors", torch_arrays(arrays))
    model.save_weights(folder / "keras.weights.h5")
    return folder, arrays


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("converted.safetensors", "stacked"),
        ("torch.safetensors", "two-inputs"),
        ("keras.weights.h5", "stacked"),
    ],
)
def test_weights_of_imagenet_are_taken(networks, weight_files, name, layout):
    """Red when a kind of file is not understood, or the last layer or a tower is left as it was."""
    folder, arrays = weight_files
    model = keras.models.clone_model(networks[layout])
    assert name in begin_from(model, folder / name, 18)
    for tower in ["all"] if layout == "stacked" else ["seen", "heard"]:
        taken = model_arrays(model.get_layer(tower))
        assert len(taken) == len(arrays) - 2
        for key, array in taken.items():
            np.testing.assert_array_equal(array, arrays[key])


def checkpoint(arrays, kernel, bias):
    """What eqy/autotosis saves: of DataParallel, with the optimizer and counts beside it."""
    state = torch_arrays(arrays) | {"fc.weight": kernel.T.copy(), "fc.bias": bias}
    state = {f"module.{key}": array for key, array in state.items()}
    pickled, storages = torch_pickles.state_dict(state)
    best, storages["1000"] = torch_pickles.tensor_of(np.array([93.5], np.float32), "1000")
    buffer, storages["1001"] = torch_pickles.tensor_of(np.ones(4, np.float32), "1001")
    optimizer = {"state": {0: {"momentum_buffer": buffer}}, "param_groups": [{"lr": 1e-3}]}
    content = {"epoch": 19, "arch": "resnet18", "state_dict": pickled, "best_acc1": best}
    return torch_pickles.zip_file(content | {"best_precision": 0, "optimizer": optimizer}, storages)


def test_the_originals_own_checkpoint_is_taken_whole(networks, weight_files, tmp_path):
    """Red when model_best.pth.tar is refused by its name, or its last layer starts from scratch.

    ImageNet's last layer, of 1,000 classes, and a scorer of two ResNets keep their own."""
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(512, 2)).astype(np.float32), np.array([1, -1], np.float32)
    file = tmp_path / "model_best.pth.tar"
    file.write_bytes(checkpoint(weight_files[1], kernel, bias))
    model = keras.models.clone_model(networks["stacked"])
    assert begin_from(model, file, 18).endswith("weights of all and probabilities")
    for found, wanted in zip(model.get_layer("probabilities").weights, (kernel, bias), strict=True):
        np.testing.assert_array_equal(found, wanted)
    for layout, name in (("two-inputs", file), ("stacked", weight_files[0] / "torch.safetensors")):
        model = keras.models.clone_model(networks[layout])
        before = model.get_layer("probabilities").get_weights()
        assert "probabilities" not in begin_from(model, name, 18)
        np.testing.assert_array_equal(model.get_layer("probabilities").get_weights()[0], before[0])


@pytest.fixture(scope="module")
def deep():
    return build_scorer(34, SETTINGS, layout="two-inputs")


def test_weights_of_another_depth_are_refused(deep, weight_files):
    """Red when a part of the network is begun from, or Keras's warnings fill the screen."""
    folder, _ = weight_files
    before = model_arrays(deep.get_layer("seen"))
    for name in ("torch.safetensors", "keras.weights.h5"):
        with pytest.raises(ValueError, match="do not fit a ResNet-34") as caught:
            begin_from(deep, folder / name, 34)
        assert "\n" not in str(caught.value)
    for key, array in model_arrays(deep.get_layer("seen")).items():
        np.testing.assert_array_equal(array, before[key])


def test_the_sounds_network_starts_from_scratch_beside_a_deeper_one(deep, tmp_path):
    before = np.asarray(deep.get_layer("heard").get_layer("conv1").kernel)
    arrays = model_arrays(deep.get_layer("seen"))
    write_safetensors(tmp_path / "a.safetensors", arrays)
    assert "heard starts from scratch" in begin_from(deep, tmp_path / "a.safetensors", 34)
    np.testing.assert_array_equal(deep.get_layer("heard").get_layer("conv1").kernel, before)
