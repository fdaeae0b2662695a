"""Cut lists: text files that describe a reel for people and for editing programs.

`csv` and `links` are for people and scripts, `chapters` for the description of a video on
YouTube; `edl` is CMX 3600, which every editing program reads; `fcpxml` is for Final Cut Pro and
DaVinci Resolve, `otio` for all that speaks OpenTimelineIO.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Literal, get_args
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from common.errors import InputError
from common.formatting import clock
from experiments.highlights.cut_lists.cuts import Media, cuts_of
from experiments.highlights.cut_lists.formats import edl_text, fcpxml_text, otio_text
from experiments.highlights.selection.selection import Segment
from preprocess.video.time_ranges import format_time

Kind = Literal["csv", "chapters", "links", "edl", "fcpxml", "otio"]
SUFFIXES: dict[Kind, str] = {
    "csv": ".csv",
    "chapters": ".chapters.txt",
    "links": ".links.txt",
    "edl": ".edl",
    "fcpxml": ".fcpxml",
    "otio": ".otio",
}
CSV_COLUMNS = (
    "number",
    "path",
    "start_seconds",
    "end_seconds",
    "recording_start",
    "recording_end",
    "score",
    "peak_seconds",
)
SHORTEST_CHAPTER = 10  # seconds; YouTube shows no chapters at all if one is shorter
_FORMULA = ("-", "+", "=", "@")  # first characters of a spreadsheet's formula or a shell's flag


def cut_list(
    kind: Kind,
    segments: Sequence[Segment],
    recording: Sequence[Media],
    *,
    title: str,
    url: str | None = None,
    crossfade: float = 0.0,
) -> str:
    """Make a cut list of a reel.

    Args:
        kind: kind of the list.
        segments: segments, sorted, in seconds of the whole recording.
        recording: files of the recording, one after the other.
        title: title of the reel.
        url: address where the recording can be seen, for links.
        crossfade: seconds by which segments overlap in the reel, for chapters.

    Raises:
        InputError: if the kind is unknown, or the reel cannot be written in it.
        UserError: for otio, without its package.
    """
    if kind == "csv":
        return csv_text(segments, recording)
    if kind == "chapters":
        return chapters_text(segments, crossfade=crossfade)
    if kind == "links":
        return links_text(segments, url)
    if kind == "edl":
        return edl_text(segments, recording, title=title)
    if kind == "fcpxml":
        return fcpxml_text(segments, recording, title=title)
    if kind == "otio":
        return otio_text(segments, recording, title=title)
    raise InputError(f"A cut list must be one of {', '.join(get_args(Kind))}. Received {kind!r}.")


def csv_text(segments: Sequence[Segment], recording: Sequence[Media]) -> str:
    """Make a CSV with one row per cut: file, times in the file and the recording, and score.

    A path that begins like a formula is written with './' before it.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for cut in cuts_of(segments, recording):
        path, segment = str(cut.media.path), cut.segment
        # Exact fractions of a second; only the text is rounded, to microseconds.
        times = (cut.start / cut.media.rate, cut.stop / cut.media.rate)
        writer.writerow(
            [
                cut.number,
                f"./{path}" if path.startswith(_FORMULA) else path,
                *(f"{float(time):.6f}" for time in times),
                format_time(segment.start),
                format_time(segment.end),
                f"{segment.score:.4f}",
                f"{segment.peak:.3f}",
            ]
        )
    return text.getvalue()


def chapters_text(
    segments: Sequence[Segment],
    *,
    of: Literal["reel", "recording"] = "reel",
    crossfade: float = 0.0,
) -> str:
    """Make chapters for a YouTube description, of the reel or of the whole recording.

    YouTube wants the first at 0:00 and each at least 10 s long, so shorter ones share a chapter.
    It shows no chapters if there are fewer than three.
    """
    position, marks = 0.0, []
    for number, segment in enumerate(segments, 1):
        marks.append((int(position if of == "reel" else segment.start), number))
        # Each cross-fade makes the reel shorter by its length.
        position += segment.length - crossfade
    end = int(position + crossfade) if of == "reel" else None
    chapters = _long_chapters(marks, end)
    # The first chapter must be at 0:00: one of its own before the first highlight if there is room,
    # or else the first highlight's.
    if of == "recording" and chapters and chapters[0][0] >= SHORTEST_CHAPTER:
        chapters.insert(0, (0, []))
    elif chapters:
        chapters[0] = 0, chapters[0][1]
    froms = {number: clock(int(one.start)) for number, one in enumerate(segments, 1)}
    lines = []
    for time, numbers in chapters:
        source = f" (from {froms[numbers[0]]})" if of == "reel" else ""
        lines.append(f"{clock(time)} {_chapter_name(numbers)}{source}\n")
    return "".join(lines)


def links_text(segments: Sequence[Segment], url: str | None) -> str:
    """Make a list of links, one per line, to the starts of the segments."""
    address = check_url(url)
    return "".join(f"{moment_url(address, segment.start)}\n" for segment in segments)


def check_url(url: str | None) -> str:
    """Return the address of a recording if links can be made from it.

    Raises:
        InputError: if there is none, or it is no http address.
    """
    if url is None:
        raise InputError("Links need the recording's address; give --url https://...")
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InputError(f"--url must begin with http:// or https://. Received {url!r}.")
    return url


def moment_url(url: str, seconds: float) -> str:
    """Address of a moment of a video: the given one with `t=1h2m3s` in its query.

    Raises:
        InputError: if it is no http address.
    """
    parts = urlsplit(check_url(url).strip())
    hours, rest = divmod(int(seconds), 3600)
    moment = f"{hours}h" * (hours > 0) + f"{rest // 60}m{rest % 60}s"
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "t"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("t", moment)])))


def _long_chapters(marks: list[tuple[int, int]], end: int | None) -> list[tuple[int, list[int]]]:
    """Group marks into chapters; one that is too close to the one before shares its chapter."""
    chapters: list[tuple[int, list[int]]] = []
    for time, number in marks:
        if chapters and time - chapters[-1][0] < SHORTEST_CHAPTER:
            chapters[-1][1].append(number)
        else:
            chapters.append((time, [number]))
    # The last chapter ends with the reel and may be too short as well.
    if end is not None and len(chapters) > 1 and end - chapters[-1][0] < SHORTEST_CHAPTER:
        last = chapters.pop()
        chapters[-1][1].extend(last[1])
    return chapters


def _chapter_name(numbers: list[int]) -> str:
    if len(numbers) < 2:
        return f"Highlight {numbers[0]}" if numbers else "Start"
    return f"Highlights {numbers[0]} to {numbers[-1]}"
