"""Reader of a directory of shards: `open_shards`."""

from __future__ import annotations

import os
import shlex
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.errors import ShardError
from preprocess.shards import chunks
from preprocess.shards.chunks import StoredChunks
from preprocess.shards.index import FILE_NAME, DatasetIndex, read_index, read_labels
from preprocess.shards.schema import (
    SHARD_GLOB,
    ClipRecord,
    clip_name,
    open_file,
    read_records,
    read_rows,
)
from preprocess.shards.settings import FrameSettings, StoredSettings
from preprocess.sources.catalog import choose_classes, require_clips
from preprocess.sources.clips import holds_videos

# Shuffled clips come from any shard; files of more shards than these are closed and opened again.
_MAX_OPEN_FILES = 16


def open_shards(
    path: str | os.PathLike[str],
    settings_type: type[StoredSettings] = FrameSettings,
    *,
    made_by: str = "python -m preprocess ucf11 VIDEOS",
) -> Shards:
    """Open a directory of shards; no frame is read yet.

    Args:
        path: the directory that `python -m preprocess` wrote.
        settings_type: class of the settings of its frames.
        made_by: the command that makes such a directory, without its name, for messages.

    Returns:
        The clips, sorted by source.

    Raises:
        ShardError: if the directory is missing, holds no shards, is not complete, was written
            with another schema version or is damaged.

    Example:
        >>> with open_shards("data/shards/ucf11") as shards:
        ...     frames = shards[0].frames  # uint8 (T, H, W, 3), RGB
    """
    folder = Path(path)
    index = read_index(folder, settings_type) if folder.is_dir() else None
    if index is None:
        if holds_videos(folder):
            raise ShardError(
                f"{folder} holds videos, not the shards that are made of them. Name it as the "
                "folder of videos, or make shards in a directory of their own: python -m "
                f"preprocess folder {shlex.quote(str(folder))} SHARDS"
            )
        raise ShardError(f"No shards in {folder}. Make them: {made_by} {folder}")
    if not index.complete:
        raise ShardError(
            f"The extraction into {folder} did not come to its end. Finish it: {index.command}"
        )
    # Only the records are read here: thousands of clips open in a moment.
    places = [
        (record, shard, position)
        for shard in sorted(folder.glob(SHARD_GLOB))
        for position, record in enumerate(read_records(shard))
    ]
    if not index.num_clips:
        raise ShardError(f"{folder} holds no clips: none could be read. See failures.csv there.")
    # A shard that was removed by hand leaves no other trace.
    if len(places) != index.num_clips:
        raise ShardError(
            f"{folder} holds {len(places)} of {index.num_clips} clips. Extract the missing ones: "
            f"{index.command}"
        )
    _check_records([record for record, *_ in places], index, folder)
    places.sort(key=lambda place: place[0].source)
    sources = [record.source for record, *_ in places]
    return Shards(folder, index, places, read_labels(folder, index.class_names, sources))


def _check_records(records: Sequence[ClipRecord], index: DatasetIndex, folder: Path) -> None:
    """Check that each clip is stored once and has one of the classes.

    Raises:
        ShardError: if not.
    """
    known, sources = set(index.class_names), {record.source for record in records}
    strange = {record.class_name for record in records} - known
    if strange or len(sources) < len(records):
        what = f"the class {min(strange)!r}" if strange else "a clip twice"
        raise ShardError(
            f"{folder} is damaged: its shards hold {what}, and {FILE_NAME} does not. Extract the "
            f"videos again with --overwrite: {index.command}"
        )


class ShardClip:
    """One clip of a directory of shards, whose frames are read on demand.

    Made by `Shards`, not by users.

    Example:
        >>> clip = open_shards("data/shards/ucf11")[0]
        >>> clip.read(stride=2, max_frames=8).shape
        (8, 120, 160, 3)
    """

    def __init__(self, shards: Shards, record: ClipRecord, shard: Path, position: int) -> None:
        self._shards = shards
        self._record = record
        self._shard = shard
        self._position = position

    @property
    def frames(self) -> NDArray[np.uint8]:
        """All frames, uint8 (T, H, W, 3), RGB; read from the file each time."""
        return self.read()

    def read(
        self, *, start: int = 0, stride: int = 1, max_frames: int | None = None
    ) -> NDArray[np.uint8]:
        """Read stored frames.

        Args:
            start: number of the first frame.
            stride: read the frames start, start + stride, start + 2 * stride, ...
            max_frames: largest number of frames; None for all.

        Returns:
            uint8 (T, H, W, 3), RGB.

        Raises:
            ShardError: if the shard is damaged.
        """
        num_frames = max(0, -(-(self.num_frames - start) // stride))
        if max_frames is not None:
            num_frames = min(num_frames, max_frames)
        frames = np.empty((num_frames, *self._shards.settings.frame_shape), np.uint8)
        for place, chunk in self.chunks(num_frames, start=start, stride=stride):
            frames[place : place + len(chunk)] = chunk
        return frames

    def chunks(
        self, num_frames: int, *, start: int = 0, stride: int = 1
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Read stored frames a few at a time, each while it is in the processor's cache.

        Threads may do it side by side.

        Args:
            num_frames: number of frames.
            start: number of the first frame.
            stride: read the frames start, start + stride, start + 2 * stride, ...

        Yields:
            Place of the first of a few frames among those read, and the frames, uint8
            (n, H, W, 3), RGB, which the next ones overwrite.

        Raises:
            ShardError: if the shard is damaged.
        """
        if num_frames == 0:
            return
        stored = self._shards.locate_chunks(self._shard, self._position, self.num_frames)
        stop = start + (num_frames - 1) * stride + 1
        yield from stored.read(self._shard, start, stop, stride)

    @property
    def times(self) -> NDArray[np.float64]:
        """Time of each frame in seconds, (T,); only in shards whose settings keep it.

        Raises:
            ShardError: if the shard is damaged, or does not keep them.
        """
        return self._shards.read_times(self._shard, self._position, self.num_frames)

    @property
    def source(self) -> str:
        """Path of the video relative to the videos folder."""
        return self._record.source

    @property
    def class_name(self) -> str:
        """Name of the clip's class."""
        return self._record.class_name

    @property
    def label(self) -> int:
        """Position of the class in the class names of the data set."""
        return self._shards.class_names.index(self.class_name)

    @property
    def group(self) -> str:
        """Key of the scene that the clip belongs to."""
        return self._record.group

    @property
    def detail(self) -> str:
        """Text of whatever else the frames depend on, such as a part of the picture."""
        return self._record.detail

    @property
    def identity(self) -> tuple[str, int, int, int, str]:
        """Key that changes whenever the frames may: source, size, time, number, detail."""
        record = self._record
        return (record.source, record.size_bytes, record.mtime_ns, self.num_frames, self.detail)

    @property
    def num_frames(self) -> int:
        """Number of frames stored."""
        return self._record.num_frames

    @property
    def fps(self) -> float:
        """Frames per second of the video, before any stride; 0.0 where unknown."""
        return self._record.fps

    @property
    def original_size(self) -> tuple[int, int]:
        """Width and height of the video, in pixels."""
        return (self._record.original_width, self._record.original_height)

    def __repr__(self) -> str:
        return f"ShardClip({self.source!r}, {self.class_name!r}, {self.num_frames} frames)"


class Shards(Sequence[ShardClip]):
    """Clips of a directory of shards, in the order of their sources.

    It is a sequence of `ShardClip`, made by `open_shards`. Threads may share it. It may be pickled
    and used after a fork: files are opened where they are read, a few at a time.

    Example:
        >>> with open_shards("data/shards/ucf11") as shards:
        ...     print(len(shards), shards.class_names[shards.labels[0]])
    """

    def __init__(
        self,
        folder: Path,
        index: DatasetIndex,
        places: Sequence[tuple[ClipRecord, Path, int]],
        label_matrix: NDArray[np.uint8] | None = None,
    ) -> None:
        self._index = index
        self._places = places
        self.folder = folder
        self.dataset = index.dataset
        self.class_names = list(index.class_names)
        self.settings = index.settings
        self.frame_size = index.settings.size
        self.stride = index.settings.stride
        self.max_frames = index.settings.max_frames
        self.num_failed = index.num_failed
        # Columns over all clips, which planning needs without touching the clips one by one.
        self._clips = [ShardClip(self, *place) for place in places]
        self.sources = [clip.source for clip in self._clips]
        self.groups = [clip.group for clip in self._clips]
        self.labels = np.array([clip.label for clip in self._clips], np.int64)
        # (num_clips, num_classes) where clips may be of several classes, else None.
        self.label_matrix = label_matrix
        self.num_frames = np.array([clip.num_frames for clip in self._clips], np.int64)
        # Some 16 bytes a chunk and 8 a frame: 20 MB for all of UCF101.
        self._chunks: dict[tuple[Path, int], StoredChunks] = {}
        self._forget_files()

    def of_classes(self, wanted: Sequence[str]) -> Shards:
        """Select the clips of some classes, with new labels from 0 in the old order.

        Args:
            wanted: names of the classes.

        Raises:
            PreprocessError: if one is not a class of these clips, or has no clip here.
        """
        # The same files under another index: nothing is copied, and no frame is read.
        class_names = choose_classes(wanted, self.class_names)
        index = replace(self._index, class_names=class_names)
        if self.label_matrix is not None:
            columns = [self.class_names.index(name) for name in class_names]
            matrix = self.label_matrix[:, columns]
            found = [class_names[column] for column in np.flatnonzero(matrix.any(axis=0))]
            require_clips(class_names, found, self.folder)
            kept = matrix.any(axis=1)
            several = [
                # The first of the classes that are left.
                (replace(record, class_name=class_names[int(row.argmax())]), shard, position)
                for (record, shard, position), row in zip(self._places, matrix, strict=True)
                if row.any()
            ]
            return Shards(self.folder, index, several, matrix[kept])
        places = [place for place in self._places if place[0].class_name in class_names]
        require_clips(class_names, {record.class_name for record, *_ in places}, self.folder)
        return Shards(self.folder, index, places)

    @property
    def targets(self) -> NDArray[Any]:
        """Labels to train on: `label_matrix` where there is one, else `labels`."""
        return self.labels if self.label_matrix is None else self.label_matrix

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, position: Any) -> Any:
        return self._clips[position]

    def __iter__(self) -> Iterator[ShardClip]:
        return iter(self._clips)

    def locate_chunks(self, shard: Path, position: int, num_frames: int) -> StoredChunks:
        """Look up where a shard's clip of so many frames is; found once, then remembered.

        Raises:
            ShardError: if the shard is damaged or gone.
        """
        key = (shard, position)
        if (found := self._chunks.get(key)) is None:
            shape = (num_frames, *self.settings.frame_shape)
            with self._opened(shard) as file:
                found = self._chunks[key] = chunks.locate_chunks(file, position, shape)
        return found

    def read_times(self, shard: Path, position: int, num_frames: int) -> NDArray[np.float64]:
        """Read the times of a shard's clip in seconds, (num_frames,).

        Raises:
            ShardError: if the shard is damaged or gone, or does not keep them.
        """
        path = f"times/{clip_name(position)}"
        with self._opened(shard) as file:
            return read_rows(file, path, slice(None), dtype=np.float64, shape=(num_frames,))

    def close(self) -> None:
        """Close the files; a later read opens them again."""
        with self._lock:
            while self._files:
                self._files.popitem()[1].close()

    def __enter__(self) -> Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _opened(self, shard: Path) -> Iterator[Any]:
        """Lend the shard's file to one thread at a time."""
        # After a fork files and lock are the parent's: HDF5 must not share a file position, and
        # the lock may have been held by a thread that does not exist here.
        if os.getpid() != self._process:
            self._forget_files()
        # h5py serialises all calls anyway. The lock also keeps a file open while it is read.
        with self._lock:
            if shard not in self._files:
                self._files[shard] = open_file(shard)
                if len(self._files) > _MAX_OPEN_FILES:
                    self._files.popitem(last=False)[1].close()
            self._files.move_to_end(shard)
            yield self._files[shard]

    def _forget_files(self) -> None:
        """Start without open files, in a new process or after unpickling."""
        self._files: OrderedDict[Path, Any] = OrderedDict()
        self._lock = threading.RLock()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        # Open files and locks cannot be pickled, and belong to this process.
        for name in ("_files", "_lock", "_process"):
            del state[name]
        return state | {"_chunks": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_files()
