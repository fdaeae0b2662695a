"""A folder of videos to a sorted list of clips, each with its class and its group."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from preprocess.catalog import official_spelling
from preprocess.clip_names import ClipName, parse_clip_name
from preprocess.errors import PreprocessError
from preprocess.frame_folder import holds_frames

VIDEO_SUFFIXES = frozenset({".avi", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})
_IGNORED_FOLDERS = frozenset({"annotation", "annotations", "__macosx"})
_GROUP_FOLDER = re.compile(r".+_\d+$")  # v_shooting_01
_GROUP_IN_NAME = re.compile(r"_(g\d+)_c\d+$")  # v_Archery_g01_c02
_DEEPEST = 4  # folders below the root that are searched, so that a link to itself ends
_LAYOUTS = (
    "Expected class/v_name_NN/v_name_NN_MM.mpg (UCF11), class/clip.mp4 or v_Class_gNN_cNN.avi "
    f"(UCF101), with a file name that ends in one of {', '.join(sorted(VIDEO_SUFFIXES))}, or a "
    "folder of frame000001.jpg, frame000002.jpg, ... in the place of the file."
)


@dataclass(frozen=True)
class Clip:
    """One video and what its place in the folder tells about it.

    Args:
        path: the file, or the folder of its frames.
        source: its path relative to the videos folder, with forward slashes.
        class_name: what the clip shows.
        group: a key shared by the clips of one scene, unique over all classes.
        detail: in words, what else its frames depend on, such as a part of the picture.
    """

    path: Path
    source: str
    class_name: str
    group: str
    detail: str = ""


def find_clips(root: str | os.PathLike[str]) -> list[Clip]:
    """All clips below a folder, sorted by source.

    A clip is a video file, or a folder of its frames, `frame000001.jpg` and on. Three layouts
    are understood, the first two side by side if need be. `class/v_name_NN/clip` is UCF11's: the
    folder `v_name_NN` is the group. In `class/clip` a name that ends in `_gNN_cNN` tells the
    group; any other clip is a group of its own. In a folder that holds clips and no folders of
    clips, `v_Class_gNN_cNN` tells the class too; where no name has that form, all are one class,
    named for the folder. Hidden files, `Annotation` folders and files that are neither videos
    nor frames are passed over.

    Args:
        root: the folder of videos.

    Raises:
        PreprocessError: if the folder is missing, holds no clips, or holds clips that are in
            no layout or there twice.
    """
    root = Path(root)
    _require_folder(root)
    videos, frame_folders = _find_sources(root)
    sources = sorted([*videos, *frame_folders])
    if not sources:
        raise PreprocessError(f"No videos found in {root}. {_LAYOUTS}")
    _refuse_twice(root, videos, frame_folders)
    if all("/" not in source for source in sources):
        return _flat_clips(root, sources)
    misplaced = [source for source in sources if not _is_in_layout(source)]
    if misplaced:
        raise PreprocessError(
            f"{len(misplaced)} of {len(sources)} clips in {root} are in no layout, "
            f"for instance {misplaced[0]}. {_LAYOUTS} Move or remove them, or name the folder "
            "that holds the class folders."
        )
    _refuse_wrapper(root, sources)
    return [_clip(root, source, source) for source in sources]


def _require_folder(root: Path) -> None:
    if not root.exists():
        raise PreprocessError(f"The videos folder {root} does not exist. {_LAYOUTS}")
    if not root.is_dir():
        raise PreprocessError(
            f"The videos folder {root} is a file; name a folder, or a list, "
            f"which is called NAME.csv. {_LAYOUTS}"
        )


def video_sources(root: Path) -> Iterator[str]:
    """Paths of the video files below a folder, relative to it, in no order.

    Hidden files and folders, and annotations, are passed over.

    Raises:
        PreprocessError: if a folder cannot be listed.
    """
    for folder, names in _walk(root):
        yield from (str(folder / name) for name in names if _is_video(name))


def _find_sources(root: Path) -> tuple[list[str], list[str]]:
    """Video files, and folders of frames without videos, below a folder, relative to it."""
    videos, frame_folders = [], []
    for folder, names in _walk(root):
        found = [str(folder / name) for name in names if _is_video(name)]
        videos += found
        if not found and holds_frames(names):
            frame_folders.append(str(folder))
    return videos, frame_folders


def _walk(root: Path) -> Iterator[tuple[PurePosixPath, list[str]]]:
    """Folders that may hold clips, relative to the root, with the files in them."""
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=_raise):
        relative = PurePosixPath(Path(folder).relative_to(root).as_posix())
        subfolders[:] = [
            name
            for name in subfolders
            if not name.startswith(".") and name.lower() not in _IGNORED_FOLDERS
        ]
        if len(relative.parts) == _DEEPEST:
            subfolders.clear()
        yield relative, names


def _is_video(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES


def _raise(error: OSError) -> None:
    """A folder that cannot be listed would otherwise be skipped without a word."""
    raise PreprocessError(f"Cannot list {error.filename}: {error.strerror}.")


def _refuse_twice(root: Path, videos: Sequence[str], frame_folders: Sequence[str]) -> None:
    """No clip may be there as a video and as frames: a split could part the two."""
    if "." in frame_folders:
        raise PreprocessError(
            f"{root} holds the frames of one clip. Name the folder that holds the clips' folders."
        )
    stems = {str(PurePosixPath(video).with_suffix("")) for video in videos}
    twice = sorted(stems.intersection(frame_folders))
    if twice:
        raise PreprocessError(
            f"{len(twice)} clips in {root} are there as a video and as a folder of frames, "
            f"for instance {twice[0]}. Keep the two in different folders, and name one of them."
        )


def _flat_clips(root: Path, sources: Sequence[str]) -> list[Clip]:
    """The clips of a folder without folders of clips."""
    names = [_clip_name(source) for source in sources]
    if not any(names):
        return [_clip(root, source, f"{root.resolve().name}/{source}") for source in sources]
    nameless = [source for source, name in zip(sources, names, strict=True) if name is None]
    if nameless:
        raise PreprocessError(
            f"{len(nameless)} of {len(sources)} clips in {root} are not called v_Class_gNN_cNN as "
            f"the others are, for instance {nameless[0]}. Move or rename them, or make a folder "
            "of each class."
        )
    return [
        _clip(root, source, f"{name.class_name}/{source}")
        for source, name in zip(sources, names, strict=True)
        if name
    ]


def _clip_name(source: str) -> ClipName | None:
    return parse_clip_name(PurePosixPath(source).stem)


def _refuse_wrapper(root: Path, sources: Sequence[str]) -> None:
    """An only folder that holds clips of several classes, by their names, is not a class."""
    folders = {source.split("/")[0] for source in sources}
    classes = {name.class_name for name in map(_clip_name, sources) if name}
    if len(folders) == 1 and len(classes) > 1:
        wrapper = root / folders.pop()
        raise PreprocessError(
            f"{root} holds one folder only, and that has clips of {len(classes)} classes by "
            f"their names. Name {wrapper} instead, or make a folder of each class."
        )


def _is_in_layout(source: str) -> bool:
    folders = source.split("/")[:-1]
    return len(folders) == 1 or (len(folders) == 2 and bool(_GROUP_FOLDER.match(folders[1])))


def _clip(root: Path, source: str, place: str) -> Clip:
    """The clip at root / source, whose class and group `place` tells."""
    first_folder, *group_folder, _ = place.split("/")
    class_name = official_spelling(first_folder)
    in_name = _GROUP_IN_NAME.search(PurePosixPath(place).stem)
    if group_folder:
        group = f"{class_name}/{group_folder[0]}"
    elif in_name:
        group = f"{class_name}/{in_name[1]}"
    else:
        group = place
    return Clip(path=root / source, source=source, class_name=class_name, group=group)
