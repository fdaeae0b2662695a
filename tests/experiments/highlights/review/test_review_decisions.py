"""What a person decided stays, whatever becomes of the automatic segments."""

import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.highlights.review.decisions import SHORTEST, Decisions
from experiments.highlights.review.session import Session
from experiments.highlights.selection.selection import SelectionOptions, select

DURATION = 60.0
TIMES = np.arange(0.5, DURATION)
PLAIN = SelectionOptions(threshold=0.5, bin_size=0, min_length=2, max_gap=0)


def scores_of(*bumps, base=0.1):
    """A score a second; bumps are (start, end, height)."""
    values = np.full(len(TIMES), base)
    for start, end, height in bumps:
        values[start:end] = height
    return values


def session_of(folder, values, options=PLAIN):
    return Session(TIMES, values, DURATION, options, Path(folder) / "scores.review.json")


def spans(shown):
    return [(one.segment.start, one.segment.end) for one in shown]


def states(session):
    return {(one.segment.start, one.segment.end): one.state for one in session.shown()}


def key_at(session, time):
    return next(one.key for one in session.shown() if one.segment.start <= time < one.segment.end)


def test_without_decisions_it_is_the_automatic_selection(tmp_path):
    """Red when the page shows other segments than the command `reel` renders."""
    values = np.random.default_rng(0).uniform(0, 1, len(TIMES))
    for options in (PLAIN, SelectionOptions(), replace(PLAIN, top=2), replace(PLAIN, padding=1)):
        session = session_of(tmp_path, values, options)
        expected = select(TIMES, values, DURATION, options).segments
        assert [one.segment for one in session.shown()] == expected
        assert {one.state for one in session.shown()} <= {"automatic"}


def test_a_rejected_stretch_does_not_come_back(tmp_path):
    """Red when a lower threshold brings it back, or its flanks, or drops the event beside it."""
    values = scores_of((10, 14, 0.9), (9, 10, 0.4), (14, 15, 0.4), (16, 26, 0.4), (20, 23, 0.45))
    values[15] = 0.35  # joins both at a low threshold
    session = session_of(tmp_path, values, replace(PLAIN, threshold=0.8))
    session.judge(key_at(session, 12), kept=False)
    assert states(session) == {(10.0, 14.0): "rejected"}
    assert session.reel() == []
    session.set_threshold(0.44)
    assert states(session) == {(10.0, 14.0): "rejected", (14.0, 26.0): "automatic"}
    session.set_threshold(0.3)
    assert (14.0, 26.0) in spans(session.reel())
    assert all(end <= 10 or start >= 14 for start, end in spans(session.reel()))


def test_the_flanks_of_a_rejected_stretch_are_no_segments(tmp_path):
    """Red when lowering the threshold shows what is left and right of what was rejected."""
    flank = np.linspace(0.3, 0.6, 6)
    values = scores_of()
    values[18:38] = np.concatenate([flank, [0.9] * 8, flank[::-1]])
    session = session_of(tmp_path, values, replace(PLAIN, threshold=0.8, low_threshold=0.7))
    session.judge(key_at(session, 28), kept=False)
    session.set_threshold(0.35)
    assert session.options.low_threshold == 0.35
    assert spans(session.shown()) == [(24.0, 32.0)]
    assert session.reel() == []


def test_most_of_a_segment_rejected_is_all_of_it(tmp_path):
    """Red when a segment of which more than half was rejected is shown for its rest."""
    values = scores_of((10, 16, 0.9), (16, 18, 0.45), (18, 21, 0.49))
    session = session_of(tmp_path, values, replace(PLAIN, low_threshold=0.48))
    session.judge(key_at(session, 12), kept=False)
    session.set_threshold(0.42)
    assert session.reel() == []


@pytest.mark.parametrize("threshold", [0.95, 0.7, 0.4, 0.05])
def test_kept_segments_stay_whatever_the_threshold(tmp_path, threshold):
    """Red when an accepted, moved or added segment goes with the threshold or is doubled."""
    session = session_of(tmp_path, scores_of((10, 16, 0.9), (30, 36, 0.8)))
    session.judge(key_at(session, 12), kept=True)
    session.move(key_at(session, 32), 34.0, 36.0)
    session.add(50.0, 53.0)
    session.set_threshold(threshold)
    found = {span: state for span, state in states(session).items() if state != "automatic"}
    assert found == {(10, 16): "accepted", (34, 36): "moved", (50, 53): "added"}
    others = [span for span, state in states(session).items() if state == "automatic"]
    claimed = [(10, 16), (30, 36), (50, 53)]  # also where the moved one was
    assert not any(a < d and c < b for a, b in others for c, d in claimed)


def test_the_limits_count_what_is_kept(tmp_path):
    """Red when --top or --max-duration forget the accepted ones, or do not fill up."""
    values = scores_of((5, 10, 0.9), (15, 20, 0.8), (25, 30, 0.7), (35, 40, 0.6))
    session = session_of(tmp_path, values, replace(PLAIN, top=2))
    assert spans(session.reel()) == [(5, 10), (15, 20)]
    session.judge(key_at(session, 6), kept=False)
    assert spans(session.reel()) == [(15, 20), (25, 30)]
    session.add(50.0, 52.0)
    session.add(54.0, 56.0)
    assert spans(session.reel()) == [(50, 52), (54, 56)]
    assert "no room" in session.notes[-1]
    (tmp_path / "scores.review.json").unlink()
    session = session_of(tmp_path, values, replace(PLAIN, max_duration=12))
    session.judge(key_at(session, 16), kept=True)
    assert spans(session.reel()) == [(5, 10), (15, 20)]


def test_a_percentile_is_where_one_begins(tmp_path):
    """Red when the percentile takes the threshold's place again as soon as one moves it."""
    values = np.linspace(0.0, 0.9, len(TIMES))
    session = session_of(tmp_path, values, SelectionOptions(bin_size=0, percentile=0.8))
    assert session.threshold == pytest.approx(np.quantile(values, 0.8), abs=0.02)
    session.set_threshold(0.3)
    assert session.reel()[0].segment.start == pytest.approx(14, abs=1)


def test_edges_stop_at_neighbours(tmp_path):
    """Red when a drag runs over another decision, turns a segment round or leaves the end."""
    session = session_of(tmp_path, scores_of((10, 14, 0.9), (20, 24, 0.9), (30, 34, 0.9)))
    for time in (12, 22, 32):
        session.judge(key_at(session, time), kept=True)
    session.move(key_at(session, 22), 20.0, 33.0)
    assert spans(session.reel())[1] == (20, 30)
    session.move(key_at(session, 22), 5.0, 15.0)  # all of it, pushed back
    assert spans(session.reel())[1] == (14, 24)
    session.move(key_at(session, 32), 30.0, 99.0)
    assert spans(session.reel())[2] == (30, DURATION)
    with pytest.raises(ValueError, match=r"0\.2 seconds"):
        session.move(key_at(session, 12), 12.0, 12.1)
    assert spans(session.reel())[0] == (10, 14)


def test_what_cannot_be_added_is_told(tmp_path):
    session = session_of(tmp_path, scores_of((10, 14, 0.9)))
    session.judge(key_at(session, 12), kept=False)
    for span, message in [
        ((13.0, 20.0), "overlap one that is rejected"),
        ((20.0, 20.1), r"0\.2 seconds"),
        ((30.0, 20.0), r"0\.2 seconds"),
        ((70.0, 80.0), r"0\.2 seconds"),
    ]:
        with pytest.raises(ValueError, match=message):
            session.add(*span)
    session.add(14.0, 70.0)
    assert spans(session.reel()) == [(14, DURATION)]
    for key in ("d9", "1.000-2.000", ""):
        with pytest.raises(ValueError, match="no longer there"):
            session.judge(key, kept=True)


times = st.floats(-5, DURATION + 5)
acts = st.one_of(
    st.tuples(st.just("threshold"), st.floats(0.01, 1)),
    st.tuples(st.just("judge"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("move"), st.integers(0, 9), times, times),
    st.tuples(st.just("slide"), st.integers(0, 9), times),
    st.tuples(st.just("add"), times, times),
    st.tuples(st.just("clear"), st.integers(0, 9)),
    st.tuples(st.just("undo")),
)
option_sets = st.builds(
    SelectionOptions,
    threshold=st.sampled_from([0.3, 0.7]),
    bin_size=st.sampled_from([0.0, 3.0]),
    min_length=st.sampled_from([0.0, 2.0]),
    max_gap=st.sampled_from([0.0, 2.0]),
    padding=st.sampled_from([0.0, 1.5]),
    top=st.sampled_from([None, 2]),
    max_duration=st.sampled_from([None, 9.0]),
)


def do(session, act):
    """Do what can be done; what cannot be is refused with a ValueError, and nothing else."""
    name, *rest = act
    shown = session.shown()
    if name in ("judge", "move", "slide", "clear"):
        if not shown:
            return
        one = shown[rest[0] % len(shown)]
        rest[0] = one.key
    with suppress(ValueError):
        if name == "judge":
            session.judge(rest[0], kept=rest[1])
        elif name == "slide":
            length = one.segment.end - one.segment.start
            session.move(rest[0], rest[1], rest[1] + length)
        else:
            {"threshold": session.set_threshold}.get(name, getattr(session, name, None))(*rest)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9]), min_size=60, max_size=60),
    option_sets,
    st.lists(acts, max_size=12),
)
def test_whatever_is_done(values, options, done):
    """Red when segments overlap or leave the recording, a decision is lost or a rejection is not
    kept, an undo is not what was before, or the review does not go on where it was left."""
    with tempfile.TemporaryDirectory() as folder:
        session = session_of(folder, np.array(values), options)
        for act in done:
            before, could = session.decisions, session.can_undo
            do(session, act)
            if act[0] == "threshold":
                assert session.decisions == before
            elif session.decisions != before and act[0] != "undo":
                after = session.decisions
                session.undo()
                assert session.decisions == before
                assert session.can_undo == could
                session._decide(after)
            edges = [edge for span in spans(session.shown()) for edge in span]
            assert edges == sorted(edges)
            assert all(0 <= edge <= DURATION for edge in edges)
            reel = [(one.segment.start, one.segment.end, one.state) for one in session.reel()]
            kept = [(*one.span, one.state) for one in session.decisions if one.kept]
            assert [one for one in reel if one[2] != "automatic"] == kept
            assert all(end - start >= SHORTEST - 1e-9 for start, end, _ in kept)
            rejected = [one.span for one in session.decisions if not one.kept]
            assert not any(a < d and c < b for a, b, _ in reel for c, d in rejected)
        again = session_of(folder, np.array(values), options)
        assert again.threshold == session.threshold
        assert again.shown() == session.shown()


def test_decisions_are_sorted_and_apart():
    first = Decisions().added((5.0, 9.0), DURATION).items[0]
    with pytest.raises(ValueError, match="sorted and not overlap"):
        Decisions((first, replace(first, number=2, start=8.0, end=10.0)))
    with pytest.raises(ValueError, match="different numbers"):
        Decisions((first, replace(first, start=20.0, end=22.0)))
    with pytest.raises(ValueError, match="end after its start"):
        replace(first, start=9.0)
