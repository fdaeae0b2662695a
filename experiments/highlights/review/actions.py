"""What the page may ask of a review. Nothing that it sends is taken on trust."""

from __future__ import annotations

from typing import Any

from common.errors import InputError
from experiments.highlights.review.decisions import finite
from experiments.highlights.review.session import Session


def perform(session: Session, act: object) -> None:
    """Do what the page asks.

    Args:
        session: the review.
        act: as `{"name": "move", "key": "d3", "start": 10.5, "end": 16}`.

    Raises:
        InputError: if it is nothing that can be done; the message is for the person.
        OSError: if it cannot be saved.
    """
    match act:
        case {"name": "judge", "key": str(key), "kept": bool(kept)}:
            session.judge(key, kept=kept)
        case {"name": "move", "key": str(key), "start": start, "end": end}:
            session.move(key, finite(start), finite(end))
        case {"name": "add", "start": start, "end": end}:
            session.add(finite(start), finite(end))
        case {"name": "clear", "key": str(key)}:
            session.clear(key)
        case {"name": "threshold", "value": value}:
            session.set_threshold(finite(value))
        case {"name": "undo"}:
            session.undo()
        case _:
            raise InputError("The page asked for something that is not there; load it again.")


def view(session: Session) -> dict[str, Any]:
    """What the page shows: the segments, and the thresholds."""
    segments = [
        {
            "key": one.key,
            "start": one.segment.start,
            "end": one.segment.end,
            "score": round(one.segment.score, 4),
            "state": one.state,
        }
        for one in session.shown()
    ]
    return {
        "segments": segments,
        "threshold": session.threshold,
        "low": session.low_threshold,
        "empty": _empty(session),
    }


def curve(session: Session) -> dict[str, list[float | None]]:
    """The scores, (N,) each; None between two samples where nothing is known of the time."""
    track = session.track
    columns = track.times.round(3), session.smoothed.round(4), track.probabilities.round(4)
    names = ("times", "smoothed", "raw")
    result: dict[str, list[float | None]] = {name: [] for name in names}
    for place in range(len(track)):
        if place and track.starts[place] > track.stops[place - 1]:
            result["times"].append(float(track.stops[place - 1]))
            result["smoothed"].append(None)
            result["raw"].append(None)
        for name, values in zip(names, columns, strict=True):
            result[name].append(float(values[place]))
    return result


def _empty(session: Session) -> str | None:
    """Why there is no segment."""
    if session.reel():
        return None
    if session.smoothed.max() < session.threshold:
        return (
            f"No score reaches the threshold {session.threshold:.2f}; the highest is "
            f"{session.smoothed.max():.2f}. Lower the threshold, or mark a segment by hand."
        )
    return "No segment is left. Lower the threshold, or mark a segment by hand."
