"""The storages of a PyTorch file: stretches of numbers that its tensors look into."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from weights.errors import WeightsError
from weights.torch_reader.pickle_machine import Global, shown

MAX_LENGTH = 2**63  # of an axis, a stride or a storage: torch counts in int64
_UNTYPED = ("torch.storage.UntypedStorage", "torch.storage._UntypedStorage", "torch.UntypedStorage")
_BFLOAT16, _BOOL = "torch.BFloat16Storage", "torch.BoolStorage"
STORAGE_TYPES: dict[str, np.dtype] = {  # as they lie in the file, least byte first
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


class Storage:
    """Numbers of one type, one after another in a file.

    Args:
        kind: such as torch.FloatStorage.
        num_items: of that type.
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
        """Of the array: as in the file, but float32 for bfloat16, which numpy does not know."""
        return _READ_TYPES[self.kind]

    @property
    def is_untyped(self) -> bool:
        return self.kind in _UNTYPED

    def num_items_as(self, dtype: np.dtype) -> int:
        """How many there are if they are read as of that type."""
        return self.num_bytes // dtype.itemsize if self.is_untyped else self.num_items

    def place(self, file: BinaryIO, start: int, checksum: int | None = None) -> None:
        """Say where it lies; that the file is so long is the caller's to know."""
        self._place = file, start, checksum

    def array(self) -> np.ndarray:
        """All of it, without axes, read once."""
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
        stored = content.view(STORAGE_TYPES[self.kind])
        if self.kind == _BFLOAT16:  # the upper half of a float32
            wide = stored.astype("u4")
            wide <<= 16
            return wide.view("f4")
        return stored.astype(self.dtype, copy=False)


class Storages:
    """The storages that a pickle names, by key."""

    def __init__(self) -> None:
        self._by_key: dict[str, Storage] = {}

    def __iter__(self) -> Iterator[tuple[str, Storage]]:
        return iter(self._by_key.items())

    def named(self, identity: Any) -> Storage:
        """The storage of a pickle's persistent id: "storage", type, key, device, length."""
        kind, key, num_items = _parts(identity)
        storage = self._by_key.setdefault(key, Storage(kind, num_items))
        if (storage.kind, storage.num_items) != (kind, num_items):
            raise WeightsError(f"the pickle names the storage {key} in two ways")
        return storage


def _parts(identity: Any) -> tuple[str, str, int]:
    """Type, key and length; torch before 1.6 adds what it is a view of, which is nothing."""
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
