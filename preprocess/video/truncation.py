"""Whether a video that was read to its end is all there."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from preprocess.video.decode import FrameReader
from preprocess.video.messages import first_complaint

_PROGRAM_STREAM = b"\0\0\1\xba"
_TRANSPORT_SYNC = b"G"  # first in each packet; in a .m2ts four bytes of a time come before it
_CLEARLY_FEWER = 0.9  # of the frames claimed; below it a clip counts as cut short


def is_stream(head: bytes) -> bool:
    """Whether a file is an MPEG program or transport stream, by its first 12 bytes.

    It has neither an index nor a length: it may begin amid pictures, and it ends where it ends.
    """
    if head.startswith((b"RIFF", b"GIF")):  # whose size, or name, may look like the sync byte
        return False
    return head.startswith(_PROGRAM_STREAM) or _TRANSPORT_SYNC in (head[0:1], head[4:5])


def shortfall(video: FrameReader, messages: IO[bytes]) -> str:
    """What was missing of a stream that was stored all the same; empty if nothing was.

    Args:
        video, messages: those of `what_is_missing`.
    """
    claimed = video.info.claimed_frames
    if not video.reached_end or claimed is None or video.num_decoded >= _CLEARLY_FEWER * claimed:
        return ""
    found = first_complaint(messages)
    return f"{video.num_decoded} of about {claimed} frames decoded ({found})" if found else ""


def what_is_missing(path: Path, video: FrameReader, messages: IO[bytes]) -> str:
    """What is wrong with a video that gives no more frames; empty if nothing is.

    Args:
        path: the file.
        video: its reader.
        messages: what FFmpeg said meanwhile, from `captured_messages`.
    """
    if video.num_given == 0:
        return "no frame could be decoded"
    claimed = video.info.claimed_frames
    if not video.reached_end or claimed is None:
        return ""
    with path.open("rb") as file:
        head = file.read(12)
    complained = bool(first_complaint(messages))
    if is_cut_short(head, claimed, video.num_decoded, complained=complained):
        return f"ended early: {video.num_decoded} of {claimed} frames decoded"
    return ""


def is_cut_short(head: bytes, claimed: int, decoded: int, *, complained: bool) -> bool:
    """Whether a file that was read to its end had lost a part before.

    A header's count can be trusted to say so only together with a second sign. An AVI's index
    is exact. Elsewhere fewer frames are normal (MP4 edit lists hide frames; Matroska and
    WebM only estimate from the duration), so FFmpeg must have complained as well. Of an MPEG
    stream nothing can be said.

    Args:
        head: the first 12 bytes of the file.
        claimed: frames that its header speaks of.
        decoded: frames that there were.
        complained: whether FFmpeg reported an error.
    """
    if decoded >= _CLEARLY_FEWER * claimed or is_stream(head):
        return False
    return complained or head.endswith(b"AVI ")
