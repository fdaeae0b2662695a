"""Subjects of the endurance test: commands of the suite, on enough data made on the spot."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.demo_set import write_demo_set

VIDEOS_PER_SECOND = 30  # two cores classify 4
ENDLESS_EPOCHS = 1_000_000
NUM_CLASSES = 10


@dataclass(frozen=True)
class Subject:
    """Command with a measure of its progress."""

    command: list[str]
    unit: str
    """Unit of the work."""
    done: Callable[[], int]
    """Function that counts the finished units."""


def classification(folder: Path, seconds: float) -> Subject:
    """Classification of many short videos, few of them different, with a small model.

    The model is small so that many frames, videos and results are processed in the time.

    Args:
        folder: empty folder for videos, model and results.
        seconds: time for which there must be enough videos.
    """
    write_demo_set(folder / "rendered")
    rendered = sorted((folder / "rendered").rglob("*.mpg"))
    videos, results = folder / "videos", folder / "results"
    videos.mkdir()
    for number in range(round((seconds + 60) * VIDEOS_PER_SECOND)):
        os.link(rendered[number % len(rendered)], videos / f"{number:07d}.mpg")
    _write_model(folder / "small.keras")
    labels = folder / "labels.txt"
    labels.write_text("".join(f"class {number}\n" for number in range(NUM_CLASSES)))
    command = [sys.executable, "-m", "experiments.classify", "-d", str(videos)]
    command += ["--model", str(folder / "small.keras"), "--labels", str(labels)]
    command += ["--scaling", "unit", "--out", str(results)]
    return Subject(command, "videos", lambda: sum(1 for _ in results.glob("*.csv")))


def training(folder: Path, seconds: float, *, frame_size: tuple[int, int] = (160, 120)) -> Subject:
    """Training a Tensor-Train GRU on few clips, for epochs without end; each keeps its models.

    Args:
        folder: empty folder for clips and the run.
        seconds: not used; there are always epochs left.
        frame_size: width and height of a frame, in pixels.
    """
    from preprocess.extraction.extract import extract
    from preprocess.shards.settings import FrameSettings

    write_demo_set(folder / "videos")
    extract(folder / "videos", folder / "shards", FrameSettings(size=frame_size))
    metrics = folder / "run" / "metrics.csv"
    command = [sys.executable, "-m", "experiments.ucf11", "--shards", str(folder / "shards")]
    command += ["--epochs", str(ENDLESS_EPOCHS), "--out", str(metrics.parent)]
    return Subject(command, "epochs", lambda: _num_rows(metrics))


SUBJECTS: dict[str, Callable[[Path, float], Subject]] = {
    "classification": classification,
    "training": training,
}


def _num_rows(path: Path) -> int:
    return max(0, len(path.read_bytes().splitlines()) - 1) if path.exists() else 0


def _write_model(path: Path) -> None:
    """Save a network of random weights: 64x64 images to 10 classes."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    frames = keras.Input((64, 64, 3))
    x = layers.Conv2D(16, 5, strides=2, activation="relu")(frames)
    x = layers.Conv2D(32, 3, strides=2, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(NUM_CLASSES, activation="softmax")(x)
    model = keras.Model(frames, x)
    model.save(path)
