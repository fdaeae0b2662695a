"""What labels are made of: a box, a stretch of time, a clip with its stretches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError

HIGHLIGHT = "highlight"
NONE = "none"
UNKNOWN = "unknown"
COLUMNS = ("path", "x1", "y1", "x2", "y2", "start", "end", "label")
GROUP = "group"


class LabelError(InputError):
    """A label file says something that cannot be; the message names the file and the line."""


@dataclass(frozen=True)
class Box:
    """A part of the picture, in fractions of its width and height.

    Raises:
        InputError: unless 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1.
    """

    x1: float
    y1: float
    x2: float
    y2: float

    def __post_init__(self) -> None:
        if not (0 <= self.x1 < self.x2 <= 1 and 0 <= self.y1 < self.y2 <= 1):
            raise InputError(
                "A box must be fractions of the picture with 0 <= x1 < x2 <= 1 and "
                f"0 <= y1 < y2 <= 1. Received [{self.x1}, {self.y1}, {self.x2}, {self.y2}]; "
                "divide pixels by the width and the height."
            )


def parse_box(text: str) -> Box:
    """'0.7,0.1,0.95,0.4' to a box.

    Raises:
        InputError: for anything else.
    """
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--box must be x1,y1,x2,y2, as 0.7,0.1,0.95,0.4. Received {text!r}."
        ) from error
    return Box(x1, y1, x2, y2)


@dataclass(frozen=True, order=True)
class Interval:
    """A stretch of a clip, [start, end) in seconds.

    Raises:
        InputError: unless 0 <= start < end, both finite.
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end < math.inf:
            raise InputError(
                "A stretch must start at 0 or later and end after its start. "
                f"Received {self.start} to {self.end} seconds."
            )

    def overlaps(self, other: Interval) -> bool:
        """Whether they share time; touching is none."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class LabelledClip:
    """One clip and what is known of it.

    Args:
        path: the video file.
        box: the part of its picture that shows the excitement, such as a face camera.
        highlights: positive stretches, sorted, without overlap.
        group: clips of one group never come apart in a split.
        negatives: stretches that were mistaken for highlights, sorted.
        rest_known: whether what no stretch speaks of is no highlight; if not, it is unknown, and
            nothing is learnt from it.

    Raises:
        InputError: if the stretches contradict each other.
    """

    path: Path
    box: Box
    highlights: tuple[Interval, ...]
    group: str
    negatives: tuple[Interval, ...] = ()
    rest_known: bool = True

    def __post_init__(self) -> None:
        for this, following in zip(self.highlights, self.highlights[1:], strict=False):
            if following.start < this.end:
                raise InputError(
                    f"Highlights of a clip must be sorted and not overlap. {self.path} has "
                    f"{this} before {following}."
                )
        if any(one.overlaps(other) for one in self.highlights for other in self.negatives):
            raise InputError(f"A stretch of {self.path} is a highlight and a negative at once.")

    @property
    def is_blank(self) -> bool:
        """Whether nothing at all is known of it."""
        return not (self.rest_known or self.highlights or self.negatives)
