"""Reader of PyTorch's checkpoint files, without torch and without running anything in them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from weights.errors import WeightsError
from weights.torch_reader.pickle_machine import read_pickle, shown
from weights.torch_reader.torch_values import Values, read_object
from weights.torch_reader.zip_members import SIGNATURE, Member, read_members, read_stored

SUFFIXES = (".pth", ".pt", ".pyth", ".bin", ".tar", ".ckpt")
"""Suffixes of files of torch.save; .tar as in model_best.pth.tar."""
# Keys under which Lightning, SlowFast, DeiT, PyTorch's tutorials and DeepSpeed keep a state dict.
STATE_DICT_KEYS = ("state_dict", "model_state", "model", "model_state_dict", "module")
REMEDY = (
    "Get the file from its source again, or save the state dict alone, where torch and the "
    "model's own code are: torch.save(model.state_dict(), FILE)."
)
# First two pickles of a file of the format before torch 1.6 (torch.serialization).
MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
_LENGTH_BYTES = 8  # of the count before the numbers of each storage in that format


class _NotFoundError(WeightsError):
    """Error of a sound file without a state dict in the places where one is looked for."""


def read_torch_file(path: str | os.PathLike[str]) -> Any:
    """Read the value that one `torch.save(value, path)` of tensors in dicts and lists wrote.

    Nothing in the file is run, whatever it is: see pickle_machine.py. The format, a zip file or
    that of torch before 1.6, is recognised by the content and not by the suffix.

    Args:
        path: path of the file.

    Returns:
        Dicts, lists, tuples, texts, numbers and read-only numpy arrays. Tensors that share a
        storage share their memory. Those of bfloat16 become float32; a torch.dtype or
        torch.device becomes its name.

    Raises:
        WeightsError: if the file cannot be read, is something else, is broken, or asks for
            anything but tensors and plain data, such as an argparse.Namespace.

    Example:
        >>> checkpoint = read_torch_file("checkpoint.pth")
        >>> checkpoint["epoch"], checkpoint["model"]["fc.bias"].shape
        (30, (1000,))

    Reference: torch.serialization and torch._utils of PyTorch.
    """
    with _opened(path) as (root, values):
        return values.read(root)


def read_state_dict(
    path: str | os.PathLike[str], *, keys: Sequence[str] = STATE_DICT_KEYS
) -> dict[str, np.ndarray]:
    """Read the tensors of a model's state dict, by their names in torch.

    Only these are read: an optimizer's state in the same file takes no memory.

    Args:
        path: path of a file as for `read_torch_file`.
        keys: keys of the file's dict that may hold the state dict, if it is not that dict itself.

    Returns:
        Read-only arrays by name, such as layer1.0.conv1.weight, in the file's order.

    Raises:
        WeightsError: as for `read_torch_file`, and if there is no state dict, or more than one.

    Example:
        >>> state = read_state_dict("resnet50.pth")
        >>> state["conv1.weight"].shape
        (64, 3, 7, 7)
    """
    with _opened(path) as (root, values):
        items = _find(values, root, keys)
        return {name: values.read(value) for name, value in items.items()}


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[Any, Values]]:
    """Yield a file's value, not yet read, and its reader; add the path to errors of the block."""
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path} cannot be read: there is no such file.")
    try:
        with path.open("rb") as file:
            yield _read_object(file), Values(path.stat().st_size)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}.") from error
    except MemoryError as error:
        raise WeightsError(f"{path} cannot be read: it does not fit in the memory.") from error
    except _NotFoundError as error:
        raise WeightsError(f"{path} {error}.") from error
    except WeightsError as error:
        raise WeightsError(f"{path} is refused: {error}. {REMEDY}") from error


def _read_object(file: BinaryIO) -> Any:
    """Read the pickle of a file of either format, without its numbers."""
    start = file.read(len(SIGNATURE))
    file.seek(0)
    return read_zip(file) if start == SIGNATURE else read_legacy(file)


def _find(values: Values, root: Any, keys: Sequence[str]) -> dict[str, Any]:
    """Find the state dict, whose tensors are not yet read."""
    top = values.mapping(root)
    if top is None:
        raise _NotFoundError(f"holds a {type(root).__name__.lower()} in place of a state dict")
    own_keys = shown(str(list(islice(top, 20))), 300)
    remedy = f"Its own keys are {own_keys}; give the one of the state dict as keys"
    nested = {key: items for key in keys if (items := values.mapping(top.get(key))) is not None}
    # A checkpoint with two models (a teacher, a moving average) must not be guessed at.
    if len(nested) > 1:
        raise _NotFoundError(f"may have its state dict at each of {', '.join(nested)}. {remedy}")
    ((place, items),) = nested.items() or [("its top", top)]
    foreign = [name for name, value in items.items() if not values.is_named_array(name, value)]
    if foreign or not items:
        what = f"{shown(str(foreign[0]))} there is no tensor" if foreign else "nothing is there"
        raise _NotFoundError(f"has no state dict at {place}: {what}. {remedy}")
    return items


def read_zip(file: BinaryIO) -> Any:
    """Read the pickle of a zip file of torch.save; its storages need the file to stay open."""
    members = read_members(file)
    prefix = _prefix(members)
    # Older versions of torch do not write this member; their files are taken for little-endian.
    byte_order = _content(file, members.get(f"{prefix}byteorder"))
    if byte_order not in (b"", b"little"):
        raise WeightsError(f"its numbers are not little-endian, but {shown(ascii(byte_order))}")
    root, storages = read_object(io.BytesIO(_content(file, members[f"{prefix}data.pkl"])))
    for key, storage in storages:
        member = members.get(f"{prefix}data/{key}")
        if member is None:
            raise WeightsError(f"its storage {key} is missing")
        # From here on a tensor's bounds are checked against the length that its storage declares.
        if member.num_bytes != storage.num_bytes:
            raise WeightsError(
                f"its storage {key} is to have {storage.num_bytes:,} bytes, "
                f"but has {member.num_bytes:,}"
            )
        storage.place(file, member.start, member.checksum)
    return root


def _prefix(members: dict[str, Member]) -> str:
    """Prefix of the names of torch's members, such as archive/."""
    found = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
    if len(found) != 1:
        raise WeightsError(
            f"it has {len(found)} members data.pkl in place of one; it is a zip file, but not of "
            "torch.save, or has one inside"
        )
    prefix = found[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in members:
        raise WeightsError("it is a program of TorchScript")
    return prefix


def _content(file: BinaryIO, member: Member | None) -> bytes:
    """Bytes of a member; none if it does not exist."""
    return b"" if member is None else read_stored(file, member)


def read_legacy(file: BinaryIO) -> Any:
    """Read the pickle of a file of torch before 1.6; its storages need the file to stay open."""
    # Five pickles in a row: magic number, version, system, the value, keys of the storages. The
    # storages' numbers follow in the order of the keys.
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
    """Read the magic number, or refuse a file that is not of torch.save."""
    start = file.read(16)
    file.seek(0)
    try:
        magic = read_pickle(file, admitted=()) if start.startswith(b"\x80") else None
    except WeightsError:
        magic = None
    if type(magic) is not int or magic != MAGIC:
        raise WeightsError(f"it is no file of torch.save: it starts with {start!r}")


def _place(file: BinaryIO, storages: list[Any]) -> None:
    """Tell each storage its position in the file; each starts with its length."""
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
