"""Tiny videos rendered on the fly, and real ones where they exist."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests import processes
from tests.processes import REPOSITORY, children_of

CODECS = {".mpg": "PIM1", ".avi": "MJPG", ".mp4": "mp4v"}


def write_video(
    path: Path, num_frames: int = 12, *, size: tuple[int, int] = (64, 48), seed: int = 0
) -> Path:
    """Render a video of blurred noise that changes from frame to frame. Returns its path."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    codec = cv2.VideoWriter.fourcc(*CODECS[path.suffix])
    writer = cv2.VideoWriter(str(path), codec, 25.0, size)
    assert writer.isOpened()
    generator = np.random.default_rng(seed)
    for _ in range(num_frames):
        coarse = generator.integers(0, 256, (6, 8, 3), np.uint8)
        writer.write(cv2.resize(coarse, size))
    writer.release()
    return path


def planted_module(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Make a module from source text that child processes can import, and enter its folder."""
    (folder / "planted.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "planted", raising=False)
    return import_module("planted")


def decoding_processes(owner: int) -> list[int]:
    """Ids of the living processes that a process has started for decoding."""
    return children_of(owner, "preprocess.workers.child_process")


def read_plainly(path: Path, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    """Read a video with a plain OpenCV loop: uint8 (T, H, W, 3), RGB."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        found, frame = capture.read()
        if not found:
            return np.stack(frames)
        frames.append(cv2.cvtColor(cv2.resize(frame, size), cv2.COLOR_BGR2RGB))


def stored_frames(folder: Path) -> dict[str, bytes]:
    """Read the bytes of all frames in a directory of shards, by source."""
    from preprocess import open_shards

    with open_shards(folder) as shards:
        return {clip.source: clip.frames.tobytes() for clip in shards}


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 12 videos in UCF11's layout: 2 classes of 2 groups of 3. Do not change them."""
    root = tmp_path_factory.mktemp("videos")
    for seed in range(12):
        name, group, clip = ("biking", "walking")[seed // 6], seed // 3 % 2 + 1, seed % 3 + 1
        folder = root / name / f"v_{name}_{group:02d}"
        write_video(folder / f"{folder.name}_{clip:02d}.mpg", 10 + seed, seed=seed)
    return root


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """Folder of real clips that lies beside some working copies."""
    folder = REPOSITORY.parent / "shared" / "clips"
    if not folder.is_dir():
        pytest.skip(f"no real clips in {folder}")
    return folder


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command() -> Run:
    """Function that runs `python -m preprocess` with arguments and waits for its end."""

    def run(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
        return processes.run(["-m", "preprocess", *args], **options)

    return run


def preprocess_command(*args: object) -> list[str]:
    """Command line of `python -m preprocess`."""
    return [sys.executable, "-m", "preprocess", *map(str, args)]
