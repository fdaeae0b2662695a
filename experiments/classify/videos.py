"""Which videos of a folder are classified, and what their results are called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from preprocess.clips import video_sources
from preprocess.errors import PreprocessError


@dataclass(frozen=True)
class Video:
    """One file to classify.

    Args:
        path: the file.
        source: its path below the folder, with forward slashes.
        results: path of its results without a suffix, below the folder of results.
    """

    path: Path
    source: str
    results: str


def find_videos(folder: Path, *, recursive: bool = False) -> list[Video]:
    """The videos of a folder, sorted by name.

    Results are called like the video, less its suffix; where two videos differ by nothing but
    the suffix, both keep it.

    Raises:
        PreprocessError: if the folder is missing, is a file or holds no videos.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise PreprocessError(f"--data-dir must be a folder of videos. {folder} {what}.")
    everything = sorted(video_sources(folder))
    sources = [source for source in everything if recursive or "/" not in source]
    if not sources:
        hint = f" {len(everything)} lie in folders below it; add --recursive." if everything else ""
        raise PreprocessError(f"No videos found in {folder}.{hint}")
    stems = {source: str(PurePosixPath(source).with_suffix("")) for source in sources}
    common = Counter(stems.values())
    return [
        Video(folder / source, source, source if common[stem] > 1 else stem)
        for source, stem in stems.items()
    ]


def select_range(videos: Sequence[Video], text: str) -> list[Video]:
    """The videos from number `start` to before number `end`, counted from 0 as sorted.

    Args:
        videos: all of them.
        text: "start end".

    Raises:
        ValueError: if the text is not two such numbers, or no video is in the range.
    """
    match = re.fullmatch(r"\s*(\d+)[\s,]+(\d+)\s*", text)
    rule = '--range must be "START END" with START below END, such as "0 10".'
    if match is None:
        raise ValueError(f"{rule} Received {text!r}.")
    start, end = int(match[1]), int(match[2])
    if start >= end:
        raise ValueError(f"{rule} Received {text!r}.")
    if start >= len(videos):
        raise ValueError(
            f"--range begins at video {start}, but there are {len(videos)}, counted from 0."
        )
    return list(videos[start:end])
