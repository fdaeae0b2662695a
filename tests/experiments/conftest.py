"""Tiny data set in shards, model that knows red, green and blue, and a cache for the tests."""

import csv
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.demo_set import write_demo_set
from tests.killing.colour_model import save_colour_model

NAMES = ["red", "green", "blue", "white"]  # classes of `model`


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep tests from reading or writing the thread settings of the user who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


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


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_frames(
    path: Path, frames: list[np.ndarray], *, size: tuple[int, int], fps: float
) -> Path:
    """Write an MPEG-4 video of BGR frames."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path.absolute()), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture(autouse=True)
def empty_cache(tmp_path_factory, monkeypatch):
    """Keep each test from reading thread settings that another test has stored."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """Small built-in set: 11 classes, 5 groups of one clip each."""
    root = tmp_path_factory.mktemp("videos")
    write_demo_set(root)
    return root


@pytest.fixture(scope="session")
def small_shards(videos, tmp_path_factory):
    """Shards of `videos` with frames of 16x12."""
    from preprocess.extraction.extract import extract
    from preprocess.shards.settings import FrameSettings

    folder = tmp_path_factory.mktemp("shards") / "demo"
    extract(videos, folder, FrameSettings(size=(16, 12)), jobs=2, dataset="demo")
    return folder


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    """Save a .keras file: 32x32 images, 0 to 1, to probabilities of four colours by their mean."""
    path = tmp_path_factory.mktemp("model") / "colours.keras"
    save_colour_model(path)
    assert path.with_name("labels.txt").read_text().split() == NAMES
    return path


@pytest.fixture(scope="session")
def model(model_file):
    """Model of `model_file`, as classification loads it."""
    from experiments.models.image_loading import load_model
    from experiments.models.image_models import ModelOptions

    options = ModelOptions(
        model=str(model_file), labels=model_file.parent / "labels.txt", scaling="unit"
    )
    return load_model(options, batch_size=8)
