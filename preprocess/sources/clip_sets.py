"""What `videos` names, a folder, a list or Epic Kitchens, to clips with their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preprocess.sources.catalog import resolve
from preprocess.sources.class_subset import choose_classes, require_clips
from preprocess.sources.clips import Clip, clips_of, list_videos, require_folder
from preprocess.sources.epic_kitchens import (
    NAME,
    is_epic_kitchens,
    read_epic_kitchens,
    unlisted_videos,
)
from preprocess.sources.listed_clips import read_list


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
        return ClipSet(clips, NAME, class_names, notice=unlisted_videos(videos, clips))
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
