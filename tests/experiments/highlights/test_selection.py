"""Selections against plain restatements, and what must hold whatever the scores are."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from experiments.highlights.selection.original import second_means, select_original
from experiments.highlights.selection.scores import ScoreTrack
from experiments.highlights.selection.selection import (
    Segment,
    SelectionOptions,
    doubts_about,
    limited,
    select,
)
from experiments.highlights.selection.snapping import Candidates, quiet_moments, snap_cuts

PLAIN = SelectionOptions(bin_size=0, min_length=0, max_gap=0)
eighths = st.integers(0, 8).map(lambda value: value / 8)


def spans(selection):
    return [(one.start, one.end) for one in selection.segments]


def seconds_of(selection):
    return sum(one.end - one.start for one in selection.segments)


# The original's way


def as_the_original_counts(means, threshold, bin_size):
    """The original's loop in lists: `end` runs a second ahead of what was taken in."""
    found, start = [], 0
    while start + bin_size < len(means):
        taken = list(means[start : start + bin_size])
        if sum(taken) < threshold * len(taken):
            start += 1
            continue
        end = start + bin_size + 1
        while sum(taken) >= threshold * len(taken) and end < len(means):
            taken.append(means[end - 1])
            end += 1
        found.append((start, end))
        start = end
    return found


@settings(max_examples=300, deadline=None)
@given(
    st.lists(eighths, max_size=60), st.sampled_from([2, 4, 5, 6, 7]), st.sampled_from([1, 3, 5, 8])
)
def test_the_originals_segments(means, eighth, bin_size):
    """Red when a window is off by a second, grows by the window's mean alone, or ends too soon.

    The quiet end keeps the original away from its own fault, the tail.
    """
    threshold = eighth / 8
    quiet = [0.0] * (len(means) * 4 + 12)
    track = [*means, *quiet]
    times = np.arange(len(track)) + 0.5
    found = select_original(times, track, len(track), threshold=threshold, bin_size=bin_size)
    assert spans(found) == as_the_original_counts(track, threshold, bin_size)


@pytest.mark.parametrize(
    ("means", "duration", "expected"),
    [
        ([0] * 5 + [1] * 5, 10.0, [(4, 10)]),  # the last whole window, which was never tested
        ([0] * 5 + [1] * 5, 9.5, [(4, 9.5)]),
        ([1] * 8, 8.0, [(0, 8)]),  # lost its last second
        ([1] * 3, 3.0, [(0, 3)]),  # shorter than a window
        ([1] * 3, 2.25, [(0, 2.25)]),
        ([0, 0, 0, 1], 4.0, []),
        ([1] * 5 + [0] * 4 + [1], 10.0, [(0, 9), (9, 10)]),  # what is left after a segment
        ([0.5] * 10, 10.0, []),
        ([], 3.0, []),
    ],
)
def test_the_originals_tail_is_mended(means, duration, expected):
    """Red when the end is not tested, or a segment runs over it."""
    times = np.minimum(np.arange(len(means)) + 0.1, duration)
    assert spans(select_original(times, means, duration)) == expected


def test_seconds_without_samples():
    """Red when such a second is not a number, which passed for a highlight."""
    assert second_means([1.2, 1.4, 4.0], [0.5, 0.25, 1.0], 5.5) == pytest.approx(
        [0.375, 0.375, 0.375, 0.375, 1, 1]
    )
    assert spans(select_original([0.5, 7.5, 20.0], [0.1, 0.2, 0.1], 20.0)) == []


@pytest.mark.parametrize("options", [{"bin_size": 0}, {"bin_size": 2.5}, {"threshold": 0}])
def test_the_originals_options(options):
    with pytest.raises(ValueError, match=r"must be .*Received"):
        select_original([0.5], [0.5], 1.0, **options)


# Smoothing


@st.composite
def samples(draw, min_length=1):
    """Times on a grid of thousandths, now regular, now not, with a gap now and then."""
    number = draw(st.integers(min_length, 40))
    usual = draw(st.sampled_from([250, 500, 1000, 3000]))
    steps = st.one_of(st.just(usual), st.integers(usual // 2, usual * 2), st.just(usual * 20))
    first, *rest = draw(st.lists(steps, min_size=number, max_size=number))
    times = np.cumsum([draw(st.integers(0, first)), *rest]) / 1000
    flats = draw(
        st.lists(st.sampled_from([0, 0, 0.5, 0.8, 0.95, 1]), min_size=number, max_size=number)
    )
    noise = draw(st.lists(st.floats(0, 1), min_size=number, max_size=number))
    probabilities = [
        flat if draw(st.booleans()) else value for flat, value in zip(flats, noise, strict=True)
    ]
    return times, np.array(probabilities), float(times[-1]) + draw(st.integers(1, usual)) / 1000


def counted_mean(times, probabilities, duration, center, width, reach):
    """The mean over a fine grid whose points take the nearest sample that is near enough."""
    edges = max(0, center - width / 2), min(duration, center + width / 2)
    grid = np.linspace(*edges, 20001)
    grid = (grid[1:] + grid[:-1]) / 2
    nearest = np.abs(grid[:, None] - times).argmin(axis=1)
    known = np.abs(grid - times[nearest]) <= reach
    return probabilities[nearest][known].mean()


@settings(max_examples=25, deadline=None)
@given(samples(min_length=2), st.sampled_from([0.8, 5.0]), st.data())
def test_smoothing_against_counting(data, width, choice):
    """Red when an edge counts as zero, or dense samples weigh more than sparse ones."""
    times, probabilities, duration = data
    place = choice.draw(st.integers(0, len(times) - 1))
    reach = max(2 * np.median(np.diff(times)), width / 2)
    expected = counted_mean(times, probabilities, duration, times[place], width, reach)
    track = ScoreTrack(times, probabilities, duration, reach=width / 2)
    assert track.smoothed(width)[place] == pytest.approx(expected, abs=2e-3)


def test_a_level_stays_level():
    """Red when rounding keeps a score from reaching the threshold that it equals."""
    times = np.sort(np.random.default_rng(0).uniform(0, 100, 333))
    found = select(times, np.full(333, 0.7), 100.0, SelectionOptions(threshold=0.7))
    assert spans(found) == [(0.0, 100.0)]


@pytest.mark.parametrize("step", [0.1, 0.5, 1.0])
def test_a_sharp_event_keeps_its_edges(step):
    """Red when smoothing shifts, widens or narrows what is found."""
    times = np.arange(0, 120, step) + step / 2
    truth = ((times > 30) & (times < 42)) | (times > 112)
    found = spans(select(times, truth.astype(float), 120.0))
    assert len(found) == 2
    assert np.abs(np.array(found) - [(30, 42), (112, 120)]).max() <= 0.1 + step / 2


def test_nothing_is_known_in_a_long_gap():
    """Red when a sample before a stretch that failed to decode speaks for minutes."""
    times = np.concatenate([np.arange(0, 20), np.arange(80, 100)]) + 0.5
    probabilities = (np.abs(times - 50) < 40).astype(float)
    assert spans(select(times, probabilities, 100.0, SelectionOptions(bin_size=2.0))) == [
        (10.0, 21.5),
        (78.5, 90.0),
    ]


@pytest.mark.parametrize(
    ("times", "probabilities", "duration", "message"),
    [
        ([1, 1], [0, 0], 5, "ascending"),
        ([2, 1], [0, 0], 5, "ascending"),
        ([1, float("nan")], [0, 0], 5, "finite"),
        ([1], [0, 0], 5, "as many"),
        ([1], [1.5], 5, r"\[0, 1\]"),
        ([1], [float("nan")], 5, "NaN"),
        ([6], [1], 5, r"\[0, duration\]"),
        ([0], [1], 0, "positive"),
    ],
)
def test_what_is_no_track(times, probabilities, duration, message):
    for function in (select, select_original):
        with pytest.raises(ValueError, match=message):
            function(times, probabilities, duration)


# What holds for every selection


@st.composite
def options(draw):
    def maybe(values):
        return draw(st.none() | values)

    threshold = draw(st.floats(0.05, 1))
    min_length = draw(st.sampled_from([0.0, 0.5, 3.0]))
    return SelectionOptions(
        threshold=threshold,
        low_threshold=maybe(st.floats(0.01, 1).map(lambda part: part * threshold)),
        percentile=maybe(st.floats(0.01, 0.999)),
        bin_size=draw(st.sampled_from([0.0, 1.0, 5.0])),
        min_length=min_length,
        max_length=maybe(st.floats(max(min_length, 0.2), 30)),
        too_long=draw(st.sampled_from(["cut", "split"])),
        padding=draw(st.sampled_from([0.0, 0.3, 4.0])),
        max_gap=draw(st.sampled_from([0.0, 2.0])),
        top=maybe(st.integers(1, 4)),
        max_duration=maybe(st.floats(max(min_length, 0.2), 60)),
    )


@settings(max_examples=300, deadline=None)
@given(samples(), options())
def test_limits_are_kept(data, chosen):
    """Red when segments overlap, leave the recording, or break a limit."""
    times, probabilities, duration = data
    found = select(times, probabilities, duration, chosen).segments
    assert all(0 <= one.start < one.end <= duration for one in found)
    assert all(this.end <= following.start + 1e-9 for this, following in pairwise(found))
    assert all(one.length >= chosen.min_length - 1e-6 for one in found)
    if chosen.max_length is not None:
        assert all(one.length <= chosen.max_length + 1e-6 for one in found)
    if chosen.top is not None:
        assert len(found) <= chosen.top
    if chosen.max_duration is not None:
        assert sum(one.length for one in found) <= chosen.max_duration + 1e-6
    for one in found:
        assert one.start - 1e-9 <= one.peak <= one.end + 1e-9
        if chosen.percentile is None and chosen.too_long == "cut":
            assert one.score >= chosen.threshold - 1e-6


@settings(max_examples=150, deadline=None)
@given(samples(), options(), st.floats(0.05, 1), st.floats(0.05, 1))
def test_a_higher_threshold_never_adds_time(data, chosen, one, other):
    """Red when hysteresis or joining brings back what a threshold took.

    It does not hold for what keeps the best of many: two short segments may fit where one long
    one was cut.
    """
    free = replace(
        chosen, low_threshold=None, percentile=None, max_length=None, top=None, max_duration=None
    )
    low, high = sorted([one, other])
    found = [select(*data, replace(free, threshold=value)) for value in (low, high)]
    assert seconds_of(found[1]) <= seconds_of(found[0]) + 1e-6
    for inner in found[1].segments:
        assert any(
            outer.start <= inner.start + 1e-6 and inner.end <= outer.end + 1e-6
            for outer in found[0].segments
        )


@settings(max_examples=100, deadline=None)
@given(samples(), options(), st.sampled_from([0.5, 2.0, 4.0]))
def test_time_has_no_scale(data, chosen, factor):
    """Red when a length in seconds is hidden in the code."""
    times, probabilities, duration = data
    lengths = ("bin_size", "min_length", "max_length", "padding", "max_gap", "max_duration")
    values = {name: getattr(chosen, name) for name in lengths}
    wide = replace(
        chosen,
        **{name: value if value is None else value * factor for name, value in values.items()},
    )
    plain = spans(select(times, probabilities, duration, chosen))
    scaled = spans(select(times * factor, probabilities, duration * factor, wide))
    assert np.array(scaled) == pytest.approx(np.array(plain) * factor, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.lists(eighths, min_size=1, max_size=40), options(), st.integers(1, 50))
def test_time_has_no_origin(probabilities, chosen, shift):
    """Red when the number of a sample is taken for its time."""
    chosen = replace(chosen, percentile=None)
    quiet = [0.0] * 20
    track = np.array([*quiet, *probabilities, *quiet])
    times = np.arange(len(track)) + 0.5
    plain = spans(select(times, track, len(track), chosen))
    later = np.concatenate([np.zeros(shift), track])
    shifted = spans(select(np.arange(len(later)) + 0.5, later, len(later), chosen))
    assert np.array(shifted) == pytest.approx(np.array(plain) + shift, abs=1e-6)


def test_no_scores_is_no_error():
    found = select([], [], 10.0)
    assert (found.segments, found.notes) == ([], ["There are no scores."])
    assert select_original([], [], 10.0).segments == []


# What each option does, and says


def track_of(*events, duration=100):
    """Samples each second: (start, end, probability)."""
    times = np.arange(duration) + 0.5
    probabilities = np.zeros(duration)
    for start, end, value in events:
        probabilities[start:end] = value
    return times, probabilities, float(duration)


def test_hysteresis_keeps_a_dip_and_drops_what_never_peaks():
    """Red when the low threshold alone makes a segment, or the high one alone ends it."""
    data = track_of((10, 15, 0.9), (15, 18, 0.55), (18, 20, 0.8), (40, 60, 0.6))
    assert spans(select(*data, PLAIN)) == [(10.0, 20.0)]
    assert spans(select(*data, replace(PLAIN, low_threshold=0.7))) == [(10.0, 15.0), (18.0, 20.0)]


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8, 0.95])
def test_the_threshold_moves_no_sharp_edge(threshold):
    """Red when the smoothing's flanks are in the reel: at 0.2 they are 2 s on either side."""
    data = track_of((10, 20, 1.0), (40, 47, 0.97))
    chosen = replace(PLAIN, bin_size=5.0, threshold=threshold)
    assert spans(select(*data, chosen)) == [(10.0, 20.0), (40.0, 47.0)]


def test_an_edge_amid_doubt_is_where_the_scores_fall():
    """Red when an edge is at the smoothed score's fall, or at the first low sample inside."""
    data = track_of((10, 20, 1.0), (20, 24, 0.4), (14, 15, 0.1))
    chosen = replace(PLAIN, bin_size=5.0, threshold=0.7, low_threshold=0.3)
    assert spans(select(*data, chosen)) == [(10.0, 24.0)]


def test_gap_and_padding():
    """Red when padding overlaps, leaves the recording, or a gap is measured from the padding."""
    data = track_of((0, 3, 1), (5, 8, 1), (12, 15, 1), (96, 100, 1))
    assert spans(select(*data, replace(PLAIN, max_gap=2))) == [(0, 8), (12, 15), (96, 100)]
    assert spans(select(*data, replace(PLAIN, padding=1.5))) == [
        (0, 9.5),
        (10.5, 16.5),
        (94.5, 100),
    ]
    assert spans(select(*data, replace(PLAIN, padding=2))) == [(0, 17), (94, 100)]


def test_too_long_is_cut_to_the_best():
    """Red when the first seconds are kept, or the best stretch is another by brute force."""
    data = track_of((10, 40, 0.75), (22, 30, 0.95))
    found = select(*data, replace(PLAIN, max_length=10))
    times, probabilities, duration = data
    track = ScoreTrack(times, probabilities, duration)
    starts = np.arange(10, 30.01, 0.125)
    best = (track.mass(starts + 10) - track.mass(starts)).max()
    ((start, end),) = spans(found)
    assert end - start == pytest.approx(10)
    assert track.mass(end) - track.mass(start) == pytest.approx(best)
    assert "1 of 1 segments cut to their best by --max-length 10." in found.notes


@settings(max_examples=100, deadline=None)
@given(samples(min_length=3), st.floats(0.1, 0.9), st.data())
def test_the_best_stretch_by_brute_force(data, share, choice):
    """Red when a better stretch exists between the steps."""
    times, probabilities, duration = data
    track = ScoreTrack(times, probabilities, duration)
    length = share * duration
    peak = float(times[choice.draw(st.integers(0, len(times) - 1))])
    start = track.best_stretch(0.0, duration, length, peak)
    grid = np.linspace(max(0, peak - length), min(peak, duration - length), 500)
    assert grid[0] - 1e-9 <= start <= grid[-1] + 1e-9
    best = (track.mass(grid + length) - track.mass(grid)).max()
    assert track.mass(start + length) - track.mass(start) >= best - 1e-6


def test_too_long_is_split_at_the_lowest():
    """Red when a piece is lost, or the cut is not where the score dips."""
    data = track_of((10, 40, 0.9), (27, 28, 0.6))
    found = select(*data, replace(PLAIN, max_length=20, too_long="split"))
    assert spans(found) == [(10, 27.5), (27.5, 40)]
    assert spans(select(*data, replace(PLAIN, max_length=7, too_long="split")))[0][0] == 10
    pieces = spans(select(*data, replace(PLAIN, max_length=7, too_long="split")))
    assert [piece[1] for piece in pieces[:-1]] == [piece[0] for piece in pieces[1:]]
    assert pieces[-1][1] == 40
    short = replace(PLAIN, max_length=20, min_length=16, too_long="split")
    assert len(select(*data, short).segments) == 1


def test_percentile_is_the_threshold():
    """Red when the percentile is of samples rather than of time, or is dead as in the original."""
    data = track_of((0, 100, 0.2), (50, 60, 0.6), (70, 74, 0.3))
    found = select(*data, replace(PLAIN, percentile=0.85, threshold=0.99))
    assert found.notes[0] == "--percentile 0.85 makes the threshold 0.20."
    found = select(*data, replace(PLAIN, percentile=0.95))
    assert spans(found) == [(50, 60)]
    assert found.notes[0] == "--percentile 0.95 makes the threshold 0.60."
    dense = np.concatenate([np.arange(0, 90, 1.0), np.arange(90, 100, 0.125)])
    scores = (dense >= 90).astype(float) * 0.8 + 0.1
    track = ScoreTrack(dense, scores, 100.0)
    assert track.percentile(scores, 0.85) == 0.1
    assert track.percentile(scores, 0.95) == 0.9


@settings(max_examples=60, deadline=None)
@given(samples(), options(), st.floats(0.05, 1))
def test_a_share_of_the_recording_is_kept(data, chosen, share):
    """Red when the reel is longer than its share, or a lower threshold would fit it, too."""
    times, probabilities, duration = data
    chosen = replace(chosen, percentile=None, low_threshold=None, top=None, max_duration=None)
    target = max(share * duration, chosen.min_length)
    for goal in ({"share": share}, {"length": max(target, 0.01)}):
        found = select(times, probabilities, duration, replace(chosen, **goal))
        assert seconds_of(found) <= target + 1e-6
    if chosen.max_length is None:  # which may leave less of a longer segment
        levels = ScoreTrack(*data, reach=chosen.bin_size / 2).smoothed(chosen.bin_size)
        fits = [
            select(*data, replace(chosen, threshold=one, low_threshold=one))
            for one in np.maximum(levels, 1e-6)
        ]
        fitting = [seconds_of(one) for one in fits if seconds_of(one) <= target + 1e-9]
        assert seconds_of(found) >= max(fitting, default=0.0) - 1e-6


def test_a_share_is_told_and_equal_scores_are_cut():
    """Red when the note names another threshold, or a plateau fills the whole recording."""
    data = track_of((0, 100, 0.2), (20, 30, 0.6), (50, 54, 0.9))
    found = select(*data, replace(PLAIN, share=0.05))
    assert spans(found) == [(50, 54)]
    assert found.notes[0] == "--share 0.05 of 5.0 s makes the threshold 0.9."
    assert seconds_of(select(*data, replace(PLAIN, length=14))) == pytest.approx(14)
    # A high plateau beside a higher peak is not taken for its flanks.
    uneven = track_of((0, 100, 0.2), (20, 60, 0.75), (50, 54, 0.9))
    assert spans(select(*uneven, replace(PLAIN, share=0.05))) == [(50, 54)]
    flat = select(*track_of((0, 100, 1.0)), replace(PLAIN, share=0.1))
    assert seconds_of(flat) == pytest.approx(10)
    assert "dropped by a target of 10" in flat.notes[-1]


def test_reels_that_cannot_be_trusted_are_told():
    """Red when a reel of most of the recording, or scores that tell nothing apart, go untold."""

    def told(*stretches):
        times, values, duration = track_of(*stretches)
        track = ScoreTrack(times, values, duration)
        found = select(times, values, duration, PLAIN)
        return doubts_about(track, track.smoothed(0), found)

    assert told((20, 30, 0.9)) == []
    saturated, most = told((0, 100, 0.999), (0, 10, 0.1))
    assert "90% of the recording has a score of 0.99 or more" in saturated
    assert "the reel holds 90 of the recording's 100 s" in most
    assert "between 0.40 and 0.42" in told((0, 100, 0.4), (0, 10, 0.42))[0]


def test_top_and_duration_say_what_they_did():
    """Red when the earliest are kept rather than the best, or the note counts wrongly."""
    data = track_of((5, 15, 0.8), (20, 24, 1), (30, 42, 0.9), (50, 53, 0.75))
    found = select(*data, replace(PLAIN, top=2))
    assert spans(found) == [(20, 24), (30, 42)]
    assert found.notes[-1] == "2 of 4 segments dropped by --top 2."
    found = select(*data, replace(PLAIN, max_duration=17))
    assert spans(found) == [(20, 24), (30, 42)]
    assert found.notes[-1] == "2 of 4 segments dropped by --max-duration 17."
    assert spans(select(*data, replace(PLAIN, max_duration=8))) == [(20, 24), (50, 53)]
    alone = select(*track_of((5, 25, 0.8)), replace(PLAIN, max_duration=6))
    assert seconds_of(alone) == pytest.approx(6)
    assert "0 of 1 segments dropped by --max-duration 6. The best alone" in alone.notes[-1]
    original = select_original(*data)
    best = limited(original, ScoreTrack(*data), top=1)
    assert best.segments == [max(original.segments, key=lambda one: one.score)]


def test_short_ones_are_dropped_in_words():
    found = select(*track_of((5, 6, 1), (20, 24, 1)), replace(PLAIN, min_length=2))
    assert spans(found) == [(20, 24)]
    assert found.notes[-1] == "1 of 2 segments dropped by --min-length 2."


def test_nothing_found_says_how_near_it_was():
    found = select(*track_of((5, 30, 0.43)))
    assert found.segments == []
    assert found.notes[-1].startswith("No score reaches the threshold 0.70; the highest is 0.43.")
    assert select(*track_of(), SelectionOptions(percentile=0.9)).segments == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.0}, "threshold must be in"),
        ({"threshold": float("nan")}, "threshold must be in"),
        ({"low_threshold": 0.8}, "low_threshold must be"),
        ({"percentile": 99.6}, r"percentile must be in \(0, 1\). Received 99.6"),
        ({"share": 1.5}, r"share must be in \(0, 1\]. Received 1.5"),
        ({"length": 1.0}, "length must be min_length or more"),
        ({"length": 60, "share": 0.1}, "Only one of .* Received share and length"),
        ({"bin_size": -1}, "bin_size"),
        ({"max_length": 1.0}, "max_length must be min_length or more"),
        ({"max_duration": 1.0}, "max_duration must be min_length or more"),
        ({"too_long": "drop"}, "'cut' or 'split'"),
        ({"top": 0}, "top must be 1 or more"),
        ({"padding": -1}, "padding"),
    ],
)
def test_options_have_ranges(options, message):
    with pytest.raises(ValueError, match=message):
        SelectionOptions(**options)


# Cuts moved to quiet moments


def piece(start, end):
    return Segment(start, end, 0.9, (start + end) / 2)


def snapped(pieces, *, quiet=(), shots=(), duration=100.0, **more):
    made = Candidates(np.array([one[0] for one in quiet]), np.array([one[1] for one in quiet]))
    moved = snap_cuts(
        [piece(*one) for one in pieces], duration=duration, quiet=made, shots=shots, **more
    )
    return [(one.start, one.end) for one in moved]


def test_a_cut_prefers_to_lengthen():
    """Red when the nearest moment always wins, or a start prefers the later one."""
    assert snapped([(10, 20)], shots=[9.2, 10.5, 19.5, 20.8]) == [(9.2, 20.8)]
    assert snapped([(10, 20)], shots=[9.2, 10.3, 19.7, 20.8]) == [(10.3, 19.7)]
    assert snapped([(10, 20)], shots=[8.9, 11.1, 18.9, 21.1]) == [(10, 20)]
    assert snapped([(10, 20)], quiet=[(9.5, 0.5), (9.2, 0.0)]) == [(9.2, 20)]


def test_cuts_that_stay():
    """Red when the ends of the recording, or a seam of two segments, are moved."""
    assert snapped([(0, 20), (90, 100)], shots=[0.4, 99.7]) == [(0, 20), (90, 100)]
    assert snapped([(10, 20), (20, 30)], shots=[19.7, 20.2]) == [(10, 20), (20, 30)]
    assert snapped([(10, 20), (20.5, 30)], shots=[20.7, 19.9]) == [(10, 19.9), (20.7, 30)]


def test_moving_keeps_the_limits():
    """Red when a reel becomes longer than --max-duration by moving its cuts."""
    shots = [9.5, 20.5, 29.5, 40.5]
    assert snapped([(10, 20), (30, 40)], shots=shots, max_duration=21) == [(9.5, 20.5), (30, 40)]
    assert snapped([(10, 20)], shots=shots, max_length=10.5) == [(9.5, 20)]
    assert snapped([(10, 12)], shots=[10.4, 11.8], min_length=2.0) == [(10, 12)]


@st.composite
def cut_edges(draw):
    edges = sorted(draw(st.sets(st.integers(0, 200), min_size=2, max_size=12)))
    return [(a / 4, b / 4) for a, b in zip(edges[::2], edges[1::2], strict=False)]


@settings(max_examples=200, deadline=None)
@given(
    cut_edges(),
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 0.5)), max_size=30),
    st.lists(st.floats(0, 50), max_size=30),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([None, 5.0]),
    st.sampled_from([None, 20.0]),
)
@example([(10.0, 11.0), (12.0, 13.0)], [], [11.5], 0.0, None, None)
def test_moved_cuts_stay_in_order(pieces, quiet, shots, min_length, max_length, total):
    """Red when moved segments overlap, shrink or grow beyond a limit, or go anywhere else."""
    moved = snapped(
        pieces,
        quiet=quiet,
        shots=shots,
        duration=50.0,
        min_length=min_length,
        max_length=max_length,
        max_duration=total,
    )
    good = {time for time, _ in quiet} | set(shots)
    for (start, end), (new_start, new_end) in zip(pieces, moved, strict=True):
        assert new_start in good | {start}
        assert new_end in good | {end}
        assert abs(new_start - start) <= 1
        assert abs(new_end - end) <= 1
        assert 0 <= new_start < new_end <= 50
        assert new_end - new_start >= max(min(min_length, end - start), (end - start) / 2) - 1e-9
        if max_length is not None:
            assert new_end - new_start <= max(max_length, end - start) + 1e-9
    assert all(this[1] <= following[0] for this, following in pairwise(moved))
    if total is not None:
        before = sum(end - start for start, end in pieces)
        assert sum(end - start for start, end in moved) <= max(total, before) + 1e-6


def test_quiet_moments_are_the_pauses():
    """Red when a dip in a loud scene is measured by a quiet one, or a pause has no ends."""
    step = 0.02
    times = np.arange(0, 40, step)
    loudness = np.where(times < 20, -15.0, -40.0)
    for start, end, level in [(5, 5.3, -30), (12, 12.1, -19), (30, 30.2, -55), (35, 37, -np.inf)]:
        loudness[(times >= start) & (times < end)] = level
    found = quiet_moments(loudness, step)
    assert ((found.times >= 4.99) & (found.times < 5.3)).sum() == 3
    assert not ((found.times > 11) & (found.times < 13)).any()
    assert found.times == pytest.approx(
        [5, 5.14, 5.28, 30, 30.08, 30.18, 35, 35.98, 36.98], abs=0.021
    )
    assert (found.costs >= 0).all()
    assert (found.costs <= 0.5).all()
    assert found.costs[-3:].tolist() == [0, 0, 0]
    assert found.costs[0] > found.costs[-1]
    later = quiet_moments(loudness, step, start=100.0)
    assert later.times == pytest.approx(found.times + 100)
    louder = quiet_moments(loudness[times < 34] + 10, step)
    assert louder.times == pytest.approx(found.times[:6])


@pytest.mark.parametrize("values", [[], [-20.0], [-20.0] * 50, [-np.inf] * 50])
def test_envelopes_without_pauses(values):
    found = quiet_moments(values, 0.1)
    assert len(found.times) == (3 if values and values[0] == -np.inf else 0)


def test_what_is_no_envelope():
    with pytest.raises(ValueError, match="envelope must be"):
        quiet_moments([1.0, np.nan], 0.1)
    with pytest.raises(ValueError, match="step must be"):
        quiet_moments([1.0], 0.0)
