"""Models by name and by file: what they see, what they give, and what is refused."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

from experiments.models.image_loading import (
    ALEXNET_FITS,
    compile_model,
    find_application,
    load_model,
)
from experiments.models.image_models import (
    APPLICATIONS,
    ModelOptions,
    check_options,
    class_names,
)
from experiments.models.onnx_export import ExportError, export_onnx
from tests.experiments.conftest import NAMES
from tests.grids import slow
from tests.processes import REPOSITORY
from tests.ttrnn import mobile_golden
from weights import WeightsError, model_arrays, read_installed, write_safetensors

SHARED = REPOSITORY.parent / "shared"
MOBILENET = SHARED / "weights" / "mobilenet_v1_0.25_224_keras.npz"


def images(number, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, side, side, 3), np.uint8)


def labels_file(folder, number):
    path = folder / f"{number}.txt"
    path.write_text("\n".join(f"class {n}" for n in range(number)))
    return path


@pytest.fixture(scope="module")
def lite0():
    """The default model, with its installed weights. Do not change it."""
    return load_model(ModelOptions(), batch_size=4)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "efficientnet_lite0"),
        ({"weights": Path("bvlc_alexnet.npy")}, "alexnet"),
        ({"variant": "seed"}, "alexnet"),
        ({"model": "auto", "policy": "mixed_bfloat16"}, "efficientnet_lite0"),
        ({"model": "EfficientNet_Lite0", "weights": Path("mine.pth")}, "efficientnet_lite0"),
        ({"model": "AlexNet"}, "alexnet"),
        ({"model": "ResNet50"}, "ResNet50"),
    ],
)
def test_which_model_is_meant(options, expected):
    """Red when -w alone no longer means AlexNet, or no flag at all means a file to be fetched."""
    assert ModelOptions(**options).model == expected


def test_the_default_model_is_torchs(lite0):
    """Red when the command's way, from bytes to probabilities, differs from the published one."""
    logits = mobile_golden.GOLDEN["lite0_published_224x224_logits"].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = lite0.predict(mobile_golden.images(224, 224))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert lite0.settings["weights_sha256"].startswith("57934424")
    names = [lite0.class_names[index] for index in (0, 281, 999)]
    assert names == ["tench", "tabby", "toilet tissue"]
    assert (lite0.fit.size, lite0.fit.crop) == ((224, 224), "aspect")


def test_the_default_model_in_onnx(lite0, tmp_path):
    """Red when the export needs another padding, or loses the class names."""
    path = tmp_path / "lite0.onnx"
    assert export_onnx(lite0, path, batch_size=4) <= 1e-4
    again = load_model(ModelOptions(model=str(path)), batch_size=4)
    assert (again.class_names, again.fit) == (lite0.class_names, lite0.fit)
    frames = mobile_golden.images(224, 224)
    np.testing.assert_allclose(again.predict(frames), lite0.predict(frames), atol=1e-5)


@pytest.mark.slow  # test_mobile_networks.py compares the network itself
def test_bfloat16_of_the_default_model(lite0):
    """Red when frames get another first class in the faster arithmetic."""
    frames = mobile_golden.images(224, 224)
    fast = load_model(ModelOptions(policy="mixed_bfloat16"), batch_size=4)
    np.testing.assert_array_equal(
        fast.predict(frames).argmax(axis=1), lite0.predict(frames).argmax(axis=1)
    )


def test_weights_of_ones_own(tmp_path):
    """Red when a head of other classes, another side or a file by our names is refused."""
    arrays = read_installed("efficientnet_lite0")
    arrays |= {"fc/kernel": arrays["fc/kernel"][:, :3], "fc/bias": arrays["fc/bias"][:3]}
    write_safetensors(tmp_path / "w.safetensors", arrays)
    options = {"model": "efficientnet_lite0", "weights": tmp_path / "w.safetensors", "size": 64}
    labels = labels_file(tmp_path, 3)
    model = load_model(ModelOptions(**options, labels=labels), batch_size=2)
    assert model.predict(images(2, 64)).shape == (2, 3)
    with pytest.raises(WeightsError, match=r"does not fit efficientnet_lite0.*another shape"):
        load_model(ModelOptions(**options), batch_size=2)
    options |= {"model": "torchvision_mobilenetv2"}
    with pytest.raises(WeightsError, match="does not fit torchvision_mobilenetv2"):
        load_model(ModelOptions(**options), batch_size=2)


@pytest.mark.parametrize(
    ("name", "expect"),
    [
        ("mobilenet", lambda x: x / 127.5 - 1),
        ("resnet50", lambda x: x[..., ::-1] - (103.939, 116.779, 123.68)),
        ("EfficientNetB0", lambda x: x),
        ("densenet121", lambda x: (x / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)),
    ],
)
def test_each_application_has_its_own_preprocessing(name, expect):
    """Red when all models get one scaling."""
    x = images(2, 8).astype(np.float32)
    _, preprocess = find_application(name)
    np.testing.assert_allclose(preprocess(x.copy()), expect(x), atol=1e-4)


def test_an_application_from_bytes_to_probabilities(tmp_path):
    """Red when the preprocessing is left out, or batch normalisation is frozen wrongly."""
    options = ModelOptions(model="mobilenet", alpha=0.25, size=96, labels=labels_file(tmp_path, 7))
    model = load_model(options, batch_size=4)
    inner = keras.applications.MobileNet(
        alpha=0.25, input_shape=(96, 96, 3), weights=None, classes=7
    )
    random = np.random.default_rng(0)
    for variable in inner.variables:
        shape = variable.shape
        if len(shape) > 1:  # large enough that the picture is felt at the end
            fan_in = 9 if "dw" in variable.path else np.prod(shape[:-1])
            variable.assign(random.normal(0, (2 / fan_in) ** 0.5, shape))
        else:  # batch normalisation that is none would fold into anything
            around = variable.name in ("gamma", "moving_variance")
            variable.assign(random.uniform(0.8, 1.2, shape) - (not around))
    values = inner.get_weights()
    model.keras_model.set_weights(values)
    reloaded = load_model(options, batch_size=4).keras_model
    reloaded.set_weights(values)
    frames = images(4, 96)
    expected = inner(frames / np.float32(127.5) - 1).numpy()
    assert np.ptp(expected) > 0.05
    assert np.abs(expected - inner(frames.astype(np.float32)).numpy()).max() > 0.01
    predict = compile_model(reloaded, 4, model.fit)
    np.testing.assert_allclose(predict(frames), expected, atol=1e-4)
    assert model.fit.size == (96, 96)


@pytest.mark.parametrize(
    ("name", "alpha", "suffix"),
    [
        ("MobileNet", 0.25, ".h5"),
        *slow(("MobileNet", 0.25, ".weights.h5"), ("MobileNet", 0.5, ".npz")),
        *slow(("MobileNetV2", 1.4, ".h5")),
    ],
)
def test_the_width_is_that_of_the_weights(tmp_path, name, alpha, suffix):
    """Red when a narrow MobileNet's weights are refused unless --alpha is given."""
    inner = getattr(keras.applications, name)(alpha=alpha, weights=None, classes=3)
    path = tmp_path / f"w{suffix}"
    if suffix == ".npz":
        np.savez(path, **model_arrays(inner))
    elif suffix == ".h5":  # of Keras before 3, as those that keras.applications fetches
        with h5py.File(path, "w") as file:
            save_weights_to_hdf5_group(file, inner)
    else:
        inner.save_weights(path)
    options = ModelOptions(model=name.lower(), weights=path, labels=labels_file(tmp_path, 3))
    model = load_model(options, batch_size=1).keras_model
    assert model.count_params() == inner.count_params()


def test_weights_that_fit_no_width(tmp_path):
    inner = keras.applications.MobileNet(alpha=0.25, weights=None, classes=3)
    np.savez(tmp_path / "w.npz", **model_arrays(inner))
    labels = labels_file(tmp_path, 4)
    options = ModelOptions(model="mobilenet", weights=tmp_path / "w.npz", labels=labels)
    with pytest.raises(WeightsError, match=r"Nor does a width of 0\.75, 0\.5, 0\.25; see --alpha"):
        load_model(options, batch_size=1)


def test_all_applications_are_known_without_keras():
    """Red when Keras has one that is refused, or the other way round."""
    for name in APPLICATIONS:
        find_application(name)
    with pytest.raises(ValueError, match="must be alexnet") as caught:
        find_application("none")
    known = re.search(r"one of (.*)\. Received", str(caught.value))[1].lower().split(", ")
    assert sorted(APPLICATIONS) == sorted(known)


def test_bfloat16_where_it_is_asked_for(tmp_path):
    options = ModelOptions(
        model="mobilenet", alpha=0.25, policy="mixed_bfloat16", labels=labels_file(tmp_path, 3)
    )
    model = load_model(options, batch_size=2).keras_model
    layers = {layer.compute_dtype for layer in model._flatten_layers() if layer.weights}
    assert "bfloat16" in layers
    assert keras.config.dtype_policy().name == "float32"
    assert model(images(2, 224)).dtype == "float32"


def test_logits_become_probabilities(tmp_path, model_file):
    """Red when a model without a softmax gives numbers above one."""
    whole = keras.models.load_model(model_file)
    whole.get_layer("colour").activation = keras.activations.linear
    whole.save(tmp_path / "logits.keras")
    labels = model_file.parent / "labels.txt"
    frames = images(8, 32)
    options = {"labels": labels, "scaling": "unit"}
    expected = load_model(ModelOptions(str(model_file), **options), batch_size=8)
    logits = load_model(ModelOptions(str(tmp_path / "logits.keras"), **options), batch_size=8)
    np.testing.assert_allclose(logits.predict(frames), expected.predict(frames), atol=1e-6)


def test_onnx_gives_what_keras_gives(model, tmp_path):
    """Red when preprocessing, class names or the free batch are lost on the way."""
    path = tmp_path / "colours.onnx"
    assert export_onnx(model, path, batch_size=8) <= 1e-4
    again = load_model(ModelOptions(model=str(path)), batch_size=8)
    assert (again.class_names, again.fit) == (NAMES, model.fit)
    frames = images(8, 32, seed=5)
    np.testing.assert_allclose(again.predict(frames), model.predict(frames), atol=1e-4)
    assert again.predict(frames[:3]).shape == (3, 4)
    assert [file.name for file in tmp_path.iterdir()] == ["colours.onnx"]


def test_an_export_that_differs_is_not_written(model, tmp_path):
    """Red when the comparison is left out."""

    wrong = dataclasses.replace(model, predict=lambda frames: model.predict(255 - frames))
    with pytest.raises(ExportError, match="must agree"):
        export_onnx(wrong, tmp_path / "x.onnx", batch_size=8)
    assert not list(tmp_path.iterdir())


def test_a_foreign_onnx_file(tmp_path):
    """Channels first, floats from 0 to 1, logits: red when one of the three is not seen to."""
    import onnx
    from onnx import TensorProto, helper

    kernel = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("MatMul", ["flat", "kernel"], ["y"]),
        ],
        "foreign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 20])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor("kernel", TensorProto.FLOAT, kernel.shape, kernel.ravel())],
    )
    opset = [helper.make_opsetid("", 15)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "f.onnx")
    options = ModelOptions(
        model=str(tmp_path / "f.onnx"), scaling="unit", labels=labels_file(tmp_path, 4)
    )
    model = load_model(options, batch_size=2)
    assert model.fit.size == (20, 16)
    frames = np.random.default_rng(1).integers(0, 256, (2, 16, 20, 3), np.uint8)
    logits = (frames / 255).mean(axis=(1, 2)) @ kernel
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict(frames), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "alexnet"}, "python -m weights fetch alexnet"),
        ({"variant": "seed"}, "python -m weights fetch alexnet"),
        ({"model": "efficientnet_lite2"}, "see python -m weights list"),
        ({"model": "efficientnet_lite9"}, "Did you mean efficientnet_lite"),
        ({"model": "resnet50"}, "needs a file of --weights"),
        ({"model": "none.keras"}, "not there"),
        ({"model": "alexnet", "weights": Path("none.npy")}, r"no file none\.npy"),
        ({"model": "resnet50", "weights": Path(__file__), "scaling": "tf"}, "has its own"),
        ({"model": "x.onnx", "weights": Path(__file__)}, "not there"),
    ],
)
def test_wrong_options_are_told_before_tensorflow(changes, message):
    with pytest.raises(ValueError, match=message):
        check_options(ModelOptions(**changes))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".weights.h5", ".h5", ".pt"])
def test_wrong_weights_are_named(tmp_path, suffix):
    """Red when a broken file ends in a traceback of the library that reads it."""
    from weights.errors import WeightsError

    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"no weights" * 20)
    options = ModelOptions(
        model="mobilenet", alpha=0.25, weights=path, labels=labels_file(tmp_path, 2)
    )
    with pytest.raises((ValueError, WeightsError), match=r"w\.|--weights"):
        load_model(options, batch_size=2)


@pytest.mark.parametrize("suffix", [".keras", ".onnx"])
def test_broken_model_files_are_named(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(b"no model" * 20)
    with pytest.raises(ValueError, match=r"cannot read|m\.keras is refused"):
        load_model(ModelOptions(model=str(path)), batch_size=2)


def test_an_unknown_model_is_named():
    with pytest.raises(ValueError, match=r"MobileNet.*Received 'mobilnet'"):
        load_model(ModelOptions(model="mobilnet"), batch_size=2)


def test_class_names(tmp_path):
    (tmp_path / "l.txt").write_text("crane\n\n tiger \ncrane\n", "utf-8")
    assert class_names(tmp_path / "l.txt", 3) == ["crane [0]", "tiger", "crane [2]"]
    with pytest.raises(ValueError, match="holds 3"):
        class_names(tmp_path / "l.txt", 4)
    with pytest.raises(ValueError, match="--labels is needed"):
        class_names(None, 7)
    assert len(set(class_names(None, 1000))) == 1000


def test_alexnet_sees_what_caffe_sees():
    """The whole picture at 256x256, less 14 or 15 pixels a side."""
    fit = ALEXNET_FITS["caffe"]
    assert fit.size == (227, 227)
    assert [fit.size[0] + sum(fit.margin[::2]), fit.size[1] + sum(fit.margin[1::2])] == [256, 256]
    assert ALEXNET_FITS["seed"].centred


REAL_CLIPS = [
    ("BalanceBeam", "balance beam"),
    *slow(("BoxingPunchingBag", "punching bag"), ("Biking", "mountain bike")),
]


@pytest.mark.skipif(not MOBILENET.exists(), reason="needs the model in ../shared/weights")
@pytest.mark.parametrize(("clip", "expected"), REAL_CLIPS)
def test_real_weights_know_real_clips(clip, expected):
    """Red when colours, scaling, weights or the order of classes are off."""
    options = ModelOptions(model="mobilenet", alpha=0.25, weights=MOBILENET)
    assert expected in leading_classes(load_model(options, batch_size=16), clip, batch_size=16)


@pytest.mark.skipif(not SHARED.exists(), reason="needs the clips in ../shared/clips")
@pytest.mark.parametrize(("clip", "expected"), REAL_CLIPS)
def test_the_default_model_knows_real_clips(clip, expected, lite0):
    """Red as the test above, for the weights that are installed."""
    assert expected in leading_classes(lite0, clip, batch_size=4)


def leading_classes(model, clip, *, batch_size):
    """Names of the five most probable classes, over some frames of a class of UCF101."""
    from preprocess.extraction.feed import FrameBlock, Task, feed_frames

    videos = sorted((SHARED / "clips" / "ucf101" / clip).glob("*.*"))
    total = np.zeros(1000)
    for event in feed_frames([Task(path) for path in videos], model.fit, stride=20):
        if isinstance(event, FrameBlock):
            for start in range(0, len(event.frames), batch_size):
                part = event.frames[start : start + batch_size]
                frames = np.zeros((batch_size, 224, 224, 3), np.uint8)
                frames[: len(part)] = part
                total += model.predict(frames)[: len(part)].sum(axis=0)
    return [model.class_names[index] for index in np.argsort(-total)[:5]]
