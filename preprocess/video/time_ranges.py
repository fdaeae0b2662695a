"""Parts of a video, by time or frame numbers, and times as people write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from common.errors import InputError
from preprocess.errors import PreprocessError

# ASCII only: \d and float() would also take other scripts' digits. No inf, nan or underscores.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"\d+", re.ASCII)
_RULE = "A time must be seconds, mm:ss or hh:mm:ss, such as 83.5 or 00:01:23.500."


@dataclass(frozen=True)
class Seconds:
    """Time range [start, stop) of a video, by the stream's own timestamps.

    Args:
        start: start in seconds after the first picture.
        stop: stop in seconds; infinity for the end of the video.

    Raises:
        InputError: unless 0 <= start < stop.
    """

    start: float = 0.0
    stop: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise InputError(
                "A stretch must start at 0 or later and stop after its start. "
                f"Received {self.start:g} to {self.stop:g} seconds; correct either."
            )

    @property
    def is_whole(self) -> bool:
        """True if the range covers the whole video."""
        return (self.start, self.stop) == (0.0, math.inf)

    @property
    def name(self) -> str:
        """Range for a person, to the thousandth: 12.50-15.00."""
        stop = "end" if self.stop == math.inf else _thousandths(self.stop)
        return f"{_thousandths(self.start)}-{stop}"

    def __str__(self) -> str:
        """Exact range, such as "seconds 12.5 to 15.0"."""
        # By repr, unlike `name`: clips that differ below a thousandth must not get one identity.
        return f"seconds {self.start!r} to {self.stop!r}"


@dataclass(frozen=True)
class FrameNumbers:
    """Range of frame numbers first, first + 1, ..., last, including the last.

    Frames of a folder have the numbers of their file names; frames of a video count from 1.

    Args:
        first: number of the first frame; None for the beginning.
        last: number of the last frame; None for the end.

    Raises:
        InputError: unless 0 <= first <= last.
    """

    first: int | None = None
    last: int | None = None

    def __post_init__(self) -> None:
        first = 0 if self.first is None else self.first
        if first < 0 or (self.last is not None and self.last < first):
            raise InputError(
                "The frames of a stretch must have numbers from 0, and its stop_frame, which "
                f"belongs to it, must not lie before its start_frame. Received {self.first} to "
                f"{self.last}; correct either."
            )

    @property
    def is_whole(self) -> bool:
        """True if the range covers the whole video."""
        return self.first is None and self.last is None

    @property
    def name(self) -> str:
        """Range for a person: frames 234-343."""
        first = "start" if self.first is None else self.first
        last = "end" if self.last is None else self.last
        return f"frames {first}-{last}"

    def __str__(self) -> str:
        """Exact range, the same as `name`."""
        return self.name


ClipRange = Seconds | FrameNumbers


def _thousandths(seconds: float) -> str:
    """Format seconds with two or three digits: 12.5 -> 12.50, 12.345 -> 12.345."""
    text = f"{seconds:.3f}"
    return text.removesuffix("0")


def parse_time(text: str) -> float:
    """Parse a time such as '83.5', '1:23.5' or '00:01:23.500' to 83.5 seconds.

    Raises:
        InputError: if the text is no time, is negative, or a part after a colon is 60 or more.
    """
    *larger, last = text.strip().split(":")
    if len(larger) > 2 or not _NUMBER.fullmatch(last) or not all(map(_WHOLE.fullmatch, larger)):
        raise InputError(f"{_RULE} Received {text!r}.")
    parts = [*map(int, larger), float(last)]
    if last.startswith("-"):
        raise InputError(f"A time must not be negative. Received {text!r}.")
    # The first part may be of any size: 90:00 is an hour and a half.
    if any(part >= 60 for part in parts[1:]):
        raise InputError(f"{_RULE} Minutes and seconds after a colon end at 59. Received {text!r}.")
    seconds = sum(part * 60**place for place, part in enumerate(reversed(parts)))
    if seconds == float("inf"):
        raise InputError(f"A time must be finite. Received {text!r}.")
    return float(seconds)


def format_time(seconds: float) -> str:
    """Format seconds as hh:mm:ss.mmm, to the nearest thousandth: 83.5 -> '00:01:23.500'."""
    # Rounded to thousandths first, so that 59.9996 s carries over to the next minute.
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}.{thousandths:03d}"


def check_sampling(fps: float | None, stride: int | None) -> None:
    """Check that exactly one of `fps` and `stride` is given, and in its range.

    Raises:
        PreprocessError: if not.
    """
    if (fps is None) == (stride is None):
        raise PreprocessError(
            f"Either fps or every must be given. Received fps={fps}, every={stride}."
        )
    if fps is not None and not 0 < fps < math.inf:
        raise PreprocessError(f"fps must be above 0. Received {fps}.")
    if stride is not None and stride < 1:
        raise PreprocessError(f"every must be at least 1. Received {stride}.")
