"""The automatic segments that are left beside a person's decisions."""

from __future__ import annotations

from dataclasses import replace

from experiments.highlights.review.decisions import Decisions, without
from experiments.highlights.selection.limits import rated
from experiments.highlights.selection.scores import Floats, ScoreTrack
from experiments.highlights.selection.segments import ROUNDING, Segment, Selection, SelectionOptions
from experiments.highlights.selection.selection import limited, select


def undecided(
    track: ScoreTrack, smoothed: Floats, options: SelectionOptions, decisions: Decisions
) -> Selection:
    """Automatic segments where nothing is decided; `top` and `max_duration` count those kept.

    What a decision speaks for is cut out of a segment. Of what is left, the pieces stay that
    would be segments by themselves, with a peak of their own, unless more than half of the
    segment is gone.

    Args:
        track: the scores.
        smoothed: the same over the options' `bin_size`, (N,).
        options: what makes a highlight.
        decisions: made so far.
    """
    unlimited = replace(options, top=None, max_duration=None)
    found = select(track.times, track.probabilities, track.duration, unlimited)
    free: list[Segment] = []
    for one in found.segments:
        spans = without((one.start, one.end), decisions.claims)
        if spans == [(one.start, one.end)]:
            free.append(one)
        elif 2 * sum(end - start for start, end in spans) >= one.length:
            pieces = (rated(track, smoothed, *span) for span in spans)
            free += [piece for piece in pieces if _stands(piece, track, options)]
    return _within_limits(Selection(free, found.notes), track, options, decisions)


def _stands(piece: Segment, track: ScoreTrack, options: SelectionOptions) -> bool:
    """Whether it is a segment by itself, and not the flank of what was cut off."""
    inside = track.times[(track.times >= piece.start) & (track.times < piece.end)]
    return (
        len(inside) > 0
        and inside[0] < piece.peak < inside[-1]
        and piece.score >= options.threshold - ROUNDING
        and piece.length >= options.min_length - ROUNDING
    )


def _within_limits(
    free: Selection, track: ScoreTrack, options: SelectionOptions, decisions: Decisions
) -> Selection:
    kept = [one.end - one.start for one in decisions if one.kept]
    top, room = options.top, options.max_duration
    if top is not None:
        top -= len(kept)
    if room is not None:
        room -= sum(kept)
    if (top is not None and top < 1) or (room is not None and room < _least(options)):
        full = "The segments kept by hand fill the reel; --top and --max-duration leave no room."
        return Selection([], [*free.notes, full])
    limits = limited(free, track, top=top, max_duration=room)
    if kept and (top is not None or room is not None):
        limits.notes.append(f"{len(kept)} kept by hand are taken off those limits.")
    return limits


def _least(options: SelectionOptions) -> float:
    return max(options.min_length, ROUNDING)
