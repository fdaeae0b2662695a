"""Videos of plain colours, and a model that predicts which colour prevails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from preprocess.shards.settings import FrameSettings
from tests.experiments.conftest import ffmpeg as ffmpeg
from tests.experiments.conftest import read_rows as read_rows
from tests.experiments.conftest import write_frames

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


def write_colours(path: Path, colours: list[str], *, size=(64, 48), fps=25.0) -> Path:
    """Write a video with one frame of each colour named."""
    frames = [np.full((size[1], size[0], 3), COLOURS[colour][::-1], np.uint8) for colour in colours]
    return write_frames(path, frames, size=size, fps=fps)


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
