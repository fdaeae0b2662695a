"""Clips that a CSV lists with their labels and time ranges, Epic Kitchens among them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.csv_rows import Row, read_rows
from preprocess.errors import PreprocessError
from preprocess.sources.catalog import official_spelling
from preprocess.sources.clips import Clip
from preprocess.video.time_ranges import FrameNumbers, Seconds, Stretch, parse_time

PARTS = ("train", "validation", "test")
REQUIRED = ("video", "label")
OPTIONAL = ("start", "stop", "start_frame", "stop_frame", "group", "part")
_NUMBER = re.compile(r"([0-9]{1,18})(?:\.0*)?")  # pandas writes 234.0 where a cell is empty
EPIC_KITCHENS = "epic_kitchens"
EPIC_CLASS_NAMES = "class_names.json"
_EPIC_SUBSETS = {"train": "train", "val": "validation"}  # our name, by that of the folder
_EPIC_COLUMNS = ("participant_id", "video_id", "start_frame", "stop_frame", "action_class")


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


def is_epic_kitchens(folder: Path) -> bool:
    """Whether a folder is laid out so."""
    return any(_epic_list(folder, part).is_file() for part in _EPIC_SUBSETS)


def read_epic_kitchens(folder: Path) -> tuple[list[ListedClip], tuple[str, ...]]:
    """The actions in a folder, sorted by source, and the classes.

    Returns:
        Clips, of the part "train" or "validation", and the classes in the order of
        `class_names.json`, or sorted where there is no such file.

    Raises:
        PreprocessError: if a file cannot be read, a row says what cannot be, or a label is not
            among the classes; the message names the line.
    """
    there = [part for part in _EPIC_SUBSETS if _epic_list(folder, part).is_file()]
    rows = [
        (row, part)
        for part in there
        for row in read_rows(_epic_list(folder, part), required=_EPIC_COLUMNS)
    ]
    class_names = _read_epic_class_names(folder / EPIC_CLASS_NAMES)
    if class_names is not None:
        _check_epic_labels(rows, class_names, folder / EPIC_CLASS_NAMES)
    clips = each_once((row, _action_clip(row, folder, part)) for row, part in rows)
    return clips, class_names or tuple(sorted({clip.class_name for clip in clips}))


def unlisted_videos(folder: Path, clips: Iterable[ListedClip]) -> str:
    """Which videos, `train/P01/P01_09` and the like, no row names, for a person; empty if none."""
    listed = {os.path.normpath(clip.path) for clip in clips}
    found = sorted(path for part in _EPIC_SUBSETS for path in folder.glob(f"{part}/[!.]*/[!.]*"))
    left_out = [path for path in found if os.path.normpath(path) not in listed]
    if not left_out:
        return ""
    first, number = left_out[0].relative_to(folder), len(left_out)
    return f"Left out: no row names {number} of {len(found)} videos, {first} for instance."


def _epic_list(folder: Path, part: str) -> Path:
    return folder / f"{part}_action_classes.csv"


def _action_clip(row: Row, folder: Path, part: str) -> ListedClip:
    for name in _EPIC_COLUMNS[:-1]:
        if not row.cells[name]:
            raise row.error(f"A row must have a {name}. Received none; fill it in.")
    video = f"{row.cells['participant_id']}/{row.cells['video_id']}"
    return listed_clip(
        row,
        path=folder / part / video,
        video=f"{part}/{video}",
        label=row.cells["action_class"],
        stretch=frame_numbers(row),
        group=video,
        part=_EPIC_SUBSETS[part],
    )


def _check_epic_labels(
    rows: list[tuple[Row, str]], class_names: tuple[str, ...], file: Path
) -> None:
    for row, _ in rows:
        if row.cells["action_class"] not in class_names:
            raise row.error(
                f"action_class must be one of the {len(class_names)} in {file}. Received "
                f"{row.cells['action_class']!r}; correct it, or add it there."
            )


def _read_epic_class_names(file: Path) -> tuple[str, ...] | None:
    """The classes in label order: a list of names, or numbers from 0 by name."""
    try:
        values: Any = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PreprocessError(f"Cannot read {file}: {error}.") from error
    names = list(values) if isinstance(values, dict | list) else []
    if isinstance(values, dict):
        numbers = list(values.values())
        is_numbered = all(type(number) is int for number in numbers)
        if not is_numbered or sorted(numbers) != list(range(len(numbers))):
            names = []
        names = sorted(names, key=values.__getitem__)
    stripped = tuple(name.strip() for name in names if isinstance(name, str) and name.strip())
    if not names or len(set(stripped)) != len(names):
        raise PreprocessError(
            f"{file} must be a list of different names, or number them from 0, as "
            '{"open bag": 0, "take bag": 1}. '
            f"Received {json.dumps(values)[:80]}."
        )
    return stripped
