"""Decisions of the user on stretches of a recording, and the file that keeps them.

Stretches are kept, rejected, moved or added. `scores.review.json` holds them, so that a review can
be continued later.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from common.errors import InputError
from experiments.clips.images import Box
from experiments.highlights.selection.selection import ROUNDING

Span = tuple[float, float]
State = Literal["automatic", "accepted", "moved", "added", "rejected"]
_BEYOND = 1e12  # larger numbers, infinity and NaN among them, are no times
SHORTEST = 0.2
"""Shortest segment that can be made by hand, in seconds."""


@dataclass(frozen=True)
class Decision:
    """Decision of the user on one stretch [start, end) of a recording.

    Args:
        number: number of the decision, which never changes.
        start: start in seconds of the recording.
        end: end in seconds of the recording.
        kept: whether the stretch is in the reel; if not, it is rejected.
        origin: automatic segment from which it was made; None if the user added it.

    Raises:
        InputError: unless 0 <= start < end, for the origin too.
    """

    number: int
    start: float
    end: float
    kept: bool
    origin: Span | None = None

    def __post_init__(self) -> None:
        for start, end in self.claims:
            if not 0 <= start < end < math.inf:
                raise InputError(
                    "A stretch must start at 0 or later and end after its start. "
                    f"Received {start} to {end} seconds."
                )

    @property
    def span(self) -> Span:
        """Start and end, in seconds."""
        return self.start, self.end

    @property
    def state(self) -> State:
        """State of the stretch in one word."""
        if not self.kept:
            return "rejected"
        if self.origin is None:
            return "added"
        return "accepted" if self.span == self.origin else "moved"

    @property
    def claims(self) -> tuple[Span, ...]:
        """Stretches that the decision covers: its own, and the automatic segment it came from.

        No automatic segment is shown there.
        """
        return (self.span,) if self.origin in (None, self.span) else (self.span, self.origin)


@dataclass(frozen=True)
class Decisions:
    """Immutable set of all decisions on one recording, sorted by time.

    Raises:
        InputError: if two overlap or have the same number.
    """

    items: tuple[Decision, ...] = ()

    def __post_init__(self) -> None:
        for one, following in pairwise(self.items):
            if following.start < one.end:
                raise InputError(
                    "Decisions must be sorted and not overlap. "
                    f"Received {one.span} before {following.span}."
                )
        if len({one.number for one in self.items}) < len(self.items):
            raise InputError("Decisions must have different numbers.")

    def __iter__(self) -> Iterator[Decision]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Decision:
        for one in self.items:
            if one.number == number:
                return one
        raise InputError(f"There is no decision {number} any more.")

    @property
    def next_number(self) -> int:
        """Number of the next decision."""
        return max((one.number for one in self.items), default=0) + 1

    @property
    def claims(self) -> list[Span]:
        """Stretches that the decisions cover, in no particular order."""
        return [span for one in self.items for span in one.claims]

    def decided(self, origin: Span, *, kept: bool) -> Decisions:
        """Return a copy with a new decision on an automatic segment."""
        return self._with(Decision(self.next_number, *origin, kept, origin))

    def judged(self, number: int, *, kept: bool) -> Decisions:
        """Return a copy with one decision kept or rejected."""
        return self._with(replace(self[number], kept=kept))

    def moved(self, number: int, span: Span, duration: float) -> Decisions:
        """Return a copy with one decision moved, as far as its neighbours and the recording allow.

        A stretch that keeps its length is pushed back as a whole; otherwise only its edges are.

        Args:
            number: number of the decision.
            span: new start and end, in seconds.
            duration: length of the recording, in seconds.

        Raises:
            InputError: if it would become shorter than `SHORTEST`.
        """
        one, (start, end) = self[number], span
        low, high = self._room(one, duration)
        # Dragged as a whole; the browser's sums may differ from ours in their last bits.
        if abs((end - start) - (one.end - one.start)) < 1e-6:
            start = min(max(start, low), high - (end - start))
            end = min(start + one.end - one.start, high)
        start, end = max(start, low), min(end, high)
        _check_length(start, end)
        return self._with(replace(one, start=start, end=end))

    def added(self, span: Span, duration: float, *, kept: bool = True) -> Decisions:
        """Return a copy with a new stretch, cut to the recording.

        Raises:
            InputError: if it overlaps another, or is shorter than `SHORTEST`.
        """
        start, end = max(span[0], 0.0), min(span[1], duration)
        _check_length(start, end)
        for one in self.items:
            if one.start < end and start < one.end:
                raise InputError(
                    f"A new segment must not overlap one that is {one.state}. Move the edges of "
                    "that one, or undo the decision on it."
                )
        return self._with(Decision(self.next_number, start, end, kept=kept))

    def without(self, number: int) -> Decisions:
        """Return a copy without one decision."""
        gone = self[number]
        return Decisions(tuple(one for one in self.items if one is not gone))

    def _with(self, new: Decision) -> Decisions:
        """Return a copy with a decision that replaces the one of the same number, if any."""
        others = (one for one in self.items if one.number != new.number)
        return Decisions(tuple(sorted((*others, new), key=lambda one: one.start)))

    def _room(self, mine: Decision, duration: float) -> Span:
        """Range in which a stretch may lie: from the decision before it to the one after it."""
        before = [one.end for one in self.items if one.end <= mine.start]
        after = [one.start for one in self.items if one.start >= mine.end]
        return max(before, default=0.0), min(after, default=duration)


def without(span: Span, others: Iterable[Span]) -> list[Span]:
    """Cut other stretches out of one, and return what is left, sorted."""
    left = [span]
    for start, end in others:
        parts = [((low, min(high, start)), (max(low, end), high)) for low, high in left]
        left = [part for pair in parts for part in pair if part[0] < part[1]]
    return left


def merged_spans(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Sort spans, and join those that overlap or touch."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return tuple(merged)


def finite(value: object) -> float:
    """Return a number that came from outside as a float.

    Raises:
        InputError: if it is no number, or too large for a time.
    """
    # A bool is an int in Python, and JSON's true is no number.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and abs(value) < _BEYOND):  # type: ignore[arg-type]
        raise InputError(f"{value!r} is no number")
    return float(value)  # type: ignore[arg-type]


def _check_length(start: float, end: float) -> None:
    if not end - start >= SHORTEST - ROUNDING:
        raise InputError(f"A segment must last {SHORTEST:g} seconds or more.")


VERSION = 1
_SAME_SECONDS = 0.5  # by which two readings of one recording's length may differ


@dataclass(frozen=True)
class Saved:
    """Saved state of a review.

    Args:
        duration: length of the recording, in seconds.
        threshold: threshold that the user chose.
        started_from: threshold with which the review began.
        decisions: decisions made so far.
        watched: stretches that were played, sorted, without overlap.
        finished: whether the user said that there is nothing else in the recording.
        box: part of the picture that is labelled; None if it was not drawn here.
    """

    duration: float
    threshold: float
    started_from: float
    decisions: Decisions
    watched: tuple[Span, ...] = ()
    finished: bool = False
    box: Box | None = None


def review_file(scores: Path) -> Path:
    """Path of the file that keeps the review of a file of scores."""
    return scores.with_name(f"{scores.stem}.review.json")


def saved_bytes(saved: Saved) -> bytes:
    """Encode a review as JSON, which `parse_saved` reads."""
    entries = [asdict(one) for one in saved.decisions]
    head: dict[str, Any] = {name: getattr(saved, name) for name in _NUMBERS}
    # Left out where nothing was watched, as in files from before it was kept.
    if saved.watched or saved.finished:
        head |= {"watched": saved.watched, "finished": saved.finished}
    head = {"version": VERSION, **head}
    return (json.dumps({**head, "decisions": entries}, indent=1) + "\n").encode()


def parse_saved(content: bytes, path: Path, duration: float) -> Saved:
    """Parse the file of a review.

    Args:
        content: contents of the file.
        path: path of the file, for messages.
        duration: length of the recording that it must belong to, in seconds.

    Raises:
        InputError: if it is no such file, or belongs to another recording.
    """
    try:
        data = json.loads(content)
        if not isinstance(data, dict) or data.get("version") != VERSION:
            raise InputError(f"its version is not {VERSION}")
        duration_then, threshold, started_from = (finite(data[name]) for name in _NUMBERS)
        if not (0 < threshold <= 1 and 0 < started_from <= 1):
            raise InputError("a threshold is not in (0, 1]")
        decisions = Decisions(tuple(map(_decision, data["decisions"])))
        watched = merged_spans((finite(a), finite(b)) for a, b in data.get("watched", ()))
        if any(not 0 <= start < end for start, end in watched):
            raise InputError("a stretch that was watched does not end after its start")
        finished = data.get("finished", False)
        if type(finished) is not bool:
            raise InputError("finished is neither true nor false")
    # A file that somebody has edited may hold anything, such as lists nested too deep for the
    # parser.
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"{path} is no review that can go on: {reason}. {_REMEDY}") from error
    ends = [one.end for one in decisions]
    if abs(duration_then - duration) > _SAME_SECONDS or max(ends, default=0) > duration + 1e-6:
        raise InputError(
            f"{path} is a review of a recording of {duration_then:.1f} s, and this one lasts "
            f"{duration:.1f} s. {_REMEDY}"
        )
    return Saved(duration_then, threshold, started_from, decisions, watched, finished)


_NUMBERS = ("duration", "threshold", "started_from")
_REMEDY = "Move it away to begin anew."


def _decision(entry: Any) -> Decision:
    number, kept, origin = entry["number"], entry["kept"], entry["origin"]
    # By `type`, because a bool passes as an int.
    if type(number) is not int or type(kept) is not bool:
        raise InputError(f"{entry} has no whole number, or neither true nor false for kept")
    start, end = finite(entry["start"]), finite(entry["end"])
    if origin is not None:
        low, high = origin
        origin = finite(low), finite(high)
    return Decision(number, start, end, kept, origin)
