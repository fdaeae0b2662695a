"""State that the pages of a review share, and the actions that they may request.

The state is the session, the recording, the labels and the reel. Nothing that a page sends is
trusted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.formatting import clock, plural
from experiments.clips.images import Box
from experiments.highlights.review.decisions import finite
from experiments.highlights.review.reel_job import ReelJob
from experiments.highlights.review.session import Session
from experiments.highlights.review.training_rows import add_to_labels
from experiments.highlights.training.recipes import describe_change
from experiments.media.recording import Chunk

_MUCH_UNPLAYED = 0.2  # share of a recording of which it is told


@dataclass(frozen=True)
class Desk:
    """One review, of which there may be several pages.

    Args:
        title: name of the recording.
        session: segments of the recording and the decisions on them.
        chunks: files of the recording.
        job: job that renders the reel; None where videos are only labelled.
        labels: label file to which decisions are added, or None.
        box: part of the frame for new labels, or None if it was not given.
        group: group of new labels.
        overwrite: whether to replace an existing reel without asking.
        model: directory of the model that made the scores, if that is known.
    """

    title: str
    session: Session
    chunks: Sequence[Chunk]
    job: ReelJob | None
    labels: Path | None
    box: Box | None
    group: str
    overwrite: bool
    model: Path | None = None

    @property
    def is_labelling(self) -> bool:
        """Whether the video is only labelled, and each change is in the labels at once."""
        return self.job is None

    def add_to_training_data(self, *, writes: bool = True) -> list[str]:
        """Write the decisions into the labels. Returns sentences on what is new there.

        Args:
            writes: whether to write, or only to say what would be new.

        Raises:
            InputError: without a label file, or if it is not of our kind.
            WriteError: if it cannot be written.
        """
        if self.labels is None:
            raise InputError("There is no label file; start the command with --labels FILE.")
        lines = add_to_labels(
            self.labels,
            self.session.decisions,
            self.chunks,
            box=self.box,
            group=self.group,
            left_alone=self.session.left_alone(),
            writes=writes,
        )
        unplayed = self.session.unplayed_seconds
        if self.session.is_finished and unplayed > _MUCH_UNPLAYED * self.session.track.duration:
            lines.append(
                f"{clock(unplayed)} of the recording were not played here, and count as none, "
                'because "Nothing else here" was chosen; "There is more" takes that back.'
            )
        return lines

    def change(self) -> str:
        """Say what the training of the model has changed; empty if that was not measured."""
        if self.model is None:
            return ""
        try:
            result = json.loads((self.model / "result.json").read_bytes())
            return describe_change(result) if "change" in result else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""  # a model that is gone, or from before this was kept

    def totals(self) -> str:
        """Summary of the reel, as `12 segments in the reel, 3:41 of 5:00:00; 2 rejected`."""
        reel, decisions = self.session.reel(), self.session.decisions
        if self.is_labelling:
            rest = "nothing else in it" if self.session.is_finished else "the rest is unknown"
            rejected = sum(not one.kept for one in decisions)
            marked = f"{plural(len(reel), 'highlight')}, {rejected} marked as none"
            return f"{marked}; {rest}. Kept in {self.labels}"
        length = sum(one.segment.length for one in reel)
        rejected = sum(not one.kept for one in decisions)
        summary = f"{plural(len(reel), 'segment')} in the reel, {clock(length)}"
        summary += f" of {clock(self.session.track.duration)}"
        return f"{summary}; {rejected} rejected" if rejected else summary

    def options(self) -> str:
        """Description of the selection's options besides the threshold."""
        options, low = self.session.options, self.session.low_threshold
        phrases: list[tuple[str, object]] = [  # text, and the value without which it is left out
            (f"stays above {low:.3g}", True),
            (f"smoothed over {options.bin_size:g} s", options.bin_size),
            (f"at least {options.min_length:g} s", options.min_length),
            (f"at most {options.max_length} s ({options.too_long})", options.max_length),
            (f"{options.padding:g} s around it", options.padding),
            (f"joined when {options.max_gap:g} s apart", True),
            (f"the best {options.top}", options.top),
            (f"{options.max_duration} s in all", options.max_duration),
        ]
        return "A segment: " + ", ".join(phrase for phrase, given in phrases if given)


def perform(session: Session, act: object) -> None:
    """Perform an action that a page requests.

    Args:
        session: the review.
        act: action, as `{"name": "move", "key": "d3", "start": 10.5, "end": 16}`.

    Raises:
        InputError: if it is no valid action; the message is for the user.
        OSError: if the review cannot be saved.
    """
    # The patterns check names and types; `finite` refuses what is no number of seconds.
    match act:
        case {"name": "judge", "key": str(key), "kept": bool(kept)}:
            session.judge(key, kept=kept)
        case {"name": "move", "key": str(key), "start": start, "end": end}:
            session.move(key, finite(start), finite(end))
        case {"name": "add", "start": start, "end": end, **more}:
            session.add(finite(start), finite(end), kept=more.get("kept") is not False)
        case {"name": "watched", "start": start, "end": end}:
            session.watch(finite(start), finite(end))
        case {"name": "finish", "finished": bool(finished)}:
            session.finish(finished=finished)
        case {"name": "box", "box": [x1, y1, x2, y2]}:
            session.set_box(Box(finite(x1), finite(y1), finite(x2), finite(y2)))
        case {"name": "clear", "key": str(key)}:
            session.clear(key)
        case {"name": "threshold", "value": value}:
            session.set_threshold(finite(value))
        case {"name": "undo"}:
            session.undo()
        case _:
            raise InputError("The page asked for something that is not there; load it again.")


def view(session: Session) -> dict[str, Any]:
    """Return what a page shows, the segments and thresholds, as plain values."""
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
        "watched": [list(one) for one in session.watched],
        "finished": session.is_finished,
        "box": None if session.box is None else list(astuple(session.box)),
    }


def curve(session: Session) -> dict[str, list[float | None]]:
    """Return times, smoothed and raw scores for the curve, with None in gaps of the samples."""
    track = session.track
    # Rounded, so that the JSON of hours of scores stays small.
    columns = track.times.round(3), session.smoothed.round(4), track.probabilities.round(4)
    names = ("times", "smoothed", "raw")
    result: dict[str, list[float | None]] = {name: [] for name in names}
    for place in range(len(track)):
        # Without a value there, the page would draw a line across the gap.
        if place and track.starts[place] > track.stops[place - 1]:
            result["times"].append(float(track.stops[place - 1]))
            result["smoothed"].append(None)
            result["raw"].append(None)
        for name, values in zip(names, columns, strict=True):
            result[name].append(float(values[place]))
    return result


def _empty(session: Session) -> str | None:
    """Sentence on why there is no segment, or None if there is one."""
    if session.reel():
        return None
    if session.is_labelling:
        if session.is_finished:
            return "There is no highlight in this video."
        box = "" if session.box else "Draw the box on the face (b), or leave it out. "
        return (
            f"Nothing is marked yet. {box}Play, and press i where a highlight starts and o where "
            "it ends; press d when there is nothing else."
        )
    if session.smoothed.max() < session.threshold:
        return (
            f"No score reaches the threshold {session.threshold:.2f}; the highest is "
            f"{session.smoothed.max():.2f}. Lower the threshold, or mark a segment by hand."
        )
    return "No segment is left. Lower the threshold, or mark a segment by hand."
