"""Videos of plain colours, and a model that predicts which colour prevails."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import numpy as np
import pytest

from preprocess.shards.settings import FrameSettings

COLOURS = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}


class Colours:
    """Model whose probabilities are the shares of red, green and blue."""

    class_names = ("red", "green", "blue")

    def __init__(self, *, window: int = 4, stride: int = 1, max_frames: int | None = None) -> None:
        self.window = window
        self.frame_settings = FrameSettings((20, 16), stride, max_frames)
        self.seen: list[np.ndarray] = []

    def predict(self, windows, original_size):
        self.seen += windows
        sums = np.array([frames.mean(axis=(0, 1, 2)) for frames in windows])
        return (sums / sums.sum(axis=1, keepdims=True)).astype(np.float32)


def ffmpeg(*args: object) -> str:
    """Run the ffmpeg program, and return its standard error."""
    import imageio_ffmpeg

    done = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr


def write_colours(path: Path, colours: list[str], *, size=(64, 48), fps=25.0) -> Path:
    """Write a video with one frame of each colour named."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path.absolute()), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    assert writer.isOpened()
    for colour in colours:
        writer.write(np.full((size[1], size[0], 3), COLOURS[colour][::-1], np.uint8))
    writer.release()
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def frames_of(path: Path) -> np.ndarray:
    """Read the frames of a video, (T, H, W, 3), BGR."""
    import cv2

    capture, frames = cv2.VideoCapture(str(path.absolute())), []
    while True:
        found, frame = capture.read()
        if not found:
            return np.array(frames)
        frames.append(frame)


@pytest.fixture
def model() -> Colours:
    return Colours()
