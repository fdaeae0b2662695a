"""Cuts in the files of a recording, in whole frames, from its segments; and their timecode."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import InputError
from experiments.highlights.selection.selection import Segment

if TYPE_CHECKING:
    from experiments.media.recording import Chunk

_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # line breaks, and what XML or UTF-8 cannot hold
# Rates that are in use, to which a measured one is rounded.
_COMMON = tuple(
    Fraction(rate) for rate in (12, 15, 24, 25, 30, 48, 50, 60, 90, 100, 120, 144)
) + tuple(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120))
_CLOSE = 0.0004  # relative; 29.97 and 30 are 0.001 apart
_TIMECODE = re.compile(r"(\d\d):([0-5]\d):([0-5]\d)([:;])(\d\d+)", re.ASCII)
# Of a file, with any of the marks that cameras write before the frame's number.
_EMBEDDED = re.compile(r"((?:[01]\d|2[0-3]):\d\d:\d\d)([:;.,])(\d\d+)", re.ASCII)


@dataclass(frozen=True)
class Media:
    """One video file of a recording.

    Args:
        path: the file.
        duration: length in seconds.
        rate: exact frames per second, as `exact_rate` gives it.
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


# Timecode, with and without dropped numbers.


def exact_rate(frames_per_second: float) -> Fraction:
    """Return the exact rate for a rounded one: 29.97 -> 30000/1001.

    An uncommon rate becomes the nearest fraction with a denominator of at most 1001.

    Raises:
        InputError: if it is not in (0, 1000).
    """
    if not 0 < frames_per_second < 1000:
        raise InputError(f"A frame rate must be in (0, 1000). Received {frames_per_second}.")
    nearest = min(_COMMON, key=lambda rate: abs(rate - frames_per_second))
    if abs(nearest - frames_per_second) <= _CLOSE * frames_per_second:
        return nearest
    return Fraction(frames_per_second).limit_denominator(1001)


def can_drop(rate: Fraction) -> bool:
    """Return whether drop-frame timecode is defined for a rate: 29.97, 59.94 and 119.88."""
    return rate.denominator == 1001 and rate.numerator % 30000 == 0


def start_of(chunk: Chunk) -> tuple[int, bool] | None:
    """Apply `read_start` to a chunk."""
    rate = exact_rate(float(chunk.rate))
    start = read_start(chunk.timecode, rate, chunk.timecode_base)
    return start and (start[0] + chunk.timecode_lead, start[1])


def read_start(timecode: str, rate: Fraction, base: int | None = None) -> tuple[int, bool] | None:
    """Number of a file's first frame, and whether numbers are dropped, from its start timecode.

    Cameras write '10:00:00:00', and '10:00:00;00' or '10:00:00.00' where numbers are dropped.
    At a rate for which dropping is not defined, none are dropped.

    Args:
        timecode: text of the timecode in the file.
        rate: exact frames per second.
        base: numbers per second of the timecode, where they are not those of the rate. A camera
            with 60 frames per second may number every second frame.

    Returns:
        Number and whether numbers are dropped; None for an invalid timecode at this rate.
    """
    match = _EMBEDDED.fullmatch(timecode.strip())
    if match is None:
        return None
    # Two where every second frame has a number; the frames are then counted at half the rate.
    frames_a_number = Fraction(max(1, round(rate)), base) if base else Fraction(1)
    numbered = rate / frames_a_number
    counter = Counter(numbered, match[2] != ":" and can_drop(numbered))
    try:
        number = counter.frame(f"{match[1]}{counter.mark}{match[3]}")
    except ValueError:
        return None
    return round(number * frames_a_number), counter.drop and can_drop(rate)


@dataclass(frozen=True)
class Counter:
    """Conversion between frames and timecode.

    Timecode counts `base` frames per second, a whole number. At 29.97 frames per second it falls
    behind the clock by 3.6 s an hour; drop-frame counting leaves out 2 numbers (no frames) in
    each minute but every tenth, 4 at 59.94, and so keeps up with it.

    Args:
        rate: exact frames per second.
        drop: whether numbers are dropped.

    Raises:
        InputError: if numbers cannot be dropped at this rate.
    """

    rate: Fraction
    drop: bool

    def __post_init__(self) -> None:
        if self.drop and not can_drop(self.rate):
            raise InputError(
                "Drop-frame timecode is for 29.97, 59.94 and 119.88 frames a second. Received "
                f"{float(self.rate):.3f}; count without dropping."
            )

    @property
    def base(self) -> int:
        """Numbers per second."""
        return max(1, round(self.rate))

    @property
    def mark(self) -> str:
        """Mark before the number of a frame in its second."""
        return ";" if self.drop else ":"

    @property
    def frames_a_day(self) -> int:
        """Number of frames before timecode begins again, after 24 hours."""
        # Numbers are dropped in all minutes of a day but every tenth, 6 an hour.
        return 24 * 3600 * self.base - self._dropped_a_minute() * (24 * 60 - 24 * 6)

    def timecode(self, frame: int) -> str:
        """Timecode of a frame: 1800 -> '00:01:00;02' at 29.97 with drop.

        Like a clock, timecode is at 00:00:00:00 again after 24 hours.
        """
        frame %= self.frames_a_day
        number = frame + self._left_out(frame)
        seconds, rest = divmod(number, self.base)
        hours, minutes = divmod(seconds // 60, 60)
        return f"{hours:02d}:{minutes:02d}:{seconds % 60:02d}{self.mark}{rest:02d}"

    def frame(self, timecode: str) -> int:
        """Frame of a timecode.

        Raises:
            InputError: if it is no timecode of this kind, or a number that is dropped.
        """
        match = _TIMECODE.fullmatch(timecode)
        if match is None or match[4] != self.mark or int(match[5]) >= self.base:
            raise InputError(f"Timecode must be hh:mm:ss{self.mark}ff. Received {timecode!r}.")
        hours, minutes, seconds, rest = (int(match[part]) for part in (1, 2, 3, 5))
        minutes += 60 * hours
        dropped = self._dropped_a_minute()
        if seconds == 0 and rest < dropped and minutes % 10:
            raise InputError(f"{timecode} is left out of drop-frame timecode.")
        number = (60 * minutes + seconds) * self.base + rest
        return number - dropped * (minutes - minutes // 10)

    def _dropped_a_minute(self) -> int:
        return self.base // 15 if self.drop else 0

    def _left_out(self, frame: int) -> int:
        """Count the numbers that were dropped before that of a frame."""
        dropped = self._dropped_a_minute()
        # Frames of a minute with dropped numbers. Ten minutes have nine of them and a full one,
        # which comes first.
        minute = 60 * self.base - dropped
        tens, rest = divmod(frame, 10 * minute + dropped)
        return dropped * (9 * tens + max(0, (rest - dropped) // minute))
