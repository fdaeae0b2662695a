"""Reader of NumPy's pickled object arrays, as `numpy.save` writes them, without running them."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from weights.errors import WeightsError
from weights.torch_reader.pickle_machine import Call, Global, read_pickle, shown

RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
ADMITTED = frozenset({*RECONSTRUCT, "numpy.ndarray", "numpy.dtype", "_codecs.encode"})
MAX_DEPTH = 32  # of nested lists and dicts
MAX_AXES = 32  # of NumPy 1
# The header of an object array without axes, by NumPy under Python 2 and 3.
_HEADER = re.compile(
    rb"\{'descr': '\|?O[48]?', 'fortran_order': (True|False), 'shape': \(\), \} *\n"
)
_NUMBERS = re.compile(r"f[248]|[iu][1248]")
_OBJECTS = ("O", "O4", "O8")


def read_object_npy(path: str | os.PathLike[str]) -> Any:
    """Read the value that one `numpy.save(path, value)` of a dict or list of arrays wrote.

    Nothing in the file is run, whatever it is: see pickle_machine.py.

    Args:
        path: path of an `.npy` file with an object array without axes, from Python 2 (its strings
            are read as latin-1) or Python 3.

    Returns:
        Dicts, lists, tuples, texts, numbers and numpy arrays. The arrays are read-only.

    Raises:
        WeightsError: if the file cannot be read, is something else, is broken, or asks for
            anything but arrays of plain numbers.

    Example:
        >>> content = read_object_npy("weights/bvlc_alexnet.npy")
        >>> content["fc8"][0].shape
        (4096, 1000)

    Reference: numpy.lib.format; Python's pickletools.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            _read_header(file)
            root = read_pickle(file, admitted=ADMITTED)
        return _Reading(path.stat().st_size).content(root)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    except WeightsError as error:
        raise WeightsError(
            f"{path} is refused: {error}. Only arrays of plain numbers in dicts and lists are "
            "read, as numpy.save writes them; get the file from its source again."
        ) from error


def _read_header(file: BinaryIO) -> None:
    """Move to the pickle behind NumPy's header of an object array without axes."""
    start = file.read(8)
    if start[:6] != b"\x93NUMPY":
        raise WeightsError(f"it does not start as an .npy file does, but with {start[:6]!r}")
    if start[6:] not in (b"\x01\x00", b"\x02\x00"):
        raise WeightsError(f"it is of an unknown version of the .npy format, {start[6:]!r}")
    length = int.from_bytes(file.read(2 if start[6] == 1 else 4), "little")
    header = file.read(min(length, 1_000))
    if len(header) != length or not _HEADER.fullmatch(header):
        text = header.decode("latin-1").rstrip()
        raise WeightsError(f"its header is {shown(text)}, not that of a dict")


class _Reading:
    """Conversion of a pickle's calls to arrays.

    Args:
        size: size of the file; its arrays cannot hold more bytes than it has.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._bytes_left = size
        # By identity: values that are read already, so that shared ones are read once, and those
        # in work, by which a value that contains itself is found.
        self._done: dict[int, Any] = {}
        self._open: set[int] = set()

    def content(self, root: Any) -> Any:
        """Read the one value in the file's object array."""
        shape, dtype, _, values = self._parts(root)
        if shape != () or _type_text(dtype) not in _OBJECTS or type(values) is not list:
            raise WeightsError("its pickle is not of one object array without axes")
        if len(values) != 1:
            raise WeightsError(f"its pickle has {len(values)} values in place of one")
        return self._read(values[0])

    def _read(self, value: Any) -> Any:
        """Read a value and all that it contains."""
        if value is None or type(value) in (bool, int, float, str, bytes):
            return value
        if id(value) not in self._done:
            if id(value) in self._open or len(self._open) == MAX_DEPTH:
                raise WeightsError(f"the pickle holds itself, or goes deeper than {MAX_DEPTH}")
            self._open.add(id(value))
            self._done[id(value)] = self._read_parts(value)
            self._open.remove(id(value))
        return self._done[id(value)]

    def _read_parts(self, value: Any) -> Any:
        """Read a container's items, or an array."""
        if type(value) is dict:
            return {key: self._read(item) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self._read(item) for item in value)
        return self._array(value)

    def _array(self, call: Any) -> np.ndarray:
        """Create the array that a call of NumPy's `_reconstruct` would make."""
        shape, dtype, fortran_order, data = self._parts(call)
        number = _number_type(dtype)
        num_bytes = math.prod(shape) * number.itemsize
        self._bytes_left -= num_bytes
        if self._bytes_left < 0:
            raise WeightsError(f"the pickle's arrays hold more than the file's {self._size:,} B")
        data = _bytes(data, num_bytes)
        call.state = None  # frees the text that the bytes came from
        try:
            return np.ndarray(shape, number, buffer=data, order="F" if fortran_order else "C")
        except ValueError as error:  # (10**9, 10**9, 10**9, 0) holds nothing, and is too large
            raise WeightsError("the pickle has an array of an impossible shape") from error

    def _parts(self, call: Any) -> tuple[tuple[int, ...], Any, bool, Any]:
        """Shape, dtype, order and data of an array."""
        # Exactly as NumPy pickles an array: _reconstruct(ndarray, (0,), b"b") with the state
        # (1, shape, dtype, fortran_order, data). Anything else is not of NumPy.
        if type(call) is not Call or call.name not in RECONSTRUCT:
            _refuse_value(call)
        kind, *others = call.arguments or (None,)
        if type(kind) is not Global or kind.name != "numpy.ndarray" or len(others) != 2:
            raise WeightsError("the pickle makes an array of a foreign kind")
        if others[0] != (0,) or (others[1] not in ("b", b"b") and not _is_encoded(others[1])):
            raise WeightsError("the pickle makes an array with other than numpy's arguments")
        if type(call.state) is not tuple or len(call.state) != 5:
            raise WeightsError("the pickle has an array without shape, type and data")
        version, shape, dtype, fortran_order, data = call.state
        if type(version) is not int or version != 1 or type(fortran_order) is not bool:
            raise WeightsError("the pickle has an array of an unknown version")
        if not self._is_shape(shape):
            raise WeightsError("the pickle has an array of an impossible shape")
        return shape, dtype, fortran_order, data

    def _is_shape(self, shape: Any) -> bool:
        """Return True for a possible shape; no axis is longer than the file."""
        return (
            type(shape) is tuple
            and len(shape) <= MAX_AXES
            and all(type(length) is int and 0 <= length <= self._size for length in shape)
        )


def _type_text(dtype: Any) -> str:
    """Text of a call of numpy.dtype, such as f4."""
    if type(dtype) is not Call or dtype.name != "numpy.dtype":
        raise WeightsError("the pickle has an array whose type is none of numpy's")
    if not dtype.arguments or type(dtype.arguments[0]) is not str:
        raise WeightsError("the pickle has an array whose type has no name")
    return dtype.arguments[0]


def _number_type(dtype: Any) -> np.dtype:
    """Dtype of plain numbers, with its byte order."""
    text = _type_text(dtype)
    if not _NUMBERS.fullmatch(text):
        raise WeightsError(f"the pickle has an array of type {shown(text)}")
    state = dtype.state
    if type(state) is not tuple or len(state) not in (8, 9) or type(state[1]) is not str:
        raise WeightsError("the pickle has an array whose type has no byte order")
    _, order, *parts, size, alignment, _ = state[:8]
    if order not in ("<", ">", "|", "=") or parts != [None] * 3 or (size, alignment) != (-1, -1):
        raise WeightsError("the pickle has an array of a type with parts")
    return np.dtype(order + text)


def _bytes(data: Any, num_bytes: int) -> bytes:
    """Bytes of an array's data, which may be a text that stands for latin-1."""
    # Protocol 2 has no bytes: Python 3 pickles them there as a call that encodes a text, and
    # Python 2's strings are read as text.
    if _is_encoded(data):
        data = data.arguments[0]
    if type(data) not in (bytes, str) or len(data) != num_bytes:
        length = f"{len(data):,} bytes" if type(data) in (bytes, str) else type(data).__name__
        raise WeightsError(f"the pickle has an array of {num_bytes:,} bytes with data of {length}")
    try:
        return data.encode("latin-1") if type(data) is str else data
    except UnicodeEncodeError as error:
        raise WeightsError("the pickle has an array whose data is text") from error


def _is_encoded(value: Any) -> bool:
    """Return True for a call of _codecs.encode(text, "latin1")."""
    return (
        type(value) is Call
        and value.name == "_codecs.encode"
        and len(value.arguments) == 2
        and type(value.arguments[0]) is str
        and type(value.arguments[1]) is str
        and value.arguments[1] == "latin1"
    )


def _refuse_value(value: Any) -> NoReturn:
    """Raise WeightsError for a value in the place of an array."""
    name = value.name if isinstance(value, Call | Global) else type(value).__name__
    raise WeightsError(f"the pickle has {name} in place of an array")
