"""Cut lists: a reel for people and for editing programs, as text.

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
from experiments.highlights.cut_lists.cuts import Cut, Media, cuts_of
from experiments.highlights.cut_lists.formats import edl_text, fcpxml_text, otio_text
from experiments.highlights.selection.segments import Segment
from preprocess.video.time_ranges import format_time

__all__ = [
    "SUFFIXES",
    "Cut",
    "Kind",
    "Media",
    "chapters_text",
    "csv_text",
    "cut_list",
    "cuts_of",
    "edl_text",
    "fcpxml_text",
    "links_text",
    "moment_url",
    "otio_text",
]

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
SHORTEST_CHAPTER = 10  # seconds; YouTube shows none at all if one is shorter
_FORMULA = ("-", "+", "=", "@")  # what a spreadsheet takes for a formula, and a shell for a flag


def cut_list(
    kind: Kind,
    segments: Sequence[Segment],
    recording: Sequence[Media],
    *,
    title: str,
    url: str | None = None,
    crossfade: float = 0.0,
) -> str:
    """A reel as a cut list.

    Args:
        kind: which.
        segments: sorted, in seconds of the whole recording.
        recording: its files, which follow each other.
        title: of the reel.
        url: where the recording can be seen, for links.
        crossfade: seconds by which segments overlap in the reel, for chapters.

    Raises:
        InputError: if the kind is unknown, or the reel cannot be written in it.
        ModuleNotFoundError: for otio, without the package.
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
    """A row a cut: its file, its times in the file and in the recording, and its score.

    A path that begins like a formula is written with './' before it.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for cut in cuts_of(segments, recording):
        path, segment = str(cut.media.path), cut.segment
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
    """Chapters for a YouTube description, of the reel or of the whole recording.

    YouTube wants the first at 0:00 and each 10 s long, so shorter ones share a chapter; it
    shows none if there are fewer than three.
    """
    position, marks = 0.0, []
    for number, segment in enumerate(segments, 1):
        marks.append((int(position if of == "reel" else segment.start), number))
        position += segment.length - crossfade
    end = int(position + crossfade) if of == "reel" else None
    chapters = _long_chapters(marks, end)
    if of == "recording" and chapters and chapters[0][0] >= SHORTEST_CHAPTER:
        chapters.insert(0, (0, []))
    elif chapters:
        chapters[0] = 0, chapters[0][1]
    froms = {number: _clock(int(one.start)) for number, one in enumerate(segments, 1)}
    lines = []
    for time, numbers in chapters:
        source = f" (from {froms[numbers[0]]})" if of == "reel" else ""
        lines.append(f"{_clock(time)} {_chapter_name(numbers)}{source}\n")
    return "".join(lines)


def links_text(segments: Sequence[Segment], url: str | None) -> str:
    """A link a line, to where each segment starts."""
    address = check_url(url)
    return "".join(f"{moment_url(address, segment.start)}\n" for segment in segments)


def check_url(url: str | None) -> str:
    """The address of a recording, if links can be made of it.

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
    """The address of a moment of a video, `?t=1h2m3s`; what else the address holds stays.

    Raises:
        InputError: if it is no http address.
    """
    parts = urlsplit(check_url(url).strip())
    hours, rest = divmod(int(seconds), 3600)
    moment = f"{hours}h" * (hours > 0) + f"{rest // 60}m{rest % 60}s"
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "t"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("t", moment)])))


def _long_chapters(marks: list[tuple[int, int]], end: int | None) -> list[tuple[int, list[int]]]:
    """Marks that are too close to the one before share its chapter."""
    chapters: list[tuple[int, list[int]]] = []
    for time, number in marks:
        if chapters and time - chapters[-1][0] < SHORTEST_CHAPTER:
            chapters[-1][1].append(number)
        else:
            chapters.append((time, [number]))
    if end is not None and len(chapters) > 1 and end - chapters[-1][0] < SHORTEST_CHAPTER:
        last = chapters.pop()
        chapters[-1][1].extend(last[1])
    return chapters


def _chapter_name(numbers: list[int]) -> str:
    if len(numbers) < 2:
        return f"Highlight {numbers[0]}" if numbers else "Start"
    return f"Highlights {numbers[0]} to {numbers[-1]}"


def _clock(seconds: int) -> str:
    """3723 -> '1:02:03', 63 -> '1:03'."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
