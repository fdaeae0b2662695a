"""Writer of a shard: frames into an HDF5 file under a temporary name until it is complete."""

from __future__ import annotations

import hashlib
import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import lz4.block
import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.files import SealedFile, new_temporary, write_errors
from preprocess.shards.schema import (
    SCHEMA_VERSION,
    ClipRecord,
    clip_name,
    frame_checksum,
    records_to_rows,
)
from preprocess.shards.settings import StoredSettings

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


def chunk_frames(settings: StoredSettings) -> int:
    """Number of frames per chunk: about a quarter of a mebibyte, at least one."""
    frame_bytes = int(np.prod(settings.frame_shape))
    return int(np.clip(_CHUNK_BYTES // frame_bytes, 1, _LONGEST_CHUNK))


class ShardWriter:
    """Writer of one shard under a temporary name, which `publish` then replaces.

    Use it as a context manager, which removes the temporary file unless `seal` was reached. Every
    method raises `WriteError` if the disk is full or fails.

    Args:
        folder: folder of the shard.
        settings: settings of all its frames.
    """

    def __init__(self, folder: Path, settings: StoredSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._records: list[ClipRecord] = []
        self._sealed = False
        with write_errors():
            self._temporary = new_temporary(folder)
            # Without a chunk cache, for chunks are written whole and directly.
            self._file = h5py.File(
                self._temporary, "w", libver="latest", locking=False, rdcc_nbytes=0
            )
            self._file.attrs["schema_version"] = SCHEMA_VERSION
            for key, value in settings.to_json().items():
                self._file.attrs[key] = h5py.Empty("i8") if value is None else value
            self._clips = self._file.create_group("clips")
            self._checksums = self._file.create_group("checksums")
            self._times = self._file.create_group("times")

    @property
    def num_clips(self) -> int:
        """Number of clips finished so far."""
        return len(self._records)

    @property
    def num_bytes(self) -> int:
        """Size of the file so far, in bytes."""
        return self._temporary.stat().st_size

    def begin_clip(self) -> None:
        """Start a clip without frames."""
        shape = self._settings.frame_shape
        self._sums: list[int] = []  # checksum of each frame so far
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
        """Append the first frames of a chunk to the current clip.

        Args:
            chunk: uint8 (`chunk_frames`, H, W, 3), contiguous. Frames from `num_frames` on are
                overwritten.
            num_frames: number of frames that count; fewer than all only in a clip's last chunk.
        """
        dataset = self._dataset.id  # h5py's low level, for indexing costs as much as the write
        start = len(self._sums)
        # The rest of the last chunk is stored too: zeros compress well and repeat bit for bit.
        chunk[num_frames:] = 0
        self._sums += [frame_checksum(frame.data) for frame in chunk[:num_frames]]
        with write_errors():
            dataset.set_extent((start + num_frames, *chunk.shape[1:]))
            if self._settings.compression == "zstd":
                _write_through_filter(dataset, start, chunk[:num_frames])
            else:
                encode = _lz4_chunk if self._settings.compression == "lz4" else np.asarray
                dataset.write_direct_chunk((start, 0, 0, 0), encode(chunk))

    def end_clip(self, record: ClipRecord, times: ArrayLike | None = None) -> None:
        """Finish the current clip.

        Args:
            record: properties of the clip.
            times: time of each of its frames, in seconds, (T,); None stores none.
        """
        name = self._name()
        with write_errors():
            self._checksums[name] = np.array(self._sums, np.uint64)
            if times is not None:
                self._times.create_dataset(
                    name, data=np.asarray(times, np.float64), fletcher32=True
                )
        self._records.append(record)

    def drop_clip(self) -> None:
        """Remove the current clip, which turned out not to be readable."""
        with write_errors():
            del self._clips[self._name()]

    def seal(self) -> SealedFile:
        """Write the records and close the file, which keeps its temporary name for now."""
        with write_errors():
            rows = records_to_rows(self._records)
            self._file.create_dataset("records", data=rows, fletcher32=True)
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
        """Name of the clip that is being written."""
        return clip_name(self.num_clips)


def _write_through_filter(dataset: Any, start: int, frames: NDArray[np.uint8]) -> None:
    """Let HDF5 compress and write frames from `start` on."""
    space = dataset.get_space()
    space.select_hyperslab((start, 0, 0, 0), frames.shape)
    dataset.write(h5py.h5s.create_simple(frames.shape), space, frames)


def _lz4_chunk(chunk: NDArray[np.uint8]) -> bytes:
    """Compress a chunk in the format of HDF5's LZ4 filter (32004), but faster than the filter."""
    # The filter has only one acceleration, and copies the chunk twice.
    size = chunk.nbytes
    compressed = lz4.block.compress(
        chunk, mode="fast", acceleration=_LZ4_ACCELERATION, store_size=False
    )
    if len(compressed) >= size:  # the filter's sign for "not compressed"
        compressed = chunk.tobytes()
    return struct.pack(">QII", size, size, len(compressed)) + compressed


def _content_key(settings: StoredSettings, records: list[ClipRecord]) -> str:
    """Key of a shard's content: two shards with different clips never have the same name."""
    clips = [(r.source, r.detail, r.size_bytes, r.mtime_ns) for r in records]
    content = [settings.to_json(), clips]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
