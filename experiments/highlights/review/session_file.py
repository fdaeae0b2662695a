"""The file of a review, `scores.review.json`: what was decided, so that it can go on later."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError
from experiments.highlights.review.decisions import Decision, Decisions, finite

VERSION = 1
_SAME_SECONDS = 0.5  # that two readings of one recording's length may differ


@dataclass(frozen=True)
class Saved:
    """What is kept of a review.

    Args:
        duration: of the recording, in seconds.
        threshold: where the person left it.
        started_from: where it stood before the person touched it.
        decisions: made so far.
    """

    duration: float
    threshold: float
    started_from: float
    decisions: Decisions


def review_file(scores: Path) -> Path:
    """Where the review of a scores file is kept."""
    return scores.with_name(f"{scores.stem}.review.json")


def saved_bytes(saved: Saved) -> bytes:
    """As JSON; `parse_saved` gives the same back."""
    entries = [asdict(one) for one in saved.decisions]
    head = {"version": VERSION, **{name: getattr(saved, name) for name in _NUMBERS}}
    return (json.dumps({**head, "decisions": entries}, indent=1) + "\n").encode()


def parse_saved(content: bytes, path: Path, duration: float) -> Saved:
    """The review in a file.

    Args:
        content: of the file.
        path: of the file, for messages.
        duration: of the recording that it has to be of, in seconds.

    Raises:
        InputError: if it is no such file, or of another recording.
    """
    try:
        data = json.loads(content)
        if not isinstance(data, dict) or data.get("version") != VERSION:
            raise InputError(f"its version is not {VERSION}")
        duration_then, threshold, started_from = (finite(data[name]) for name in _NUMBERS)
        if not (0 < threshold <= 1 and 0 < started_from <= 1):
            raise InputError("a threshold is not in (0, 1]")
        decisions = Decisions(tuple(map(_decision, data["decisions"])))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"{path} is no review that can go on: {reason}. {_REMEDY}") from error
    ends = [one.end for one in decisions]
    if abs(duration_then - duration) > _SAME_SECONDS or max(ends, default=0) > duration + 1e-6:
        raise InputError(
            f"{path} is a review of a recording of {duration_then:.1f} s, and this one lasts "
            f"{duration:.1f} s. {_REMEDY}"
        )
    return Saved(duration_then, threshold, started_from, decisions)


_NUMBERS = ("duration", "threshold", "started_from")
_REMEDY = "Move it away to begin anew."


def _decision(entry: Any) -> Decision:
    number, kept, origin = entry["number"], entry["kept"], entry["origin"]
    if type(number) is not int or type(kept) is not bool:
        raise InputError(f"{entry} has no whole number, or neither true nor false for kept")
    start, end = finite(entry["start"]), finite(entry["end"])
    if origin is not None:
        low, high = origin
        origin = finite(low), finite(high)
    return Decision(number, start, end, kept, origin)
