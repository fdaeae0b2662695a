"""What comes from the page is checked, and what goes to it is what the review says."""

import json

import numpy as np
import pytest

from experiments.highlights.review.desk import curve, perform, view
from experiments.highlights.review.session import Session
from experiments.highlights.selection.selection import SelectionOptions

TIMES = np.array([0.5, 1.5, 2.5, 3.5, 20.5, 21.5, 22.5, 23.5])
SCORES = np.array([0.1, 0.9, 0.9, 0.1, 0.1, 0.8, 0.8, 0.1])
OPTIONS = SelectionOptions(bin_size=0)


@pytest.fixture
def session(tmp_path):
    """Eight samples with a hole of 17 s between them; segments at 1 and 21 s."""
    return Session(TIMES, SCORES, 30.0, OPTIONS, tmp_path / "scores.review.json")


def states(session):
    return [(one["start"], one["end"], one["state"]) for one in view(session)["segments"]]


def test_each_act(session):
    """Red when an act does another's work, or a key of the view does not name its segment."""
    first, second = (one["key"] for one in view(session)["segments"])
    perform(session, {"name": "judge", "key": first, "kept": False})
    perform(session, {"name": "move", "key": second, "start": 20, "end": 23.0})
    perform(session, {"name": "add", "start": 5, "end": 8.5})
    assert states(session) == [(1, 3, "rejected"), (5, 8.5, "added"), (20, 23, "moved")]
    perform(session, {"name": "clear", "key": view(session)["segments"][2]["key"]})
    assert states(session)[2] == (21, 23, "automatic")
    perform(session, {"name": "undo"})
    perform(session, {"name": "undo"})
    assert states(session) == [(1, 3, "rejected"), (20, 23, "moved")]
    perform(session, {"name": "threshold", "value": 0.85})
    assert (view(session)["threshold"], view(session)["low"]) == (0.85, pytest.approx(0.595))


@pytest.mark.parametrize(
    "act",
    [
        None,
        [],
        "undo",
        {},
        {"name": "undone"},
        {"name": "judge", "key": "1.000-3.000"},
        {"name": "judge", "key": "1.000-3.000", "kept": "no"},
        {"name": "judge", "key": ["1.000-3.000"], "kept": True},
        {"name": "judge", "key": "dx", "kept": True},
        {"name": "clear", "key": 1},
        {"name": "move", "key": "1.000-3.000", "start": "1", "end": 2},
        {"name": "move", "key": "1.000-3.000", "start": float("nan"), "end": 2},
        {"name": "add", "start": 1, "end": float("inf")},
        {"name": "add", "start": True, "end": 3},
        {"name": "threshold", "value": None},
        {"name": "threshold", "value": 0},
        {"name": "threshold", "value": 1.01},
    ],
)
def test_what_is_no_act(session, act):
    """Red when something else than a ValueError, which the page tells, comes of it."""
    with pytest.raises(ValueError):  # noqa: PT011
        perform(session, act)
    assert not session.path.exists()


def test_why_there_is_nothing(session):
    """Red when an empty page does not say why."""
    assert view(session)["empty"] is None
    perform(session, {"name": "threshold", "value": 0.95})
    assert "No score reaches the threshold 0.95; the highest is 0.90" in view(session)["empty"]
    perform(session, {"name": "threshold", "value": 0.7})
    for one in view(session)["segments"]:
        perform(session, {"name": "judge", "key": one["key"], "kept": False})
    assert "No segment is left" in view(session)["empty"]


def test_the_curve_has_holes(session):
    """Red when a line is drawn where nothing is known, or the page gets no JSON."""
    found = json.loads(json.dumps(curve(session)))
    hole = found["smoothed"].index(None)
    assert found["times"][hole - 1 : hole + 2] == [3.5, pytest.approx(5.5), 20.5]
    assert found["raw"].index(None) == hole
    known = [value for value in found["raw"] if value is not None]
    assert known == pytest.approx(SCORES)
