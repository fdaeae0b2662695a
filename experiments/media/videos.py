"""Find the videos that paths, folders and patterns name, and name their results."""

from __future__ import annotations

import csv
import glob
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from common.files import write_text
from preprocess.errors import PreprocessError
from preprocess.sources.clips import FolderListing, is_video_name, list_videos

ANNOTATED = ".annotated.mp4"
TABLES = ("predictions", "failures", "all_videos")
"""Names without suffix that a command's tables have, so no video's results get them."""
_RESULT_SUFFIXES = (".csv", ".json", ".png", ".part", ANNOTATED)


@dataclass(frozen=True)
class Video:
    """One video of a job.

    Args:
        path: the file, or a folder of its frames.
        source: last parts of its path, with forward slashes, which identify it.
        results: path of its results without a suffix, relative to the folder of results.
    """

    path: Path
    source: str
    results: str


@dataclass(frozen=True)
class FoundVideos:
    """Videos that `find_videos` found, and notices about what it left out.

    Args:
        videos: each video once, those of a folder sorted by name.
        notices: sentences for the user about what was left out of each folder and why.
    """

    videos: list[Video]
    notices: list[str]


def find_videos(
    paths: Iterable[str | os.PathLike[str]], out: Path, *, recursive: bool = True
) -> FoundVideos:
    """Find the videos that some paths name.

    A file is taken whatever its name. A folder stands for all videos in it and in the folders
    below, including folders of frames (frame000001.jpg, ...). A path that does not exist may be a
    pattern, such as `videos/*_left.mp4`; `**` goes through all folders. Of what matches, files
    without a video's name and folders without videos are left out. Annotated videos that lie in
    `out` do not count as videos.

    Results have the video's name without its suffix, below the folder that was named. Where two
    would have one name, they keep the suffix, or get the names of the folders above.

    Args:
        paths: files, folders and patterns.
        out: folder of results.
        recursive: whether to search the folders below a folder.

    Raises:
        PreprocessError: if a path does not exist or holds no video.
    """
    search = _Search(_absolute(out), recursive)
    for path in paths:
        search.add(Path(path))
    # A dictionary: each path once, in the order in which it was named.
    found = search.found
    sources = _unique_names(list(found.items()))
    stems = [_stem(path, source) for path, source in zip(found, sources, strict=True)]
    count = Counter(stems)
    taken = {*sources, *TABLES}
    # A name that two videos would share, or that a table or another video's full name has, keeps
    # its suffix: `a.mp4` and `a.mov` get the results `a.mp4` and `a.mov`, not `a` twice.
    videos = [
        Video(path, _encodable(source), source if count[stem] > 1 or stem in taken else stem)
        for path, source, stem in zip(found, sources, stems, strict=True)
    ]
    return FoundVideos(videos, search.notices)


@dataclass
class _Search:
    """Videos found so far, each with the number of last parts of its path that name it."""

    out: Path
    recursive: bool
    found: dict[Path, int] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def add(self, path: Path) -> None:
        """Add the videos of one path.

        Raises:
            PreprocessError: if it does not exist or holds no video.
        """
        whole = _absolute(path)
        if whole.is_dir():
            self._add_folder(path, whole)
        elif self._is_annotated(whole):
            self.notices.append(f"{path}: left out, as it is the result of another run.")
        elif whole.is_file():
            self.found.setdefault(whole, 1)
        elif whole.exists():
            raise PreprocessError(f"{path} is neither a file nor a folder.")
        # Only now, so that an existing file named like a pattern, `a[1].mp4`, is taken as it is.
        elif glob.has_magic(str(path)):
            self._add_matches(path)
        else:
            raise PreprocessError(f"There is no video or folder {path}.")

    def _add_matches(self, pattern: Path) -> None:
        """Add the videos among the matches of a pattern, and leave out other files.

        Raises:
            PreprocessError: if nothing is left, or a folder cannot be listed.
        """
        matches = [Path(match) for match in sorted(glob.glob(str(pattern), recursive=True))]
        folders = [match for match in matches if match.is_dir()]
        others = [
            match for match in matches if not match.is_dir() and not is_video_name(match.name)
        ]
        left_out = FolderListing()
        left_out.leave_out(
            match.name
            for match in others
            if match.parent not in folders  # the folder's own notice has the rest
            and not self._is_result(_absolute(match))
        )
        notices = [left_out.notice] if left_out.notice else []
        empty = [folder for folder in folders if not self._list(_absolute(folder))[0]]
        if empty:
            some = "1 folder holds" if len(empty) == 1 else f"{len(empty)} folders hold"
            notices.append(f"Left out: {some} no videos.")
        for folder in empty:
            notices += [f"{folder}: {notice}" for notice in self._list(_absolute(folder))[1]]
        skipped = {*others, *empty}
        wanted = [match for match in matches if match not in skipped]
        if not wanted:
            rule = f"There is no video or folder that matches {pattern}."
            named = "A file that is named without a pattern is taken whatever its name."
            raise PreprocessError(" ".join([rule, *notices, *([named] if others else [])]))
        if notices:
            self.notices.append(f"{pattern}: {' '.join(notices)}")
        for match in wanted:
            self.add(match)

    def _list(self, whole: Path) -> tuple[list[str], list[str]]:
        """Videos of a folder, relative to it, and sentences about what was left out."""
        listing = list_videos(whole, is_expected=lambda source: self._is_result(whole / source))
        sources = sorted([*listing.videos, *listing.frame_folders])
        sources = [source for source in sources if not self._is_annotated(whole / source)]
        notices = [listing.notice] if listing.notice else []
        below = [source for source in sources if "/" in source]
        if below and not self.recursive:
            videos = "1 video lies" if len(below) == 1 else f"{len(below)} videos lie"
            notices.append(f"{videos} in folders below; add --recursive to take them too.")
            sources = [source for source in sources if "/" not in source]
        return sources, notices

    def _add_folder(self, path: Path, whole: Path) -> None:
        sources, notices = self._list(whole)
        if not sources:
            rule = (
                "Name a video, a folder of videos, or one of a video's frames, frame000001.jpg and "
                "on."
            )
            raise PreprocessError(" ".join([f"No videos found in {path}.", *notices, rule]))
        if notices:
            self.notices.append(f"{path}: {' '.join(notices)}")
        for source in sources:
            # The folder itself is a video: it holds frames.
            if source == ".":
                self.found.setdefault(whole, 1)
            else:
                self.found.setdefault(whole / source, source.count("/") + 1)

    def _is_annotated(self, path: Path) -> bool:
        return path.name.endswith(ANNOTATED) and self.out in path.parents

    def _is_result(self, path: Path) -> bool:
        return path.name.endswith(_RESULT_SUFFIXES) and self.out in path.parents


def _absolute(path: Path) -> Path:
    """Absolute path without `..`, so that its last parts are names."""
    # Not `resolve`: results are named for the link that a person gave, not for its target.
    return Path(os.path.abspath(path))


def _unique_names(found: Sequence[tuple[Path, int]]) -> list[str]:
    """Last parts of each path, as many as asked for, or more until all names differ."""
    lengths = [num_parts for _, num_parts in found]
    while True:
        names = [
            "/".join(path.parts[1:][-length:])
            for (path, _), length in zip(found, lengths, strict=True)
        ]
        count = Counter(names)
        if len(count) == len(names):
            return names
        # Only names that are shared grow by a folder, until none is.
        lengths = [length + (count[name] > 1) for name, length in zip(names, lengths, strict=True)]


def _stem(path: Path, source: str) -> str:
    return source if path.is_dir() else str(PurePosixPath(source).with_suffix(""))


def _encodable(source: str) -> str:
    """Return a name with codes in place of bytes that are not valid UTF-8."""
    return os.fsencode(source).decode(errors="backslashreplace")


def write_failures(path: Path, failures: Mapping[str, str], videos: Sequence[Video]) -> None:
    """Write the reasons of failures as CSV; without a failure there is no file.

    Rows that earlier runs in this folder left of other videos are kept.
    """
    rows = dict(failures)
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            earlier = {row["video"]: row["reason"] for row in csv.DictReader(file)}
        # A video of this run that no longer fails loses its row.
        own = {video.source for video in videos}
        rows |= {source: reason for source, reason in earlier.items() if source not in own}
    if not rows:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("video", "reason"), *sorted(rows.items())])
    write_text(path, text.getvalue())
