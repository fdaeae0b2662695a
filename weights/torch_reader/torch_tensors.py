"""A PyTorch file's tensors as numpy arrays: views into its storages, each checked to lie inside."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from weights.errors import WeightsError
from weights.torch_reader.pickle_machine import Call, Global, shown
from weights.torch_reader.torch_storages import MAX_LENGTH, Storage
from weights.torch_reader.unpickle import MAX_AXES

MAX_RATIO = 20  # tensors may share storages: their bytes, each counted by itself, to the file's
SMALL = 16 * 2**20  # bytes below which the ratio does not matter
TENSORS = {  # how many arguments there are; one more may come, which tells of conjugates
    "torch._utils._rebuild_tensor": 4,
    "torch._utils._rebuild_tensor_v2": 6,
    "torch._utils._rebuild_tensor_v3": 7,
}
V3_TYPES = {f"torch.uint{bits}": np.dtype(f"<u{bits // 8}") for bits in (16, 32, 64)}


class Tensors:
    """What the tensors of one file see of its storages.

    Args:
        size: of the file, which bounds what its tensors may take.
    """

    def __init__(self, size: int) -> None:
        self._bytes_left = max(MAX_RATIO * size, SMALL)

    def of_call(self, call: Call) -> np.ndarray:
        """The tensor that a call of a name in `TENSORS` would make."""
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
        """All of it, without axes."""
        return self._view(storage, storage.dtype, 0, (storage.num_items,), (1,))

    def _view(
        self,
        storage: Storage,
        dtype: np.dtype,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> np.ndarray:
        """Offset and strides are in items."""
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
    """A shape or strides, from a tuple or torch.Size."""
    if type(value) is Call and value.name == "torch.Size" and len(value.arguments) == 1:
        value = value.arguments[0]
    if type(value) is not tuple or len(value) > MAX_AXES or not all(map(_is_length, value)):
        raise WeightsError("the pickle has a tensor of an impossible shape or strides")
    return value


def _is_length(value: Any) -> bool:
    return type(value) is int and 0 <= value < MAX_LENGTH


def _type_of_untyped(storage: Storage, dtype: Any) -> np.dtype:
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
    """The view itself; numpy too refuses one that goes beyond the storage."""
    if 0 in shape:
        return np.frombuffer(b"", dtype).reshape(shape)
    steps = [
        stride * dtype.itemsize if length > 1 else dtype.itemsize
        for length, stride in zip(shape, strides, strict=True)
    ]
    return np.ndarray(shape, dtype, storage.array(), offset * dtype.itemsize, steps)
