"""PyTorch's files since torch 1.6: a zip file of a pickle and of a member a storage.

Nothing in it is unpacked. Its members are stored, not compressed, as torch.save writes them, so
that they take no more memory than the file, and each byte of it belongs to one of them at most.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from weights.errors import WeightsError
from weights.torch_reader.pickle_machine import shown
from weights.torch_reader.torch_values import read_object
from weights.torch_reader.zip_members import Member, read_members, read_stored


def read_zip(file: BinaryIO) -> Any:
    """The object of a zip file of torch.save; its storages can be read while the file is open."""
    members = read_members(file)
    prefix = _prefix(members)
    byte_order = _content(file, members.get(f"{prefix}byteorder"))
    if byte_order not in (b"", b"little"):
        raise WeightsError(f"its numbers are not little-endian, but {shown(ascii(byte_order))}")
    root, storages = read_object(io.BytesIO(_content(file, members[f"{prefix}data.pkl"])))
    for key, storage in storages:
        member = members.get(f"{prefix}data/{key}")
        if member is None:
            raise WeightsError(f"its storage {key} is missing")
        if member.num_bytes != storage.num_bytes:
            raise WeightsError(
                f"its storage {key} is to have {storage.num_bytes:,} bytes, "
                f"but has {member.num_bytes:,}"
            )
        storage.place(file, member.start, member.checksum)
    return root


def _prefix(members: dict[str, Member]) -> str:
    """What comes before the names of torch's members, such as archive/."""
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
    return b"" if member is None else read_stored(file, member)
