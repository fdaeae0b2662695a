"""Labels: which stretches of which clips are highlights.

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
clip without highlights. Of the last clip, no more is known than what its other rows say; where
no row says `unknown`, what no row speaks of is no highlight. `group` may be left out; a clip is
then a group of its own. Paths are relative to the folder of the label file.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from common.files import write_text
from experiments.highlights.labels import rows
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

__all__ = [
    "Box",
    "Interval",
    "LabelError",
    "LabelledClip",
    "convert_labels",
    "is_highlight",
    "read_labels",
    "write_labels",
]


def is_highlight(clip: LabelledClip, time: float) -> bool:
    """Whether a moment of the clip, in seconds, lies in a highlight: start <= time < end."""
    return any(interval.start <= time < interval.end for interval in clip.highlights)


def read_labels(file: Path) -> list[LabelledClip]:
    """The clips of a label file of either kind, in the order of their first rows.

    Whether the videos exist is not looked at.

    Raises:
        LabelError: if a line breaks a rule; it names the file and the line.
        OSError: if the file cannot be read.
    """
    return rows.read(file)


def write_labels(file: Path, clips: Iterable[LabelledClip]) -> None:
    """Write clips as a file of our kind, in one step.

    `read_labels` gives the same clips back; a relative path outside the file's folder is
    written with `..`.

    Raises:
        LabelError: if a clip comes twice, or a path is no UTF-8.
        WriteError: if the disk does not take it.
    """
    clips = list(clips)
    paths = [clip.path for clip in clips]
    if twice := {str(path) for path in paths if paths.count(path) > 1}:
        raise LabelError(f"A clip may be written once. Received {min(twice)} more than once.")
    rows = [row for clip in clips for row in _rows(clip, file.parent)]
    returns = any("\r" in field for row in rows for field in row)
    text = io.StringIO(newline="")
    ending = "\r\n" if returns else "\n"  # what is in the ending is quoted in a name
    writer = csv.writer(text, lineterminator=ending)
    writer.writerows([(*COLUMNS, GROUP), *rows])
    try:
        text.getvalue().encode("utf-8")
    except UnicodeEncodeError as error:
        name = text.getvalue()[error.start - 40 : error.end + 40]
        raise LabelError(f"Paths must be UTF-8. Rename the file near {name!r}.") from error
    write_text(file, text.getvalue())


def convert_labels(source: Path, target: Path) -> int:
    """Write a label file of either kind as one of ours. Returns the number of clips."""
    clips = read_labels(source)
    write_labels(target, clips)
    return len(clips)


def _rows(clip: LabelledClip, folder: Path) -> list[tuple[str, ...]]:
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
