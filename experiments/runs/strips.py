"""Frames of clips for the reports: which the model saw, thumbnails, and the files in `strips/`."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from common.files import write_atomically, write_errors, write_text
from experiments.runs.files import RunFileError, read_object
from experiments.runs.html import data_uri

if TYPE_CHECKING:
    from preprocess.batches.views import FrameChoice

# In report.html, which holds its few strips itself, frame by frame.
FRAMES_IN_REPORT = 8
HEIGHT_IN_REPORT = 120  # pixels

# In the folder beside predictions.html, a file for each of what may be thousands of clips: smaller.
FOLDER = "strips"
FRAMES_IN_FILE = 6
HEIGHT_IN_FILE = 64  # pixels
JPEG_QUALITY = 75
GAP_PIXELS, GAP_GREY = 2, 128  # between two frames

# Pictures of which moments and places decided some mistakes.
EXPLAINED, _INDEX = "explained", "index.json"


class Clip(Protocol):
    """One stored clip."""

    def read(self, *, start: int = 0, max_frames: int | None = None) -> npt.NDArray[np.uint8]:
        """Stored frames from `start` on, (T, H, W, 3) RGB."""


class Shards(Protocol):
    """Protocol of the parts of `preprocess.open_shards` that a report reads."""

    @property
    def sources(self) -> Sequence[str]:
        """Path of each clip's video."""

    @property
    def num_frames(self) -> Any:
        """(N,) stored frames of each clip."""

    @property
    def stride(self) -> int:
        """Every how many frames of the videos one is stored."""

    def __getitem__(self, index: int, /) -> Clip: ...


@dataclass(frozen=True)
class Sampling:
    """Choice of the frames that the model sees.

    Args:
        stride: frames of the video from one that is seen to the next.
        maxlen: maximum number of those, from the first on; None for all.
        stored_stride: frames of the video from one in the shards to the next.
        choice: choice among the stored frames, where it is not the first `maxlen`.
        places: number of times that a clip is tested, with other frames of that choice each time.
    """

    stride: int = 1
    maxlen: int | None = None
    stored_stride: int = 1
    choice: FrameChoice | None = None
    places: int = 1

    @property
    def step(self) -> int:
        """Number of stored frames from one that is seen to the next."""
        return max(1, self.stride // self.stored_stride)

    def lengths(self, num_frames: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Frames of clips after the stride and before the truncation, shape (N,)."""
        return -(-np.asarray(num_frames, np.int64) // self.step)

    def spread(self, num_frames: int, max_frames: int) -> npt.NDArray[np.int64]:
        """Positions of up to `max_frames` stored frames, evenly over those the model sees."""
        seen = self._seen(num_frames)
        chosen = np.linspace(0, len(seen) - 1, min(max_frames, len(seen))).round().astype(int)
        return seen[chosen]

    def _seen(self, num_frames: int) -> npt.NDArray[np.int64]:
        if self.choice is None or num_frames == 0:
            return np.arange(0, num_frames, self.step)[: self.maxlen]
        views = (self.choice.tested(num_frames, t, self.places) for t in range(self.places))
        return np.unique(np.concatenate(list(views)))

    def __str__(self) -> str:
        """Description of the frames of a clip."""
        if self.choice is None:
            return "all frames" if self.maxlen is None else f"at most {self.maxlen} frames"
        often = "" if self.places == 1 else f", {self.places} times"
        if self.choice.sampling != "window":
            return f"a frame of each of {self.choice.num_frames} equal parts{often}"
        return f"at most {self.choice.num_frames} consecutive frames{often}"


def frame_images(
    source: str, shards: Shards | None, sampling: Sampling
) -> list[tuple[str, str]] | None:
    """Frames of a clip that the model saw, as data URIs with captions; None if it is not stored."""
    if shards is None:
        return []
    if source not in shards.sources:
        return None
    index = shards.sources.index(source)
    chosen = sampling.spread(int(shards.num_frames[index]), FRAMES_IN_REPORT)
    return [
        (thumbnail(frame), f"frame {position * sampling.stored_stride + 1}")
        for position, frame in zip(chosen, _frames_at(shards[index], chosen), strict=True)
    ]


def thumbnail(frame: npt.NDArray[np.uint8], *, max_height: int = HEIGHT_IN_REPORT) -> str:
    """Data URI of a frame (H, W, 3) RGB as a JPEG of at most `max_height` pixels."""
    return data_uri(_jpeg(_scaled_down(frame, max_height), quality=85), "jpeg")


@dataclass(frozen=True)
class Strip:
    """A picture of a clip: `path` is relative to the page; its size is in pixels."""

    path: str
    width: int
    height: int


def write_strips(
    run_dir: Path, clips: Sequence[str], shards: Shards | None, sampling: Sampling
) -> list[Strip | None]:
    """Replace the folder strips/ of a run in one step; without shards there is none afterwards.

    Args:
        run_dir: directory that gets the folder.
        clips: source paths. The file of clip i is named by i, as a clip's own name is not trusted.
        shards: stored frames.
        sampling: which of them the model sees.

    Returns:
        Strip of each clip; None where the shards lack it, or have no frame of it.
    """
    target = run_dir / FOLDER
    # Renamed only once it is complete, so that an interrupted report leaves the old folder.
    with tempfile.TemporaryDirectory(prefix=f".{FOLDER}-", dir=run_dir) as private:
        made, old = Path(private, "made"), Path(private, "old")
        made.mkdir()
        strips: list[Strip | None] = [None] * len(clips)
        if shards is not None:
            strips = _write_files(made, clips, shards, sampling)
        if target.exists():
            target.rename(old)
        if any(strips):
            made.rename(target)
    return strips


def _write_files(
    folder: Path, clips: Sequence[str], shards: Shards, sampling: Sampling
) -> list[Strip | None]:
    position = {source: index for index, source in enumerate(shards.sources)}
    bar = tqdm(clips, "strips of frames", unit="clip", delay=2, dynamic_ncols=True, disable=None)
    strips: list[Strip | None] = []
    for number, source in enumerate(bar):
        index = position.get(source)
        image = None if index is None else strip_image(shards, index, sampling)
        if image is None:
            strips.append(None)
            continue
        path = folder / f"{number:05}.jpg"
        path.write_bytes(_jpeg(image, quality=JPEG_QUALITY))
        height, width = image.shape[:2]
        strips.append(Strip(f"{FOLDER}/{path.name}", width, height))
    return strips


def strip_image(shards: Shards, index: int, sampling: Sampling) -> npt.NDArray[np.uint8] | None:
    """Frames of a clip side by side, (H, W, 3) RGB; None if it has no frame."""
    chosen = sampling.spread(int(shards.num_frames[index]), FRAMES_IN_FILE)
    frames = [_scaled_down(frame, HEIGHT_IN_FILE) for frame in _frames_at(shards[index], chosen)]
    if not frames:
        return None
    gap = np.full((len(frames[0]), GAP_PIXELS, 3), GAP_GREY, np.uint8)
    return np.concatenate([part for frame in frames for part in (gap, frame)][1:], axis=1)


@dataclass(frozen=True, eq=False)
class ExplainedClip:
    """Picture of what decided a clip's prediction.

    Args:
        source: source path of the clip.
        probability: probability of the predicted class in the view that is explained.
        image: the picture, (H, W, 3) RGB.
    """

    source: str
    probability: float
    image: npt.NDArray[np.uint8]


def write_explanations(
    run_dir: Path, explained: Sequence[ExplainedClip], *, sees_pixels: bool
) -> None:
    """Replace the folder explained/ of a run, which the report shows.

    Args:
        run_dir: directory that gets the folder.
        explained: the clips.
        sees_pixels: whether the network sees pictures, and not features of them alone.
    """
    folder = run_dir / EXPLAINED
    shutil.rmtree(folder, ignore_errors=True)
    with write_errors():
        folder.mkdir()
    for number, clip in enumerate(explained):
        write_atomically(folder / f"{number}.jpg", _jpeg(clip.image, quality=85))
    # Written last: what it names is whole. A clip's own name is not trusted as a file's.
    index = {
        "sees_pixels": sees_pixels,
        "clips": [clip.source for clip in explained],
        "probabilities": [round(clip.probability, 6) for clip in explained],
    }
    write_text(folder / _INDEX, json.dumps(index, indent=1) + "\n")


def read_explanations(run_dir: Path) -> tuple[dict[str, str], bool]:
    """Data URI of each explained clip's picture by its source; whether the network sees pixels.

    Raises:
        RunFileError: if the folder is damaged.
    """
    folder = run_dir / EXPLAINED
    index = read_object(folder / _INDEX)
    clips = index.get("clips", [])
    try:
        images = {
            str(clip): data_uri((folder / f"{number}.jpg").read_bytes(), "jpeg")
            for number, clip in enumerate(clips)
        }
    except (TypeError, OSError) as error:
        raise RunFileError(
            f"{folder} is damaged: {error}. Take it from the run again, or remove it."
        ) from error
    return images, index.get("sees_pixels") is not False


def _frames_at(clip: Clip, positions: npt.NDArray[np.int64]) -> list[npt.NDArray[np.uint8]]:
    """Stored frames at some positions, each (H, W, 3) RGB."""
    return [clip.read(start=int(position), max_frames=1)[0] for position in positions]


def _scaled_down(frame: npt.NDArray[np.uint8], max_height: int) -> npt.NDArray[np.uint8]:
    height, width = frame.shape[:2]
    if height <= max_height:
        return frame
    size = (max(1, round(width * max_height / height)), max_height)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _jpeg(frame: npt.NDArray[np.uint8], *, quality: int) -> bytes:
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
