"""Videos of plain colours, and a reader of the rows that were written for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.experiments.conftest import NAMES as NAMES
from tests.experiments.conftest import ffmpeg as ffmpeg
from tests.experiments.conftest import read_rows as read_rows
from tests.experiments.conftest import write_frames

COLOURS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}


def write_colours(path: Path, colours: list[str], *, size=(64, 48), fps=25.0) -> Path:
    """Write an MPEG-4 video with one frame of each colour named, and a little noise."""
    random = np.random.default_rng(len(colours))
    frames = []
    for colour in colours:
        frame = np.full((size[1], size[0], 3), COLOURS[colour][::-1], np.int16)
        frame += random.integers(-20, 20, (size[1], size[0], 1), np.int16)
        frames.append(frame.clip(0, 255).astype(np.uint8))
    return write_frames(path, frames, size=size, fps=fps)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Folder of videos of several lengths and odd names, one unreadable. Do not change them."""
    root = tmp_path_factory.mktemp("videos")
    write_colours(root / "-dash.mp4", ["red"] * 3)
    write_colours(root / "a b'c\"d.mp4", ["green"] * 5 + ["blue"] * 6)
    write_colours(root / "é,x.mp4", ["blue"] * 30)
    write_colours(root / "long.mp4", (["red"] * 10 + ["green"] * 10) * 3)
    (root / "broken.mp4").write_bytes(b"junk" * 40)
    return root
