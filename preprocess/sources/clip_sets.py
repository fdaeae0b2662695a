"""The clips that a folder or a list holds, with their classes and subsets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preprocess.errors import PreprocessError
from preprocess.sources.catalog import choose_classes, require_clips, resolve
from preprocess.sources.clips import Clip, clips_of, list_videos, require_folder
from preprocess.sources.listed_clips import (
    EPIC_KITCHENS,
    PARTS,
    ListedClip,
    is_epic_kitchens,
    read_epic_kitchens,
    read_list,
    unlisted_videos,
)
from preprocess.sources.splits import Split


@dataclass(frozen=True)
class ClipSet:
    """Clips that belong together.

    Args:
        clips: sorted by source.
        dataset: what they are called unless somebody calls them otherwise.
        class_names: in label order; of `find_clip_set` only where that is told.
        left_out: classes that have clips, but were not asked for.
        notice: what of the folder was left out and why, for a person; empty if nothing was.
    """

    clips: Sequence[Clip]
    dataset: str
    class_names: tuple[str, ...] = ()
    left_out: frozenset[str] = frozenset()
    notice: str = ""

    @cached_property
    def sources(self) -> list[str]:
        """What each clip is called, (num_clips,)."""
        return [clip.source for clip in self.clips]

    @cached_property
    def groups(self) -> list[str]:
        """Scene of each clip, (num_clips,)."""
        return [clip.group for clip in self.clips]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Position of each clip's class in `class_names`, (num_clips,)."""
        position = {name: label for label, name in enumerate(self.class_names)}
        return np.array([position[clip.class_name] for clip in self.clips], np.int64)


def find_clip_set(videos: Path) -> ClipSet:
    """The clips of a list (`.csv`), of a folder in Epic Kitchens' layout, or of any other folder.

    Raises:
        PreprocessError: for a reason of `read_list`, `read_epic_kitchens` or `find_clips`.
    """
    if videos.suffix.lower() == ".csv" and not videos.is_dir():
        return ClipSet(read_list(videos), videos.stem)
    if is_epic_kitchens(videos):
        clips, class_names = read_epic_kitchens(videos)
        return ClipSet(clips, EPIC_KITCHENS, class_names, notice=unlisted_videos(videos, clips))
    require_folder(videos)
    listing = list_videos(videos)
    return ClipSet(clips_of(videos, listing), videos.resolve().name, notice=listing.notice)


def choose_clip_set(
    videos: Path, *, dataset: str | None = None, classes: Sequence[str] | None = None
) -> ClipSet:
    """The clips to extract, with their name and their classes settled; no video is opened.

    Args:
        videos: a list or a folder, as for `find_clip_set`.
        dataset: name of the data set; one of the catalogue counts only if the classes found are
            its own. None names it for its folder or list.
        classes: only these; None for all.

    Raises:
        PreprocessError: for a reason of `find_clip_set`, or if a class has no clips.
    """
    clip_set = find_clip_set(videos)
    found = {clip.class_name for clip in clip_set.clips}
    name, class_names = resolve(dataset, found, clip_set.dataset)
    class_names = clip_set.class_names or class_names
    clip_set = replace(clip_set, dataset=name, class_names=class_names)
    if classes is None:
        return clip_set
    class_names = choose_classes(classes, class_names)
    require_clips(class_names, found, videos)
    clips = [clip for clip in clip_set.clips if clip.class_name in class_names]
    left_out = frozenset(found.difference(class_names))
    return replace(clip_set, clips=clips, class_names=class_names, left_out=left_out)


def read_parts(videos: str | os.PathLike[str]) -> dict[str, str]:
    """The part of each clip, by source; no video is opened.

    Args:
        videos: a list with a column `part`, or a folder in Epic Kitchens' layout.

    Raises:
        PreprocessError: if it cannot be read, or gives no parts.
    """
    clips = find_clip_set(Path(videos)).clips
    parts = {clip.source: clip.part for clip in clips if isinstance(clip, ListedClip) and clip.part}
    if not parts:
        raise PreprocessError(
            f"A split as listed needs a list with a column part: {', '.join(PARTS)}. {videos} has "
            "none; add it, or choose another split."
        )
    return parts


def split_by_parts(parts: Mapping[str, str], sources: Sequence[str]) -> Split:
    """The clips at hand in their parts. A part that the list does not have is empty.

    Args:
        parts: from `read_parts`; clips that could not be extracted are left out.
        sources: of the clips at hand.

    Raises:
        PreprocessError: if a clip at hand is not listed, or none is to be trained on.
    """
    strange = [source for source in sources if source not in parts]
    if strange:
        raise PreprocessError(
            f"The list must name all clips at hand. It lacks {len(strange)} of {len(sources)}, "
            f"{strange[0]} for instance; extract the list again."
        )
    places = {
        name: np.array([n for n, one in enumerate(sources) if parts[one] == name], np.int64)
        for name in PARTS
    }
    if not len(places["train"]):
        raise PreprocessError(
            f"A list must have clips of the part train. Received {len(sources)} clips, none of it."
        )
    return Split(**places)
