"""Cuts in the files of a recording, in whole frames, from its segments."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import InputError
from experiments.highlights.cut_lists.timecode import Counter, can_drop, exact_rate, start_of
from experiments.highlights.selection.segments import Segment

if TYPE_CHECKING:
    from experiments.media.recording import Chunk

_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # line breaks, and what XML or UTF-8 cannot hold


@dataclass(frozen=True)
class Media:
    """One video file of a recording.

    Args:
        path: the file.
        duration: length in seconds.
        rate: exact frames per second, as `timecode.exact_rate` gives it.
        width: width of a frame in pixels, if known.
        height: height of a frame in pixels, if known.
        has_sound: whether it has a sound track.
        start: number of its first frame by the start timecode that is embedded in it.
        drop: whether that timecode drops numbers; None for a file without a timecode.
    """

    path: Path
    duration: float
    rate: Fraction
    width: int | None = None
    height: int | None = None
    has_sound: bool = True
    start: int = 0
    drop: bool | None = None

    @classmethod
    def of(cls, chunk: Chunk) -> Media:
        """Make a `Media` from a chunk; an invalid timecode is ignored."""
        rate = exact_rate(float(chunk.rate))
        start, drop = start_of(chunk) or (0, None)
        return cls(
            chunk.path,
            chunk.duration,
            rate,
            chunk.width,
            chunk.height,
            has_sound=chunk.sound is not None,
            start=start,
            drop=drop,
        )

    @property
    def counter(self) -> Counter:
        """Numbering of its frames; without a timecode it drops numbers if the rate allows that."""
        return Counter(self.rate, can_drop(self.rate) if self.drop is None else self.drop)

    @property
    def num_frames(self) -> int:
        """Number of frames at a constant rate, at least one."""
        return max(1, round(self.duration * self.rate))

    @property
    def url(self) -> str:
        """Address of the file: file:///..., percent-encoded."""
        return self.path.absolute().as_uri()


@dataclass(frozen=True)
class Cut:
    """Frames [start, stop) of a file.

    Args:
        media: the file.
        start: first frame, counted from 0 whatever the file's timecode.
        stop: the frame after the last.
        number: number of the segment, counted from 1.
        segment: segment that the cut shows, or shows a part of.
    """

    media: Media
    start: int
    stop: int
    number: int
    segment: Segment

    @property
    def num_frames(self) -> int:
        """Number of frames of the cut, at least one."""
        return self.stop - self.start

    @property
    def name(self) -> str:
        """Name of the cut, such as 'Highlight 3'."""
        return f"Highlight {self.number}"


def cuts_of(segments: Sequence[Segment], recording: Sequence[Media]) -> list[Cut]:
    """Make the cuts that show segments, in order; two where a segment runs over a file's end.

    A segment of less than half a frame has none.

    Args:
        segments: segments, sorted, in seconds of the whole recording.
        recording: files of the recording, one after the other.

    Raises:
        InputError: if there is no file.
    """
    if not recording:
        raise InputError("A recording must have at least one file. Received none.")
    cuts: list[Cut] = []
    for number, segment in enumerate(segments, 1):
        offset = 0.0
        for media in recording:
            # The nearest frame, at the file's own exact rate: a rounded rate would drift over
            # hours.
            start = round(max(segment.start - offset, 0.0) * media.rate)
            # Up to the end of this file; the rest of the segment is a cut in the next one.
            stop = min(round((segment.end - offset) * media.rate), media.num_frames)
            if start < stop:
                cuts.append(Cut(media, start, stop, number, segment))
            offset += media.duration
    return cuts


def printable(text: str) -> str:
    """Replace characters that some format cannot hold by '_'."""
    return "".join(
        "_" if unicodedata.category(char) in _UNPRINTABLE or char in "\ufffe\uffff" else char
        for char in text
    )
