"""Features that a frozen network computes of stored frames: computed once, then read like frames.

Each store is a folder named by a digest of everything that the features depend on. Its files hold
the features of a few clips each; files that an earlier run finished are not computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import WriteError
from common.files import not_written, remove_partials, replacing, write_errors, write_text
from preprocess.batches.cutting import cut, foreground, read_frames
from preprocess.batches.views import CropChoice, FrameChoice, Inputs, IntArray
from preprocess.errors import ShardError
from preprocess.shards.reader import Shards
from preprocess.system.progress import Progress, Silent

Features = NDArray[np.float32]
Network = Callable[[NDArray[np.uint8]], Features]
"""Function of uint8 (N, H, W, 3), RGB, to float32 (N, num_features), frame by frame."""

# Clips of one file: few files for thousands of clips, yet little lost when a run is killed.
_CLIPS_A_FILE = 16


@dataclass(frozen=True)
class FeatureSettings:
    """Settings that the features of a store depend on, besides the frames.

    Args:
        network: name and digest of the weights.
        num_features: number of features of a frame.
        crops: choice of the crops that the network is given.
        crop: number of the crop, from 0.
        num_crops: number of crops, 1 or 3.
        inputs: "frames" or "foreground", see `preprocess.batches.views.Inputs`.
        choice: choice of the frames, those of a single test; None for all stored frames.
    """

    network: str
    num_features: int
    crops: CropChoice
    crop: int = 0
    num_crops: int = 1
    inputs: Inputs = "frames"
    choice: FrameChoice | None = None


class FeatureStore:
    """Stored features of some clips of shards, as `compute_features` returns them.

    Args:
        folder: folder of the store.
        positions: positions of the clips in the shards, in the order of the files.
        num_frames: number of frames of each of them.

    Raises:
        ShardError: if a file is damaged or gone.
    """

    def __init__(self, folder: Path, positions: IntArray, num_frames: IntArray) -> None:
        self._folder = folder
        # Position of a clip -> number of its file, first row, and the row after its last.
        self._places: dict[int, tuple[int, int, int]] = {}
        # Where the rows of each file begin, in bytes, and their shape. Headers are read here, once
        # and before training: Python 3.11's parser, which NumPy gives them to, may fail in a thread
        # that reads batches while another one traces a model.
        self._arrays: list[tuple[int, tuple[int, ...]]] = []
        for file, part in enumerate(_parts(np.arange(len(positions)))):
            stops = np.cumsum(num_frames[part])
            for i, stop in zip(part.tolist(), stops.tolist(), strict=True):
                self._places[int(positions[i])] = (file, stop - int(num_frames[i]), stop)
            with self._shard_errors(file):
                # Without pickle a file cannot run code.
                mapped = np.load(_file(folder, file), mmap_mode="r", allow_pickle=False)
                if mapped.dtype != np.float32:
                    raise ValueError(f"features must be float32. Received {mapped.dtype}")
            self._arrays.append((mapped.offset, mapped.shape))

    def __getitem__(self, position: int) -> StoredFeatures:
        """Features of the clip at a position in the shards; KeyError if the store lacks it."""
        return StoredFeatures(self, *self._places[position])

    def rows(self, file: int, start: int, stop: int) -> Features:
        """Read the rows [start, stop) of a file.

        Raises:
            ShardError: if the file is damaged or gone.
        """
        offset, shape = self._arrays[file]
        with self._shard_errors(file):
            # Mapped, so that only these rows are read, and anew each time: a mapping keeps its file
            # open, and a store may have hundreds.
            path = _file(self._folder, file)
            return np.memmap(path, np.float32, "r", offset=offset, shape=shape)[start:stop]

    @contextmanager
    def _shard_errors(self, file: int) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, EOFError) as error:
            raise ShardError(
                f"{_file(self._folder, file)} is damaged or gone: {error}. Remove {self._folder}."
            ) from error


class StoredFeatures:
    """Stored features of one clip, read on demand."""

    def __init__(self, store: FeatureStore, file: int, start: int, stop: int) -> None:
        self._store, self._file, self._start, self._stop = store, file, start, stop

    def read(self, *, start: int = 0, max_frames: int | None = None) -> Features:
        """Read the features of at most `max_frames` frames from `start` on, (T, num_features)."""
        stop = self._stop
        if max_frames is not None:
            stop = min(stop, self._start + start + max_frames)
        return self._store.rows(self._file, self._start + start, stop)


class FeatureViews:
    """Views of stored features.

    Args:
        shards: the clips.
        stores: a store for each crop: one, or three, of which the middle one is trained on.
        num_features: number of features of a frame.
        choice: choice of the frames that have features; None for all stored frames.
    """

    name = "features"
    dtype = np.float32

    def __init__(
        self,
        shards: Shards,
        stores: Sequence[FeatureStore],
        num_features: int,
        choice: FrameChoice | None = None,
    ) -> None:
        self._stores = stores
        self.row_shape = (num_features,)
        self.num_frames = _num_rows(shards.num_frames, choice)
        self.labels = shards.targets

    def drawn(self, clip: int, rng: np.random.Generator) -> Sequence[int]:
        """Return the middle crop of any clip."""
        # Features are computed for fixed crops only, so nothing is drawn.
        return (len(self._stores) // 2,)

    def tested(self, clip: int, crop: int, num_crops: int) -> Sequence[int]:
        """Return the crop asked for, or the middle one for a single crop."""
        return (crop if num_crops > 1 else len(self._stores) // 2,)

    def load(self, clip: int, frames: IntArray, params: IntArray) -> Features:
        """Load a view, float32 (len(frames), num_features)."""
        return read_frames(self._stores[int(params[0])][clip], frames)


def compute_features(
    folder: Path,
    shards: Shards,
    clips: ArrayLike,
    settings: FeatureSettings,
    network: Network,
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> FeatureStore:
    """Run a frozen network over the frames of some clips that have no features yet.

    Args:
        folder: parent folder of the store.
        shards: the clips.
        clips: positions of the clips wanted.
        settings: further settings that the features depend on; they must describe `network`.
        network: function of frames to features.
        batch_size: frames per call of the network.
        progress: receives the numbers of clips and frames.

    Raises:
        PreprocessError: if a frame cannot be read, or the disk is full.
    """
    progress = progress or Silent()
    positions = np.unique(np.asarray(clips, np.int64))
    # Any change of frames, clips, crop or network gives another folder, so that stale features are
    # never taken.
    depends_on = _depends_on(shards, positions, settings)
    digest = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
    store = folder / f"{shards.dataset}-{digest[:12]}"
    parts = list(_parts(positions))
    try:
        _begin_store(store, depends_on)
        missing = [i for i in range(len(parts)) if not _file(store, i).exists()]
        if missing:
            num_missing = sum(len(parts[i]) for i in missing)
            progress.start(len(positions), len(positions) - num_missing)
        for i in missing:
            _compute_file(store, i, shards, parts[i], settings, network, batch_size, progress)
    except WriteError as error:
        raise WriteError(
            f"{not_written(store, error)} Finished features are kept: make room, then go on."
        ) from error
    return FeatureStore(store, positions, _num_rows(shards.num_frames[positions], settings.choice))


def _num_rows(num_frames: IntArray, choice: FrameChoice | None) -> IntArray:
    """Number of frames that have features, of clips with so many stored frames."""
    if choice is None:
        return num_frames
    return np.array([choice.length(int(stored)) for stored in num_frames], np.int64)


def _begin_store(store: Path, depends_on: dict[str, Any]) -> None:
    """Make the store's folder with a description, and remove a killed run's temporary files."""
    with write_errors():
        store.mkdir(parents=True, exist_ok=True)
        remove_partials(store)
    write_text(store / "made_of.json", json.dumps(depends_on, indent=1) + "\n")


def _compute_file(
    store: Path,
    number: int,
    shards: Shards,
    part: IntArray,
    settings: FeatureSettings,
    network: Network,
    batch_size: int,
    progress: Progress,
) -> None:
    """Compute the features of one file's clips and publish the file when it is complete."""
    num_rows = int(_num_rows(shards.num_frames[part], settings.choice).sum())
    rows = np.empty((num_rows, settings.num_features), np.float32)
    stop = 0
    for frames in _read_ahead(shards, part, settings):
        for begin in range(0, len(frames), batch_size):
            batch = frames[begin : begin + batch_size]
            rows[stop : stop + len(batch)] = network(batch)
            stop += len(batch)
        progress.advance(1, len(frames))
    # Written under another name and renamed at the end: a file that exists is complete.
    with write_errors(), replacing(_file(store, number)) as partial, partial.open("wb") as file:
        np.save(file, rows, allow_pickle=False)


def _read_ahead(
    shards: Shards, part: IntArray, settings: FeatureSettings
) -> Iterator[NDArray[np.uint8]]:
    """Yield each clip's frames as the network takes them, reading the next clip meanwhile."""
    crops = settings.crops

    def read(position: int) -> NDArray[np.uint8]:
        clip = shards[position]
        num_stored = int(shards.num_frames[position])
        choice = settings.choice
        chosen = np.arange(num_stored) if choice is None else choice.tested(num_stored, 0, 1)
        if settings.inputs == "foreground":
            # The mean frame is that of the whole clip.
            frames = foreground(clip.read())[chosen]
        else:
            frames = read_frames(clip, chosen)
        size = crops.size_to_cut(stored=shards.frame_size, original=clip.original_size)
        crop = crops.tested(size, settings.crop, settings.num_crops)
        return cut(frames, crop, crops.size)

    with ThreadPoolExecutor(1) as thread:
        clips = part.tolist()
        following = thread.submit(read, clips[0])
        # None stands for the end: after the last clip there is nothing more to submit.
        for position in [*clips[1:], None]:
            frames = following.result()
            if position is not None:
                following = thread.submit(read, position)
            yield frames


def _depends_on(shards: Shards, positions: IntArray, settings: FeatureSettings) -> dict[str, Any]:
    """Everything that the features depend on, as values for JSON."""
    stored = shards.settings.to_json()
    stored.pop("compression", None)  # lossless: it does not change the frames
    clips = [shards[int(i)].identity for i in positions]
    # Left out for all frames, so that stores of before this setting are found.
    chosen = {} if settings.choice is None else {"choice": asdict(settings.choice)}
    return {
        **chosen,
        "network": settings.network,
        "frames": stored,
        "inputs": settings.inputs,
        "seen": [
            *(*settings.crops.size, settings.crop, settings.num_crops),
            # A mark against features from before scaled pictures kept their clip's aspect ratio.
            *((*settings.crops.short_sides, "own shape") if settings.crops.short_sides else ()),
            *(["whole"] if settings.crops.whole else []),
        ],
        "clips": hashlib.sha256(json.dumps(clips).encode()).hexdigest(),
    }


def _parts(values: IntArray) -> Iterator[IntArray]:
    """Split values into those of each file."""
    return (values[i : i + _CLIPS_A_FILE] for i in range(0, len(values), _CLIPS_A_FILE))


def _file(store: Path, number: int) -> Path:
    return store / f"features-{number:05}.npy"
