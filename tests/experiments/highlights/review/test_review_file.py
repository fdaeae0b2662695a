"""The file of a review: what is decided is there at once, and nothing damaged is gone on with."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.highlights.review.decisions import (
    Decision,
    Decisions,
    Saved,
    parse_saved,
    review_file,
    saved_bytes,
)
from experiments.highlights.review.session import Session
from experiments.highlights.selection.selection import SelectionOptions

DURATION = 30.0
OPTIONS = SelectionOptions(bin_size=0)
SCORES = np.where((np.arange(30) >= 10) & (np.arange(30) < 15), 0.9, 0.1)
ENTRY = {"number": 1, "start": 1.0, "end": 2.0, "kept": True, "origin": None}
GOOD = {
    "version": 1,
    "duration": DURATION,
    "threshold": 0.5,
    "started_from": 0.7,
    "decisions": [ENTRY],
}


def session_of(path, options=OPTIONS, duration=DURATION):
    return Session(np.arange(30.0) + 0.5, SCORES, duration, options, path)


@st.composite
def saved(draw):
    """Decisions that touch or not, at any floats."""
    edges = sorted(draw(st.sets(st.floats(0, 29), max_size=8)))
    spans = st.tuples(st.floats(0, 10), st.floats(11, 29))
    decisions = [
        Decision(number, *pair, draw(st.booleans()), draw(st.none() | spans))
        for number, pair in enumerate(zip(edges[::2], edges[1::2], strict=False), 7)
    ]
    thresholds = st.floats(0.01, 1)
    return Saved(DURATION, draw(thresholds), draw(thresholds), Decisions(tuple(decisions)))


@given(saved())
def test_what_is_saved_is_read(one):
    """Red when a bit of a time, an origin, a number or a verdict is lost."""
    assert parse_saved(saved_bytes(one), Path("x.review.json"), DURATION) == one


def test_it_lies_beside_the_scores():
    assert review_file(Path("vods/a.b.csv")) == Path("vods/a.b.review.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version is not 1"),
        ({"threshold": 0}, r"not in \(0, 1\]"),
        ({"threshold": "0.5"}, "'0.5' is no number"),
        ({"started_from": float("nan")}, "nan is no number"),
        ({"duration": 10**400}, "is no number"),
        ({"duration": True}, "True is no number"),
        ({"duration": 31.0}, r"of 31\.0 s, and this one lasts 30\.0 s"),
        ({"decisions": None}, "no review"),
        ({"decisions": [[]]}, "no review"),
        ({"decisions": [{}]}, "number is missing"),
        ({"decisions": [{**ENTRY, "kept": 1}]}, "neither true nor false"),
        ({"decisions": [{**ENTRY, "number": 1.5}]}, "no whole number"),
        ({"decisions": [{**ENTRY, "end": 0.5}]}, "end after its start"),
        ({"decisions": [{**ENTRY, "end": 99}]}, "lasts"),
        ({"decisions": [{**ENTRY, "origin": [1]}]}, "no review"),
        ({"decisions": [{**ENTRY, "origin": [3, 2]}]}, "end after its start"),
        ({"decisions": [ENTRY, {**ENTRY, "start": 5, "end": 6}]}, "different numbers"),
        ({"decisions": [ENTRY, {**ENTRY, "number": 2}]}, "not overlap"),
    ],
)
def test_what_is_no_review(tmp_path, change, message):
    """Red when a damaged file is gone on with, or overwritten without a word."""
    path = tmp_path / "scores.review.json"
    text = json.dumps({**GOOD, **change})
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        session_of(path)
    assert str(path) in str(caught.value)
    assert "Move it away" in str(caught.value)
    assert path.read_text() == text


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"[" * 100_000])
def test_what_is_no_json(tmp_path, content):
    path = tmp_path / "scores.review.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="no review that can go on"):
        session_of(path)


def test_each_change_is_saved_at_once(tmp_path):
    """Red when a killed server loses a decision, or one that only looked leaves a file."""
    path = tmp_path / "scores.review.json"
    session = session_of(path)
    assert not path.exists()
    session.judge(session.shown()[0].key, kept=False)
    assert json.loads(path.read_text())["decisions"] == [
        {"number": 1, "start": 10.0, "end": 15.0, "kept": False, "origin": [10.0, 15.0]}
    ]
    session.set_threshold(0.25)
    assert session_of(path).threshold == 0.25
    session.undo()
    assert json.loads(path.read_text())["decisions"] != []
    session.undo()
    assert json.loads(path.read_text())["decisions"] == []
    assert list(tmp_path.iterdir()) == [path]


def test_undo_covers_the_threshold(tmp_path):
    """Red when a slider's way is undone step by step, or what was watched is forgotten."""
    session = session_of(tmp_path / "scores.review.json")
    before = session.threshold
    for value in (0.6, 0.5, 0.4):
        session.set_threshold(value)
    session.add(20.0, 22.0)
    session.set_threshold(0.3)
    session.watch(1.0, 4.0)
    session.undo()
    assert (session.threshold, len(session.decisions)) == (0.4, 1)
    session.undo()
    assert (session.threshold, len(session.decisions)) == (0.4, 0)
    session.undo()
    assert (session.threshold, session.can_undo) == (before, False)
    assert session.watched == ((1.0, 4.0),)


def test_what_was_looked_through_is_kept(tmp_path):
    """Red when it is forgotten with the page, or a segment counts as left alone."""
    path = tmp_path / "scores.review.json"
    session = session_of(path)  # with a segment from 10 to 15 s
    for span in ((8.0, 11.0), (11.0, 12.0), (2.0, 3.0)):
        session.watch(*span)
    again = session_of(path)
    assert again.watched == ((2.0, 3.0), (8.0, 12.0))
    assert again.left_alone() == [(2.0, 3.0), (8.0, 10.0)]
    again.finish(finished=True)
    again.add(25.0, 26.0, kept=False)
    third = session_of(path)
    assert third.is_finished
    assert third.left_alone() == [(0.0, 10.0), (15.0, 25.0), (26.0, DURATION)]
    with pytest.raises(ValueError, match="not there"):
        third.watch(5.0, DURATION + 9)


def test_another_threshold_given_begins_there(tmp_path):
    """Red when --threshold is passed over because the file holds one, or a slider's is lost."""
    path = tmp_path / "scores.review.json"
    session_of(path).set_threshold(0.3)
    assert session_of(path).threshold == 0.3
    assert session_of(path, SelectionOptions(bin_size=0, threshold=0.8)).threshold == 0.8


def test_two_reviews_do_not_overwrite_each_other(tmp_path):
    """Red when the second of two running commands removes what the first decided."""
    path = tmp_path / "scores.review.json"
    one, other = session_of(path), session_of(path)
    one.add(20.0, 22.0)
    for act in (lambda: other.add(1.0, 2.0), lambda: other.set_threshold(0.2)):
        with pytest.raises(ValueError, match="changed by somebody else"):
            act()
    assert other.reel() == session_of(tmp_path / "none.json").reel()
    assert [decision.span for decision in session_of(path).decisions] == [(20.0, 22.0)]


def test_what_cannot_be_saved_is_not_done(tmp_path):
    """Red when the page shows a decision that is in no file."""
    folder = tmp_path / "gone"
    folder.mkdir()
    session = session_of(folder / "scores.review.json")
    folder.rmdir()
    with pytest.raises(OSError, match="gone"):
        session.add(20.0, 22.0)
    assert len(session.decisions) == 0
    assert not session.can_undo


def test_a_review_needs_scores(tmp_path):
    with pytest.raises(ValueError, match="needs scores"):
        Session(np.zeros(0), np.zeros(0), DURATION, OPTIONS, tmp_path / "x.review.json")
