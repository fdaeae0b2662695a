"""Subjects that are killed: extraction, training, classification and rendering, of seconds each."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.demo_set import write_demo_set
from tests.experiments.highlights.counters import ffmpeg
from tests.preprocess.conftest import stored_frames, write_video
from tests.processes import start

_TIMINGS = ("seconds", "per_second", "share")  # endings of columns of metrics.csv that may differ


@dataclass(frozen=True)
class Extraction:
    """`python -m preprocess folder`, whose frames of each source must be the same bytes."""

    name = "extraction"
    num_clips: int = 40

    def prepare(self, folder: Path) -> None:
        """Write one clip under many names."""
        first = write_video(folder / "videos" / "a" / "00.mpg", 400, size=(160, 120))
        for number in range(1, self.num_clips):
            os.link(first, first.with_name(f"{number:02d}.mpg"))

    def args(self, folder: Path, out: Path, *, resume: bool) -> list[object]:
        """Arguments of python, the same for resuming."""
        flags = ["--size", "64x48", "--jobs", "2"]
        return ["-m", "preprocess", "folder", folder / "videos", out, *flags]

    def has_begun(self, out: Path) -> bool:
        """Return whether there is a shard."""
        return any(out.glob("shard-*.h5"))

    def result(self, out: Path) -> Mapping[str, Any]:
        """Frames of the shards by source."""
        return stored_frames(out)


@dataclass(frozen=True)
class Training:
    """`python -m experiments.ucf11`, whose metrics, predictions and weights must be the same."""

    name = "training"
    epochs: int = 5

    def prepare(self, folder: Path) -> None:
        """Write shards of a small demo set."""
        write_demo_set(folder / "videos")
        args = ["folder", folder / "videos", folder / "shards", "--size", "16x12"]
        process = start(["-m", "preprocess", *args])
        _, output = process.communicate()
        assert process.returncode == 0, output

    def args(self, folder: Path, out: Path, *, resume: bool) -> list[object]:
        """Arguments of python for a run with a checkpoint after each epoch."""
        flags = ["--tt", "--maxlen", 20, "--stride", 4, "--epochs", self.epochs]
        flags += ["--resume"] * resume
        program = ["-m", "tests.killing.train_with_all_checkpoints"]
        return [*program, *flags, "--shards", folder / "shards", "--out", out]

    def has_begun(self, out: Path) -> bool:
        """Return whether there is a checkpoint."""
        return (out / "checkpoint.npz").exists()

    def result(self, out: Path) -> Mapping[str, Any]:
        """Metrics without times, predictions, and weights as bytes."""
        files = ("predictions.csv", "predictions.parquet")
        arrays = dict(_arrays(out / "checkpoint.npz"))
        arrays["epochs"] = b""  # with times; metrics.csv has the rest
        for name in ("last.keras", "best.keras", "model.keras"):
            arrays |= {f"{name} {part}": content for part, content in _weights(out / name)}
        return {
            **{name: (out / name).read_bytes() for name in files},
            "metrics.csv": _without_times(out / "metrics.csv"),
            **arrays,
        }


@dataclass(frozen=True)
class Classification:
    """`python -m experiments.classify`, whose tables and summaries must be the same bytes."""

    name = "classification"
    num_videos: int = 4
    num_frames: int = 1500

    def prepare(self, folder: Path) -> None:
        """Write videos of noise, and a model of their mean colour."""
        for number in range(self.num_videos):
            video = folder / "videos" / f"{number}.mp4"
            write_video(video, self.num_frames, seed=number)
        process = start(["-m", "tests.killing.colour_model", folder / "colours.keras"])
        _, output = process.communicate()
        assert process.returncode == 0, output

    def args(self, folder: Path, out: Path, *, resume: bool) -> list[object]:
        """Arguments of python, the same for resuming."""
        model = ["--model", folder / "colours.keras", "--labels", folder / "labels.txt"]
        flags = ["--scaling", "unit", "--top", 2, "--batch-size", 8]
        videos = ["-d", folder / "videos", "--out", out]
        return ["-m", "experiments.classify", *videos, *model, *flags]

    def has_begun(self, out: Path) -> bool:
        """Return whether there are rows."""
        return any(path.stat().st_size for path in out.glob("*.csv*"))

    def result(self, out: Path) -> Mapping[str, Any]:
        """All files, byte for byte."""
        return _contents(out)


@dataclass(frozen=True)
class Rendering:
    """`python -m experiments.highlights run`, whose reel, list and scores must be the same bytes.

    A scorer without TensorFlow scores the recording; see `run_with_stand_in`.
    """

    name = "rendering"
    seconds: int = 60

    def prepare(self, folder: Path) -> None:
        """Write a recording that is white for 2 of each 10 seconds, and files of a scorer."""
        white = "drawbox=t=fill:c=white:enable='lt(mod(t,10),2)'"
        image = f"color=black:s=320x240:r=25:d={self.seconds},noise=alls=60:allf=t,{white}"
        inputs = ["-f", "lavfi", "-i", image, "-f", "lavfi", "-i", f"sine=500:d={self.seconds}"]
        encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-c:a", "aac"]
        ffmpeg(*inputs, *encoder, str(folder / "recording.mp4"))
        (folder / "model").mkdir()
        for name in ("scorer.json", "best.keras"):
            (folder / "model" / name).write_text(name)

    def args(self, folder: Path, out: Path, *, resume: bool) -> list[object]:
        """Arguments of python; resuming must be allowed to replace a reel without a cut list."""
        flags = ["--no-snap", "--bin-size", 1, "--fps", 5, "--batch-size", 8]
        flags += ["--overwrite"] * resume
        model = ["--model", folder / "model", "-o", out / "reel.mp4"]
        program = ["-m", "tests.experiments.highlights.run_with_stand_in", 0.02]
        return [*program, "run", folder / "recording.mp4", *model, *flags]

    def has_begun(self, out: Path) -> bool:
        """Return whether there are scores."""
        return any(path.stat().st_size for path in out.glob("reel.scores.csv*"))

    def result(self, out: Path) -> Mapping[str, Any]:
        """All files, byte for byte, but for the folder, which the options name."""
        return {
            name: content.replace(str(out).encode(), b"OUT")
            for name, content in _contents(out).items()
        }


SUBJECTS = {
    subject.name: subject for subject in (Extraction(), Training(), Classification(), Rendering())
}


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def _without_times(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        {name: value for name, value in row.items() if not name.endswith(_TIMINGS)} for row in rows
    ]


def _arrays(path: Path) -> Iterator[tuple[str, bytes]]:
    with np.load(path, allow_pickle=False) as file:
        yield from ((name, file[name].tobytes()) for name in file.files)


def _weights(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the weights of a .keras file, by their paths in it."""
    import h5py

    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    found = []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.append((name, item[()].tobytes()))

    with h5py.File(content) as file:
        file.visititems(note)
    assert found, f"{path} holds no weights"
    yield from found
