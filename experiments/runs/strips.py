"""Frames of clips for the reports: which the model saw, thumbnails, and the files in `strips/`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from experiments.runs.html import data_uri

if TYPE_CHECKING:
    from preprocess.batches.views import FrameChoice

FRAMES_IN_STRIP = 8  # of the report
STRIP_FRAME_HEIGHT = 120  # pixels
FOLDER = "strips"
NUM_FRAMES = 6
HEIGHT = 64  # pixels
GAP = 2  # pixels between two frames
GAP_GREY = 128
QUALITY = 75  # of the JPEG


class Clip(Protocol):
    """One stored clip."""

    def read(self, *, start: int = 0, max_frames: int | None = None) -> npt.NDArray[np.uint8]:
        """Stored frames from `start` on, (T, H, W, 3) RGB."""


class Shards(Protocol):
    """What the report asks of `preprocess.open_shards`."""

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
        stride: every how many frames of the video one is seen.
        maxlen: how many of those at most, from the first on; None for all.
        stored_stride: every how many frames of the video one is in the shards.
        choice: of the stored frames, where it is not the first `maxlen`.
        places: how often a clip is tested, each time with other frames of that choice.
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
        """(N,) frames after the stride and before the truncation."""
        return -(-np.asarray(num_frames, np.int64) // self.step)

    def spread(self, num_frames: int, most: int) -> npt.NDArray[np.int64]:
        """Positions of up to `most` stored frames, evenly over those the model sees."""
        seen = self._seen(num_frames)
        chosen = np.linspace(0, len(seen) - 1, min(most, len(seen))).round().astype(int)
        return seen[chosen]

    def _seen(self, num_frames: int) -> npt.NDArray[np.int64]:
        if self.choice is None or num_frames == 0:
            return np.arange(0, num_frames, self.step)[: self.maxlen]
        views = (self.choice.tested(num_frames, t, self.places) for t in range(self.places))
        return np.unique(np.concatenate(list(views)))

    def __str__(self) -> str:
        """In words, the frames of a clip."""
        if self.choice is None:
            return "all frames" if self.maxlen is None else f"at most {self.maxlen} frames"
        often = "" if self.places == 1 else f", {self.places} times"
        if self.choice.sampling != "window":
            return f"a frame of each of {self.choice.num_frames} equal parts{often}"
        where = "first" if self.choice.start == "first" and self.places == 1 else "consecutive"
        return f"at most {self.choice.num_frames} {where} frames{often}"


def frames_at(clip: Clip, positions: npt.NDArray[np.int64]) -> list[npt.NDArray[np.uint8]]:
    """Some stored frames, each (H, W, 3) RGB."""
    return [clip.read(start=int(position), max_frames=1)[0] for position in positions]


def thumbnail(frame: npt.NDArray[np.uint8], *, most_height: int = STRIP_FRAME_HEIGHT) -> str:
    """A frame (H, W, 3) as the data URI of a JPEG, scaled down to a height where it is more."""
    return data_uri(jpeg(scaled_down(frame, most_height), quality=85), "jpeg")


def scaled_down(frame: npt.NDArray[np.uint8], most_height: int) -> npt.NDArray[np.uint8]:
    """A frame (H, W, 3) at a height of so many pixels where it has more."""
    height, width = frame.shape[:2]
    if height <= most_height:
        return frame
    size = (max(1, round(width * most_height / height)), most_height)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(frame: npt.NDArray[np.uint8], *, quality: int) -> bytes:
    """A frame (H, W, 3) RGB as the bytes of a JPEG; `quality` is 0 to 100."""
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


@dataclass(frozen=True)
class Strip:
    """A picture of a clip: `path` is relative to the page; its size is in pixels."""

    path: str
    width: int
    height: int


def write_strips(
    run_dir: Path, clips: Sequence[str], shards: Shards | None, sampling: Sampling
) -> list[Strip | None]:
    """Make the folder strips/ anew, all of it at once; without shards there is none.

    Args:
        run_dir: takes the folder.
        clips: source paths; the file of clip i is called by i, for its own name is not trusted.
        shards: the frames.
        sampling: which of them the model sees.

    Returns:
        Of each clip its strip; None where the shards lack it, or have no frame of it.
    """
    target = run_dir / FOLDER
    with tempfile.TemporaryDirectory(prefix=f".{FOLDER}-", dir=run_dir) as private:
        made, old = Path(private, "made"), Path(private, "old")
        made.mkdir()
        strips: list[Strip | None] = [None] * len(clips)
        if shards is not None:
            strips = _write(made, clips, shards, sampling)
        if target.exists():
            target.rename(old)
        if any(strips):
            made.rename(target)
    return strips


def _write(
    folder: Path, clips: Sequence[str], shards: Shards, sampling: Sampling
) -> list[Strip | None]:
    position = {source: index for index, source in enumerate(shards.sources)}
    bar = tqdm(clips, "strips of frames", unit="clip", delay=2, dynamic_ncols=True, disable=None)
    strips: list[Strip | None] = []
    for number, source in enumerate(bar):
        index = position.get(source)
        picture = None if index is None else strip_picture(shards, index, sampling)
        if picture is None:
            strips.append(None)
            continue
        path = folder / f"{number:05}.jpg"
        path.write_bytes(jpeg(picture, quality=QUALITY))
        height, width = picture.shape[:2]
        strips.append(Strip(f"{FOLDER}/{path.name}", width, height))
    return strips


def strip_picture(shards: Shards, index: int, sampling: Sampling) -> npt.NDArray[np.uint8] | None:
    """Frames of a clip side by side, (H, W, 3) RGB with H <= HEIGHT; None if it has no frame."""
    chosen = sampling.spread(int(shards.num_frames[index]), NUM_FRAMES)
    frames = [scaled_down(frame, HEIGHT) for frame in frames_at(shards[index], chosen)]
    if not frames:
        return None
    gap = np.full((len(frames[0]), GAP, 3), GAP_GREY, np.uint8)
    return np.concatenate([part for frame in frames for part in (gap, frame)][1:], axis=1)
