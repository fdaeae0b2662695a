"""Which videos are meant by some paths, and what their results are called."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from experiments.classify.videos import Video
from preprocess.clips import video_sources
from preprocess.errors import PreprocessError
from preprocess.frame_folder import holds_frames

ANNOTATED = ".annotated.mp4"
TABLES = ("predictions", "failures")
"""Names, without suffix, that no video's results have."""


def find_videos(paths: Iterable[Path], out: Path) -> list[Video]:
    """The videos that some paths name, each once, those of a folder sorted by name.

    A folder stands for all videos in it and in the folders below; one of frame000001.jpg and on,
    without videos, is a video. Annotated videos that lie in `out` are none.

    Results are called like the video, less its suffix, below the folder that was named. Where
    two would have one name, they keep the suffix, or have the folders before them in theirs.

    Raises:
        PreprocessError: if a path does not exist or holds no video.
    """
    found: dict[Path, int] = {}  # path, and how many of its last parts name it
    for path in paths:
        for video, num_parts in _named_by(path, _absolute(out)):
            found.setdefault(video, num_parts)
    sources = _told_apart(list(found.items()))
    stems = [_stem(path, source) for path, source in zip(found, sources, strict=True)]
    count = Counter(stems)
    taken = {*sources, *TABLES}
    return [
        Video(path, _encodable(source), source if count[stem] > 1 or stem in taken else stem)
        for path, source, stem in zip(found, sources, stems, strict=True)
    ]


def _named_by(path: Path, out: Path) -> Iterator[tuple[Path, int]]:
    whole = _absolute(path)
    if not whole.exists():
        raise PreprocessError(f"There is no video or folder {path}.")
    if whole.is_file():
        yield whole, 1
        return
    sources = sorted(video_sources(whole))
    if not sources and holds_frames(os.listdir(whole)):
        yield whole, 1
        return
    videos = [(whole / source, source.count("/") + 1) for source in sources]
    videos = [video for video in videos if not _is_annotated(video[0], out)]
    if not videos:
        raise PreprocessError(
            f"No videos found in {path}. Name a video, a folder of videos, or one of a video's "
            "frames, frame000001.jpg and on."
        )
    yield from videos


def _absolute(path: Path) -> Path:
    """Without `..`, so that the last parts are names."""
    return Path(os.path.abspath(path))


def _is_annotated(path: Path, out: Path) -> bool:
    return path.name.endswith(ANNOTATED) and out in path.parents


def _told_apart(found: Sequence[tuple[Path, int]]) -> list[str]:
    """The last parts of each path, as many as were asked for, or more until all differ."""
    lengths = [num_parts for _, num_parts in found]
    while True:
        names = [
            "/".join(path.parts[1:][-length:])
            for (path, _), length in zip(found, lengths, strict=True)
        ]
        count = Counter(names)
        if len(count) == len(names):
            return names
        lengths = [length + (count[name] > 1) for name, length in zip(names, lengths, strict=True)]


def _stem(path: Path, source: str) -> str:
    return source if path.is_dir() else str(PurePosixPath(source).with_suffix(""))


def _encodable(source: str) -> str:
    """A name that is not valid UTF-8 with codes for what is wrong in it."""
    return os.fsencode(source).decode(errors="backslashreplace")
