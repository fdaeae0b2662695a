"""Clips from a CSV list with labels and time ranges, or from Epic Kitchens' lists."""

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
from preprocess.video.time_ranges import ClipRange, FrameNumbers, Seconds, parse_time

SUBSETS = ("train", "validation", "test")
REQUIRED = ("video", "label")
OPTIONAL = ("start", "stop", "start_frame", "stop_frame", "group", "part", "labels")
BETWEEN_LABELS = "|"
"""Stands between the classes of a clip in a cell."""
_NUMBER = re.compile(r"([0-9]{1,18})(?:\.0*)?")  # pandas writes 234.0 where a cell is empty
EPIC_KITCHENS = "epic_kitchens"
EPIC_CLASS_NAMES = "class_names.json"
_EPIC_SUBSETS = {"train": "train", "val": "validation"}  # folder -> name of the part
_EPIC_COLUMNS = ("participant_id", "video_id", "start_frame", "stop_frame", "action_class")


@dataclass(frozen=True)
class ListedClip(Clip):
    """Clip that is a part of a video.

    Args:
        stretch: time range or frame numbers of the clip; None for the whole video.
        subset: "train", "validation" or "test" by the list, or None.
    """

    stretch: ClipRange | None = None
    subset: str | None = None


def read_list(file: str | os.PathLike[str]) -> list[ListedClip]:
    """Read the clips of a list, one per row, sorted by source.

    The columns are `video,label` and optionally `start,stop`, `start_frame,stop_frame`, `group`,
    `part` and `labels`. A video is a file or a folder of frames, relative to the list. The clip is
    [start, stop), in seconds or hh:mm:ss.mmm, or the frames with the numbers start_frame to
    stop_frame, both included; an empty cell is the beginning or the end. Without a group, all rows
    of a video are one group. `labels` holds all classes of clips that may have several, such as
    `Run|DriveCar`; `label` is one of them.

    Args:
        file: the list, CSV in UTF-8.

    Raises:
        PreprocessError: if it cannot be read, or a row is invalid; the message names the line.
    """
    file = Path(file)
    rows = read_rows(file, required=REQUIRED, optional=OPTIONAL)
    return each_once((row, _clip(row)) for row in rows)


def each_once(rows: Iterable[tuple[Row, ListedClip]]) -> list[ListedClip]:
    """Sort clips by source and refuse duplicates.

    Raises:
        PreprocessError: if a part of a video is listed twice.
    """
    # Duplicates would be counted twice in every score, or be in two parts of a split.
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
    stretch: ClipRange,
    group: str,
    subset: str | None,
    labels: tuple[str, ...] = (),
) -> ListedClip:
    """Create the clip of a list's row.

    Args:
        row: the row, for messages.
        path: the file, or the folder of frames.
        video: name of the video in the list.
        label: name of the class.
        stretch: time range or frame numbers of the clip.
        group: key of its scene.
        subset: its subset of the split by the list, or None.
        labels: names of all its classes, where clips may have several.

    Raises:
        PreprocessError: if there is no label, or a folder of frames is divided by time.
    """
    if not label:
        raise row.error("A row must have a label. Received none; fill it in or remove the row.")
    if isinstance(stretch, Seconds) and not stretch.is_whole and path.is_dir():
        raise row.error(
            f"A folder of frames has no times. {video} is one; give start_frame and stop_frame in "
            "place of start and stop."
        )
    # The source is for people and rounded to thousandths; the detail is exact and decides whether a
    # stored clip is still the same. A whole video is an ordinary clip.
    return ListedClip(
        path=path,
        source=video if stretch.is_whole else f"{video} [{stretch.name}]",
        class_name=official_spelling(label),
        group=group,
        detail="" if stretch.is_whole else str(stretch),
        stretch=None if stretch.is_whole else stretch,
        subset=subset,
        labels=labels,
    )


def frame_numbers(row: Row) -> FrameNumbers:
    """Frame numbers of a row, from `start_frame` and `stop_frame`.

    Raises:
        PreprocessError: if they are no numbers, or not in order.
    """
    first, last = (_number(row, name) for name in ("start_frame", "stop_frame"))
    try:
        return FrameNumbers(first, last)
    except ValueError as error:
        raise row.error(error) from error


def _clip(row: Row) -> ListedClip:
    """Create the clip of a row of a plain list."""
    text = row.cells["video"]
    # No path may have a zero byte: the system's functions raise ValueError for one.
    if not text or "\0" in text:
        raise row.error(f"A row must name a video. Received {text!r}; fill it in.")
    folder = row.file.parent
    # `a/../b.mp4`, `./b.mp4` and `b.mp4` are one video, and must have one source and group.
    video = Path(os.path.relpath(folder / text, folder)).as_posix()
    return listed_clip(
        row,
        path=folder / text,
        video=video,
        label=row.cells["label"],
        stretch=_stretch(row),
        group=row.cells.get("group") or video,
        subset=_subset(row),
        labels=_labels(row),
    )


def _labels(row: Row) -> tuple[str, ...]:
    """All classes of a row's clip; none without such a column."""
    if "labels" not in row.cells:
        return ()
    names = (name.strip() for name in row.cells["labels"].split(BETWEEN_LABELS))
    labels = tuple(dict.fromkeys(official_spelling(name) for name in names if name))
    if official_spelling(row.cells["label"]) not in labels:
        raise row.error(
            f"labels must hold all classes of the clip, label among them, as "
            f"{row.cells['label'] or 'Run'}{BETWEEN_LABELS}DriveCar. Received "
            f"{row.cells['labels']!r}; add it, or leave out the column."
        )
    return labels


def _stretch(row: Row) -> ClipRange:
    """Time range or frame numbers of a row; the whole video if all cells are empty."""
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
    """Frame number in a cell, or None if it is empty."""
    text = row.cells.get(name, "")
    if not text:
        return None
    found = _NUMBER.fullmatch(text)
    if not found:
        raise row.error(f"{name} must be the number of a frame, such as 234. Received {text!r}.")
    return int(found[1])


def _subset(row: Row) -> str | None:
    """Subset of the split in a row, or None without such a column."""
    if "part" not in row.cells:
        return None
    subset = row.cells["part"].lower()
    # An empty cell is refused too: half a split would leave clips out silently.
    if subset not in SUBSETS:
        raise row.error(
            f"part must be {', '.join(SUBSETS[:-1])} or {SUBSETS[-1]}. Received {subset!r}; write "
            "one of these, or leave out the column."
        )
    return subset


def is_epic_kitchens(folder: Path) -> bool:
    """Return True if a folder has Epic Kitchens' layout."""
    return any(_epic_list(folder, subset).is_file() for subset in _EPIC_SUBSETS)


def read_epic_kitchens(folder: Path) -> tuple[list[ListedClip], tuple[str, ...]]:
    """Read the actions in a folder of Epic Kitchens' layout, and their classes.

    Returns:
        Clips of the part "train" or "validation", sorted by source, and the classes in the order
        of `class_names.json`, or sorted if there is no such file.

    Raises:
        PreprocessError: if a file cannot be read, a row is invalid, or a label is not among the
            classes; the message names the line.
    """
    there = [subset for subset in _EPIC_SUBSETS if _epic_list(folder, subset).is_file()]
    rows = [
        (row, subset)
        for subset in there
        for row in read_rows(_epic_list(folder, subset), required=_EPIC_COLUMNS)
    ]
    class_names = _read_epic_class_names(folder / EPIC_CLASS_NAMES)
    if class_names is not None:
        _check_epic_labels(rows, class_names, folder / EPIC_CLASS_NAMES)
    clips = each_once((row, _action_clip(row, folder, subset)) for row, subset in rows)
    return clips, class_names or tuple(sorted({clip.class_name for clip in clips}))


def unlisted_videos(folder: Path, clips: Iterable[ListedClip]) -> str:
    """Notice about videos, such as `train/P01/P01_09`, that no row names; empty if none."""
    listed = {os.path.normpath(clip.path) for clip in clips}
    found = sorted(
        path for subset in _EPIC_SUBSETS for path in folder.glob(f"{subset}/[!.]*/[!.]*")
    )
    left_out = [path for path in found if os.path.normpath(path) not in listed]
    if not left_out:
        return ""
    first, number = left_out[0].relative_to(folder), len(left_out)
    return f"Left out: no row names {number} of {len(found)} videos, {first} for instance."


def _epic_list(folder: Path, subset: str) -> Path:
    """Path of the list of the actions in the folder "train" or "val"."""
    return folder / f"{subset}_action_classes.csv"


def _action_clip(row: Row, folder: Path, subset: str) -> ListedClip:
    """Create the clip of one action."""
    for name in _EPIC_COLUMNS[:-1]:
        if not row.cells[name]:
            raise row.error(f"A row must have a {name}. Received none; fill it in.")
    video = f"{row.cells['participant_id']}/{row.cells['video_id']}"
    return listed_clip(
        row,
        path=folder / subset / video,
        video=f"{subset}/{video}",
        label=row.cells["action_class"],
        stretch=frame_numbers(row),
        # Without the folder: the same video in both would be one scene.
        group=video,
        subset=_EPIC_SUBSETS[subset],
    )


def _check_epic_labels(
    rows: list[tuple[Row, str]], class_names: tuple[str, ...], file: Path
) -> None:
    """Refuse labels that `class_names.json` does not name."""
    for row, _ in rows:
        if row.cells["action_class"] not in class_names:
            raise row.error(
                f"action_class must be one of the {len(class_names)} in {file}. Received "
                f"{row.cells['action_class']!r}; correct it, or add it there."
            )


def _read_epic_class_names(file: Path) -> tuple[str, ...] | None:
    """Read the classes in label order, from a list of names or a dict of numbers from 0."""
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
    # The original's files have stray spaces around names.
    stripped = tuple(name.strip() for name in names if isinstance(name, str) and name.strip())
    if not names or len(set(stripped)) != len(names):
        raise PreprocessError(
            f"{file} must be a list of different names, or number them from 0, as "
            '{"open bag": 0, "take bag": 1}. '
            f"Received {json.dumps(values)[:80]}."
        )
    return stripped
