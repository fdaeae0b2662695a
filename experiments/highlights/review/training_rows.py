"""A review's decisions to rows of the labels that a model is trained on.

What was kept becomes highlights, what was rejected hard negatives, each in the time of the file
that it lies in. What nothing was decided on stays unknown. Added twice, the rows are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.clips.pictures import Box
from experiments.highlights.labels import (
    Interval,
    LabelError,
    LabelledClip,
    is_ours,
    read_labels,
    write_labels,
)
from experiments.highlights.review.decisions import Decisions, Span, without
from experiments.media.recording import Chunk
from preprocess.video.time_ranges import format_time

WHOLE_PICTURE = Box(0.0, 0.0, 1.0, 1.0)
_DIGITS = 3  # of a second in the labels


@dataclass(frozen=True)
class Verdicts:
    """What was decided on one file, in its own seconds.

    Args:
        highlights: what is kept, sorted.
        negatives: what is rejected, sorted.
        claims: all that the decisions speak for; earlier rows do not count there.
    """

    highlights: list[Span]
    negatives: list[Span]
    claims: list[Span]


def add_to_labels(
    file: Path, decisions: Decisions, chunks: Sequence[Chunk], *, box: Box | None, group: str
) -> list[str]:
    """Bring a label file up to date with the decisions. Returns in words what was done.

    Args:
        file: of our kind; made if it is not there.
        decisions: of the review.
        chunks: the recording.
        box: the part of the picture that is labelled; None for the one that all clips of the
            file have, or else the whole picture.
        group: of files that are new to the labels.

    Raises:
        LabelError: if the file is of the original's kind, or a line of it is wrong.
        OSError: if it cannot be read.
        WriteError: if the disk does not take it.
    """
    if not len(decisions):
        return ["Nothing is decided yet: accept, reject or add a segment first."]
    before = clips_there(file)
    clips, notes = list(before), list[str]()
    for chunk in chunks:
        verdicts = verdicts_in(decisions, chunk)
        if not verdicts.claims:
            continue
        place = _place(clips, chunk.path, file)
        if place is None:
            place = len(clips)
            clips.append(_new_clip(chunk.path, file, _box(before, box), group))
        elif box not in (None, clips[place].box):
            notes.append(f"{chunk.path.name} keeps the box that it has in {file}.")
        clips[place] = merged(clips[place], verdicts, notes)
    if len(clips) > len(before) and box is None:
        notes.append(_box_note(_box(before, box)))
    if clips == before:
        return [f"{file} says all that already.", *notes]
    write_labels(file, clips)
    return [_summary(file, before, clips), *notes]


def clips_there(file: Path) -> list[LabelledClip]:
    """The clips of a label file that rows can be added to; none if it is not there.

    Raises:
        LabelError: if the file is of the original's kind, or a line of it is wrong.
        OSError: if it cannot be read.
    """
    if not file.exists():
        return []
    if not is_ours(file):
        raise LabelError(
            f"{file} is of the original's kind, which cannot hold what was rejected. Convert it "
            f"with `python -m experiments.highlights labels {file} TARGET`, and give "
            "--labels TARGET."
        )
    return read_labels(file)


def verdicts_in(decisions: Decisions, chunk: Chunk) -> Verdicts:
    """The decisions on one file of a recording."""
    return Verdicts(
        _within((one.span for one in decisions if one.kept), chunk),
        _within((one.span for one in decisions if not one.kept), chunk),
        _within(decisions.claims, chunk),
    )


def merged(clip: LabelledClip, verdicts: Verdicts, notes: list[str]) -> LabelledClip:
    """A clip with the decisions, which overrule what it said before.

    Args:
        clip: as it is in the labels.
        verdicts: on its file.
        notes: gets a sentence for each stretch that said the contrary.
    """
    highlights, negatives = _spans(clip.highlights), _spans(clip.negatives)
    notes += _overruled(clip, highlights, verdicts.negatives, "highlight", "none")
    notes += _overruled(clip, negatives, verdicts.highlights, "none", "highlight")
    if clip.rest_known and not clip.highlights and verdicts.highlights:
        notes.append(f"{clip.path.name} was a clip without highlights.")
    return replace(
        clip,
        highlights=_updated(highlights, verdicts.highlights, verdicts.claims),
        negatives=_updated(negatives, verdicts.negatives, verdicts.claims),
    )


def _within(spans: Iterable[Span], chunk: Chunk) -> list[Span]:
    """What of them lies in a file, in its seconds; sorted."""
    edges = (
        [round(min(max(time - chunk.offset, 0.0), chunk.duration), _DIGITS) for time in span]
        for span in spans
    )
    return sorted((start, end) for start, end in edges if start < end)


def _spans(stretches: Iterable[Interval]) -> list[Span]:
    return [(one.start, one.end) for one in stretches]


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _overruled(
    clip: LabelledClip, old: Iterable[Span], new: Sequence[Span], then: str, now: str
) -> list[str]:
    return [
        f"{clip.path.name}, {format_time(one[0])} to {format_time(one[1])}, was {then!r}; where "
        f"the review says so it is {now!r} now."
        for one in old
        if any(_overlap(one, other) for other in new)
    ]


def _updated(
    old: Iterable[Span], new: Sequence[Span], claims: Iterable[Span]
) -> tuple[Interval, ...]:
    """Stretches of one label: the old ones but for the claims, and the new ones.

    Where an old one and a new one overlap, they become one.
    """
    gone = [piece for claim in claims for piece in without(claim, new)]
    result = [piece for one in old for piece in without(one, gone)]
    for one in new:
        met = [other for other in result if _overlap(one, other)]
        edges = [edge for span in (one, *met) for edge in span]
        result = [other for other in result if other not in met]
        result.append((min(edges), max(edges)))
    return tuple(Interval(*span) for span in sorted(result))


def _place(clips: Sequence[LabelledClip], path: Path, file: Path) -> int | None:
    """Which clip is of a video."""
    places = [n for n, clip in enumerate(clips) if clip.path.resolve() == path.resolve()]
    if len(places) > 1:
        names = " and ".join(str(clips[n].path) for n in places)
        raise LabelError(f"{file} has one video as two clips, {names}; join them.")
    return places[0] if places else None


def _new_clip(path: Path, file: Path, box: Box, group: str) -> LabelledClip:
    """Its path is relative to the labels where it lies below them."""
    folder = file.absolute().parent
    if path.absolute().is_relative_to(folder):
        path = file.parent / path.absolute().relative_to(folder)
    return LabelledClip(path, box, (), group, rest_known=False)


def _box(clips: Sequence[LabelledClip], box: Box | None) -> Box:
    """That of new clips."""
    boxes = {clip.box for clip in clips}
    return box or (boxes.pop() if len(boxes) == 1 else WHOLE_PICTURE)


def _box_note(box: Box) -> str:
    if box == WHOLE_PICTURE:
        return "The box is the whole picture; --box x1,y1,x2,y2 gives another."
    return f"The box is that of all clips there: {box.x1:g},{box.y1:g},{box.x2:g},{box.y2:g}."


def _summary(file: Path, before: Sequence[LabelledClip], after: Sequence[LabelledClip]) -> str:
    """How many stretches are new."""
    old = {(clip.path, one) for clip in before for one in (*clip.highlights, *clip.negatives)}
    highlights = sum((clip.path, one) not in old for clip in after for one in clip.highlights)
    negatives = sum((clip.path, one) not in old for clip in after for one in clip.negatives)
    return f"{file} is up to date. New: highlights {highlights}, hard negatives {negatives}."
