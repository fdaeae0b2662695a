"""Members of an untrusted zip file, located without unpacking anything.

Each byte of the file belongs to at most one member, and no member's name leads out of the archive.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from weights.errors import WeightsError
from weights.torch_reader.pickle_machine import shown

SIGNATURE = b"PK\x03\x04"
MAX_DIRECTORY = 16 * 2**20  # bytes; a member takes some 100
MAX_MEMBERS = 10_000
_HEADER_BYTES = 30
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flags
_BROKEN = (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, OSError)


@dataclass(frozen=True, slots=True)
class Member:
    """Location of a member's bytes in the file.

    Args:
        start: position of the first byte.
        stored_bytes: number of bytes in the file.
        num_bytes: number of bytes of the member; the same, unless it is compressed.
        checksum: CRC-32 of the member.
    """

    start: int
    stored_bytes: int
    num_bytes: int
    checksum: int


def read_members(file: BinaryIO, *, compressed: bool = False) -> dict[str, Member]:
    """Locate the members by name; each must lie in the file and overlap no other.

    Args:
        file: an open file on a disk, or in memory.
        compressed: allow compressed members.

    Raises:
        WeightsError: if it is no zip file, or a broken or hostile one.
    """
    try:
        archive = zipfile.ZipFile(_Limited(file))  # type: ignore[arg-type]
    except _BROKEN as error:
        raise WeightsError(f"its zip directory is broken: {shown(str(error))}") from error
    infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    if len(infos) > MAX_MEMBERS:
        raise WeightsError(f"it has {len(infos):,} members, more than {MAX_MEMBERS:,}")
    members: dict[str, Member] = {}
    stop = 0
    # In the order of the file. Overlapping members are how a zip bomb gets petabytes out of
    # megabytes.
    for info in infos:
        if info.filename in members:
            raise WeightsError(f"two of its members are named {shown(info.filename)}")
        _check_member(info, compressed)
        if not stop <= info.header_offset < archive.start_dir:
            raise WeightsError(f"its member {shown(info.filename)} is in another one's place")
        start = _data_start(file, info)
        members[info.filename] = Member(start, info.compress_size, info.file_size, info.CRC)
        stop = start + info.compress_size
    if stop > archive.start_dir:
        raise WeightsError("its last member goes beyond its place")
    return members


def read_stored(file: BinaryIO, member: Member) -> bytes:
    """Read the bytes of a member that is not compressed.

    Raises:
        WeightsError: if its checksum is wrong.
    """
    file.seek(member.start)
    content = file.read(member.num_bytes)
    if zlib.crc32(content) != member.checksum:
        raise WeightsError("it is damaged: the checksum of one of its members is another")
    return content


def _check_member(info: zipfile.ZipInfo, compressed: bool) -> None:
    """Refuse names that lead elsewhere, links, and encrypted or compressed members."""
    name = info.orig_filename
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or not name.isprintable():
        raise WeightsError(f"it has a member with the name {shown(name)}")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise WeightsError(f"its member {shown(name)} is a link")
    if info.flag_bits & _ENCRYPTED:
        raise WeightsError(f"its member {shown(name)} is encrypted")
    is_stored = info.compress_type == zipfile.ZIP_STORED
    if not (is_stored or compressed) or (is_stored and info.compress_size != info.file_size):
        raise WeightsError(f"its member {shown(name)} is compressed, which such files never are")


def _data_start(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Start of a member's bytes, behind its own header, which must have the same name."""
    # Directory and headers may contradict each other; other programs would then read other members.
    file.seek(info.header_offset)
    header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or not header.startswith(SIGNATURE):
        raise WeightsError(f"its member {shown(info.filename)} is not where it is to be")
    name_bytes, extra_bytes = struct.unpack_from("<HH", header, 26)
    encoding = "utf-8" if info.flag_bits & _UTF8 else "cp437"
    if file.read(name_bytes) != info.orig_filename.encode(encoding):
        raise WeightsError(f"its member {shown(info.filename)} has another name in its place")
    return info.header_offset + _HEADER_BYTES + name_bytes + extra_bytes


class _Limited:
    """File for zipfile, which reads a directory at once, whatever length the file claims."""

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
