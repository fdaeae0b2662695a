"""Add a review's decisions to the labels that a model is trained on.

Kept segments become highlights and rejected ones hard negatives, each in the time of its file.
The rest stays unknown. Adding the same decisions twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.clips.images import Box
from experiments.highlights.labels import (
    WHOLE_IMAGE,
    Interval,
    LabelError,
    LabelledClip,
    is_ours,
    read_labels,
    write_labels,
)
from experiments.highlights.review.decisions import SHORTEST, Decisions, Span, without
from experiments.media.recording import Chunk
from preprocess.video.time_ranges import format_time

_DIGITS = 3  # decimals of a second in the labels; rounded, so that equal times compare equal


@dataclass(frozen=True)
class Verdicts:
    """Decisions on one file, in seconds of the file.

    Args:
        highlights: stretches that are kept, sorted.
        negatives: stretches that are rejected, sorted.
        claims: stretches that the decisions cover; they replace earlier rows there.
    """

    highlights: list[Span]
    negatives: list[Span]
    claims: list[Span]


def add_to_labels(
    file: Path,
    decisions: Decisions,
    chunks: Sequence[Chunk],
    *,
    box: Box | None,
    group: str,
    left_alone: Sequence[Span] = (),
    writes: bool = True,
) -> list[str]:
    """Add the decisions to a label file. Returns sentences on what is new in it.

    Args:
        file: label file of our kind; made if it does not exist.
        decisions: decisions of the review.
        chunks: the recording.
        box: part of the frame that is labelled; None for the one that all clips of the file
            have, or else the whole frame.
        group: group of files that are new to the labels.
        left_alone: stretches that were looked through and in which nothing was found, in seconds
            of the recording. They become negatives, except where a highlight is labelled.
        writes: whether to write the file, or only to say what would be new.

    Raises:
        LabelError: if the file is of the original's kind, or a line of it is wrong.
        OSError: if it cannot be read.
        WriteError: if it cannot be written.
    """
    if not len(decisions) and not left_alone:
        return ["Nothing is decided yet: accept, reject or add a segment first."]
    before = clips_there(file)
    # All clips of the file are kept; those of this recording change.
    clips, notes = list(before), list[str]()
    for chunk in chunks:
        verdicts = verdicts_in(decisions, chunk)
        passed = _within(left_alone, chunk)
        if not verdicts.claims and not passed:
            continue
        place = clip_place(clips, chunk.path, file)
        if place is None:
            place = len(clips)
            clips.append(new_clip(chunk.path, file, box or shared_box(before), group))
        # Another box would need another extraction of the clip, so one that is there stays.
        elif box not in (None, clips[place].box):
            notes.append(f"{chunk.path.name} keeps the box that it has in {file}.")
        clips[place] = _with_negatives(merged(clips[place], verdicts, notes), passed)
    if len(clips) > len(before) and box is None:
        notes.append(_box_note(shared_box(before) or WHOLE_IMAGE))
    if clips == before:
        return [f"{file} says all that already.", *notes]
    if writes:
        write_labels(file, clips)
    return [_summary(file, before, clips), *notes]


def clips_there(file: Path) -> list[LabelledClip]:
    """Read the clips of a label file that new rows extend; none if it does not exist.

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
    """Select the decisions on one file of a recording, in seconds of the file."""
    return Verdicts(
        _within((one.span for one in decisions if one.kept), chunk),
        _within((one.span for one in decisions if not one.kept), chunk),
        _within(decisions.claims, chunk),
    )


def merged(clip: LabelledClip, verdicts: Verdicts, notes: list[str]) -> LabelledClip:
    """Return a clip with the decisions added, which overrule its earlier labels.

    Args:
        clip: the clip in the labels.
        verdicts: decisions on its file.
        notes: list that gets a sentence for each stretch that said the contrary.
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


def _with_negatives(clip: LabelledClip, passed: Sequence[Span]) -> LabelledClip:
    """Return a clip with stretches in which nothing was found; its highlights stay."""
    if clip.rest_known:
        return clip  # all else is known to be none already
    found = [piece for one in passed for piece in without(one, _spans(clip.highlights))]
    found = [one for one in found if one[1] - one[0] >= SHORTEST]
    return replace(clip, negatives=_updated(_spans(clip.negatives), found, ()))


def _within(spans: Iterable[Span], chunk: Chunk) -> list[Span]:
    """Parts of spans that lie in a file, in seconds of the file, sorted."""
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
    """Stretches of one label: the old ones outside the claims, and the new ones.

    An old stretch and a new one that overlap are joined.
    """
    # A claim is cut out of the old stretches, except where a new stretch of this label covers it.
    gone = [piece for claim in claims for piece in without(claim, new)]
    result = [piece for one in old for piece in without(one, gone)]
    for one in new:
        met = [other for other in result if _overlap(one, other)]
        edges = [edge for span in (one, *met) for edge in span]
        result = [other for other in result if other not in met]
        result.append((min(edges), max(edges)))
    return tuple(Interval(*span) for span in sorted(result))


def clip_place(clips: Sequence[LabelledClip], path: Path, file: Path) -> int | None:
    """Index of the clip of a video, or None."""
    # Resolved, since the labels may name the video by a relative path or a link.
    places = [n for n, clip in enumerate(clips) if clip.path.resolve() == path.resolve()]
    if len(places) > 1:
        names = " and ".join(str(clips[n].path) for n in places)
        raise LabelError(f"{file} has one video as two clips, {names}; join them.")
    return places[0] if places else None


def new_clip(path: Path, file: Path, box: Box | None, group: str) -> LabelledClip:
    """Make a clip without labels, by default of the whole picture.

    Its path is relative if it lies below the labels' folder.
    """
    folder = file.absolute().parent
    if path.absolute().is_relative_to(folder):
        path = file.parent / path.absolute().relative_to(folder)
    return LabelledClip(path, box or WHOLE_IMAGE, (), group, rest_known=False)


def shared_box(clips: Sequence[LabelledClip]) -> Box | None:
    """Box that all clips have, or None."""
    boxes = {clip.box for clip in clips}
    return boxes.pop() if len(boxes) == 1 else None


def _box_note(box: Box) -> str:
    if box == WHOLE_IMAGE:
        return "The box is the whole picture; --box x1,y1,x2,y2 gives another."
    return f"The box is that of all clips there: {box.x1:g},{box.y1:g},{box.x2:g},{box.y2:g}."


def _summary(file: Path, before: Sequence[LabelledClip], after: Sequence[LabelledClip]) -> str:
    """Sentence on how many stretches are new, and how long they are."""
    old = {(clip.path, one) for clip in before for one in (*clip.highlights, *clip.negatives)}
    phrases = []
    for name in ("highlights", "negatives"):
        new = [one for clip in after for one in getattr(clip, name) if (clip.path, one) not in old]
        seconds = sum(one.end - one.start for one in new)
        phrases.append(f"{name} {len(new)} ({seconds:.1f} s)")
    return f"New in {file}: {', '.join(phrases)}."
