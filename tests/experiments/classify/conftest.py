"""Videos of plain colours, and a reader of the rows that were written for them."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.experiments.conftest import NAMES as NAMES

COLOURS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}


def write_colours(path: Path, colours: list[str], *, size=(64, 48), fps=25.0) -> Path:
    """Write an MPEG-4 video with one frame of each colour named, and a little noise."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    assert writer.isOpened()
    random = np.random.default_rng(len(colours))
    for colour in colours:
        frame = np.full((size[1], size[0], 3), COLOURS[colour][::-1], np.int16)
        frame += random.integers(-20, 20, (size[1], size[0], 1), np.int16)
        writer.write(frame.clip(0, 255).astype(np.uint8))
    writer.release()
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


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


def ffmpeg(*args: str) -> str:
    """Run the ffmpeg program, and return its standard error."""
    import imageio_ffmpeg

    done = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", *args],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr
