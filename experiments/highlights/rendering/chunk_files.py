"""The files of a recording written in chunks: `part0.mp4`, `part1.mp4` ... `part10.mp4`."""

from __future__ import annotations

import re
from pathlib import Path

from experiments.highlights.rendering.ffmpeg import RenderError
from preprocess.clips import VIDEO_SUFFIXES

_SUFFIXES = VIDEO_SUFFIXES | {".flv", ".m4v", ".mts", ".ts"}


def recording_chunks(path: Path) -> list[Path]:
    """The files of a recording, in the order of their numbers.

    Args:
        path: a file; or a folder that holds `part0.mp4`, `part1.mp4` ... `part10.mp4`; or what
            such names have in common, as `folder/part`.

    Raises:
        RenderError: if there is none, or a number is missing or there twice.
    """
    if path.is_file():
        return [path]
    folder, prefix = (path, None) if path.is_dir() else (path.parent, path.name)
    found: dict[tuple[str, int], Path] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        named = re.fullmatch(r"(.*?)(\d+)", file.stem, re.DOTALL | re.ASCII)
        if named is None or file.suffix.lower() not in _SUFFIXES or file.name[0] == ".":
            continue
        if prefix is not None and named[1] != prefix:
            continue
        key = named[1], int(named[2])
        if key in found:
            raise RenderError(f"{found[key]} and {file} have the same number.")
        found[key] = file
    return _in_order(path, found)


def _in_order(path: Path, found: dict[tuple[str, int], Path]) -> list[Path]:
    names = sorted({name for name, _ in found})
    if not found:
        raise RenderError(
            f"{path} is no file, and there are no numbered videos such as {path}0.mp4."
        )
    if len(names) > 1:
        raise RenderError(
            f"{path} holds several recordings: {', '.join(map(repr, names))}. "
            f"Name one, as {path / names[0]}."
        )
    numbers = sorted(number for _, number in found)
    first = min(numbers[0], 1)
    missing = sorted(set(range(first, numbers[-1])) - set(numbers))
    if missing:
        raise RenderError(
            f"Chunk {missing[0]} of {path} is missing: there are {len(numbers)}, "
            f"numbered up to {numbers[-1]}."
        )
    return [found[names[0], number] for number in numbers]
