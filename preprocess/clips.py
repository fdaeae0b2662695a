"""A folder of videos to a sorted list of clips, each with its class and its group."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from preprocess.errors import PreprocessError

VIDEO_SUFFIXES = frozenset({".avi", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})
_IGNORED_FOLDERS = frozenset({"annotation", "annotations", "__macosx"})
_GROUP_FOLDER = re.compile(r".+_\d+$")  # v_shooting_01
_GROUP_IN_NAME = re.compile(r"_(g\d+)_c\d+$")  # v_Archery_g01_c02
_DEEPEST = 4  # folders below the root that are searched, so that a link to itself ends
_LAYOUTS = (
    "Expected class/v_name_NN/v_name_NN_MM.mpg (UCF11) or class/clip.mp4, "
    f"with a file name that ends in one of {', '.join(sorted(VIDEO_SUFFIXES))}."
)


@dataclass(frozen=True)
class Clip:
    """One video file and what its place in the folder tells about it.

    Args:
        path: the file.
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

    Two layouts are understood, side by side if need be. `class/v_name_NN/clip` is UCF11's: the
    folder `v_name_NN` is the group. In `class/clip` a name that ends in `_gNN_cNN` tells the
    group; any other clip is a group of its own. A folder that holds clips and no folders of
    clips is one class, named for the folder. Hidden files, `Annotation` folders and files
    that are not videos are passed over.

    Args:
        root: the folder of videos.

    Raises:
        PreprocessError: if the folder is missing, holds no clips, or holds clips that are in
            neither layout.
    """
    root = Path(root)
    _require_folder(root)
    sources = sorted(video_sources(root))
    if not sources:
        raise PreprocessError(f"No videos found in {root}. {_LAYOUTS}")
    if all("/" not in source for source in sources):
        return [_clip(root, source, f"{root.resolve().name}/{source}") for source in sources]
    misplaced = [source for source in sources if not _is_in_layout(source)]
    if misplaced:
        raise PreprocessError(
            f"{len(misplaced)} of {len(sources)} videos in {root} are in neither layout, "
            f"for instance {misplaced[0]}. {_LAYOUTS} Move or remove them, or name the folder "
            "that holds the class folders."
        )
    return [_clip(root, source, source) for source in sources]


def _require_folder(root: Path) -> None:
    if not root.exists():
        raise PreprocessError(f"The videos folder {root} does not exist. {_LAYOUTS}")
    if not root.is_dir():
        raise PreprocessError(f"The videos folder {root} is a file; name a folder. {_LAYOUTS}")


def video_sources(root: Path) -> Iterator[str]:
    """Paths of the video files below a folder, relative to it, in no order.

    Hidden files and folders, and annotations, are passed over.

    Raises:
        PreprocessError: if a folder cannot be listed.
    """
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=_raise):
        relative = Path(folder).relative_to(root)
        subfolders[:] = [
            name
            for name in subfolders
            if not name.startswith(".") and name.lower() not in _IGNORED_FOLDERS
        ]
        if len(relative.parts) == _DEEPEST:
            subfolders.clear()
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES:
                yield (relative / name).as_posix()


def _raise(error: OSError) -> None:
    """A folder that cannot be listed would otherwise be skipped without a word."""
    raise PreprocessError(f"Cannot list {error.filename}: {error.strerror}.")


def _is_in_layout(source: str) -> bool:
    folders = source.split("/")[:-1]
    return len(folders) == 1 or (len(folders) == 2 and bool(_GROUP_FOLDER.match(folders[1])))


def _clip(root: Path, source: str, place: str) -> Clip:
    """The clip at root / source, whose class and group `place` tells."""
    class_name, *group_folder, _ = place.split("/")
    in_name = _GROUP_IN_NAME.search(PurePosixPath(place).stem)
    if group_folder:
        group = f"{class_name}/{group_folder[0]}"
    elif in_name:
        group = f"{class_name}/{in_name[1]}"
    else:
        group = place
    return Clip(path=root / source, source=source, class_name=class_name, group=group)
