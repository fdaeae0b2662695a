"""Keras files of a stranger: each known way round Keras's safe mode, refused and not run."""

import base64
import io
import json
import marshal
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import ttrnn
from experiments.models.keras_files import (
    KerasFileError,
    check_config,
    load_keras_model,
    load_keras_weights,
)
from ttrnn.activations import keras2_hard_sigmoid
from weights.errors import WeightsError

CONFIG, WEIGHTS = "config.json", "model.weights.h5"


def image_model(activation="relu"):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs) * 2 + 1
    x = keras.layers.Conv2D(2, 3, activation=activation, kernel_regularizer="l2")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))


def clip_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, 8))
    layer = ttrnn.TTGRU((2, 4), (2, 2), 2, recurrent_activation=keras2_hard_sigmoid)
    return keras.Model(inputs, keras.layers.Dense(2)(layer(inputs)))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The members of a sound file."""
    path = tmp_path_factory.mktemp("keras") / "sound.keras"
    image_model().save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def canary(tmp_path):
    """A file that hostile code would make."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_layer(sound, layer):
    """The members, with another layer in the place of the first one behind the input."""
    config = json.loads(sound[CONFIG])
    layers = config["config"]["layers"]
    layers[1] = {**layers[1], "registered_name": None, "build_config": None, **layer}
    return sound | {CONFIG: json.dumps(config)}


def function(module, name, registered=None):
    made = {"module": module, "class_name": "function", "config": name}
    return made | {"registered_name": registered or "function"}


def layer(class_name, module="keras.layers", **config):
    return {"class_name": class_name, "module": module, "config": {"name": "x", **config}}


def bytecode(canary):
    code = compile(f"open({str(canary)!r}, 'w').close()", "x", "exec")
    value = base64.b64encode(marshal.dumps(code)).decode()
    return {"class_name": "__lambda__", "config": {"value": [value, None, None]}}


ATTACKS = {
    "CVE-2024-3660: bytecode in a Lambda": lambda c: layer("Lambda", function=bytecode(c)),
    "bytecode as an activation": lambda c: layer("Activation", activation=bytecode(c)),
    "CVE-2025-1550: any function of Python": lambda c: layer(
        "Lambda", function=function("os", "system"), arguments={"command": f"touch {c}"}
    ),
    "any class of Python": lambda c: layer(
        "Popen", "subprocess", args=["touch", str(c)], registered_name="Popen"
    ),
    "any function as an activation": lambda c: (
        layer("Activation", activation=function("builtins", "exec", "exec"))
        | {"registered_name": "exec>exec"}
    ),
    "CVE-2025-8747: a function of Keras that fetches": lambda c: layer(
        "Lambda",
        function=function("keras.utils", "get_file"),
        arguments={"origin": "http://127.0.0.1:9/x", "cache_dir": str(c.parent)},
    ),
    "the same as an activation": lambda c: layer(
        "Activation", activation=function("keras.utils", "get_file")
    ),
    "CVE-2025-9906: safe mode switched off": lambda c: layer(
        "Lambda", function=function("keras.config", "enable_unsafe_deserialization")
    ),
    "the same as an activation, by an inner name": lambda c: layer(
        "Activation",
        activation=function("keras.src.backend.common.global_state", "set_global_attribute"),
    ),
    "a model in the model": lambda c: layer(
        "Activation", activation=function("keras.models", "load_model")
    ),
    "CVE-2025-12058: a layer that reads a file": lambda c: layer(
        "StringLookup", vocabulary="/etc/passwd"
    ),
    "an integer one": lambda c: layer("IntegerLookup", vocabulary="/etc/passwd"),
    "a layer of text": lambda c: layer("TextVectorization", vocabulary="/etc/passwd"),
    "one by its inner name": lambda c: layer(
        "StringLookup", "keras.src.layers.preprocessing.string_lookup", vocabulary="/etc/passwd"
    ),
    "CVE-2026-1462: a layer that loads a program": lambda c: layer(
        "TFSMLayer", filepath=str(c.parent)
    ),
    "a layer of torch, which is a pickle": lambda c: layer(
        "TorchModuleWrapper",
        module={"class_name": "__bytes__", "config": {"value": pickle.dumps(1).decode("latin-1")}},
    ),
    "a layer of jax": lambda c: layer("JaxLayer", call_fn=function("os", "getcwd")),
    "a type of TensorFlow": lambda c: {
        "class_name": "__typespec__",
        "spec_name": "Popen",
        "module": "subprocess",
        "config": [["touch", str(c)]],
    },
    "a class of another package": lambda c: layer("Backbone", "keras_hub.models"),
    "a name that is no text": lambda c: layer("Dense") | {"module": ["keras.layers"]},
    "a class registered by others": lambda c: layer("Dense") | {"registered_name": "other>Dense"},
    "a function with a path": lambda c: layer(
        "Activation", activation=function("builtins", "utils.get_file")
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_models_are_refused_and_not_run(attack, sound, tmp_path, canary):
    """Red when a part that Keras would make, or import, is let through to it."""
    path = write(tmp_path / "hostile.keras", with_layer(sound, ATTACKS[attack](canary)))
    with pytest.raises(KerasFileError, match="which is not let through") as caught:
        load_keras_model(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_parts_are_found_however_deep(attack, canary):
    deep = ATTACKS[attack](canary)
    for _ in range(500):
        deep = {"config": [1, {"layers": [deep]}]}
    with pytest.raises(WeightsError):
        check_config(deep)


def external_link(file, secret):
    del file["layers/dense/vars/1"]
    file["layers/dense/vars/1"] = h5py.ExternalLink(str(secret), "/v")


def soft_link(file, secret):
    del file["layers/dense/vars/1"]
    file["layers/dense/vars/1"] = h5py.SoftLink("/layers/conv2d/vars/1")


def virtual(file, secret):
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "v", (2,))
    del file["layers/dense/vars/1"]
    file["layers/dense/vars"].create_virtual_dataset("1", layout)


def external(file, secret):
    del file["layers/dense/vars/1"]
    raw = [(str(secret), 0, 8)]
    file["layers/dense/vars"].create_dataset("1", (2,), "f4", external=raw)


def bomb(file, secret):
    del file["layers/dense/vars/1"]
    file["layers/dense/vars"].create_dataset("1", (10**13,), "f4", chunks=(1024,))


INSIDE = [external_link, soft_link, virtual, external, bomb]


@pytest.mark.parametrize("attack", INSIDE)
def test_weights_that_are_elsewhere_are_refused(attack, sound, tmp_path):
    """CVE-2026-1669 and CVE-2026-0897: red when Keras shows the reader's own file, or takes
    memory for what is only claimed."""
    with h5py.File(tmp_path / "secret.h5", "w") as secret:
        secret["v"] = np.ones(2, "f4")
    stream = io.BytesIO(sound[WEIGHTS])
    with h5py.File(stream, "r+") as file:
        attack(file, tmp_path / "secret.h5")
    members = sound | {WEIGHTS: stream.getvalue()}
    with pytest.raises(KerasFileError, match="is refused"):
        load_keras_model(write(tmp_path / "a.keras", members))
    (tmp_path / "a.weights.h5").write_bytes(stream.getvalue())
    with pytest.raises(KerasFileError, match="is refused"):
        load_keras_weights(image_model(), tmp_path / "a.weights.h5")


def doubled(path, members):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in [*members.items(), (CONFIG, b"{}")]:
                archive.writestr(name, content)


def linked(path, members):
    info = zipfile.ZipInfo(WEIGHTS)
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(info if name == WEIGHTS else name, content)


def overlapping(path, members):
    write(path, members)
    content = bytearray(path.read_bytes())
    start = content.rindex(b"PK\x01\x02") + 42
    content[start : start + 4] = struct.pack("<I", 3)
    path.write_bytes(content)


ARCHIVES = {
    "a path up": lambda p, m: write(p, m | {"assets/../../../x": b""}),
    "an absolute path": lambda p, m: write(p, m | {"/etc/cron.d/x": b""}),
    "assets": lambda p, m: write(p, m | {"assets/x/vocabulary.txt": b""}),
    "two configurations": doubled,
    "a link": linked,
    "one in another's place": overlapping,
    "compressed": lambda p, m: write(p, m, zipfile.ZIP_DEFLATED),
    "a bomb": lambda p, m: write(p, m | {WEIGHTS: bytes(2**26)}, zipfile.ZIP_DEFLATED),
    "no configuration": lambda p, m: write(p, {n: c for n, c in m.items() if n != CONFIG}),
    "no zip": lambda p, m: p.write_bytes(b"<html>404</html>"),
    "empty": lambda p, m: p.write_bytes(b""),
    "no JSON": lambda p, m: write(p, m | {CONFIG: b"{"}),
    "JSON without end": lambda p, m: write(p, m | {CONFIG: b"[" * 10**6}),
    "no HDF5": lambda p, m: write(p, m | {WEIGHTS: b"x" * 4096}),
    "half the HDF5": lambda p, m: write(p, m | {WEIGHTS: m[WEIGHTS][:9000]}),
    "an empty model": lambda p, m: write(p, m | {CONFIG: b"{}"}),
    "a text": lambda p, m: write(p, m | {CONFIG: b'"x"'}),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_hostile_and_broken_archives_are_one_line(case, sound, tmp_path):
    path = tmp_path / "a.keras"
    ARCHIVES[case](path, sound)
    with pytest.raises(KerasFileError) as caught:
        load_keras_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == [path]


def test_other_kinds_of_model_are_refused(tmp_path, canary):
    """CVE-2025-9905: red when an .h5 file, for which safe mode is nothing, is read as a model."""
    keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)]).save(tmp_path / "a.h5")
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "folder.keras" / CONFIG).write_text("{}")
    for name in ("a.h5", "folder.keras", "missing.keras", "hf://someone/model"):
        with pytest.raises(KerasFileError, match=r"A Keras model is a \.keras file"):
            load_keras_model(tmp_path / name if "://" not in name else Path(name))


@pytest.mark.parametrize("make", [image_model, clip_model])
def test_sound_models_are_what_they_were(make, tmp_path):
    """Red when what the suite itself saves is refused, or read otherwise."""
    model = make()
    model.compile("adam", "mse", metrics=["accuracy"])
    model.save(tmp_path / "a.keras")
    again = load_keras_model(tmp_path / "a.keras")
    inputs = np.random.default_rng(0).random((2, 8, 8, 3) if make is image_model else (2, 5, 8))
    np.testing.assert_array_equal(model(inputs.astype("f4")), again(inputs.astype("f4")))


@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0", "ConvNeXtTiny", "ResNet50"])
def test_published_networks_pass(name):
    """Red when a layer of keras.applications falls off the list; see `classify`."""
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(32, 32, 3), include_top=False)
    check_config(json.loads(json.dumps(keras.saving.serialize_keras_object(model))))


def test_weights_go_where_they_belong(tmp_path):
    model, other = image_model(), image_model()
    other.set_weights([weight + 1 for weight in other.get_weights()])
    other.save_weights(tmp_path / "a.weights.h5")
    load_keras_weights(model, tmp_path / "a.weights.h5")
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("content", [b"", b"x" * 5000])
def test_weights_that_are_none_are_one_line(content, tmp_path):
    (tmp_path / "a.weights.h5").write_bytes(content)
    with pytest.raises(KerasFileError, match=r"a\.weights\.h5") as caught:
        load_keras_weights(image_model(), tmp_path / "a.weights.h5")
    assert "\n" not in str(caught.value)
    with pytest.raises(KerasFileError, match="There is none"):
        load_keras_weights(image_model(), tmp_path / "b.weights.h5")
