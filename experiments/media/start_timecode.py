"""Start timecodes that FFmpeg does not tell in full: those of MOV, MP4, MXF and MPEG video.

FFmpeg writes a timecode as text, such as "10:00:00:12", but not how many numbers a second it has:
of frames at 50 or 60 a second, many cameras number every second one. The timecode that MPEG video
has in the headers of its groups of pictures it does not write at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import av

from preprocess.errors import DecodeError
from preprocess.video.video_file import find_video_stream, open_container

_NO_TIMECODE = "00:00:00:00"  # what encoders of MPEG video write that know of none
# Start codes of a group of pictures and of a picture in MPEG-1 and MPEG-2 video.
_GROUP, _FRAME_START = b"\x00\x00\x01\xb8", b"\x00\x00\x01\x00"
_MAX_PACKETS = 1000  # of pictures before the first that can be decoded; a group has 12 to 300
# SMPTE's keys: what those of all partitions begin with, and that of a Timecode Component.
_MXF_PARTITION = bytes.fromhex("060e2b34020501010d010201")
_MXF_TIMECODE = bytes.fromhex("060e2b34025301010d01010101011400")
_MXF_HEADER_BYTES = 2**20  # there, and after a run-in of 64 KiB at most, is the header
_MAX_REFERENCE_BYTES = 1024  # to 256 timecode tracks; a damaged box may claim any number
_TRACK_IDS = {0: 12, 1: 20}  # where the number is in a tkhd box, by the box's version


def numbers_a_second(path: Path, track_id: int, timecode: str) -> int | None:
    """Numbers per second that a file's timecode counts, or None where that is not known.

    Args:
        path: the file.
        track_id: number of the video track, by which a MOV or MP4 refers to its timecode.
        timecode: the file's timecode, by which one of several in an MXF is found.
    """
    with path.open("rb") as file:
        head = file.read(_MXF_HEADER_BYTES)
        if _MXF_PARTITION in head[: 2**16 + 16]:
            return _mxf_numbers(head, timecode)
        if head[4:8] in (b"ftyp", b"moov", b"wide", b"mdat", b"free", b"skip"):
            return _mov_numbers(file, track_id)
    return None


def group_timecode(path: Path) -> tuple[str, int]:
    """Timecode in the header of the first group of pictures, ISO/IEC 13818-2, 6.2.2.6 and 6.3.8.

    Returns:
        The timecode of the group's first frame, and by how many frames the first one that can be
        decoded comes later: frames that refer to the group before cannot be decoded in a file
        that was cut out of a longer one. ("", 0) for a file without such a timecode.
    """
    try:
        with open_container(path) as container:
            packets = container.demux(find_video_stream(container))
            for packet in islice(packets, _MAX_PACKETS):
                if packet.is_keyframe:
                    return _read_group(bytes(packet))
    except (av.error.FFmpegError, DecodeError):
        pass
    return "", 0


def _read_group(data: bytes) -> tuple[str, int]:
    place, start = data.find(_GROUP), data.find(_FRAME_START)
    if not 0 <= place < start or len(data) < start + 6:
        return "", 0
    bits = int.from_bytes(data[place + 4 : place + 8], "big")
    # From the top: drop flag, hours (5 bits), minutes (6), a marker, seconds (6), pictures (6),
    # closed GOP.
    hours, minutes, seconds, number = (
        bits >> 26 & 31,
        bits >> 20 & 63,
        bits >> 13 & 63,
        bits >> 7 & 63,
    )
    mark = ";" if bits >> 31 else ":"
    timecode = f"{hours:02d}:{minutes:02d}:{seconds:02d}{mark}{number:02d}"
    if timecode == _NO_TIMECODE:
        return "", 0
    # A closed group refers to no frame before it, so its first frame can be decoded.
    is_closed = bits >> 6 & 1
    temporal_reference = int.from_bytes(data[start + 4 : start + 6], "big") >> 6
    return timecode, 0 if is_closed else temporal_reference


def _mov_numbers(file: IO[bytes], track_id: int) -> int | None:
    """Number of frames per second in the sample description of a timecode track, or None.

    See "Timecode sample description" in Apple's QuickTime File Format. The track is the one that
    the video refers to, or the first.
    """
    numbers: dict[int, int] = {}
    wanted: set[int] = set()
    for track in _find(file, 0, None, ["moov", "trak"]):
        header = next(_find(file, *track, ["tkhd"]), None)
        if header is None:
            continue
        begin = header[0]
        number = _read(file, begin + _TRACK_IDS.get(_read(file, begin, 1), 12), 4)
        for start, stop in _find(file, *track, ["tref", "tmcd"]):
            if number == track_id:
                references = range(start, min(stop, start + _MAX_REFERENCE_BYTES), 4)
                wanted.update(_read(file, place, 4) for place in references)
        for start, stop in _find(file, *track, ["mdia", "minf", "stbl", "stsd"]):
            # 8 bytes before the first entry, 8 of its size and kind, 24 before the number.
            if start + 41 <= stop and _read(file, start + 12, 4) == int.from_bytes(b"tmcd", "big"):
                numbers[number] = _read(file, start + 40, 1)
    found = [numbers[number] for number in numbers if number in wanted] or list(numbers.values())
    return (found[0] or None) if found else None


def _find(
    file: IO[bytes], start: int, stop: int | None, names: list[str]
) -> Iterator[tuple[int, int]]:
    """Yield where the contents of boxes begin and end, given their names from the outermost."""
    if stop is None:
        stop = file.seek(0, 2)
    while start + 8 <= stop:
        length, head = _read(file, start, 4), 8
        name = file.read(4)
        if length == 1:  # the true length follows, in 64 bits
            length, head = int.from_bytes(file.read(8), "big"), 16
        end = stop if length == 0 else start + length  # 0: up to the end of what holds it
        if end < start + head or end > stop:  # damaged, or cut off
            return
        if name == names[0].encode():
            if names[1:]:
                yield from _find(file, start + head, end, names[1:])
            else:
                yield start + head, end
        start = end


def _read(file: IO[bytes], place: int, num_bytes: int) -> int:
    file.seek(place)
    return int.from_bytes(file.read(num_bytes), "big")


def _mxf_numbers(head: bytes, timecode: str) -> int | None:
    """Rounded Timecode Base of the component that begins with the file's timecode, or None.

    See SMPTE ST 377-1, B.17.
    """
    fields = [int(field) for field in re.findall(r"\d+", timecode)]
    place = head.find(_MXF_TIMECODE)
    while place >= 0 and len(fields) == 4:
        tags = _mxf_tags(head, place + len(_MXF_TIMECODE))
        # Local tags of a Timecode Component: rounded base, start in frames, drop flag.
        base, start = tags.get(0x1502, 0), tags.get(0x1501)
        if base and start == _number(fields, base, is_drop=bool(tags.get(0x1503))):
            return base
        place = head.find(_MXF_TIMECODE, place + 1)
    return None


def _mxf_tags(head: bytes, place: int) -> dict[int, int]:
    """Read a local set as a dictionary of numbers by tags.

    Its length comes first, in BER: one byte, or the number of bytes that hold it.
    """
    size = head[place] if place < len(head) else 0
    place += 1
    if size & 128:
        more = size & 127
        size = int.from_bytes(head[place : place + more], "big")
        place += more
    stop, tags = min(place + size, len(head)), {}
    while place + 4 <= stop:
        tag = int.from_bytes(head[place : place + 2], "big")
        length = int.from_bytes(head[place + 2 : place + 4], "big")
        tags[tag] = int.from_bytes(head[place + 4 : place + 4 + length], "big")
        place += 4 + length
    return tags


def _number(fields: list[int], base: int, *, is_drop: bool) -> int:
    hours, minutes, seconds, rest = fields
    minutes += 60 * hours
    number = (60 * minutes + seconds) * base + rest
    # Drop-frame skips 2 numbers (of 30 a second; 4 of 60) each minute but every tenth.
    return number - (base // 15) * (minutes - minutes // 10) if is_drop else number
