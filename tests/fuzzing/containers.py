"""Places of sizes and counts in video containers, where impossible ones are written."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal


@dataclass(frozen=True)
class Field:
    """Number in a file.

    Args:
        marker: bytes near which it lies.
        offset: place of its first byte, counted from the marker's first byte.
        num_bytes: number of its bytes.
    """

    marker: bytes
    offset: int
    num_bytes: int = 4

    @property
    def order(self) -> Literal["little", "big"]:
        """Byte order: little-endian in RIFF, big-endian elsewhere."""
        return "little" if self.marker in _RIFF else "big"


_BOXES = (
    *(b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mdat", b"stsd", b"stts", b"stsc", b"stsz"),
    *(b"stco", b"co64", b"ctts", b"stss", b"elst", b"mdhd", b"tkhd", b"mvhd", b"avcC", b"esds"),
)
_RIFF = {b"RIFF", b"LIST", b"avih", b"strh", b"strf", b"idx1", b"00dc"}
FIELDS = (
    # MP4: a box's size lies before its name; tables have a count, then rows
    *(Field(box, -4) for box in _BOXES),
    *(Field(box, 8) for box in (b"stsd", b"stts", b"stsc", b"stsz", b"stco", b"ctts", b"elst")),
    *(Field(box, offset) for box in (b"stts", b"stsc", b"stsz", b"stco") for offset in (12, 16)),
    *(Field(box, 16) for box in (b"mvhd", b"mdhd")),  # ticks a second
    *(Field(box, 20) for box in (b"mvhd", b"mdhd")),  # duration
    *(Field(b"tkhd", offset) for offset in (44, 60, 80, 84)),  # rotation, width, height
    *(Field(box, offset, 2) for box in (b"avc1", b"mp4v", b"hvc1") for offset in (28, 30)),
    # AVI
    *(Field(name, 4) for name in (b"RIFF", b"LIST", b"strh", b"strf", b"idx1", b"00dc")),
    *(Field(b"avih", offset) for offset in (8, 12, 24, 32, 36, 40, 44)),
    *(Field(b"strh", offset) for offset in (28, 32, 36, 40, 52)),
    *(Field(b"strf", offset) for offset in (8, 12, 16, 22, 28)),
    # MPEG-1: width and height take 12 bits each; packets say their length
    *(Field(b"\x00\x00\x01\xb3", offset, num) for offset, num in ((4, 3), (7, 1), (8, 4))),
    *(Field(b"\x00\x00\x01" + kind, 4, 2) for kind in (b"\xe0", b"\xc0", b"\xbb")),
    Field(b"\x00\x00\x01\xba", 4, 8),  # clock
    # Matroska: name, length, content
    *(Field(name, len(name), 1) for name in (b"\x54\xb0", b"\x54\xba", b"\x44\x89")),
    *(Field(name, 1, num) for name in (b"\xb0\x82", b"\xba\x82") for num in (1, 3)),
    *(Field(b"\x2a\xd7\xb1", offset, 3) for offset in (3, 4)),  # nanoseconds a tick
    *(Field(b"\x1f\x43\xb6\x75", offset, num) for offset, num in ((4, 1), (4, 8))),
    *(Field(b"\x15\x49\xa9\x66", offset, num) for offset, num in ((4, 1), (4, 8))),
    *(Field(b"\x16\x54\xae\x6b", offset, num) for offset, num in ((4, 1), (4, 8))),
)


def absurd_field(random: Random, content: bytes) -> bytes:
    """Overwrite one of the fields that the content has; without any it stays unchanged."""
    there = [field for field in FIELDS if field.marker in content]
    if not there:
        return content
    field = random.choice(there)
    start = _occurrence(random, content, field.marker) + field.offset
    if not 0 <= start <= len(content) - field.num_bytes:
        return content
    written = _absurd(random, field.num_bytes).to_bytes(field.num_bytes, field.order)
    return content[:start] + written + content[start + field.num_bytes :]


def _occurrence(random: Random, content: bytes, marker: bytes) -> int:
    """Place of one of the first ten occurrences of a marker."""
    places = [content.find(marker)]
    while len(places) < 10 and (place := content.find(marker, places[-1] + 1)) >= 0:
        places.append(place)
    return random.choice(places)


def _absurd(random: Random, num_bytes: int) -> int:
    """Draw a number that is zero, too small, too large, or any."""
    bits = 8 * num_bytes
    powers = [2**power + more for power in (bits // 2, bits - 2, bits - 1) for more in (-1, 0, 1)]
    return random.choice([0, 1, 2, *powers, 2**bits - 1, random.getrandbits(bits)])
