"""Sets of clips from a folder or a list, with their classes and subsets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preprocess.errors import PreprocessError
from preprocess.sources.catalog import (
    CELEBRITIES,
    HOLLYWOOD2,
    choose_classes,
    recognize,
    require_clips,
    resolve,
)
from preprocess.sources.clips import Clip, clips_of, list_videos, require_folder
from preprocess.sources.hollywood2 import is_hollywood2, read_hollywood2
from preprocess.sources.listed_clips import (
    EPIC_KITCHENS,
    SUBSETS,
    ListedClip,
    is_epic_kitchens,
    read_epic_kitchens,
    read_list,
    unlisted_videos,
)


@dataclass(frozen=True)
class ClipSet:
    """Clips of one data set.

    Args:
        clips: the clips, sorted by source.
        dataset: name of the data set, by default that of the folder or list.
        class_names: the classes, in label order; `find_clip_set` fills them in only if the source
            defines an order.
        left_out: classes that have clips, but were not asked for.
        notice: description of files that were left out, for a person; empty if there are none.
    """

    clips: Sequence[Clip]
    dataset: str
    class_names: tuple[str, ...] = ()
    left_out: frozenset[str] = frozenset()
    notice: str = ""

    @cached_property
    def sources(self) -> list[str]:
        """Source of each clip, (num_clips,)."""
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

    @cached_property
    def label_matrix(self) -> NDArray[np.uint8] | None:
        """Whether each clip is of each class, (num_clips, num_classes), where it may be of several.

        None where each clip has one class.
        """
        if not any(clip.labels for clip in self.clips):
            return None
        return np.array(
            [[name in c.labels for name in self.class_names] for c in self.clips], np.uint8
        )


def find_clip_set(videos: Path) -> ClipSet:
    """Find the clips of a list (`.csv`), a folder in a layout with lists, or any other folder.

    Raises:
        PreprocessError: for a reason of `read_list`, `read_epic_kitchens`, `read_hollywood2` or
            `find_clips`.
    """
    # A folder may be called NAME.csv, too.
    if videos.suffix.lower() == ".csv" and not videos.is_dir():
        return ClipSet(read_list(videos), videos.stem)
    if is_epic_kitchens(videos):
        clips, class_names = read_epic_kitchens(videos)
        return ClipSet(clips, EPIC_KITCHENS, class_names, notice=unlisted_videos(videos, clips))
    if is_hollywood2(videos):
        clips, class_names, notice = read_hollywood2(videos)
        return ClipSet(clips, HOLLYWOOD2.name, class_names, notice=notice)
    require_folder(videos)
    # Listed once for both the clips and the notice: large data sets lie on slow network disks.
    listing = list_videos(videos)
    return ClipSet(clips_of(videos, listing), videos.resolve().name, notice=listing.notice)


def choose_clip_set(
    videos: Path, *, dataset: str | None = None, classes: Sequence[str] | None = None
) -> ClipSet:
    """Choose the clips to extract, with their name and classes; no video is opened.

    Args:
        videos: a list or a folder, as for `find_clip_set`.
        dataset: name of the data set; a name of the catalogue counts only if the classes found are
            that data set's. None for the data set that its clips are of by their names, else that
            of its folder or list.
        classes: classes to choose; None for all.

    Raises:
        PreprocessError: for a reason of `find_clip_set`, or if a class has no clips.
    """
    clip_set = find_clip_set(videos)
    found = {name for clip in clip_set.clips for name in (clip.class_name, *clip.labels)}
    recognized = None
    # A list has a name and labels of its own, whatever its videos are called.
    if not isinstance(clip_set.clips[0], ListedClip):
        recognized = recognize(found, clip_set.sources, clip_set.dataset)
    # Without classes of its own, it is known by the names of its clips only.
    if dataset == CELEBRITIES.name != recognized:
        dataset = None
    name, class_names = resolve(dataset or recognized, found, clip_set.dataset)
    # An order that the source itself defines (Epic Kitchens' class_names.json) comes first.
    class_names = clip_set.class_names or class_names
    clip_set = replace(clip_set, dataset=name, class_names=class_names)
    if classes is None:
        return clip_set
    class_names = choose_classes(classes, class_names)
    require_clips(class_names, found, videos)
    chosen = (_with_classes(clip, class_names) for clip in clip_set.clips)
    clips = [clip for clip in chosen if clip is not None]
    left_out = frozenset(found.difference(class_names))
    return replace(clip_set, clips=clips, class_names=class_names, left_out=left_out)


def _with_classes(clip: Clip, class_names: Sequence[str]) -> Clip | None:
    """Clip with those of its classes that are chosen; None if it has none of them."""
    if not clip.labels:
        return clip if clip.class_name in class_names else None
    labels = tuple(name for name in clip.labels if name in class_names)
    return replace(clip, class_name=labels[0], labels=labels) if labels else None


def read_subsets(videos: str | os.PathLike[str]) -> dict[str, str]:
    """Read the part of each clip, by source; no video is opened.

    Args:
        videos: a list with a column `part`, or a folder in Epic Kitchens' layout.

    Raises:
        PreprocessError: if it cannot be read, or gives no parts.
    """
    clips = find_clip_set(Path(videos)).clips
    subsets = {
        clip.source: clip.subset for clip in clips if isinstance(clip, ListedClip) and clip.subset
    }
    if not subsets:
        raise PreprocessError(
            f"A split as listed needs a list with a column part: {', '.join(SUBSETS)}. {videos} "
            "has none; add it, or choose another split."
        )
    return subsets
