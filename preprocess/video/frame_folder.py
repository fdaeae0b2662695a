"""Folders of numbered pictures, such as frame000001.jpg, that are one clip."""

from __future__ import annotations

import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from preprocess.errors import DecodeError

# UCF101's frame000001.jpg and Epic Kitchens' frame_0000000001.jpg.
_FRAME = re.compile(r"frame_?([0-9]+)\.(?:jpe?g|png)", re.IGNORECASE)


@dataclass(frozen=True)
class FrameFolder:
    """Frames of one clip, in the order of their numbers.

    Args:
        numbers: numbers of the frames, ascending.
        paths: paths of their files, as text, for there are millions.
        size_bytes: size of all files together.
        mtime_ns: latest modification time of a file or of the folder, in nanoseconds.
        first: number that the first frame should have; None for 0 or 1.
        last: number that the last frame should have; None for any.
    """

    numbers: tuple[int, ...]
    paths: tuple[str, ...]
    size_bytes: int
    mtime_ns: int
    first: int | None = None
    last: int | None = None

    def between(self, first: int | None, last: int | None) -> FrameFolder:
        """Frames of the numbers first to last, both included; size and time stay those of all."""
        begin = 0 if first is None else bisect_left(self.numbers, first)
        end = None if last is None else bisect_right(self.numbers, last)
        numbers, paths = self.numbers[begin:end], self.paths[begin:end]
        return replace(self, numbers=numbers, paths=paths, first=first, last=last)

    def missing(self, num_frames: int) -> str:
        """Describe the numbers missing among the first `num_frames` frames; empty if none."""
        # A clip may count from 0 or from 1, so a missing 0 is no gap.
        before_first = 0 if self.first is None else self.first - 1
        numbers = [before_first, *self.numbers[:num_frames]]
        if self.last is not None and num_frames >= len(self.numbers):
            numbers.append(self.last + 1)
        gaps = [
            (before + 1, after - 1) for before, after in pairwise(numbers) if after > before + 1
        ]
        ranges = [f"{first}" if first == last else f"{first} to {last}" for first, last in gaps]
        return f"no frames of number {', '.join(ranges)}" if ranges else ""


def holds_frames(names: Iterable[str]) -> bool:
    """Return True if one of the file names is a frame's."""
    return any(_FRAME.fullmatch(name) for name in names)


def list_frames(folder: str | os.PathLike[str]) -> FrameFolder:
    """List the frames in a folder without reading any picture.

    Raises:
        DecodeError: if it cannot be listed, or two files have one number.
    """
    # One scandir, and one stat per file: there may be millions.
    paths: dict[int, str] = {}
    size_bytes = 0
    try:
        mtime_ns = os.stat(folder).st_mtime_ns
        with os.scandir(folder) as entries:
            for entry in entries:
                found = _FRAME.fullmatch(entry.name)
                if not found:
                    continue
                number, file = int(found[1]), entry.stat()
                if number in paths:
                    names = sorted([os.path.basename(paths[number]), entry.name])
                    raise DecodeError(f"frame {number} is there twice: {' and '.join(names)}")
                paths[number] = entry.path
                size_bytes += file.st_size
                mtime_ns = max(mtime_ns, file.st_mtime_ns)
    except OSError as error:
        raise DecodeError(f"{os.path.basename(error.filename)}: {error.strerror}") from error
    numbers = tuple(sorted(paths))
    return FrameFolder(numbers, tuple(paths[n] for n in numbers), size_bytes, mtime_ns)
