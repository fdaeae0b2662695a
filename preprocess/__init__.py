"""Video files to HDF5 shards of uint8 frames, and back.

    from preprocess import open_shards

    for clip in open_shards("shards"):
        clip.frames  # uint8 (T, H, W, 3), RGB

Nothing heavy is imported here: OpenCV, HDF5 and scikit-learn load where they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.extras import import_extra

if TYPE_CHECKING:
    from preprocess.errors import DecodeError, PreprocessError
    from preprocess.shards.reader import ShardClip, Shards, open_shards
    from preprocess.shards.settings import FrameSettings
    from preprocess.sources.clips import Clip, find_clips
    from preprocess.sources.splits import Split, make_split
    from preprocess.video.decode import iter_frames

__all__ = [
    "Clip",
    "DecodeError",
    "FrameSettings",
    "PreprocessError",
    "ShardClip",
    "Shards",
    "Split",
    "find_clips",
    "iter_frames",
    "make_split",
    "open_shards",
]

# Module of each public name below `preprocess`; the imports above are for type checkers only.
_HOMES = {
    "Clip": "sources.clips",
    "DecodeError": "errors",
    "FrameSettings": "shards.settings",
    "PreprocessError": "errors",
    "ShardClip": "shards.reader",
    "Shards": "shards.reader",
    "Split": "sources.splits",
    "find_clips": "sources.clips",
    "iter_frames": "video.decode",
    "make_split": "sources.splits",
    "open_shards": "shards.reader",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    # PEP 562. A command line that only prints its help must not wait for OpenCV and HDF5.
    if name not in _HOMES:
        raise AttributeError(f"module 'preprocess' has no attribute {name!r}")
    return getattr(import_extra(f"preprocess.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
