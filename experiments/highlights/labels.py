"""Label files: which stretches of which clips are highlights.

Two kinds of file are read. The original's `data.csv` has a clip a line, fields parted by spaces:

    clips/a.mp4 "[0.78, 0.13, 0.97, 0.37]" "(2.5, 9.0)" "(24.2, 31.8)"

Ours has a header and a stretch a line, with times as seconds, mm:ss or hh:mm:ss:

    path,x1,y1,x2,y2,start,end,label,group
    clips/a.mp4,0.78,0.13,0.97,0.37,2.5,9.0,highlight,monday
    clips/a.mp4,0.78,0.13,0.97,0.37,00:00:12,00:00:15.5,none,monday
    clips/b.mp4,0.78,0.13,0.97,0.37,,,none,monday
    clips/c.mp4,0.78,0.13,0.97,0.37,7.5,9.0,highlight,monday
    clips/c.mp4,0.78,0.13,0.97,0.37,,,unknown,monday

The second row is a hard negative: a stretch that was mistaken for a highlight. The third is a
clip without highlights. The last row says that nothing is known of the rest of its clip; without
such a row the rest of a clip is no highlight. `group` may be left out; a clip is then a group of
its own. x1 to y2 may be left out; the box is then the whole picture. Paths are relative to the
folder of the label file.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import InputError
from common.files import write_text
from experiments.clips.images import Box
from preprocess.video.time_ranges import parse_time

HIGHLIGHT = "highlight"
NONE = "none"
UNKNOWN = "unknown"
BOX_COLUMNS = ("x1", "y1", "x2", "y2")
COLUMNS = ("path", *BOX_COLUMNS, "start", "end", "label")
GROUP = "group"
WHOLE_IMAGE = Box(0.0, 0.0, 1.0, 1.0)
"""Box of a clip whose labels name none."""


class LabelError(InputError):
    """Error in a label file; the message names the file and the line."""


@dataclass(frozen=True, order=True)
class Interval:
    """Stretch [start, end) of a clip, in seconds.

    Raises:
        InputError: unless 0 <= start < end, both finite.
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end < math.inf:
            raise InputError(
                "A stretch must start at 0 or later and end after its start. "
                f"Received {self.start} to {self.end} seconds."
            )

    def overlaps(self, other: Interval) -> bool:
        """Return whether two stretches share time; touching ones do not."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class LabelledClip:
    """One clip with its labels.

    Args:
        path: the video file.
        box: part of the frame that shows the excitement, such as a face camera.
        highlights: stretches that are highlights, sorted, without overlap.
        group: name of its group; a split never separates clips of one group.
        negatives: stretches that were mistaken for highlights, sorted.
        rest_known: whether the rest of the clip is no highlight; if not, it is unknown, and
            nothing is learnt from it.

    Raises:
        InputError: if the stretches contradict each other.
    """

    path: Path
    box: Box
    highlights: tuple[Interval, ...]
    group: str
    negatives: tuple[Interval, ...] = ()
    rest_known: bool = True

    def __post_init__(self) -> None:
        for this, following in zip(self.highlights, self.highlights[1:], strict=False):
            if following.start < this.end:
                raise InputError(
                    f"Highlights of a clip must be sorted and not overlap. {self.path} has "
                    f"{this} before {following}."
                )
        if any(one.overlaps(other) for one in self.highlights for other in self.negatives):
            raise InputError(f"A stretch of {self.path} is a highlight and a negative at once.")

    @property
    def is_blank(self) -> bool:
        """Whether nothing at all is known of the clip."""
        return not (self.rest_known or self.highlights or self.negatives)


def is_highlight(clip: LabelledClip, time: float) -> bool:
    """Return whether a time of the clip, in seconds, lies in a highlight: start <= time < end."""
    return any(interval.start <= time < interval.end for interval in clip.highlights)


def read_labels(file: Path) -> list[LabelledClip]:
    """Read the clips of a label file of either kind, in the order of their first rows.

    Whether the videos exist is not checked.

    Raises:
        LabelError: if a line breaks a rule; it names the file and the line.
        OSError: if the file cannot be read.
    """
    try:
        # Spreadsheets write a byte order mark, which must not become part of the first path.
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise Place(file, line).error(
            f"A label file must be UTF-8. Received the byte 0x{error.object[error.start]:02x}; "
            "save it as UTF-8 text."
        ) from error
    drafts = _ours(file, text) if _is_ours(text) else _originals(file, text)
    if not drafts:
        raise Place(file, 1).error(f"A label file must name at least one clip. {_KINDS}")
    return [draft.finished(source) for source, draft in drafts.items()]


def write_labels(file: Path, clips: Iterable[LabelledClip]) -> None:
    """Write clips as a file of our kind, which appears when it is complete.

    `read_labels` gives the same clips back. A relative path outside the file's folder is written
    with `..`.

    Raises:
        LabelError: if a clip comes twice, or a path is not UTF-8.
        WriteError: if the file cannot be written.
    """
    clips = list(clips)
    paths = [clip.path for clip in clips]
    if twice := {str(path) for path in paths if paths.count(path) > 1}:
        raise LabelError(f"A clip may be written once. Received {min(twice)} more than once.")
    rows = [row for clip in clips for row in _rows(clip, file.parent)]
    # Python's csv quotes a field that holds a character of the line ending. A path may hold a
    # carriage return, so the ending must hold one too.
    returns = any("\r" in field for row in rows for field in row)
    text = io.StringIO(newline="")
    ending = "\r\n" if returns else "\n"
    writer = csv.writer(text, lineterminator=ending)
    writer.writerows([(*COLUMNS, GROUP), *rows])
    try:
        text.getvalue().encode("utf-8")
    except UnicodeEncodeError as error:
        name = text.getvalue()[error.start - 40 : error.end + 40]
        raise LabelError(f"Paths must be UTF-8. Rename the file near {name!r}.") from error
    write_text(file, text.getvalue())


def convert_labels(source: Path, target: Path) -> int:
    """Convert a label file of either kind to one of ours. Returns the number of clips."""
    clips = read_labels(source)
    write_labels(target, clips)
    return len(clips)


def _rows(clip: LabelledClip, folder: Path) -> list[tuple[str, ...]]:
    # `repr` is the shortest text that reads as the very same number.
    box = (repr(float(value)) for value in (clip.box.x1, clip.box.y1, clip.box.x2, clip.box.y2))
    head = (_path_text(clip.path, folder), *box)
    labelled = [(interval, HIGHLIGHT) for interval in clip.highlights]
    labelled += [(interval, NONE) for interval in clip.negatives]
    stretches = [(repr(float(one.start)), repr(float(one.end)), label) for one, label in labelled]
    if not clip.rest_known:
        stretches.append(("", "", UNKNOWN))
    return [(*head, *stretch, clip.group) for stretch in stretches or [("", "", NONE)]]


def _path_text(path: Path, folder: Path) -> str:
    if path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    if path.is_absolute():
        return path.as_posix()
    return Path(os.path.relpath(path, folder)).as_posix()


_KINDS = (
    f"Expected a header {','.join(COLUMNS)}[,{GROUP}], where the box may be left out, or lines "
    "such as "
    'clip.mp4 "[0.7, 0.1, 0.9, 0.4]" "(2.5, 9.0)".'
)


@dataclass(frozen=True)
class Place:
    """One line of a file, for messages."""

    file: Path
    line: int

    def error(self, message: object) -> LabelError:
        """Make an error that names this line."""
        return LabelError(f"{self.file}, line {self.line}: {message}")


@dataclass
class Draft:
    """Clip whose rows are still being read."""

    path: Path
    box: Box
    place: Place
    group: str = ""
    highlights: dict[Interval, Place] = field(default_factory=dict)
    negatives: dict[Interval, Place] = field(default_factory=dict)
    rest: dict[str, Place] = field(default_factory=dict)  # rows without times, by their label

    def add(self, interval: Interval, label: str, place: Place) -> None:
        """Add a stretch; the same row twice counts once.

        Raises:
            LabelError: if it overlaps a stretch that it must not overlap.
        """
        # A highlight and any other stretch must not overlap; negatives may overlap each other.
        others = dict(self.highlights)
        if label == HIGHLIGHT:
            others.pop(interval, None)
            others |= self.negatives
        for other, line in others.items():
            if interval.overlaps(other):
                raise place.error(
                    f"Stretches of a clip must not overlap. {interval.start} to {interval.end} "
                    f"overlaps {other.start} to {other.end} of line {line.line}; join them, or "
                    "let one end where the other starts."
                )
        (self.highlights if label == HIGHLIGHT else self.negatives)[interval] = place

    def finished(self, default_group: str) -> LabelledClip:
        """Make the clip once all rows are read.

        Raises:
            LabelError: if its rows contradict each other.
        """
        if len(self.rest) > 1:
            first, last = sorted(self.rest.values(), key=lambda place: place.line)
            raise last.error(
                f"What no other row speaks of is {NONE!r} or {UNKNOWN!r}. {self.path} has a row "
                f"without times for each, here and on line {first.line}; remove either."
            )
        if NONE in self.rest and self.highlights:
            raise self.rest[NONE].error(
                f"A row without times says that {self.path} has no highlights, but line "
                f"{min(place.line for place in self.highlights.values())} has one; remove either."
            )
        return LabelledClip(
            path=self.path,
            box=self.box,
            highlights=tuple(sorted(self.highlights)),
            group=self.group or default_group,
            negatives=tuple(sorted(self.negatives)),
            rest_known=UNKNOWN not in self.rest,
        )


def is_ours(file: Path) -> bool:
    """Return whether a label file has our columns, by its first line.

    Raises:
        OSError: if the file cannot be read.
    """
    return _is_ours(file.read_bytes().decode("utf-8-sig", errors="replace"))


def _is_ours(text: str) -> bool:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return first.split(",")[0].strip(' "').lower() == COLUMNS[0]


def _records(file: Path, text: str, delimiter: str) -> Iterator[tuple[Place, list[str]]]:
    """Yield rows that are not blank, each with the line on which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    place = Place(file, 1)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield place, row
            place = Place(file, reader.line_num + 1)  # a quoted path may hold line breaks
    except csv.Error as error:
        raise place.error(f"The row cannot be parted into fields: {error}. {_KINDS}") from error


def _originals(file: Path, text: str) -> dict[str, Draft]:
    drafts: dict[str, Draft] = {}
    for place, row in _records(file, text, " "):
        cells = [cell for cell in row if cell]  # two spaces are one
        if len(cells) < 2:
            raise place.error(f"A line must hold a path and a box. Received {row!r}. {_KINDS}")
        source = _source(place, cells[0])
        if source in drafts:
            raise place.error(
                f"A clip has one line. {source} is on line {drafts[source].place.line} too; "
                "put its stretches on one."
            )
        draft = drafts[source] = _draft(place, source, _numbers(place, cells[1], "[]", 4))
        for cell in cells[2:]:
            start, end = _numbers(place, cell, "()", 2)
            draft.add(_interval(place, start, end), HIGHLIGHT, place)
    return drafts


def _numbers(place: Place, cell: str, brackets: str, count: int) -> list[str]:
    """Split numbers in brackets: '(2.5, 9.0)' -> ['2.5', '9.0']."""
    inner = re.fullmatch(rf"\s*\{brackets[0]}(.*)\{brackets[1]}\s*", cell, re.DOTALL)
    parts = inner[1].split(",") if inner else []
    if len(parts) != count:
        what = "A box must be [x1, y1, x2, y2]" if count == 4 else "A stretch must be (start, end)"
        raise place.error(f"{what}. Received {cell!r}.")
    return parts


def _ours(file: Path, text: str) -> dict[str, Draft]:
    records = _records(file, text, ",")
    place, header = next(records)
    names = [name.strip().lower() for name in header]
    # In any order, as spreadsheets may move columns; but none may be missing or unknown.
    unboxed = [name for name in COLUMNS if name not in BOX_COLUMNS]
    kinds = [[*kind, *group] for kind in (COLUMNS, unboxed) for group in ((), (GROUP,))]
    if sorted(names) not in map(sorted, kinds):
        raise place.error(
            f"The columns must be {','.join(COLUMNS)}[,{GROUP}], where {','.join(BOX_COLUMNS)} may "
            f"be left out. Received {header}."
        )
    drafts: dict[str, Draft] = {}
    for place, row in records:
        if len(row) != len(names):
            raise place.error(
                f"A row must have the header's {len(names)} columns. Received {len(row)}: {row!r}; "
                "put a path with a comma in quotes."
            )
        _add_row(place, dict(zip(names, row, strict=True)), drafts)
    return drafts


def _add_row(place: Place, cells: dict[str, str], drafts: dict[str, Draft]) -> None:
    source = _source(place, cells["path"])
    # Every row has the box, so that a row can be read without the others; they must agree.
    box = [cells.get(name, "").strip() for name in BOX_COLUMNS]
    whole = WHOLE_IMAGE
    box = box if any(box) else [str(value) for value in (whole.x1, whole.y1, whole.x2, whole.y2)]
    fresh = _draft(place, source, box)
    draft = drafts.setdefault(source, fresh)
    if draft.box != fresh.box:
        raise place.error(
            f"A clip has one box. {source} has {draft.box} on line {draft.place.line} and "
            f"{fresh.box} here."
        )
    group = cells.get(GROUP, "")
    if group and draft.group and group != draft.group:
        raise place.error(
            f"A clip has one group. {source} is in {draft.group!r} above and in {group!r} here."
        )
    draft.group = draft.group or group
    _add_stretch(place, cells, draft)


def _add_stretch(place: Place, cells: dict[str, str], draft: Draft) -> None:
    start, end, label = (cells[name].strip() for name in ("start", "end", "label"))
    label = label.lower()
    if label not in (HIGHLIGHT, NONE, UNKNOWN, ""):
        raise place.error(
            f"A label must be {HIGHLIGHT!r}, {NONE!r} or {UNKNOWN!r}. Received {label!r}."
        )
    if not start and not end and label != HIGHLIGHT:
        draft.rest[label or NONE] = place
        return
    if label == UNKNOWN:
        raise place.error(
            f"A row {UNKNOWN!r} is of all that no other row of the clip speaks of, and has no "
            f"times. Received {start!r} and {end!r}; leave them empty, or remove the row."
        )
    if not (start and end and label):
        raise place.error(
            f"A stretch needs start, end and a label, {HIGHLIGHT!r} or {NONE!r}; a clip without "
            f"highlights has neither start nor end. Received {start!r}, {end!r}, {label!r}."
        )
    draft.add(_interval(place, start, end), label, place)


def _source(place: Place, text: str) -> str:
    """Normalize a path: './a.mp4' and 'a.mp4' are the same clip."""
    if not text.strip() or "\0" in text:
        raise place.error(f"A row must name the path of a clip. Received {text!r}.")
    return Path(text).as_posix()


def _draft(place: Place, source: str, box: list[str]) -> Draft:
    try:
        return Draft(place.file.parent / source, Box(*map(_coordinate, box)), place)
    except ValueError as error:
        raise place.error(error) from error


def _coordinate(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"A box must be four numbers. Received {text!r}.") from error


def _interval(place: Place, start: str, end: str) -> Interval:
    try:
        return Interval(parse_time(start), parse_time(end))
    except ValueError as error:
        raise place.error(error) from error
