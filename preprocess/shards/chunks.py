"""Frames of a stored clip, read chunk by chunk without HDF5's filters.

HDF5 reads for one thread at a time, and its filters write every chunk to new memory. Here HDF5 only
tells where the chunks are. Threads then read and decompress them side by side, each in a buffer
that stays in the processor's cache, and every frame is compared with its checksum there.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cramjam
import h5py
import numpy as np
from numpy.typing import NDArray

from preprocess.shards import hdf5_check
from preprocess.shards.schema import (
    clip_name,
    damaged,
    dataset_errors,
    frame_checksum,
    open_rows,
    read_rows,
)

# Head of a chunk of HDF5's LZ4 filter: bytes of the chunk and of a block, then the compressed bytes
# of the first block. The program writes one block a chunk.
_LZ4_HEAD = struct.Struct(">QII")


@dataclass(frozen=True)
class StoredChunks:
    """Where the chunks of a clip are, and the checksums of its frames.

    Args:
        name: name of the clip's datasets, for messages.
        frame_shape: (height, width, channels) of a frame.
        chunk_frames: number of frames of a chunk; the last one may hold fewer that count.
        offsets: first byte of each chunk in the file, int64 (n,).
        sizes: number of bytes of each chunk in the file, int64 (n,).
        checksums: XXH3 sum of each frame, uint64 (T,).
        unpack: function of a chunk's bytes and of the buffer that takes its frames. It raises
            ValueError or cramjam.DecompressionError unless it fills the buffer.
    """

    name: str
    frame_shape: tuple[int, ...]
    chunk_frames: int
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    checksums: NDArray[np.uint64]
    unpack: Callable[[memoryview, memoryview], None]

    def read(
        self, path: Path, start: int, stop: int, stride: int = 1
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Read the frames start, start + stride, ... before `stop`, a chunk at a time.

        Args:
            path: the shard.
            start, stop, stride: frames to read, 0 <= start <= stop <= T.

        Yields:
            Place of the chunk's first frame among those read, and uint8 (n, height, width,
            channels), n > 0; the next chunk overwrites it.

        Raises:
            ShardError: if the shard is damaged or gone.
        """
        length, frame_bytes = self.chunk_frames, int(np.prod(self.frame_shape))
        frames = np.empty((length, *self.frame_shape), np.uint8)
        unpacked = frames.data.cast("B")
        first, last = start // length, -(-stop // length)
        packed = memoryview(bytearray(int(self.sizes[first:last].max(initial=0))))
        try:
            # Opened anew for each clip, which takes microseconds: a thread may then read whatever
            # the others do, and no limit on open files is met.
            with path.open("rb", buffering=0) as file:
                for number in range(first, last):
                    # The first frame wanted in this chunk, and the row after its last.
                    begin = number * length
                    skipped = max(start, begin + (start - begin) % stride) - begin
                    end = min(stop - begin, length)
                    if skipped >= end:
                        continue  # a long stride leaves whole chunks out
                    content = packed[: self.sizes[number]]
                    place = int(self.offsets[number])
                    if os.preadv(file.fileno(), [content], place) < len(content):
                        raise ValueError("it ends before its last chunk")
                    self.unpack(content, unpacked)
                    for i in range(skipped, end, stride):
                        frame = unpacked[i * frame_bytes : (i + 1) * frame_bytes]
                        if frame_checksum(frame) != self.checksums[begin + i]:
                            where = f"frame {begin + i} of clip {self.name}"
                            raise ValueError(f"{where} is not what was written")
                    yield (begin + skipped - start) // stride, frames[skipped:end:stride]
        except (OSError, ValueError, cramjam.DecompressionError) as error:
            raise damaged(path, error) from error


def locate_chunks(file: h5py.File, position: int, shape: Sequence[int]) -> StoredChunks:
    """Look up where a clip's chunks are.

    Args:
        file: a file from `schema.open_file`.
        position: number of the clip in the shard.
        shape: shape of its frames, (T, height, width, channels).

    Raises:
        ShardError: if they are missing or damaged, or the shard is hostile.
    """
    name, num_frames = clip_name(position), shape[0]
    sums = read_rows(file, f"checksums/{name}", dtype=np.uint64, shape=[num_frames])
    with dataset_errors(file):
        dataset = open_rows(file, f"clips/{name}", dtype=np.uint8, shape=shape).id
        settings = dataset.get_create_plist()
        is_chunked = settings.get_layout() == h5py.h5d.CHUNKED
        if not is_chunked or settings.get_chunk()[1:] != tuple(shape[1:]):
            raise ValueError(f"{name} is not in chunks of whole frames")
        filters = tuple(settings.get_filter(i)[0] for i in range(settings.get_nfilters()))
        if filters not in _UNPACK:
            raise ValueError(f"{name} has the filters {filters}, and not one of {list(_UNPACK)}")
        length = settings.get_chunk()[0]
        num_chunks = -(-num_frames // length)
        if dataset.get_num_chunks() != num_chunks:
            raise ValueError(f"{name} has {dataset.get_num_chunks()} of {num_chunks} chunks")
        places = np.full((num_chunks, 2), -1, np.int64)
        for i in range(num_chunks):
            found = dataset.get_chunk_info(i)
            number = found.chunk_offset[0] // length
            if found.filter_mask or number >= num_chunks:
                raise ValueError(f"{name} has a chunk without its filter, or beyond its frames")
            places[number] = found.byte_offset, found.size
        # More than any compression adds to a chunk that does not shrink; and no chunk twice.
        largest = 1024 + 2 * length * int(np.prod(shape[1:]))
        if places[:, 1].min() < 1 or places[:, 1].max() > largest or places[:, 0].min() < 0:
            raise ValueError(f"{name} has a chunk of an impossible size or place")
    return StoredChunks(
        name, tuple(shape[1:]), length, places[:, 0], places[:, 1], sums, _UNPACK[filters]
    )


def _copy(content: memoryview, frames: memoryview) -> None:
    frames[:] = content  # ValueError if the sizes differ


def _unpack_lz4(content: memoryview, frames: memoryview) -> None:
    if len(content) < _LZ4_HEAD.size:
        raise ValueError("a chunk has no head")
    size, block, compressed = _LZ4_HEAD.unpack_from(content)
    content = content[_LZ4_HEAD.size :]
    if size != len(frames) or block != size or compressed != len(content):
        raise ValueError("a chunk is not one block of its size")
    if compressed == size:  # the filter's sign for "not compressed"
        frames[:] = content
    elif cramjam.lz4.decompress_block_into(content, frames, output_len=size) != size:
        raise ValueError("a chunk is too short")


def _unpack_zstd(content: memoryview, frames: memoryview) -> None:
    if cramjam.zstd.decompress_into(content, frames) != len(frames):
        raise ValueError("a chunk is too short")


_UNPACK: dict[tuple[int, ...], Callable[[memoryview, memoryview], None]] = {
    (): _copy,
    (hdf5_check.LZ4,): _unpack_lz4,
    (hdf5_check.ZSTANDARD,): _unpack_zstd,
}
