"""The HDF5 schema: one shard file, its writer and what it tells. The only h5py import.

A shard holds several clips. Clip number i is the dataset `clips/000i`, uint8 (T, H, W, 3) RGB,
chunked along T; `times/000i`, float64 (T,) in seconds, says when its frames are shown, where the
settings want it kept. What is known about it is row i of the table `records`; what the clips share
is in the attributes of the file.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import lz4.block
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from preprocess import hdf5_check
from preprocess.errors import ShardError
from preprocess.files import SealedFile, new_temporary, write_errors
from preprocess.settings import StoredSettings

SCHEMA_VERSION = 2
SHARD_GLOB = "shard-*.h5"
_CHUNK_BYTES = 2**18  # a chunk stays in the processor's cache from the decoder to the file
_LONGEST_CHUNK = 64  # frames, so that short clips do not pad a chunk with many empty ones
# LZ4 is here for speed: at 1, its usual acceleration, it takes as long as half the decoding and
# saves a fifth more; who wants small shards is better served by Zstandard.
_LZ4_ACCELERATION = 48
_FILTERS: dict[str, Any] = {
    "none": {},
    "lz4": hdf5plugin.LZ4(),
    "zstd": hdf5plugin.Zstd(clevel=1),
}


@dataclass(frozen=True)
class ClipRecord:
    """What a shard knows of a clip besides its frames.

    Args:
        source: path of the video relative to the videos folder.
        class_name: its class.
        group: its scene.
        size_bytes: size of the video file when it was read.
        mtime_ns: when the video file had last been changed, in nanoseconds.
        num_frames: frames stored.
        fps: frames a second in the video; 0.0 where unknown.
        original_width: of the video, in pixels.
        original_height: of the video, in pixels.
        detail: in words, what else the frames depend on, such as a part of the picture.
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


_RECORD_TYPE = np.dtype(
    [
        (field.name, {"str": h5py.string_dtype(), "int": "i8", "float": "f8"}[str(field.type)])
        for field in fields(ClipRecord)
    ]
)


def chunk_frames(settings: StoredSettings) -> int:
    """Frames in one chunk: about a quarter of a mebibyte of them, at least one."""
    frame_bytes = int(np.prod(settings.frame_shape))
    return int(np.clip(_CHUNK_BYTES // frame_bytes, 1, _LONGEST_CHUNK))


class ShardWriter:
    """Writes one shard under a temporary name, for `publish` to give it its own.

    Used as a context manager, so that the temporary file goes away unless `seal` was reached.
    Every method raises `WriteError` if the disk is full or fails.

    Args:
        folder: where the shard is to lie.
        settings: of all its frames.
    """

    def __init__(self, folder: Path, settings: StoredSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._records: list[ClipRecord] = []
        self._sealed = False
        with write_errors():
            self._temporary = new_temporary(folder)
            self._file = h5py.File(
                self._temporary, "w", libver="latest", locking=False, rdcc_nbytes=0
            )
            self._file.attrs["schema_version"] = SCHEMA_VERSION
            for key, value in settings.to_json().items():
                self._file.attrs[key] = h5py.Empty("i8") if value is None else value
            self._clips = self._file.create_group("clips")
            self._times = self._file.create_group("times")

    @property
    def num_clips(self) -> int:
        """Clips finished so far."""
        return len(self._records)

    @property
    def num_bytes(self) -> int:
        """Size of the file so far."""
        return self._temporary.stat().st_size

    def begin_clip(self) -> None:
        """Start a clip without frames."""
        shape = self._settings.frame_shape
        with write_errors():
            self._dataset = self._clips.create_dataset(
                self._name(),
                shape=(0, *shape),
                maxshape=(None, *shape),
                chunks=(chunk_frames(self._settings), *shape),
                dtype=np.uint8,
                **_FILTERS[self._settings.compression],
            )

    def append(self, chunk: NDArray[np.uint8], num_frames: int) -> None:
        """Add the first frames of a chunk to the clip begun.

        Args:
            chunk: uint8 (`chunk_frames`, H, W, 3), contiguous. Frames that do not count are
                overwritten.
            num_frames: how many count; only a clip's last chunk may have fewer than all.
        """
        dataset = self._dataset.id  # h5py's low level: indexing costs as much as the write
        start, *frame_shape = dataset.shape
        chunk[num_frames:] = 0
        with write_errors():
            dataset.set_extent((start + num_frames, *frame_shape))
            if self._settings.compression == "zstd":
                _write_through_filter(dataset, start, chunk[:num_frames])
            else:
                encode = _lz4_chunk if self._settings.compression == "lz4" else np.asarray
                dataset.write_direct_chunk((start, 0, 0, 0), encode(chunk))

    def end_clip(self, record: ClipRecord, times: ArrayLike | None = None) -> None:
        """Finish the clip begun.

        Args:
            record: what is known about it.
            times: when each of its frames is shown, in seconds, (T,); None keeps none.
        """
        if times is not None:
            with write_errors():
                self._times.create_dataset(self._name(), data=np.asarray(times, np.float64))
        self._records.append(record)

    def drop_clip(self) -> None:
        """Forget the clip begun, which turned out not to be readable."""
        with write_errors():
            del self._clips[self._name()]

    def seal(self) -> SealedFile:
        """Close the file: nothing can be added any more, but it has its temporary name yet."""
        with write_errors():
            rows = [astuple(record) for record in self._records]
            self._file["records"] = np.array(rows, _RECORD_TYPE)
            self._file.close()
        self._sealed = True
        name = f"shard-{_content_key(self._settings, self._records)}.h5"
        return SealedFile(self._temporary, self._folder / name)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._sealed:
            with suppress(OSError, RuntimeError, ValueError):
                self._file.close()
            self._temporary.unlink(missing_ok=True)

    def _name(self) -> str:
        """Of the clip that is being written."""
        return clip_name(self.num_clips)


def _write_through_filter(dataset: Any, start: int, frames: NDArray[np.uint8]) -> None:
    """Have HDF5 compress and write frames that begin at `start`."""
    space = dataset.get_space()
    space.select_hyperslab((start, 0, 0, 0), frames.shape)
    dataset.write(h5py.h5s.create_simple(frames.shape), space, frames)


def _lz4_chunk(chunk: NDArray[np.uint8]) -> bytes:
    """A chunk as HDF5's LZ4 filter (32004) writes it, but faster than the filter can.

    The filter knows one acceleration and copies the chunk twice.
    """
    size = chunk.nbytes
    compressed = lz4.block.compress(
        chunk, mode="fast", acceleration=_LZ4_ACCELERATION, store_size=False
    )
    if len(compressed) >= size:  # the filter's sign for "not compressed"
        compressed = chunk.tobytes()
    return struct.pack(">QII", size, size, len(compressed)) + compressed


def clip_name(position: int) -> str:
    """Name of a clip's dataset in the group `clips`."""
    return f"{position:04d}"


def _content_key(settings: StoredSettings, records: list[ClipRecord]) -> str:
    """A name for what a shard holds: two shards with different clips never share one."""
    clips = [(r.source, r.detail, r.size_bytes, r.mtime_ns) for r in records]
    content = [settings.to_json(), clips]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def open_file(path: Path) -> h5py.File:
    """A shard opened for reading.

    Raises:
        ShardError: if it is damaged, hostile or of another schema version.
    """
    try:
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
    """Rows of one of a shard's datasets, which must be in the shard itself.

    Args:
        file: that `open_file` opened.
        path: `records`, `clips/000i` or `times/000i`.
        rows: which; all if it is left out.
        dtype: that the dataset must have; None for any.
        shape: that it must have; None for any, or for an axis of any length.

    Raises:
        ShardError: if the dataset is missing, damaged or hostile.
    """
    name = Path(file.filename)
    try:
        dataset = hdf5_check.open_dataset(file, path, hdf5_check.SHARDS_OWN)
        _check_kind(dataset, dtype, shape)
        return dataset[rows]
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise damaged(name, error) from error
    except hdf5_check.UnsafeFileError as error:
        raise _refused(name, error) from error


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
    return ShardError(
        f"The shard {path} is refused: {error}. This program does not write such shards; remove "
        "it, and extract the videos again."
    )


def damaged(path: Path, error: Exception) -> ShardError:
    """The error for a shard that cannot be read."""
    return ShardError(
        f"The shard {path} is damaged ({error}). Remove it and run the extraction again; "
        "only its clips are redone."
    )


def read_records(path: Path) -> list[ClipRecord]:
    """What one shard knows of its clips, in the order in which they are stored.

    Raises:
        ShardError: if it is damaged or of another schema version.
    """
    with open_file(path) as file:
        rows = read_rows(file, "records", dtype=_RECORD_TYPE, shape=(None,))
    try:
        return [_record(row) for row in rows]
    except ValueError as error:
        raise damaged(path, error) from error


def _record(row: np.void) -> ClipRecord:
    """A row of the table `records`; HDF5 gives text as bytes. ValueError for an impossible one."""
    values: Any = (value.decode() if isinstance(value, bytes) else value for value in row.item())
    record = ClipRecord(*values)
    if not record.source or record.num_frames < 1:
        raise ValueError(f"it is to hold {record.num_frames} frames of {record.source!r}")
    return record
