"""One small JPEG a test clip, its frames side by side, for the page of all predictions."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from experiments.runs.report.clips import Sampling, Shards, frames_at, jpeg, scaled_down

FOLDER = "strips"
NUM_FRAMES = 6
HEIGHT = 64  # pixels
GAP = 2  # pixels between two frames
GAP_GREY = 128
QUALITY = 75  # of the JPEG


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
    from tqdm import tqdm

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
