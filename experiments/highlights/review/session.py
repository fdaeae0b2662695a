"""Session of a review: from scores, threshold and decisions to the segments of the reel.

Automatic segments are shown where nothing is decided.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import InputError
from common.files import write_atomically
from experiments.clips.images import Box
from experiments.highlights.review.decisions import (
    Decisions,
    Saved,
    Span,
    State,
    merged_spans,
    parse_saved,
    saved_bytes,
    without,
)
from experiments.highlights.selection.scores import Floats, ScoreTrack
from experiments.highlights.selection.selection import (
    HYSTERESIS,
    ROUNDING,
    Segment,
    Selection,
    SelectionOptions,
    limited,
    rated,
    select,
    starting_threshold,
)


@dataclass(frozen=True)
class Shown:
    """One segment as the page shows it.

    Args:
        key: name by which the page refers to it: `d` and the number of its decision, or the
            times of an automatic segment.
        segment: the segment with its score.
        state: decision on it.
    """

    key: str
    segment: Segment
    state: State


class Session:
    """Review of one recording. Each change is saved at once, and can be undone.

    Args:
        times: time of each score, ascending, in seconds, (N,).
        probabilities: the scores, (N,).
        duration: length of the recording, in seconds.
        options: options of the selection; their threshold or percentile is where the user begins,
            unless the file holds another threshold.
        path: file that keeps the review; an existing one is continued.

    Raises:
        InputError: if there are no scores, or the scores or the file are invalid.
        OSError: if the file cannot be read.
    """

    is_labelling = False
    """Whether there are no scores, and segments are only marked by hand."""

    def __init__(
        self,
        times: Floats,
        probabilities: Floats,
        duration: float,
        options: SelectionOptions,
        path: Path,
    ) -> None:
        self.track = ScoreTrack(times, probabilities, duration, reach=options.bin_size / 2)
        if not len(self.track):
            raise InputError("A review needs scores. Received none.")
        self.smoothed = self.track.smoothed(options.bin_size)
        self.path = path
        self._options = options
        start, _ = starting_threshold(self.track, self.smoothed, options)
        self._content = path.read_bytes() if path.exists() else None
        self._saved = self._parse(self._content, start)
        self._undone_to: list[Saved] = []
        self._is_threshold_last = False
        self._selection = self._select()

    def _parse(self, content: bytes | None, start: float) -> Saved:
        """State to begin with, from the content of the file and the threshold of the command."""
        duration = self.track.duration
        if content is None:
            return Saved(duration, start, start, Decisions())
        before = parse_saved(content, self.path, duration)
        # The user's threshold counts only if the command asks for the same start as before; a new
        # --threshold has precedence over what was kept.
        again = abs(before.started_from - start) < 1e-6
        threshold = before.threshold if again else start
        return replace(before, duration=duration, threshold=threshold, started_from=start)

    @property
    def box(self) -> Box | None:
        """Part of the picture that is labelled; None where the page does not draw it."""
        return self._saved.box

    def set_box(self, box: Box) -> None:
        """Label another part of the picture."""
        self._change(replace(self._saved, box=box))

    @property
    def watched(self) -> tuple[Span, ...]:
        """Stretches that were looked through."""
        return ((0.0, self.track.duration),) if self.is_finished else self._saved.watched

    @property
    def unplayed_seconds(self) -> float:
        """Seconds of the recording that were never played on a page."""
        played = sum(end - start for start, end in self._saved.watched)
        return max(self.track.duration - played, 0.0)

    @property
    def threshold(self) -> float:
        """Smoothed probability that a segment has to reach."""
        return self._saved.threshold

    @property
    def options(self) -> SelectionOptions:
        """Active selection options, with the user's threshold in place of any other rule."""
        return self._options.with_threshold(self.threshold)

    @property
    def low_threshold(self) -> float:
        """Smoothed probability that a segment has to stay above."""
        return self.options.low_threshold or HYSTERESIS * self.threshold

    @property
    def decisions(self) -> Decisions:
        """Decisions made so far."""
        return self._saved.decisions

    @property
    def notes(self) -> list[str]:
        """Sentences on what the options did."""
        return self._selection.notes

    @property
    def can_undo(self) -> bool:
        """Whether there is a decision, or a threshold, of this session to undo."""
        return bool(self._undone_to)

    def shown(self) -> list[Shown]:
        """Return all segments in order of time, including rejected ones."""
        free = [
            Shown(f"{one.start:.3f}-{one.end:.3f}", one, "automatic")
            for one in self._selection.segments
        ]
        decided = [
            Shown(f"d{one.number}", rated(self.track, self.smoothed, *one.span), one.state)
            for one in self.decisions
        ]
        return sorted((*free, *decided), key=lambda one: one.segment.start)

    def reel(self) -> list[Shown]:
        """Return the segments of the reel: all but the rejected ones."""
        return [one for one in self.shown() if one.state != "rejected"]

    def set_threshold(self, threshold: float) -> None:
        """Select automatic segments with another threshold. Decisions stay.

        Raises:
            InputError: if it is not in (0, 1].
        """
        if not 0 < threshold <= 1:
            raise InputError(f"The threshold must be above 0 and at most 1. Received {threshold}.")
        # A slider that is moved is one change, however many steps it takes.
        is_new = not self._is_threshold_last
        self._change(replace(self._saved, threshold=threshold), is_new=is_new)
        self._is_threshold_last = True

    def watch(self, start: float, end: float) -> None:
        """Record that a stretch was played; what is left alone there is no highlight.

        Raises:
            InputError: if it does not lie in the recording.
        """
        if not 0 <= start < end <= self.track.duration + 1:
            raise InputError(f"A stretch was played that is not there: {start:g} to {end:g} s.")
        watched = merged_spans([*self._saved.watched, (start, min(end, self.track.duration))])
        if watched != self._saved.watched:
            self._keep(replace(self._saved, watched=watched))

    @property
    def is_finished(self) -> bool:
        """Whether the user said that there is nothing else in the recording."""
        return self._saved.finished

    def finish(self, *, finished: bool) -> None:
        """Say that there is nothing else in the recording, or take that back."""
        if finished != self._saved.finished:
            self._change(replace(self._saved, finished=finished))

    def left_alone(self) -> list[Span]:
        """Stretches that were looked through, and in which there is no segment."""
        taken = [(one.segment.start, one.segment.end) for one in self.shown()]
        taken += self.decisions.claims
        return [piece for one in self.watched for piece in without(one, taken)]

    def judge(self, key: str, *, kept: bool) -> None:
        """Keep or reject a segment."""
        number = self._number(key)
        if number is None:
            self._decide(self.decisions.decided(self._automatic(key), kept=kept))
        elif self.decisions[number].kept != kept:
            self._decide(self.decisions.judged(number, kept=kept))

    def move(self, key: str, start: float, end: float) -> None:
        """Move a segment or one of its edges, and keep it.

        Raises:
            InputError: if it would become too short.
        """
        decisions, number = self.decisions, self._number(key)
        if number is None:
            number = decisions.next_number
            decisions = decisions.decided(self._automatic(key), kept=True)
        self._decide(decisions.moved(number, (start, end), self.track.duration))

    def add(self, start: float, end: float, *, kept: bool = True) -> None:
        """Add a segment that the user found, or one that is no highlight.

        Raises:
            InputError: if it overlaps a decided one, or is too short.
        """
        self._decide(self.decisions.added((start, end), self.track.duration, kept=kept))

    def clear(self, key: str) -> None:
        """Remove the decision on one segment."""
        number = self._number(key)
        if number is not None:
            self._decide(self.decisions.without(number))

    def undo(self) -> None:
        """Undo the last change of a decision or of the threshold."""
        if self._undone_to:
            # What was watched stays watched. Taken off the list only once it is saved.
            self._keep(replace(self._undone_to[-1], watched=self._saved.watched))
            self._undone_to.pop()
            self._is_threshold_last = False

    def _decide(self, decisions: Decisions) -> None:
        self._change(replace(self._saved, decisions=decisions))

    def _change(self, saved: Saved, *, is_new: bool = True) -> None:
        """Save a state that can be undone; `is_new` is False for more of the same change."""
        before = self._saved
        self._keep(saved)
        if is_new:
            self._undone_to.append(before)
        self._is_threshold_last = False

    def _keep(self, saved: Saved) -> None:
        """Save a state, and make it the current one only if that succeeds."""
        self._check_unshared()
        self._write(saved)
        self._saved = saved
        self._selection = self._select()

    def _write(self, saved: Saved) -> None:
        content = saved_bytes(saved)
        write_atomically(self.path, content)
        self._content = content

    def _check_unshared(self) -> None:
        # Compared by content: another process may have replaced the file since the last save.
        found = self.path.read_bytes() if self.path.exists() else None
        if found != self._content:
            raise InputError(
                f"{self.path} was changed by somebody else, such as a second review of the same "
                "scores. Stop one of them, and start the command again."
            )

    def _select(self) -> Selection:
        return undecided(self.track, self.smoothed, self.options, self.decisions)

    def _number(self, key: str) -> int | None:
        """Number of the decision that a key names; None for an automatic segment."""
        numbers = {f"d{one.number}": one.number for one in self.decisions}
        # Another page may have removed the decision meanwhile.
        if key.startswith("d") and key not in numbers:
            raise InputError("That segment is no longer there.")
        return numbers.get(key)

    def _automatic(self, key: str) -> Span:
        for one in self.shown():
            if one.key == key:
                return one.segment.start, one.segment.end
        raise InputError("That segment is no longer there.")


def undecided(
    track: ScoreTrack, smoothed: Floats, options: SelectionOptions, decisions: Decisions
) -> Selection:
    """Select automatic segments where nothing is decided.

    What a decision covers is cut out of a segment. Of the rest, those pieces stay that would be
    segments by themselves, with a peak of their own, unless more than half of the segment is gone.
    `top` and `max_duration` count the segments kept by decisions too.

    Args:
        track: the scores.
        smoothed: scores smoothed over the options' `bin_size`, (N,).
        options: options of the selection.
        decisions: decisions made so far.
    """
    # The limits come last, since decisions take part of what they allow.
    unlimited = replace(options, top=None, max_duration=None)
    found = select(track.times, track.probabilities, track.duration, unlimited)
    free: list[Segment] = []
    for one in found.segments:
        spans = without((one.start, one.end), decisions.claims)
        if spans == [(one.start, one.end)]:
            free.append(one)
        # If most of a segment is decided on, the rest is its edges and no highlight.
        elif 2 * sum(end - start for start, end in spans) >= one.length:
            pieces = (rated(track, smoothed, *span) for span in spans)
            free += [piece for piece in pieces if _stands(piece, track, options)]
    return _within_limits(Selection(free, found.notes), track, options, decisions)


def _stands(piece: Segment, track: ScoreTrack, options: SelectionOptions) -> bool:
    """Return whether a piece is a segment by itself, not the flank of one that was cut off."""
    inside = track.times[(track.times >= piece.start) & (track.times < piece.end)]
    return (
        len(inside) > 0
        # A flank has its highest score at the edge where it was cut off.
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
    least = max(options.min_length, ROUNDING)
    if (top is not None and top < 1) or (room is not None and room < least):
        full = "The segments kept by hand fill the reel; --top and --max-duration leave no room."
        return Selection([], [*free.notes, full])
    limits = limited(free, track, top=top, max_duration=room)
    if kept and (top is not None or room is not None):
        limits.notes.append(f"{len(kept)} kept by hand are taken off those limits.")
    return limits
