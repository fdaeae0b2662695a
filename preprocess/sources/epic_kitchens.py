"""Epic Kitchens as fran6co/epic_kitchens lays it out: frame folders and two CSVs of actions.

`train_action_classes.csv` and `val_action_classes.csv` have a row for each action; its frames are
`train/P01/P01_09/frame_0000000234.jpg` and on, numbers start_frame to stop_frame, both included.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.csv_rows import Row, read_rows
from preprocess.errors import PreprocessError
from preprocess.sources.listed_clips import ListedClip, each_once, frame_numbers, listed_clip

NAME = "epic_kitchens"
CLASS_NAMES = "class_names.json"
_PARTS = {"train": "train", "val": "validation"}  # our name, by that of the folder
_COLUMNS = ("participant_id", "video_id", "start_frame", "stop_frame", "action_class")


def is_epic_kitchens(folder: Path) -> bool:
    """Whether a folder is laid out so."""
    return any(_list_of(folder, part).is_file() for part in _PARTS)


def read_epic_kitchens(folder: Path) -> tuple[list[ListedClip], tuple[str, ...]]:
    """The actions in a folder, sorted by source, and the classes.

    Returns:
        Clips, of the part "train" or "validation", and the classes in the order of
        `class_names.json`, or sorted where there is no such file.

    Raises:
        PreprocessError: if a file cannot be read, a row says what cannot be, or a label is not
            among the classes; the message names the line.
    """
    there = [part for part in _PARTS if _list_of(folder, part).is_file()]
    rows = [
        (row, part)
        for part in there
        for row in read_rows(_list_of(folder, part), required=_COLUMNS)
    ]
    class_names = _read_class_names(folder / CLASS_NAMES)
    if class_names is not None:
        _check_labels(rows, class_names, folder / CLASS_NAMES)
    clips = each_once((row, _clip(row, folder, part)) for row, part in rows)
    return clips, class_names or tuple(sorted({clip.class_name for clip in clips}))


def unlisted_videos(folder: Path, clips: Iterable[ListedClip]) -> str:
    """Which videos, `train/P01/P01_09` and the like, no row names, for a person; empty if none."""
    listed = {os.path.normpath(clip.path) for clip in clips}
    found = sorted(path for part in _PARTS for path in folder.glob(f"{part}/[!.]*/[!.]*"))
    left_out = [path for path in found if os.path.normpath(path) not in listed]
    if not left_out:
        return ""
    first, number = left_out[0].relative_to(folder), len(left_out)
    return f"Left out: no row names {number} of {len(found)} videos, {first} for instance."


def _list_of(folder: Path, part: str) -> Path:
    return folder / f"{part}_action_classes.csv"


def _clip(row: Row, folder: Path, part: str) -> ListedClip:
    for name in _COLUMNS[:-1]:
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
        part=_PARTS[part],
    )


def _check_labels(rows: list[tuple[Row, str]], class_names: tuple[str, ...], file: Path) -> None:
    for row, _ in rows:
        if row.cells["action_class"] not in class_names:
            raise row.error(
                f"action_class must be one of the {len(class_names)} in {file}. Received "
                f"{row.cells['action_class']!r}; correct it, or add it there."
            )


def _read_class_names(file: Path) -> tuple[str, ...] | None:
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
