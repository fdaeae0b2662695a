"""Files of a recording that was written in parts, found by their names and put in order.

Programs and cameras name the parts in three ways: by a number at the end (`part0.mp4 ...
part10.mp4`, `MVI_0001.MP4`, `00000.MTS`), by the moment at which each begins (OBS:
`2026-01-31 20-15-00.mkv`), and GoPro by the chapter before the number of the recording
(`GX010123.MP4`, `GX020123.MP4`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from experiments.media.ffmpeg import RenderError
from preprocess.sources.clips import VIDEO_SUFFIXES

_GOPRO = re.compile(r"(G[A-Z])(\d\d)(\d{4})", re.ASCII | re.IGNORECASE)
_OLD_GOPRO = re.compile(r"GOPR(\d{4})", re.ASCII | re.IGNORECASE)  # its next chapter is GP01...
# A date and a time with or without separators, such as OBS's `2026-01-31 20-15-00`. What stands
# before and after must be equal in all parts of a recording.
_MOMENT = re.compile(
    r"(?P<before>.*?)(?<!\d)(?P<date>(?:19|20)\d\d[-_. ]?[01]\d[-_. ]?[0-3]\d)(?P<between>\D{0,4}?)"
    r"(?P<time>[0-2]\d[-_.:h]?[0-5]\d[-_.:m]?[0-5]\d)(?P<after>.*)",
    re.ASCII | re.DOTALL | re.IGNORECASE,
)
_NUMBER = re.compile(r"(.*?)(\d+)", re.ASCII | re.DOTALL)
_CAMERA_DIGITS = 4  # counters of cameras have so many, and go on from one recording to the next
# Two parts named for a time that begin further apart belong to two recordings.
_LONGEST_PART = timedelta(hours=6)
# How exactly the next part begins where one ends. Names count whole seconds.
_ADJOINING_SECONDS = 5.0


@dataclass(frozen=True)
class _ChunkName:
    """One file of a recording, as its name describes it.

    Args:
        path: the file.
        recording: key that all parts of one recording share; its first item is the kind of name,
            "gopro", "moment" or "number".
        order: key that sorts the parts of a recording.
        moment: when the file begins, if its name says that.
    """

    path: Path
    recording: tuple[str, ...]
    order: tuple[int, ...]
    moment: datetime | None = None


def recording_files(
    paths: Sequence[Path], say: Callable[[str], None] = lambda line: None
) -> list[Path]:
    """List the files of a recording that was named on a command line.

    Args:
        paths: files in order, or whatever `recording_chunks` takes.
        say: called with lines about files that were left out.

    Raises:
        RenderError: if there is no file, or one is named twice.
    """
    if not paths:
        raise RenderError("Name a recording: a video, several in order, or the folder they are in.")
    files = [file for path in paths for file in recording_chunks(path, say)]
    seen: dict[Path, Path] = {}
    for file in files:
        # Links are followed, so that a file and a link to it count as one.
        if seen.setdefault(file.resolve(), file) is not file:
            raise RenderError(f"{file} is named twice; each file of a recording counts once.")
    return files


def recording_chunks(path: Path, say: Callable[[str], None] = lambda line: None) -> list[Path]:
    """List the files of one recording in order.

    Args:
        path: a file; or a folder that holds the parts of one recording; or what their names begin
            with, such as `folder/part`.
        say: called with a line about videos of a folder that were left out.

    Raises:
        RenderError: if there is no file, there are several recordings, or a part is missing or
            exists twice.
    """
    if path.is_file():
        return [path]
    folder, prefix = (path, "") if path.is_dir() else (path.parent, path.name)
    videos = _videos(folder, prefix)
    parts = [part for part in map(_parse_name, videos) if part is not None]
    if prefix:  # a number is all that may follow; other names may go on as they like
        exact = ("number", prefix)
        parts = [part for part in parts if part.recording[0] != "number"] or [
            part for part in parts if part.recording == exact
        ]
    recordings = _recordings(parts)
    if not recordings:
        raise RenderError(
            f"{path} is no file, and there are no numbered videos such as {path}0.mp4, and none "
            f"named for a time such as {path / '2026-01-31 20-15-00.mkv'}."
        )
    if len(recordings) > 1:
        raise RenderError(_several(path, recordings))
    (found,) = recordings
    _check_complete(path, found)
    left_out = sorted({video.name for video in videos} - {part.path.name for part in found})
    if left_out and not prefix:
        named = ", ".join(left_out[:3]) + ", ..." * (len(left_out) > 3)
        say(f"Left out of {path}, since their names have no number or time: {named}.")
    return [part.path for part in found]


def was_split(path: Path) -> bool:
    """Return whether a name is one that OBS, a GoPro or a screen recorder gives to a part."""
    part = _parse_name(path)
    # A number at the end alone proves nothing: many videos that are whole have one.
    return part is not None and part.recording[0] != "number"


def begins_at(path: Path) -> datetime | None:
    """Return the local time at which a file begins, or None if its name does not say so."""
    part = _parse_name(path)
    return None if part is None else part.moment


def other_parts(path: Path, duration: float) -> list[Path]:
    """Find files beside a given one that seem to be parts of the same recording.

    Those are chapters of a GoPro's recording, and a file that begins when this one ends.

    Args:
        path: the file that was named alone.
        duration: its length in seconds.
    """
    this = _parse_name(path)
    if this is None or not was_split(path):
        return []
    others = [
        part
        for part in map(_parse_name, _videos(path.absolute().parent, ""))
        if part and part.recording == this.recording and part.order != this.order
    ]
    if this.moment is not None:
        end = this.moment + timedelta(seconds=duration)
        others = [
            part
            for part in others
            if part.moment and abs((part.moment - end).total_seconds()) <= _ADJOINING_SECONDS
        ]
    return [part.path for part in sorted(others, key=lambda part: part.order)]


def _videos(folder: Path, prefix: str) -> list[Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [
        file
        for file in files
        if file.suffix.lower() in VIDEO_SUFFIXES
        and file.name[0] != "."  # such as macOS's `._part0.mp4`, which holds no video
        and file.name.startswith(prefix)
    ]


def _parse_name(path: Path) -> _ChunkName | None:
    """Parse a file name. Returns None if it has neither a number nor a time."""
    stem = path.stem
    # From the narrowest pattern to the widest: a GoPro's name and one with a time end with a number
    # too.
    if named := _GOPRO.fullmatch(stem):
        return _ChunkName(path, ("gopro", named[1].upper(), named[3]), (int(named[2]),))
    if named := _OLD_GOPRO.fullmatch(stem):
        return _ChunkName(path, ("gopro", "GP", named[1]), (0,))
    if (named := _MOMENT.fullmatch(stem)) and (moment := _moment(named["date"], named["time"])):
        # A counter after the time differs between the parts, so it belongs to their order and not
        # to what they have in common.
        after = re.sub(r"\d+", "#", named["after"])
        counters = tuple(map(int, re.findall(r"\d+", named["after"])))
        order = (int(moment.strftime("%Y%m%d%H%M%S")), *counters)
        return _ChunkName(path, ("moment", named["before"], after), order, moment)
    if named := _NUMBER.fullmatch(stem):
        return _ChunkName(path, ("number", named[1]), (int(named[2]),))
    return None


def _moment(date: str, time: str) -> datetime | None:
    digits = re.sub(r"\D", "", date + time)
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M%S")  # local time, of which no zone is known
    except ValueError:
        return None


def _recordings(parts: Iterable[_ChunkName]) -> list[list[_ChunkName]]:
    """Group parts by recording and sort each; a pause longer than any part begins a new one."""
    groups: dict[tuple[str, ...], list[_ChunkName]] = {}
    for part in sorted(parts, key=lambda part: (part.recording, part.order)):
        groups.setdefault(part.recording, []).append(part)
    recordings = []
    for group in groups.values():
        recordings.append(group[:1])
        for before, part in pairwise(group):
            if before.moment and part.moment and part.moment - before.moment > _LONGEST_PART:
                recordings.append([])
            recordings[-1].append(part)
    return recordings


def _several(path: Path, recordings: Sequence[Sequence[_ChunkName]]) -> str:
    """Message for a folder of several recordings, with what to name instead."""
    shown = [
        f"{parts[0].path.name}" + f" to {parts[-1].path.name}" * (len(parts) > 1)
        for parts in recordings
    ]
    listed = "; ".join(shown[:5]) + "; ..." * (len(shown) > 5)
    first = recordings[0]
    if first[0].recording[0] == "number" and first[0].recording[1]:
        remedy = f"Name one, as {path / first[0].recording[1]}."
    else:
        files = shlex.join(str(part.path) for part in first[:3]) + " ..." * (len(first) > 3)
        remedy = f"Name the files of one, in order, as {files}."
    return f"{path} holds several recordings, {len(recordings)}: {listed}. {remedy}"


def _check_complete(path: Path, parts: Sequence[_ChunkName]) -> None:
    """Check that each number exists once.

    Raises:
        RenderError: if one is missing or exists twice.
    """
    for before, part in pairwise(parts):
        if before.order == part.order:
            raise RenderError(
                f"{before.path} and {part.path} have the same number or time. Name the files of "
                "the recording, in order."
            )
    if parts[0].moment is not None:  # times have gaps of any length
        return
    numbers = [part.order[0] for part in parts]
    # A camera's counter may begin at any number; others begin at 0 or 1, so a later start means
    # that the first parts are missing.
    counts_on = parts[0].recording[0] == "number" and all(
        len(_digits(part.path)) >= _CAMERA_DIGITS for part in parts
    )
    first = numbers[0] if counts_on else min(numbers[0], 1)
    missing = sorted(set(range(first, numbers[-1])) - set(numbers))
    if missing:
        raise RenderError(
            f"Chunk {missing[0]} of {path} is missing: there are {len(numbers)}, "
            f"numbered up to {numbers[-1]}. If it does not exist, name the files, in order."
        )


def _digits(path: Path) -> str:
    found = re.search(r"\d+$", path.stem, re.ASCII)
    return found[0] if found else ""
