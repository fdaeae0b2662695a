"""The limits of a selection: each a step from segments to fewer or shorter ones, and a note."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from experiments.highlights.selection.scores import Floats, ScoreTrack
from experiments.highlights.selection.segments import ROUNDING, Segment, SelectionOptions

Step = tuple[list[Segment], str]


def rated(track: ScoreTrack, smoothed: Floats, start: float, end: float) -> Segment:
    """The segment [start, end] with its score and its peak, the middle one of equals."""
    first = min(int(np.searchsorted(track.stops, start, "right")), len(track) - 1)
    stop = max(int(np.searchsorted(track.starts, end)), first + 1)
    inside = np.round(smoothed[first:stop], 9)
    highest = np.flatnonzero(inside == inside.max())
    peak = first + int(highest[len(highest) // 2])
    time = min(max(float(track.times[peak]), start), end)
    return Segment(start, end, score=float(smoothed[peak]), peak=time)


def drop_short(segments: list[Segment], options: SelectionOptions, track: ScoreTrack) -> Step:
    """Those that are long enough."""
    kept = [one for one in segments if one.length >= options.min_length - ROUNDING]
    note = _dropped(segments, kept, f"--min-length {options.min_length:g}")
    return kept, note if len(kept) < len(segments) else ""


def shorten(segments: list[Segment], options: SelectionOptions, track: ScoreTrack) -> Step:
    """Those that are too long, cut or split."""
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
    """The best few."""
    if options.top is None:
        return segments, ""
    kept = _ranked(segments)[: options.top]
    return kept, _dropped(segments, kept, f"--top {options.top}")


def fill(segments: list[Segment], options: SelectionOptions, track: ScoreTrack) -> Step:
    """As many as the reel holds, best first; the very best is cut if it alone is too long."""
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
    """Best first, the earlier of equals."""
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
    """As few pieces as can be; none if they would be shorter than the minimum."""
    longest = options.max_length or one.length
    left = math.ceil(one.length / longest - ROUNDING)
    least = max(options.min_length, one.length / left / 2)
    pieces, start = [], one.start
    for rest in range(left - 1, 0, -1):
        low = max(start + least, one.end - rest * longest)
        high = min(start + longest, one.end - rest * least)
        if low > high + ROUNDING:
            return []
        cut = _lowest(track, smoothed, low, max(low, high))
        pieces.append(rated(track, smoothed, start, cut))
        start = cut
    return [*pieces, rated(track, smoothed, start, one.end)]


def _lowest(track: ScoreTrack, smoothed: Floats, low: float, high: float) -> float:
    """The sample of the lowest score in [low, high]."""
    first, last = np.searchsorted(track.times, low), np.searchsorted(track.times, high, "right")
    if first == last:
        return (low + high) / 2
    return float(track.times[first + int(np.argmin(smoothed[first:last]))])
