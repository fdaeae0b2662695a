"""The parts that a list gives its clips, as a split of what was extracted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from preprocess.errors import PreprocessError
from preprocess.sources.clip_sets import find_clip_set
from preprocess.sources.listed_clips import PARTS, ListedClip
from preprocess.sources.splits import Split


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
