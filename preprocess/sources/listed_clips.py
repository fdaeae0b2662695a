"""A list of stretches of videos, in a CSV file, to clips."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.csv_rows import Row, read_rows
from preprocess.sources.catalog import official_spelling
from preprocess.sources.clips import Clip
from preprocess.video.time_ranges import FrameNumbers, Seconds, Stretch
from preprocess.video.times import parse_time

PARTS = ("train", "validation", "test")
REQUIRED = ("video", "label")
OPTIONAL = ("start", "stop", "start_frame", "stop_frame", "group", "part")
_NUMBER = re.compile(r"([0-9]{1,18})(?:\.0*)?")  # pandas writes 234.0 where a cell is empty


@dataclass(frozen=True)
class ListedClip(Clip):
    """A stretch of a video.

    Args:
        stretch: what of the video belongs to it; None for all.
        part: "train", "validation" or "test", where the list says so.
    """

    stretch: Stretch | None = None
    part: str | None = None


def read_list(file: str | os.PathLike[str]) -> list[ListedClip]:
    """The clips of a list, one a row, sorted by source.

    The columns are `video,label` and, where wanted, `start,stop`, `start_frame,stop_frame`,
    `group` and `part`. A video is a file or a folder of frames, relative to the list. The
    stretch is [start, stop), in seconds or hh:mm:ss.mmm, or the frames of the numbers
    start_frame to stop_frame, both included; an empty cell is the beginning or the end. Without
    a group, all rows of a video are one.

    Args:
        file: the list, CSV in UTF-8.

    Raises:
        PreprocessError: if it cannot be read, or a row says what cannot be; the message names
            the line.
    """
    file = Path(file)
    rows = read_rows(file, required=REQUIRED, optional=OPTIONAL)
    return each_once((row, _clip(row)) for row in rows)


def each_once(rows: Iterable[tuple[Row, ListedClip]]) -> list[ListedClip]:
    """Clips sorted by source.

    Raises:
        PreprocessError: if a stretch of a video is there twice.
    """
    lines: dict[str, Row] = {}
    clips = []
    for row, clip in rows:
        first = lines.setdefault(clip.source, row)
        if first is not row:
            raise row.error(
                "A stretch of a video may stand in a list once, to the thousandth of a second. "
                f"Received {clip.source} again, which is on line {first.line}; remove either."
            )
        clips.append(clip)
    return sorted(clips, key=lambda clip: clip.source)


def listed_clip(
    row: Row,
    *,
    path: Path,
    video: str,
    label: str,
    stretch: Stretch,
    group: str,
    part: str | None,
) -> ListedClip:
    """The clip that a row of a list tells.

    Args:
        row: for messages.
        path: the file, or the folder of frames.
        video: what it is called.
        label: the class.
        stretch: what of it belongs to the clip.
        group: its scene.
        part: where the list says so.

    Raises:
        PreprocessError: if there is no label, or a folder of frames is parted by time.
    """
    if not label:
        raise row.error("A row must have a label. Received none; fill it in or remove the row.")
    if isinstance(stretch, Seconds) and not stretch.is_whole and path.is_dir():
        raise row.error(
            f"A folder of frames has no times. {video} is one; give start_frame and stop_frame in "
            "place of start and stop."
        )
    return ListedClip(
        path=path,
        source=video if stretch.is_whole else f"{video} [{stretch.name}]",
        class_name=official_spelling(label),
        group=group,
        detail="" if stretch.is_whole else str(stretch),
        stretch=None if stretch.is_whole else stretch,
        part=part,
    )


def frame_numbers(row: Row) -> FrameNumbers:
    """What `start_frame` and `stop_frame` of a row say.

    Raises:
        PreprocessError: if they are no numbers, or not in order.
    """
    first, last = (_number(row, name) for name in ("start_frame", "stop_frame"))
    try:
        return FrameNumbers(first, last)
    except ValueError as error:
        raise row.error(error) from error


def _clip(row: Row) -> ListedClip:
    text = row.cells["video"]
    if not text or "\0" in text:
        raise row.error(f"A row must name a video. Received {text!r}; fill it in.")
    folder = row.file.parent
    video = Path(os.path.relpath(folder / text, folder)).as_posix()
    return listed_clip(
        row,
        path=folder / text,
        video=video,
        label=row.cells["label"],
        stretch=_stretch(row),
        group=row.cells.get("group") or video,
        part=_part(row),
    )


def _stretch(row: Row) -> Stretch:
    times = [row.cells.get(name, "") for name in ("start", "stop")]
    numbers = [row.cells.get(name, "") for name in ("start_frame", "stop_frame")]
    if any(numbers):
        if any(times):
            raise row.error(
                "A stretch is told by start and stop or by start_frame and stop_frame. Received "
                f"{', '.join(filter(None, times + numbers))}; leave either pair empty."
            )
        return frame_numbers(row)
    try:
        start = parse_time(times[0]) if times[0] else 0.0
        return Seconds(start, parse_time(times[1])) if times[1] else Seconds(start)
    except ValueError as error:
        raise row.error(error) from error


def _number(row: Row, name: str) -> int | None:
    text = row.cells.get(name, "")
    if not text:
        return None
    found = _NUMBER.fullmatch(text)
    if not found:
        raise row.error(f"{name} must be the number of a frame, such as 234. Received {text!r}.")
    return int(found[1])


def _part(row: Row) -> str | None:
    if "part" not in row.cells:
        return None
    part = row.cells["part"].lower()
    if part not in PARTS:
        raise row.error(
            f"part must be {', '.join(PARTS[:-1])} or {PARTS[-1]}. Received {part!r}; write one "
            "of these, or leave out the column."
        )
    return part
