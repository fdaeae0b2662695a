"""Selection of segments from scores: smoothing, hysteresis, and limits that report their effect.

In order: the scores are smoothed; a segment is a stretch that stays above the low threshold and
somewhere reaches the threshold; its edges are moved to where the scores themselves rise and fall;
close ones are joined; each is padded; too short ones are dropped and too long ones shortened; then
the best are kept. Each limit is a step from segments to fewer or shorter ones, and a note. The
original's way is in `original`, moving the cuts to quiet moments in `snapping`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import InputError
from common.formatting import plural
from experiments.highlights.selection.scores import Floats, ScoreTrack

ROUNDING = 1e-9
"""Difference of two times or probabilities below which they count as equal."""
HYSTERESIS = 0.7
"""Low threshold divided by the threshold; 0.7 finds where a sharp event begins and ends."""
GOALS = ("percentile", "share", "length")
"""Options that take the place of the threshold."""
MOST = 0.5
"""Fraction of a recording above which a reel is reported as one of most of it."""
DEFAULT_SHARE = 0.05
"""Fraction of a recording that a reel holds where no threshold can be trusted."""
Span = tuple[float, float]


@dataclass(frozen=True)
class SelectionOptions:
    """Options of the selection. Lengths are in seconds and include the padding.

    Args:
        threshold: smoothed probability that a segment has to reach.
        low_threshold: what it has to stay above; by default 0.7 of the threshold, and the
            threshold itself with share or length.
        percentile: share of the recording that lies below the threshold, such as 0.996, which
            then takes the threshold's place.
        share: fraction of the recording that the reel holds, such as 0.05. The threshold follows:
            it is the lowest at which the reel is no longer.
        length: length of the reel in seconds, likewise.
        bin_size: width of the smoothing window; 0 for none.
        min_length: shorter segments are dropped.
        max_length: longer segments are shortened.
        too_long: "cut" keeps the best stretch of them around their peak, "split" parts them
            where their score is lowest and keeps all.
        padding: added before and after each segment.
        max_gap: segments so close are joined.
        top: how many are kept, best first.
        max_duration: of the reel; it is filled with the best segments first.

    Raises:
        InputError: if an option is out of its range.
    """

    threshold: float = 0.7
    low_threshold: float | None = None
    percentile: float | None = None
    share: float | None = None
    length: float | None = None
    bin_size: float = 5.0
    min_length: float = 2.0
    max_length: float | None = None
    too_long: Literal["cut", "split"] = "cut"
    padding: float = 0.0
    max_gap: float = 2.0
    top: int | None = None
    max_duration: float | None = None

    def __post_init__(self) -> None:
        low = self.threshold if self.low_threshold is None else self.low_threshold
        # A length of 0 would allow no segment at all.
        least = max(self.min_length, ROUNDING)
        rules: list[tuple[str, str, bool]] = [
            ("threshold", "in (0, 1]", 0 < self.threshold <= 1),
            ("low_threshold", "in (0, threshold]", 0 < low <= self.threshold),
            ("percentile", "in (0, 1)", 0 < _given(self.percentile, 0.5) < 1),
            ("share", "in (0, 1]", 0 < _given(self.share, 0.5) <= 1),
            ("length", "min_length or more", least <= _given(self.length, least) < math.inf),
            ("bin_size", "0 or more", 0 <= self.bin_size < math.inf),
            ("min_length", "0 or more", 0 <= self.min_length < math.inf),
            ("max_length", "min_length or more", _given(self.max_length, least) >= least),
            ("too_long", "'cut' or 'split'", self.too_long in ("cut", "split")),
            ("padding", "0 or more", 0 <= self.padding < math.inf),
            ("max_gap", "0 or more", 0 <= self.max_gap < math.inf),
            ("top", "1 or more", _given(self.top, 1) >= 1),
            ("max_duration", "min_length or more", _given(self.max_duration, least) >= least),
        ]
        for name, rule, kept in rules:
            if not kept:
                raise InputError(f"{name} must be {rule}. Received {getattr(self, name)}.")
        if len(given := [name for name in GOALS if getattr(self, name) is not None]) > 1:
            raise InputError(
                f"Only one of {', '.join(GOALS)} can determine the threshold. Received "
                f"{' and '.join(given)}."
            )

    @property
    def has_goal(self) -> bool:
        """Whether the threshold follows from the scores: by percentile, share or length."""
        return any(getattr(self, name) is not None for name in GOALS)

    def target_seconds(self, duration: float) -> float | None:
        """Length of the reel that `share` or `length` asks for, in seconds; None for neither.

        Args:
            duration: length of the recording in seconds.
        """
        if self.share is not None:
            return max(self.share * duration, self.min_length)  # room for one segment
        return self.length

    def with_threshold(self, threshold: float) -> Self:
        """Return a copy whose threshold is given, and follows from nothing else.

        Where the length of the reel was asked for, the low threshold is the same by default: of
        scores that are not calibrated, a fraction says nothing. Of one scorer after five clips,
        .91 of a reel of a tenth were highlights in this way, .33 with 0.7 of the threshold.
        """
        low = self.low_threshold
        if low is None and (self.share is not None or self.length is not None):
            low = threshold
        return replace(
            self,
            threshold=threshold,
            low_threshold=None if low is None else min(low, threshold),
            percentile=None,
            share=None,
            length=None,
        )


@dataclass(frozen=True)
class Segment:
    """One segment [start, end) of a reel.

    Args:
        start: start in seconds of the recording.
        end: end in seconds of the recording.
        score: highest smoothed probability in the segment.
        peak: time of that probability, in seconds of the recording.
    """

    start: float
    end: float
    score: float
    peak: float

    @property
    def length(self) -> float:
        """Length of the segment in seconds."""
        return self.end - self.start


@dataclass(frozen=True)
class Selection:
    """Segments in order of time, and a sentence on what each option did."""

    segments: list[Segment]
    notes: list[str] = field(default_factory=list)


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def select(
    times: ArrayLike,
    probabilities: ArrayLike,
    duration: float,
    options: SelectionOptions | None = None,
) -> Selection:
    """Select the highlights of a recording.

    Args:
        times: time of each sample, ascending, in [0, duration] seconds, (N,).
        probabilities: probability of a highlight at each, in [0, 1], (N,).
        duration: length of the recording in seconds.
        options: options of the selection.

    Raises:
        InputError: if the samples do not meet these conditions.
    """
    options = options or SelectionOptions()
    track = ScoreTrack(times, probabilities, duration, reach=options.bin_size / 2)
    if not len(track):
        return Selection([], ["There are no scores."])
    smoothed = track.smoothed(options.bin_size)
    threshold, notes = starting_threshold(track, smoothed, options)
    target = options.target_seconds(track.duration)
    options = options.with_threshold(threshold)
    segments, num_runs = _reaching(track, smoothed, options)
    low = _low(options)
    notes.append(_found(segments, num_runs, smoothed, threshold, low))
    steps = (drop_short, shorten, keep_top, fill)
    found = _limited(Selection(segments, notes), options, track, steps)
    # Where many scores are equal, even the highest threshold may give more than the target.
    if target is not None and sum(one.length for one in found.segments) > target + ROUNDING:
        kept, note = fill(found.segments, replace(options, max_duration=target), track)
        note = note.replace("--max-duration", "a target of") + " Their scores are alike."
        return Selection(sorted(kept, key=lambda one: one.start), [*found.notes, note])
    return found


def _reaching(
    track: ScoreTrack, smoothed: Floats, options: SelectionOptions
) -> tuple[list[Segment], int]:
    """Segments that reach the threshold, joined and padded, and their number before joining."""
    runs = _runs(track, smoothed, options.threshold, _low(options))
    # Joined twice: padding may make neighbours overlap, and what overlaps is one segment.
    spans = _joined(_padded(_joined(runs, options.max_gap), options.padding, track.duration), 0.0)
    return [rated(track, smoothed, *span) for span in spans], len(runs)


def limited(
    selection: Selection,
    track: ScoreTrack,
    *,
    top: int | None = None,
    max_duration: float | None = None,
) -> Selection:
    """Apply `--top` and `--max-duration` to segments that were chosen in another way."""
    options = SelectionOptions(top=top, max_duration=max_duration, min_length=0.0)
    return _limited(selection, options, track, (keep_top, fill))


def _limited(
    selection: Selection,
    options: SelectionOptions,
    track: ScoreTrack,
    steps: Sequence[Callable[[list[Segment], SelectionOptions, ScoreTrack], tuple[list, str]]],
) -> Selection:
    segments, notes = list(selection.segments), list(selection.notes)
    for step in steps if segments else ():
        segments, note = step(segments, options, track)
        notes += [note] if note else []
    return Selection(sorted(segments, key=lambda one: one.start), notes)


def starting_threshold(
    track: ScoreTrack, smoothed: Floats, options: SelectionOptions
) -> tuple[float, list[str]]:
    """Threshold that the options ask for, and a note where it follows from the scores.

    Args:
        track: the scores.
        smoothed: scores smoothed over the options' `bin_size`, (N,), at least one.
        options: options of the selection.
    """
    target = options.target_seconds(track.duration)
    if target is not None:
        threshold = _threshold_for(target, track, smoothed, options)
        asked = f"--share {options.share:g}" if options.length is None else "--length"
        return threshold, [f"{asked} of {target:.1f} s makes the threshold {threshold:.3g}."]
    if options.percentile is None:
        return options.threshold, []
    # Scores may all be 0, and thresholds are above it.
    threshold = max(track.percentile(smoothed, options.percentile), _LOWEST)
    return threshold, [f"--percentile {options.percentile:g} makes the threshold {threshold:.2f}."]


def _threshold_for(
    target: float, track: ScoreTrack, smoothed: Floats, options: SelectionOptions
) -> float:
    """Lowest threshold whose reel is no longer than a target; the highest score if all are."""
    levels = np.unique(np.maximum(smoothed, _LOWEST))

    def too_long(level: float) -> bool:
        found = _reaching(track, smoothed, options.with_threshold(level))[0]
        kept = drop_short(found, options, track)[0]
        kept = shorten(kept, options.with_threshold(level), track)[0]
        return sum(one.length for one in kept) > target + ROUNDING

    # The reel becomes shorter as the threshold rises, so halving finds the place.
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if too_long(float(levels[middle])) else (low, middle)
    return float(levels[high])


_LOWEST = 1e-6  # a threshold above 0 that lets everything through


def _low(options: SelectionOptions) -> float:
    """Low threshold in force."""
    if options.low_threshold is None:
        return HYSTERESIS * options.threshold
    return min(options.low_threshold, options.threshold)


def _runs(track: ScoreTrack, smoothed: Floats, threshold: float, low: float) -> list[Span]:
    """Find stretches without a gap that stay above the low threshold and reach the threshold.

    Smoothed scores decide which stretches there are. The scores themselves decide where one
    begins and ends, because smoothing blurs edges over half its window: a stretch loses what is
    below the low threshold at its ends, and grows as far as the scores go on above it.
    """
    run, firsts, lasts = _numbered(track, _above(smoothed, low))
    own, own_firsts, own_lasts = _numbered(track, _above(track.probabilities, low))
    spans = []
    for number in np.unique(run[_above(smoothed, max(threshold, low))]):
        inside = np.arange(firsts[number], lasts[number] + 1)
        # Samples of the stretch whose own score is above the low threshold; the outermost become
        # its ends. It grows only where it has lost nothing on that side.
        inside = inside[own[inside] >= 0]
        if len(inside):
            first, last = inside[0], inside[-1]
            if first == firsts[number]:
                first = own_firsts[own[first]]
            if last == lasts[number]:
                last = own_lasts[own[last]]
            spans.append((float(track.starts[first]), float(track.stops[last])))
    return spans


def _above(values: Floats, level: float) -> NDArray[np.bool_]:
    return (values >= level - ROUNDING) & (values > ROUNDING)


def _numbered(
    track: ScoreTrack, inside: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Number the stretches of neighbouring samples that are inside.

    Returns:
        The number of each sample's stretch, (N,), -1 outside; and the first and the last sample
        of each stretch.
    """
    begins = inside.copy()
    # A stretch begins after a sample that is outside, or after a gap of which nothing is known.
    begins[1:] &= ~inside[:-1] | (track.starts[1:] > track.stops[:-1])
    firsts = np.flatnonzero(begins)
    numbers = np.where(inside, np.cumsum(begins) - 1, -1)
    lasts = np.zeros(len(firsts), np.int64)
    lasts[numbers[inside]] = np.flatnonzero(inside)  # the last one written stays
    return numbers, firsts, lasts


def _joined(spans: Iterable[Span], gap: float) -> list[Span]:
    joined: list[Span] = []
    for start, end in spans:
        if joined and start - joined[-1][1] <= gap + ROUNDING:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def _padded(spans: Iterable[Span], padding: float, duration: float) -> list[Span]:
    return [(max(0.0, start - padding), min(duration, end + padding)) for start, end in spans]


def _found(
    segments: Sequence[Segment], num_runs: int, smoothed: Floats, threshold: float, low: float
) -> str:
    if not segments:
        return (
            f"No score reaches the threshold {threshold:.2f}; the highest is {smoothed.max():.2f}. "
            "Lower --threshold, or give --share."
        )
    seconds = sum(one.length for one in segments)
    number = f"{plural(len(segments), 'segment')} of {seconds:.1f} s in all"
    joined = f", {num_runs} before joining" if num_runs > len(segments) else ""
    return f"{number} reach {threshold:.2f} and stay above {low:.2f}{joined}."


Step = tuple[list[Segment], str]


def rated(track: ScoreTrack, smoothed: Floats, start: float, end: float) -> Segment:
    """Make the segment [start, end] with its score and its peak, the middle one of equals."""
    first = min(int(np.searchsorted(track.stops, start, "right")), len(track) - 1)
    stop = max(int(np.searchsorted(track.starts, end)), first + 1)
    inside = np.round(smoothed[first:stop], 9)
    highest = np.flatnonzero(inside == inside.max())
    peak = first + int(highest[len(highest) // 2])
    time = min(max(float(track.times[peak]), start), end)
    return Segment(start, end, score=float(smoothed[peak]), peak=time)


def drop_short(segments: list[Segment], options: SelectionOptions, track: ScoreTrack) -> Step:
    """Drop segments that are too short."""
    kept = [one for one in segments if one.length >= options.min_length - ROUNDING]
    note = _dropped(segments, kept, f"--min-length {options.min_length:g}")
    return kept, note if len(kept) < len(segments) else ""


def shorten(segments: list[Segment], options: SelectionOptions, track: ScoreTrack) -> Step:
    """Cut or split segments that are too long."""
    longest = options.max_length
    if longest is None:
        return segments, ""
    smoothed = track.smoothed(options.bin_size)
    result, number = [], 0
    for one in segments:
        pieces = [one]
        if one.length > longest + ROUNDING:
            number += 1
            pieces = _split(one, options, track, smoothed) if options.too_long == "split" else []
        result += pieces or [_cut(one, longest, track)]
    done = (
        "split where their score is lowest" if options.too_long == "split" else "cut to their best"
    )
    return result, f"{number} of {len(segments)} segments {done} by --max-length {longest:g}."


def keep_top(segments: list[Segment], options: SelectionOptions, track: ScoreTrack) -> Step:
    """Keep the best few segments."""
    if options.top is None:
        return segments, ""
    kept = _ranked(segments)[: options.top]
    return kept, _dropped(segments, kept, f"--top {options.top}")


def fill(segments: list[Segment], options: SelectionOptions, track: ScoreTrack) -> Step:
    """Keep as many as the reel holds, best first; the very best is cut if it alone is too long."""
    if options.max_duration is None:
        return segments, ""
    kept: list[Segment] = []
    room, cut = options.max_duration, ""
    for one in _ranked(segments):
        if not kept and one.length > room:
            one = _cut(one, room, track)
            cut = " The best alone is longer and was cut."
        if one.length <= room:
            kept.append(one)
            room -= one.length
    return kept, _dropped(segments, kept, f"--max-duration {options.max_duration:g}") + cut


def _ranked(segments: Sequence[Segment]) -> list[Segment]:
    """Sort segments by score, best first; of equals the earlier one first."""
    return sorted(segments, key=lambda one: (-round(one.score, 9), one.start))


def _dropped(before: Sequence[Segment], after: Sequence[Segment], option: str) -> str:
    return f"{len(before) - len(after)} of {len(before)} segments dropped by {option}."


def _cut(one: Segment, length: float, track: ScoreTrack) -> Segment:
    start = track.best_stretch(one.start, one.end, length, one.peak)
    end = min(start + length, one.end)
    if end - start > length:  # by the last bit of a sum
        end = math.nextafter(end, start)
    return replace(one, start=start, end=end)


def _split(
    one: Segment, options: SelectionOptions, track: ScoreTrack, smoothed: Floats
) -> list[Segment]:
    """Split into as few pieces as possible; none if they would be shorter than the minimum."""
    longest = options.max_length or one.length
    left = math.ceil(one.length / longest - ROUNDING)
    # No piece is shorter than half of an even share, however low the score beside an edge is.
    least = max(options.min_length, one.length / left / 2)
    pieces, start = [], one.start
    for rest in range(left - 1, 0, -1):
        # The cut leaves the piece long enough, and the rest short enough for the pieces that are
        # left.
        low = max(start + least, one.end - rest * longest)
        high = min(start + longest, one.end - rest * least)
        if low > high + ROUNDING:
            return []
        cut = _lowest(track, smoothed, low, max(low, high))
        pieces.append(rated(track, smoothed, start, cut))
        start = cut
    return [*pieces, rated(track, smoothed, start, one.end)]


def _lowest(track: ScoreTrack, smoothed: Floats, low: float, high: float) -> float:
    """Time of the lowest score in [low, high]; the middle if there is no sample."""
    first, last = np.searchsorted(track.times, low), np.searchsorted(track.times, high, "right")
    if first == last:
        return (low + high) / 2
    return float(track.times[first + int(np.argmin(smoothed[first:last]))])


_SATURATED = 0.99  # from this smoothed score on, moments can hardly be told apart
_SATURATED_SHARE = 0.2
_ALIKE = 0.05  # between the highest and the lowest smoothed score


def doubts_about(track: ScoreTrack, smoothed: Floats, selection: Selection) -> list[str]:
    """Warnings about a reel and its scores, one line each; none where all is well.

    Args:
        track: the scores.
        smoothed: smoothed scores, (N,).
        selection: the reel.
    """
    found: list[str] = []
    if not len(track):
        return found
    saturated = float(track.weights[smoothed >= _SATURATED].sum() / track.weights.sum())
    if saturated > _SATURATED_SHARE:
        found.append(
            f"Warning: {saturated:.0%} of the recording has a score of {_SATURATED:g} or more, so "
            "the best moments cannot be told from the good ones. Label more that is no highlight."
        )
    elif smoothed.max() - smoothed.min() < _ALIKE:
        found.append(
            f"Warning: all scores lie between {smoothed.min():.2f} and {smoothed.max():.2f}, so "
            "they tell nothing apart. Label more clips, or train longer."
        )
    seconds = sum(one.length for one in selection.segments)
    if seconds > MOST * track.duration:
        found.append(
            f"Warning: the reel holds {seconds:.0f} of the recording's {track.duration:.0f} s. "
            f"--share {DEFAULT_SHARE:g} keeps the best of them."
        )
    return found
