"""Whether a file is the one that an entry describes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from weights.alexnet import read_alexnet_npy
from weights.errors import WeightsError
from weights.registry import Entry

FLOAT_BYTES = 4
SIGNATURES = {".npy": b"\x93NUMPY", ".h5": b"\x89HDF\r\n\x1a\n"}  # how such files start


def verify(path: str | os.PathLike[str], entry: Entry) -> None:
    """Check a file by its size, its first bytes, and its checksum or else its content.

    Raises:
        WeightsError: if it is not what the entry describes.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    least = 1 if entry.checksum else FLOAT_BYTES * entry.num_parameters
    if not least <= size <= entry.max_bytes:
        raise WeightsError(
            f"{entry.file_name} must have {least:,} to {entry.max_bytes:,} bytes. "
            f"{path} has {size:,}; fetch it again."
        )
    signature = SIGNATURES.get(Path(entry.file_name).suffix, b"")
    if not start.startswith(signature):
        raise WeightsError(
            f"{entry.file_name} must start with {signature!r}. {path} starts with {start!r}; it is "
            "another kind of file."
        )
    if entry.checksum is not None:
        _check_sum(path, entry.checksum)
    elif entry.shapes is not None:
        read_alexnet_npy(path, shapes=entry.shapes)


def _check_sum(path: Path, checksum: str) -> None:
    algorithm, _, wanted = checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != wanted:
        raise WeightsError(
            f"{path} must have the {algorithm} checksum {wanted}. It has {found}; "
            "it is damaged, or another file: fetch it again."
        )
