"""Cuts that no person set, moved to where they do not hurt; the others stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from experiments.highlights.review.session import Shown
from experiments.highlights.selection.scores import Floats
from experiments.highlights.selection.segments import ROUNDING, Segment, SelectionOptions
from experiments.highlights.selection.snapping import Candidates, snap_cuts

BY_HAND = ("moved", "added")
"""States of segments whose edges a person set."""


class Moments(NamedTuple):
    """Where a cut may move to, in seconds of the recording.

    Args:
        quiet: quiet moments.
        shots: changes of shot, (S,).
    """

    quiet: Candidates
    shots: Floats

    def later(self, seconds: float) -> Moments:
        """The same by another clock."""
        return Moments(self.quiet._replace(times=self.quiet.times + seconds), self.shots + seconds)


def snapped_between(
    shown: Sequence[Shown], moments: Moments, duration: float, options: SelectionOptions
) -> list[Segment]:
    """Segments whose cuts moved to good moments, but for those that a person set.

    Args:
        shown: of the reel, sorted.
        moments: good to cut at.
        duration: of the recording, in seconds.
        options: their limits are kept to.
    """
    segments: list[Segment] = []
    group: list[Segment] = []
    low = 0.0
    for one in shown:
        if one.state not in BY_HAND:
            group.append(one.segment)
            continue
        segments += [*_snapped(group, low, one.segment.start, moments, options), one.segment]
        group, low = [], one.segment.end
    return segments + _snapped(group, low, duration, moments, options)


def _snapped(
    group: list[Segment], low: float, high: float, moments: Moments, options: SelectionOptions
) -> list[Segment]:
    """Neighbours that stay within [low, high], as if that were the whole recording."""
    if not group:
        return []
    quiet, shots = moments.later(-low)
    snapped = snap_cuts(
        [_later(one, -low) for one in group],
        duration=high - low,
        quiet=quiet,
        shots=shots,
        min_length=options.min_length,
        max_length=options.max_length,
        max_duration=None if options.max_duration is None else sum(one.length for one in group),
    )
    result: list[Segment] = []
    for was, now in zip(group, snapped, strict=True):
        start = max(_settled(now.start + low, was.start), result[-1].end if result else low)
        result.append(replace(was, start=start, end=min(_settled(now.end + low, was.end), high)))
    return result


def _later(one: Segment, seconds: float) -> Segment:
    return replace(one, start=one.start + seconds, end=one.end + seconds)


def _settled(time: float, before: float) -> float:
    """What differs by the last bit of a sum has not moved."""
    return before if abs(time - before) < ROUNDING else time
