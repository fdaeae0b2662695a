"""PyTorch's files since torch 1.6: a zip file of a pickle and of a member a storage.

Nothing in it is unpacked. Its members are stored, not compressed, as torch.save writes them, so
that they take no more memory than the file, and each byte of it belongs to one of them at most.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

from weights.errors import WeightsError
from weights.pickle_machine import shown
from weights.torch_values import read_object

SIGNATURE = b"PK\x03\x04"
MAX_DIRECTORY = 16 * 2**20  # bytes; some 100 a member
_HEADER_BYTES = 30
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flags
_BROKEN = (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, OSError)


@dataclass(frozen=True, slots=True)
class _Member:
    """Where a member's bytes lie in the file."""

    start: int
    num_bytes: int
    checksum: int


def read_zip(file: BinaryIO) -> Any:
    """The object of a zip file of torch.save; its storages can be read while the file is open."""
    members = _members(file)
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


def _prefix(members: dict[str, _Member]) -> str:
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


def _content(file: BinaryIO, member: _Member | None) -> bytes:
    if member is None:
        return b""
    file.seek(member.start)
    content = file.read(member.num_bytes)
    if zlib.crc32(content) != member.checksum:
        raise WeightsError("it is damaged: the checksum of its pickle is another")
    return content


def _members(file: BinaryIO) -> dict[str, _Member]:
    """The members by name, each checked to lie in the file, and in no other one's place."""
    try:
        archive = zipfile.ZipFile(_Limited(file))  # type: ignore[arg-type]
    except _BROKEN as error:
        raise WeightsError(f"its zip directory is broken: {shown(str(error))}") from error
    members = {}
    stop = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if info.filename in members:
            raise WeightsError(f"two of its members are named {shown(info.filename)}")
        _check(info)
        if not stop <= info.header_offset < archive.start_dir:
            raise WeightsError(f"its member {shown(info.filename)} is in another one's place")
        member = _Member(_data_start(file, info), info.file_size, info.CRC)
        members[info.filename] = member
        stop = member.start + member.num_bytes
    if stop > archive.start_dir:
        raise WeightsError("its last member goes beyond its place")
    return members


def _check(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or not name.isprintable():
        raise WeightsError(f"it has a member with the name {shown(name)}")
    if info.flag_bits & _ENCRYPTED:
        raise WeightsError(f"its member {shown(name)} is encrypted")
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise WeightsError(f"its member {shown(name)} is compressed, which torch.save does not do")


def _data_start(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes start: behind its own header, which must be of the same name."""
    file.seek(info.header_offset)
    header = file.read(_HEADER_BYTES)
    if not header.startswith(SIGNATURE):
        raise WeightsError(f"its member {shown(info.filename)} is not where it is to be")
    name_bytes, extra_bytes = struct.unpack_from("<HH", header, 26)
    encoding = "utf-8" if info.flag_bits & _UTF8 else "cp437"
    if file.read(name_bytes) != info.orig_filename.encode(encoding):
        raise WeightsError(f"its member {shown(info.filename)} has another name in its place")
    return info.header_offset + _HEADER_BYTES + name_bytes + extra_bytes


class _Limited:
    """A file for zipfile, which reads a directory whole, of a length that the file says."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        if size > MAX_DIRECTORY:
            raise WeightsError(f"its zip directory has more than {MAX_DIRECTORY:,} bytes")
        return self._file.read(size)  # of -1: the comment at the end, which is short
