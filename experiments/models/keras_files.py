"""Read Keras files of any origin: their content is checked first, then Keras's safe mode reads."""

from __future__ import annotations

import io
import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import keras
import numpy as np

from common.errors import InputError
from experiments.models.resnet_weights import KERAS_WEIGHTS, read_resnet_arrays
from preprocess.shards import hdf5_check
from ttrnn.models.resnet import build_resnet
from weights.assign import model_arrays
from weights.errors import WeightsError
from weights.torch_reader.pickle_machine import shown
from weights.torch_reader.zip_members import Member, read_members, read_stored

# A `.keras` file may ask Keras for parts of models of images and clips, and for nothing else.
# Keras's own safe mode has been circumvented again and again, by functions and layers that read
# files, load programs or switch it off (CVE-2025-1550, -8747, -9905, -9906, -12058, CVE-2026-1462).
# Its list of forbidden parts grows with each of them; this list names the allowed ones.
_OURS = "ttrnn>"
_MODULES = {
    *("keras.layers", "keras.initializers", "keras.regularizers", "keras.constraints"),
    *("keras.optimizers", "keras.optimizers.schedules", "keras.losses", "keras.metrics"),
    *("keras.dtype_policies", "keras.src.models.functional", "keras.src.applications.convnext"),
    *(f"keras.src.ops.{name}" for name in ("core", "image", "linalg", "math", "nn", "numpy")),
}
_OF_KERAS = {"DTypePolicy", "Functional", "Model", "Sequential"}
_VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__slice__", "__ellipsis__"}
_UNSAFE = {
    *("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"),  # run what is given
    *("StringLookup", "IntegerLookup", "TextVectorization"),  # read the files that are named
}
_FUNCTION = re.compile(rf"({_OURS})?\w+", re.ASCII)


def check_config(config: Any) -> None:
    """Check that a model's configuration names only allowed classes and functions.

    Args:
        config: the content of its config.json.

    Raises:
        WeightsError: if it names a class or a function that is neither ours nor one of Keras's
            that only computes.
    """
    for part in _parts(config):
        if not _is_known(part):
            place = ".".join(str(part.get(key)) for key in ("module", "class_name"))
            raise WeightsError(f"its model has the part {shown(place)}, which is not let through")


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Yield the parts of a configuration that name a class or a function, however deep."""
    # A list and no recursion: a hostile file may be nested deeper than Python's stack.
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _is_known(part: dict[str, Any]) -> bool:
    name, module = part["class_name"], part.get("module") or ""
    # Keras looks up the registered name first, so that both names must be allowed.
    registered = part.get("registered_name") or name
    if not all(isinstance(word, str) for word in (name, module, registered)):
        return False
    if name == "function":
        config = part.get("config")
        is_plain = isinstance(config, str) and _FUNCTION.fullmatch(config) is not None
        return is_plain and module == "builtins" and registered in (name, config)
    # Layers registered by this package, which must not claim another module.
    if registered.startswith(_OURS):
        return module.partition(".")[0] in ("", "ttrnn")
    if registered != name:
        return False
    if module in ("", "keras"):
        return name in (_OF_KERAS if module else _VALUES)
    return module in _MODULES and name not in _UNSAFE


_IMAGENET_CLASSES = 1000
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = {_CONFIG, _WEIGHTS, "metadata.json"}


class KerasFileError(InputError):
    """Error for a Keras file that is missing, damaged, of another model or hostile; one line."""


def load_keras_model(path: Path) -> keras.Model:
    """Read the model of a `.keras` file, without compiling it.

    Args:
        path: path of the file. SavedModels, and whole models in `.h5` files, are not read, because
            Keras's safe mode does not cover them.

    Raises:
        KerasFileError: if there is none, it is broken, or it is hostile: if it has parts that
            might run or read something else.
    """
    if path.suffix != ".keras" or not path.is_file():
        raise KerasFileError(f"A Keras model is a .keras file. There is none at {path}.")
    try:
        with path.open("rb") as file:
            _check_members(file)
    except WeightsError as error:
        raise KerasFileError(f"{path} is refused: {error}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise KerasFileError(f"{path} is damaged: {_line(error)}") from error
    try:
        # Importing a model of ours, as this file does, has made all our layers known to Keras.
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras's own have no common class
        raise KerasFileError(f"{path} cannot be read as a Keras model: {_line(error)}") from error


def load_keras_weights(model: keras.Model, path: Path) -> None:
    """Load weights of a `.weights.h5` file, or of an old `.h5` one, into a model.

    Raises:
        KerasFileError: if there is none, it is broken or hostile, or does not have all that the
            model needs.
    """
    if path.suffix != ".h5" or not path.is_file():
        raise KerasFileError(f"Weights of Keras are an .h5 file. There is none at {path}.")
    try:
        with path.open("rb") as file:
            _check_hdf5(file)
        with warnings.catch_warnings():
            # Keras only warns about weights that a file lacks.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(path)
    except WeightsError as error:
        raise KerasFileError(f"{path} is refused: {error}.") from error
    except Exception as error:  # Keras's own have no common class
        raise KerasFileError(f"{path} does not fit {model.name}: {_line(error)}") from error


def read_resnet(file: Path, depth: int, *, last_layer: bool = False) -> dict[str, np.ndarray]:
    """Read a ResNet's arrays by layer/variable, without those of its last layer.

    Args:
        file: file that `python -m weights convert` wrote (.weights.h5, .safetensors), torchvision's
            own file (.pth, .safetensors), or a checkpoint of such a network (.pth.tar).
        depth: depth of the ResNet in the file.
        last_layer: include those of its last layer, `fc/kernel` and `fc/bias`.

    Raises:
        WeightsError: if the file cannot be read, or is that of another network.
    """
    if file.name.endswith(KERAS_WEIGHTS):
        # Keras reads weights only into a whole model, the last layer included.
        model: Any = build_resnet(depth, _IMAGENET_CLASSES)
        try:
            load_keras_weights(model, file)
        except KerasFileError as error:
            raise WeightsError(str(error)) from error
        arrays = model_arrays(model)
    else:
        arrays = read_resnet_arrays(file)
    if last_layer:
        return arrays
    return {name: array for name, array in arrays.items() if not name.startswith("fc/")}


def _check_members(file: BinaryIO) -> None:
    members = read_members(file)
    # Keras would also unpack assets, which layers may read as they like.
    if set(members) != _MEMBERS:
        raise WeightsError(f"it must hold {', '.join(sorted(_MEMBERS))} and nothing else")
    check_config(json.loads(read_stored(file, members[_CONFIG])))
    _check_hdf5(_Window(file, members[_WEIGHTS]))


def _check_hdf5(file: Any) -> None:
    try:
        hdf5_check.check_stream(file, hdf5_check.HDF5_S_OWN)
    except hdf5_check.UnsafeFileError as error:
        raise WeightsError(str(error)) from error


class _Window(io.RawIOBase):
    """Read-only file over an uncompressed member of a zip file, without a copy in memory."""

    def __init__(self, file: BinaryIO, member: Member) -> None:
        self._file, self._start, self._size = file, member.start, member.num_bytes
        self._place = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        from_where = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}
        self._place = max(from_where[whence] + offset, 0)
        return self._place

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._place)
        content = self._file.read(min(len(buffer), max(self._size - self._place, 0)))
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)


def _line(error: Exception) -> str:
    """Return the first line of an error's message; those of Keras have many."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
