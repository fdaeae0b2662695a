"""PyTorch's files before torch 1.6: five pickles, and behind them the storages."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

from weights.errors import WeightsError
from weights.torch_reader.pickle_machine import read_pickle
from weights.torch_reader.torch_values import read_object

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
_LENGTH_BYTES = 8  # before the numbers of each storage


def read_legacy(file: BinaryIO) -> Any:
    """The object of such a file; its storages can be read while the file is open."""
    _read_magic(file)
    version = read_pickle(file, admitted=())
    if type(version) is not int or version != VERSION:
        raise WeightsError("it is of an unknown version of torch's format before 1.6")
    system = read_pickle(file, admitted=())
    if type(system) is not dict or system.get("little_endian") is not True:
        raise WeightsError("its numbers are not little-endian")
    root, storages = read_object(file)
    keys = read_pickle(file, admitted=())
    by_key = dict(storages)
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise WeightsError("it has no list of its storages")
    if sorted(keys) != sorted(by_key):
        raise WeightsError("its storages are not those that its tensors ask for")
    _place(file, [by_key[key] for key in keys])
    return root


def _read_magic(file: BinaryIO) -> None:
    start = file.read(16)
    file.seek(0)
    try:
        magic = read_pickle(file, admitted=()) if start.startswith(b"\x80") else None
    except WeightsError:
        magic = None
    if type(magic) is not int or magic != MAGIC:
        raise WeightsError(f"it is no file of torch.save: it starts with {start!r}")


def _place(file: BinaryIO, storages: list[Any]) -> None:
    """Go along the storages, each of which starts with its length."""
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    for storage in storages:
        file.seek(position)
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little", signed=True)
        position += _LENGTH_BYTES
        if length != storage.num_items:
            raise WeightsError(
                f"it has a storage of {length:,} numbers where its pickle asks for "
                f"{storage.num_items:,}"
            )
        storage.place(file, position)
        position += storage.num_bytes
    if position != size:
        raise WeightsError(f"it has {size:,} bytes, but its storages end at {position:,}")
