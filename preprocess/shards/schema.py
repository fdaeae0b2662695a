"""HDF5 schema of a shard file, and functions to read it.

A shard holds several clips. Clip number i is the dataset `clips/000i`, uint8 (T, H, W, 3) RGB,
chunked along T. `checksums/000i`, uint64 (T,), holds the XXH3 sums of its frames, with which each
frame that is read is compared. `times/000i`, float64 (T,), holds the times of its frames in
seconds, if the settings keep them. Entry i of `records`, JSON as uint8 (n,), holds the properties
of the clip; the attributes of the file hold the settings. Times and records have HDF5's own
checksum.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin as hdf5plugin  # importing it registers the filters of LZ4 and Zstandard
import numpy as np
from numpy.typing import DTypeLike, NDArray
from xxhash import xxh3_64_intdigest

from preprocess.errors import ShardError
from preprocess.shards import hdf5_check

# Raise it when older programs could not read, or would misread, what is written.
SCHEMA_VERSION = 3
SHARD_GLOB = "shard-*.h5"


@dataclass(frozen=True)
class ClipRecord:
    """Properties of a stored clip besides its frames.

    Args:
        source: path of the video relative to the videos folder.
        class_name: its class.
        group: its scene.
        size_bytes: size of the video file when it was read.
        mtime_ns: modification time of the video file, in nanoseconds.
        num_frames: number of frames stored.
        fps: frames per second of the video; 0.0 where unknown.
        original_width: width of the video, in pixels.
        original_height: height of the video, in pixels.
        detail: text of whatever else the frames depend on, such as a part of the picture.
    """

    source: str
    class_name: str
    group: str
    size_bytes: int
    mtime_ns: int
    num_frames: int
    fps: float
    original_width: int
    original_height: int
    detail: str = ""


def clip_name(position: int) -> str:
    """Name of a clip's datasets in the groups `clips`, `checksums` and `times`."""
    return f"{position:04d}"


def frame_checksum(frame: memoryview) -> int:
    """XXH3's 64-bit sum of a frame's bytes, which takes some microseconds."""
    return xxh3_64_intdigest(frame)


def records_to_rows(records: Sequence[ClipRecord]) -> NDArray[np.uint8]:
    """Encode records as the dataset `records`: JSON as uint8 (n,)."""
    # Bytes and not HDF5's own strings, of which a small file can claim gigabytes.
    text = json.dumps([asdict(record) for record in records])
    return np.frombuffer(text.encode(), np.uint8)


def open_file(path: Path) -> h5py.File:
    """Open a shard for reading.

    Raises:
        ShardError: if it is damaged, hostile or of another schema version.
    """
    try:
        # A shard never changes under its name, and locks fail on some network file systems.
        file = h5py.File(path, "r", locking=False)
        hdf5_check.check_scalar(file, "schema_version")
        version = file.attrs["schema_version"]
    except (OSError, KeyError) as error:
        raise damaged(path, error) from error
    except hdf5_check.UnsafeFileError as error:
        raise _refused(path, error) from error
    if version != SCHEMA_VERSION:
        raise ShardError(
            f"{path} has schema version {version}; this program reads {SCHEMA_VERSION}. "
            "Extract the videos again with --overwrite."
        )
    return file


def read_rows(
    file: h5py.File,
    path: str,
    rows: slice | tuple[()] = (),
    *,
    dtype: DTypeLike | None = None,
    shape: Sequence[int | None] | None = None,
) -> Any:
    """Read rows of one of a shard's datasets, which must be in the shard itself.

    Args:
        file: a file from `open_file`.
        path: `records`, `checksums/000i` or `times/000i`; for clips see `shards.chunks`.
        rows: rows to read; by default all.
        dtype: dtype that the dataset must have; None for any.
        shape: shape that it must have; None for any, or for an axis of any length.

    Raises:
        ShardError: if the dataset is missing, damaged or hostile.
    """
    with dataset_errors(file):
        return open_rows(file, path, dtype=dtype, shape=shape)[rows]


@contextmanager
def dataset_errors(file: h5py.File) -> Iterator[None]:
    """Turn the errors of HDF5 and of the checks in the context into `ShardError`."""
    name = Path(file.filename)
    try:
        yield
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise damaged(name, error) from error
    except hdf5_check.UnsafeFileError as error:
        raise _refused(name, error) from error


def open_rows(
    file: h5py.File,
    path: str,
    *,
    dtype: DTypeLike | None = None,
    shape: Sequence[int | None] | None = None,
) -> h5py.Dataset:
    """Open a dataset after the checks of `read_rows`; use it within `dataset_errors`."""
    dataset = hdf5_check.open_dataset(file, path, hdf5_check.SHARDS_OWN)
    _check_kind(dataset, dtype, shape)
    return dataset


def _check_kind(
    dataset: h5py.Dataset, dtype: DTypeLike | None, shape: Sequence[int | None] | None
) -> None:
    """Raise ValueError unless a dataset has this type and shape."""
    found = dataset.shape or ()  # None of an empty one
    if dtype is not None and dataset.dtype != dtype:
        raise ValueError(f"{dataset.name} is of type {dataset.dtype}, and not {np.dtype(dtype)}")
    if shape is not None and (
        len(found) != len(shape)
        or any(wanted not in (None, length) for length, wanted in zip(found, shape, strict=True))
    ):
        raise ValueError(f"{dataset.name} is of shape {found}, and not {tuple(shape)}")


def _refused(path: Path, error: Exception) -> ShardError:
    """Create the error for a hostile shard."""
    return ShardError(
        f"The shard {path} is refused: {error}. This program does not write such shards; remove "
        "it, and extract the videos again."
    )


def damaged(path: Path, error: Exception | str) -> ShardError:
    """Create the error for a shard that cannot be read."""
    return ShardError(
        f"The shard {path} is damaged ({error}). Remove it and run the extraction again; "
        "only its clips are redone."
    )


def read_records(path: Path) -> list[ClipRecord]:
    """Read the records of a shard's clips, in the order in which they are stored.

    Raises:
        ShardError: if it is damaged or of another schema version.
    """
    with open_file(path) as file:
        rows = read_rows(file, "records", dtype=np.uint8, shape=(None,))
    try:
        return [_record(values) for values in json.loads(rows.tobytes())]
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(path, error) from error


def _record(values: dict[str, Any]) -> ClipRecord:
    """Create a clip's record; ValueError or TypeError for impossible values."""
    record = ClipRecord(**values)
    # Annotations are strings here, so their text is the name of the type. The checksum guards
    # against decay, these checks against a file that was made on purpose.
    for field in fields(record):
        value = getattr(record, field.name)
        if type(value).__name__ != field.type:
            raise ValueError(f"{field.name} of a clip is {value!r}")
    if not record.source or record.num_frames < 1:
        raise ValueError(f"it is to hold {record.num_frames} frames of {record.source!r}")
    if min(record.original_width, record.original_height) < 1:
        raise ValueError(
            f"{record.source!r} is to be {record.original_width}x{record.original_height}"
        )
    return record
