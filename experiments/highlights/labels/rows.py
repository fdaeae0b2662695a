"""The lines of a label file to clips: both kinds, and what each line may not say."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import InputError
from experiments.highlights.labels.types import (
    COLUMNS,
    GROUP,
    HIGHLIGHT,
    NONE,
    UNKNOWN,
    Box,
    Interval,
    LabelError,
    LabelledClip,
)
from preprocess.video.times import parse_time

_KINDS = (
    f"Expected a header {','.join(COLUMNS)}[,{GROUP}], or lines such as "
    'clip.mp4 "[0.7, 0.1, 0.9, 0.4]" "(2.5, 9.0)".'
)


@dataclass(frozen=True)
class Place:
    """A line of a file, for messages."""

    file: Path
    line: int

    def error(self, message: object) -> LabelError:
        """What is wrong there."""
        return LabelError(f"{self.file}, line {self.line}: {message}")


@dataclass
class Draft:
    """A clip while its rows are read."""

    path: Path
    box: Box
    place: Place
    group: str = ""
    highlights: dict[Interval, Place] = field(default_factory=dict)
    negatives: dict[Interval, Place] = field(default_factory=dict)
    rest: dict[str, Place] = field(default_factory=dict)  # rows without times, by their label

    def add(self, interval: Interval, label: str, place: Place) -> None:
        """A stretch; the same row twice is one."""
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
        """The clip, once all rows are read."""
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


def read(file: Path) -> list[LabelledClip]:
    """See `labels.read_labels`."""
    try:
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


def is_ours(file: Path) -> bool:
    """Whether a label file is of our kind, by its first line.

    Raises:
        OSError: if the file cannot be read.
    """
    return _is_ours(file.read_bytes().decode("utf-8-sig", errors="replace"))


def _is_ours(text: str) -> bool:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return first.split(",")[0].strip(' "').lower() == COLUMNS[0]


def _records(file: Path, text: str, delimiter: str) -> Iterator[tuple[Place, list[str]]]:
    """Rows that are not blank, each with the line it begins on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    place = Place(file, 1)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield place, row
            place = Place(file, reader.line_num + 1)
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
    """'(2.5, 9.0)' -> ['2.5', '9.0']."""
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
    if sorted(names) not in (sorted(COLUMNS), sorted((*COLUMNS, GROUP))):
        raise place.error(f"The columns must be {','.join(COLUMNS)}[,{GROUP}]. Received {header}.")
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
    fresh = _draft(place, source, [cells[name] for name in ("x1", "y1", "x2", "y2")])
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
    """The path as written, but './a.mp4' and 'a.mp4' are one."""
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
