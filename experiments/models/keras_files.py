"""Keras's files, from whomever they are: looked through first, then read in safe mode."""

from __future__ import annotations

import io
import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from common.errors import InputError
from experiments.models.keras_config import check_config
from weights.errors import WeightsError
from weights.torch_reader.zip_members import Member, read_members, read_stored

if TYPE_CHECKING:
    import keras

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = {_CONFIG, _WEIGHTS, "metadata.json"}


class KerasFileError(InputError):
    """A Keras file is missing, broken, of another model or hostile; the message is one line."""


def load_keras_model(path: Path) -> keras.Model:
    """The model of a `.keras` file, not compiled.

    Args:
        path: of the file. SavedModels, and whole models in `.h5` files, are not read: safe mode
            is not for them.

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
    import keras

    import ttrnn.models  # noqa: F401 - makes its layers known to Keras

    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras's own have no common class
        raise KerasFileError(f"{path} cannot be read as a Keras model: {_line(error)}") from error


def load_keras_weights(model: keras.Model, path: Path) -> None:
    """Weights of a `.weights.h5` file, or of an old `.h5` one, into a model.

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
            warnings.simplefilter("error", UserWarning)  # Keras only warns of what a file lacks
            model.load_weights(path)
    except WeightsError as error:
        raise KerasFileError(f"{path} is refused: {error}.") from error
    except Exception as error:  # Keras's own have no common class
        raise KerasFileError(f"{path} does not fit {model.name}: {_line(error)}") from error


def _check_members(file: BinaryIO) -> None:
    members = read_members(file)
    if set(members) != _MEMBERS:
        raise WeightsError(f"it must hold {', '.join(sorted(_MEMBERS))} and nothing else")
    check_config(json.loads(read_stored(file, members[_CONFIG])))
    _check_hdf5(_Window(file, members[_WEIGHTS]))


def _check_hdf5(file: Any) -> None:
    from preprocess.shards import hdf5_check

    try:
        hdf5_check.check_stream(file, hdf5_check.HDF5_S_OWN)
    except hdf5_check.UnsafeFileError as error:
        raise WeightsError(str(error)) from error


class _Window(io.RawIOBase):
    """The bytes of a member that is not compressed, as a file, without a copy in memory."""

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
    """The first line of a message, which Keras's have many of."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
