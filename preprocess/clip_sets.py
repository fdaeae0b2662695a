"""What `videos` names, a folder, a list or Epic Kitchens, to clips with their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.clips import Clip, clips_of, list_videos, require_folder
from preprocess.epic_kitchens import NAME, is_epic_kitchens, read_epic_kitchens, unlisted_videos
from preprocess.listed_clips import read_list


@dataclass(frozen=True)
class ClipSet:
    """Clips that belong together.

    Args:
        clips: sorted by source.
        name: what they are called unless somebody calls them otherwise.
        class_names: in label order, where that is told.
        notice: what of the folder was left out and why, for a person; empty if nothing was.
    """

    clips: Sequence[Clip]
    name: str
    class_names: tuple[str, ...] | None = None
    notice: str = ""


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
