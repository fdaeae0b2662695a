"""Tensors of a PyTorch file, from the calls that its pickle names and that are never made.

Three layers, each checked before the next relies on it: storages, flat runs of numbers in the file;
tensors, strided views that must lie inside a storage; values, the dicts and lists around them.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from weights.errors import WeightsError
from weights.torch_reader.pickle_machine import Call, Global, read_pickle, shown
from weights.torch_reader.unpickle import ADMITTED as NUMPY_NAMES
from weights.torch_reader.unpickle import (
    MAX_AXES,
    RECONSTRUCT,
    _bytes,
    _is_encoded,
    _number_type,
    _Reading,
)

MAX_LENGTH = 2**63  # of an axis, a stride or a storage: torch counts in int64
_UNTYPED = ("torch.storage.UntypedStorage", "torch.storage._UntypedStorage", "torch.UntypedStorage")
_BFLOAT16, _BOOL = "torch.BFloat16Storage", "torch.BoolStorage"
STORAGE_TYPES: dict[str, np.dtype] = {  # as stored in the file, little-endian
    **dict.fromkeys(_UNTYPED, np.dtype("u1")),
    _BFLOAT16: np.dtype("<u2"),
    _BOOL: np.dtype("u1"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.LongStorage": np.dtype("<i8"),
}
_READ_TYPES = STORAGE_TYPES | {_BFLOAT16: np.dtype("f4"), _BOOL: np.dtype("bool")}
_KEY = re.compile(r"[0-9]{1,20}")
# Largest ratio of the tensors' bytes, each counted by itself, to the file's: tensors may share
# storages, and a stride of 0 makes a large one of a single number.
MAX_RATIO = 20
SMALL = 16 * 2**20  # bytes below which the ratio does not matter
# Number of arguments of each function; one more may follow, the metadata of conjugates.
TENSORS = {
    "torch._utils._rebuild_tensor": 4,
    "torch._utils._rebuild_tensor_v2": 6,
    "torch._utils._rebuild_tensor_v3": 7,
}
V3_TYPES = {f"torch.uint{bits}": np.dtype(f"<u{bits // 8}") for bits in (16, 32, 64)}
MAX_OPCODES = 2_000_000  # some 40 per tensor, and as many for each tensor of its optimizer
_DICTS = ("collections.OrderedDict", "collections.Counter")
_PARAMETERS = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",  # of torch before 0.4
)
_SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_TYPES = (
    *("torch.bool", "torch.uint8", "torch.int8", "torch.int16", "torch.int32", "torch.int64"),
    *("torch.float16", "torch.bfloat16", "torch.float32", "torch.float64", *V3_TYPES),
)
ADMITTED = frozenset(
    {*_DICTS, *TENSORS, *_PARAMETERS, *_SCALARS, *_TYPES, *STORAGE_TYPES, *NUMPY_NAMES}
    | {"torch.Size", "torch.device"}
)


class Storage:
    """Run of numbers of one type in a file.

    Args:
        kind: type of the storage, such as torch.FloatStorage.
        num_items: number of items of that type.
    """

    def __init__(self, kind: str, num_items: int) -> None:
        self.kind = kind
        self.num_items = num_items
        self._place: tuple[BinaryIO, int, int | None] | None = None
        self._array: np.ndarray | None = None

    @property
    def num_bytes(self) -> int:
        return self.num_items * STORAGE_TYPES[self.kind].itemsize

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the array: as in the file, but float32 for bfloat16, which NumPy lacks."""
        return _READ_TYPES[self.kind]

    @property
    def is_untyped(self) -> bool:
        return self.kind in _UNTYPED

    def num_items_as(self, dtype: np.dtype) -> int:
        """Number of items if they are read as a dtype."""
        return self.num_bytes // dtype.itemsize if self.is_untyped else self.num_items

    def place(self, file: BinaryIO, start: int, checksum: int | None = None) -> None:
        """Set its position in the file; the caller has checked that the file is long enough."""
        self._place = file, start, checksum

    def array(self) -> np.ndarray:
        """Read all numbers, (num_items,); a second call returns the same array."""
        if self._array is None:
            assert self._place is not None
            file, start, checksum = self._place
            content = np.empty(self.num_bytes, "u1")
            file.seek(start)
            if file.readinto(content) != content.size:  # type: ignore[attr-defined]
                raise WeightsError("the file became shorter while it was read")
            if checksum is not None and zlib.crc32(content.data) != checksum:
                raise WeightsError("the numbers of a tensor are damaged: their checksum is another")
            self._array = self._numbers(content)
            self._array.flags.writeable = False
        return self._array

    def _numbers(self, content: np.ndarray) -> np.ndarray:
        """Convert the file's bytes to numbers."""
        stored = content.view(STORAGE_TYPES[self.kind])
        if self.kind == _BFLOAT16:  # the upper half of a float32
            wide = stored.astype("u4")
            wide <<= 16
            return wide.view("f4")
        return stored.astype(self.dtype, copy=False)


class Storages:
    """Storages that a pickle names, by key."""

    def __init__(self) -> None:
        self._by_key: dict[str, Storage] = {}

    def __iter__(self) -> Iterator[tuple[str, Storage]]:
        return iter(self._by_key.items())

    def named(self, identity: Any) -> Storage:
        """Storage of a pickle's persistent id: "storage", type, key, device, length."""
        kind, key, num_items = _parts(identity)
        storage = self._by_key.setdefault(key, Storage(kind, num_items))
        if (storage.kind, storage.num_items) != (kind, num_items):
            raise WeightsError(f"the pickle names the storage {key} in two ways")
        return storage


def _parts(identity: Any) -> tuple[str, str, int]:
    """Type, key and length of a persistent id."""
    # torch before 1.6 adds the storage that it is a view of, always None.
    if type(identity) is not tuple or len(identity) not in (5, 6):
        raise WeightsError("the pickle has a persistent id that is no storage's")
    word, kind, key, _, num_items, *view = identity
    if type(word) is not str or word != "storage" or view not in ([], [None]):
        raise WeightsError("the pickle has a persistent id that is no storage's")
    if type(kind) is not Global or kind.name not in STORAGE_TYPES:
        name = kind.name if type(kind) is Global else type(kind).__name__
        raise WeightsError(f"the pickle has a storage of type {shown(name)}")
    if type(key) is not str or not _KEY.fullmatch(key):
        raise WeightsError(
            "the pickle names a storage by what is no number: "
            + shown(key if type(key) is str else type(key).__name__)
        )
    if type(num_items) is not int or not 0 <= num_items < MAX_LENGTH:
        raise WeightsError(f"the pickle has a storage of an impossible length, by the key {key}")
    return kind.name, key, num_items


class Tensors:
    """Views of one file's storages as tensors.

    Args:
        size: size of the file, which bounds the memory of its tensors.
    """

    def __init__(self, size: int) -> None:
        self._bytes_left = max(MAX_RATIO * size, SMALL)

    def of_call(self, call: Call) -> np.ndarray:
        """Tensor that a call of a name in `TENSORS` would make."""
        num_arguments = TENSORS[call.name]
        metadata = call.arguments[num_arguments:]
        if len(call.arguments) < num_arguments or metadata not in ((), (None,), ({},)):
            raise WeightsError("the pickle has a tensor with other than torch's arguments")
        storage, offset, shape, strides = call.arguments[:4]
        if not isinstance(storage, Storage):
            raise WeightsError("the pickle has a tensor without storage")
        dtype = storage.dtype
        if call.name.endswith("v3"):
            dtype = _type_of_untyped(storage, call.arguments[6])
        shape, strides = lengths(shape), lengths(strides)
        if not _is_length(offset) or len(shape) != len(strides):
            raise WeightsError("the pickle has a tensor of an impossible shape or strides")
        return self._view(storage, dtype, offset, shape, strides)

    def of_storage(self, storage: Storage) -> np.ndarray:
        """All numbers of a storage, (num_items,)."""
        return self._view(storage, storage.dtype, 0, (storage.num_items,), (1,))

    def _view(
        self,
        storage: Storage,
        dtype: np.dtype,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> np.ndarray:
        """View of a storage, with offset and strides in items, after a check of its bounds."""
        num_items = math.prod(shape)
        self._bytes_left -= num_items * dtype.itemsize
        if self._bytes_left < 0:
            raise WeightsError(f"its tensors would take more than {MAX_RATIO} times its own size")
        steps = sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
        stop = offset + (steps + 1 if num_items else 0)
        if stop > storage.num_items_as(dtype):
            raise WeightsError(
                f"the pickle has a tensor of shape {shown(str(shape))} that goes beyond its "
                f"storage of {storage.num_bytes:,} bytes"
            )
        try:
            return _strided(storage, dtype, offset, shape, strides)
        except ValueError as error:  # (10**9, 10**9, 10**9, 0) holds nothing, and is too large
            raise WeightsError("the pickle has a tensor of an impossible shape") from error


def lengths(value: Any) -> tuple[int, ...]:
    """Read a shape or strides from a tuple or torch.Size."""
    if type(value) is Call and value.name == "torch.Size" and len(value.arguments) == 1:
        value = value.arguments[0]
    if type(value) is not tuple or len(value) > MAX_AXES or not all(map(_is_length, value)):
        raise WeightsError("the pickle has a tensor of an impossible shape or strides")
    return value


def _is_length(value: Any) -> bool:
    """Return True for an int (and no bool) in the range of torch's int64."""
    return type(value) is int and 0 <= value < MAX_LENGTH


def _type_of_untyped(storage: Storage, dtype: Any) -> np.dtype:
    """Dtype of a tensor of an untyped storage, as torch writes uint16 to uint64."""
    if not storage.is_untyped or type(dtype) is not Global or dtype.name not in V3_TYPES:
        name = dtype.name if type(dtype) is Global else type(dtype).__name__
        raise WeightsError(f"the pickle has a tensor of type {shown(name)}")
    return V3_TYPES[dtype.name]


def _strided(
    storage: Storage,
    dtype: np.dtype,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
) -> np.ndarray:
    """Create the view; NumPy itself refuses one that goes beyond the storage, too."""
    if 0 in shape:
        return np.frombuffer(b"", dtype).reshape(shape)
    # The stride of an axis of length 1 is never used, and torch writes any number for it.
    steps = [
        stride * dtype.itemsize if length > 1 else dtype.itemsize
        for length, stride in zip(shape, strides, strict=True)
    ]
    return np.ndarray(shape, dtype, storage.array(), offset * dtype.itemsize, steps)


def read_object(file: BinaryIO) -> tuple[Any, Storages]:
    """Read a pickle of torch.save, without its values, and the storages that it names."""
    storages = Storages()
    root = read_pickle(
        file,
        admitted=ADMITTED,
        dicts=_DICTS,
        persistent=storages.named,
        max_opcodes=MAX_OPCODES,
    )
    return root, storages


class Values(_Reading):
    """Conversion of a torch pickle's calls to plain data.

    Args:
        size: size of the file, which bounds the memory of its arrays.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._tensors = Tensors(size)

    def read(self, value: Any) -> Any:
        """Read a value: dicts, lists, tuples, texts, numbers and read-only arrays."""
        return self._read(value)

    def mapping(self, value: Any) -> dict[Any, Any] | None:
        """Dict whose values are not yet read, or None for a value of another kind."""
        if type(value) is dict:
            return value
        if type(value) is not Call or value.name not in _DICTS:
            return None
        first, *others = value.arguments or ({},)
        if others or type(first) not in (dict, list):
            raise WeightsError(f"the pickle calls {value.name} with other than a dict's items")
        return (first if type(first) is dict else _of_pairs(first)) | value.items

    def is_named_array(self, name: Any, value: Any) -> bool:
        """Return True if name and value may be an entry of a state dict."""
        is_array = type(value) is Call and value.name in (*TENSORS, *_PARAMETERS, *RECONSTRUCT)
        return type(name) is str and is_array

    def _read_parts(self, value: Any) -> Any:
        if (items := self.mapping(value)) is not None:
            return {key: self._read(item) for key, item in items.items()}
        if isinstance(value, Storage):
            return self._tensors.of_storage(value)
        if type(value) is Global and value.name in _TYPES:
            return value.name
        if type(value) is Call and value.name not in RECONSTRUCT:
            return self._parameter(value) if value.name in _PARAMETERS else self._made(value)
        return super()._read_parts(value)

    def _parameter(self, call: Call) -> np.ndarray:
        """Tensor of a parameter, its first argument."""
        # A state of 3 values is about the gradient alone.
        tensor, *_ = call.arguments or (None,)
        is_known = call.state is None or (type(call.state) is tuple and len(call.state) == 3)
        if type(tensor) is not Call or tensor.name not in TENSORS or not is_known:
            raise WeightsError("the pickle has a parameter that is none of torch's")
        return self._read(tensor)

    def _made(self, call: Call) -> Any:
        """Value of one of the admitted calls other than arrays and parameters."""
        if call.state is not None:
            raise WeightsError(f"the pickle gives a state to what {call.name} makes")
        if call.name in TENSORS:
            return self._tensors.of_call(call)
        if call.name in _SCALARS and len(call.arguments) == 2:
            dtype, data = call.arguments
            number = _number_type(dtype)
            return np.frombuffer(_bytes(data, number.itemsize), number)[0].item()
        if call.name == "torch.Size":
            return lengths(call)
        if call.name == "torch.device" and all(type(part) in (str, int) for part in call.arguments):
            return ":".join(map(str, call.arguments))  # cuda:0
        if _is_encoded(call):
            return _bytes(call, len(call.arguments[0]))
        raise WeightsError(f"the pickle calls {call.name} otherwise than torch does")


def _of_pairs(pairs: list[Any]) -> dict[Any, Any]:
    """Dict from pairs, as Python 2 pickled an OrderedDict."""
    found = {}
    for pair in pairs:
        if type(pair) not in (list, tuple) or len(pair) != 2 or type(pair[0]) not in (str, int):
            raise WeightsError("the pickle has a dict of other than keys and values")
        found[pair[0]] = pair[1]
    return found
