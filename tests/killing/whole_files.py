"""Checks that every file with a final name is whole, and a list of files with temporary names."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np


def broken_files(folder: Path) -> list[str]:
    """Find files with a final name that cannot be read to their end, with the reason, sorted."""
    found = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name == ".lock" or _is_unfinished(path, folder):
            continue
        try:
            _CHECKS.get(path.suffix, _not_empty)(path)
        except Exception as error:  # whatever a reader makes of half a file
            found.append(f"{path.relative_to(folder)}: {error!r}")
    return found


def leftovers(folder: Path) -> list[str]:
    """Find temporary files that a command must have removed at its end, sorted."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if _is_unfinished(path, folder)
    ]


def _is_unfinished(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    return parts[-1] != ".lock" and any(
        part.startswith(".") or part.endswith((".part", ".partial", ".tmp")) for part in parts
    )


def _not_empty(path: Path) -> None:
    if not path.stat().st_size:
        raise ValueError("empty")


def _hdf5(path: Path) -> None:
    import h5py
    import hdf5plugin  # noqa: F401 - decompresses

    with h5py.File(path) as file:
        file.visititems(lambda name, item: item[()] if isinstance(item, h5py.Dataset) else None)


def _archive(path: Path) -> None:
    with zipfile.ZipFile(path) as file:
        if (bad := file.testzip()) is not None:
            raise ValueError(f"{bad} is damaged")


def _csv(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    widths = {len(row) for row in csv.reader(text.splitlines())}
    if not text.endswith("\n") or len(widths) != 1:
        raise ValueError(f"rows of {widths} cells, and {text[-5:]!r} at the end")


def _image(path: Path) -> None:
    from PIL import Image

    with Image.open(path) as image:
        image.load()


def _video(path: Path) -> None:
    import cv2

    capture = cv2.VideoCapture(str(path))
    claimed, found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0
    while capture.grab():
        found += 1
    if not found or found != claimed:
        raise ValueError(f"{found} of {claimed} frames")


def _page(path: Path) -> None:
    if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
        raise ValueError("has no end")


def _parquet(path: Path) -> None:
    import pyarrow.parquet

    pyarrow.parquet.read_table(path)


_CHECKS: dict[str, Callable[[Path], object]] = {
    ".csv": _csv,
    ".h5": _hdf5,
    ".html": _page,
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".keras": _archive,
    ".mp4": _video,
    ".npy": lambda path: np.load(path, allow_pickle=False),
    ".npz": _archive,
    ".parquet": _parquet,
    ".png": _image,
}
