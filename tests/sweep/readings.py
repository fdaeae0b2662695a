"""Readings of a video by the ffmpeg program and by each command: its frames and their times.

A frame is described by the mean colours of 4 x 4 cells. Scaling hardly changes these; turning,
mirroring, swapping channels or taking another frame does.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from tests import processes
from tests.sweep.specimens import RATE, Specimen

_SIZE = (64, 48)
_COLOUR_TOLERANCE = 0.08  # of 1: codecs, scaling and colour conversions that round differently
_TIME_TOLERANCE = 2e-3  # Matroska rounds to thousandths


@dataclass(frozen=True)
class Reading:
    """Frames of a video as one program read them.

    Args:
        cells: mean colours, (T, 48), 0 to 1; (0, 48) for a file that was refused.
        times: times of the frames in seconds, (T,); None if they are not known.
        complaint: reason for the refusal, or a notice about the file.
    """

    cells: NDArray[np.float64]
    times: NDArray[np.float64] | None = None
    complaint: str = ""


REFUSED = Reading(np.zeros((0, 48)), np.zeros(0))
PASSED_OVER = Reading(np.zeros((0, 48)), np.zeros(0), "not taken for a video")


def cells_of(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean colours (T, 48) of frames (T, H, W, 3), RGB, whose sides are multiples of 4."""
    count, height, width, _ = frames.shape
    blocks = frames.reshape(count, 4, height // 4, 4, width // 4, 3)
    return blocks.mean(axis=(2, 4)).reshape(count, 48) / 255


def ffmpegs(path: Path, *, crop: bool = False) -> Reading:
    """Read a video with the ffmpeg program.

    Args:
        path: the video.
        crop: whether to keep the largest part around the middle that has the frames' shape, as
            classification does, instead of the whole frame.
    """
    filters = f"scale={_SIZE[0]}:{_SIZE[1]}:flags=area"
    if crop:
        ratio = _SIZE[0] / _SIZE[1]
        filters = f"crop=min(iw\\,ih*{ratio}):min(ih\\,iw/{ratio}):exact=1,{filters}"
    args = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "info", "-i", f"file:{path}"]
    args += ["-map", "0:V:0", "-fps_mode", "passthrough"]
    args += ["-vf", f"showinfo,{filters}"]
    args += ["-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    done = subprocess.run(args, capture_output=True, check=False)
    found = re.findall(rb"pts_time:\s*([-\d.]+)", done.stderr)
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, _SIZE[1], _SIZE[0], 3)
    return Reading(cells_of(frames), np.array([float(time) for time in found[: len(frames)]]))


def preprocesses(specimens: Sequence[Specimen], scratch: Path) -> dict[Path, Reading]:
    """Read videos with `python -m preprocess`, from the shards that it writes."""
    from preprocess import FrameSettings, open_shards
    from preprocess.extraction.extract import extract

    videos = _as_folder(specimens, scratch / "videos" / "class")
    summary = extract(videos.folder.parent, scratch / "shards", FrameSettings(_SIZE), jobs=2)
    readings = {
        videos.originals[Path(source).name]: Reading(REFUSED.cells, None, reason)
        for source, reason in summary.failures.items()
    }
    if summary.num_stored:
        with open_shards(scratch / "shards") as shards:
            for clip in shards:
                path = videos.originals[Path(clip.source).name]
                notice = summary.notices.get(clip.source, "")
                readings[path] = Reading(cells_of(clip.frames), None, notice)
    return readings


def classifications(specimens: Sequence[Specimen], scratch: Path) -> dict[Path, Reading]:
    """Read videos with `python -m experiments.classify`, from the CSVs that it writes."""
    videos = _as_folder(specimens, scratch / "classified")
    out, model = scratch / "csv", scratch / "cells.keras"
    args = ["-d", videos.folder, "--model", model, "--labels", scratch / "labels.txt"]
    args += ["--scaling", "unit", "--top", 48, "--out", out, "--no-timeline", "--threads", "1,1"]
    _run("tests.sweep.cell_model", model)
    done = _run("experiments.classify", *args, allowed=(0, 1))
    if "Traceback" in done:
        raise RuntimeError(done[-2000:])
    failures = {}
    if (out / "failures.csv").exists():
        with (out / "failures.csv").open(encoding="utf-8", newline="") as file:
            failures = {row["video"]: row["reason"] for row in csv.DictReader(file)}
    readings = {}
    for name, path in videos.originals.items():
        table = next((out / f"{stem}.csv" for stem in (name, Path(name).stem)
                      if (out / f"{stem}.csv").exists()), None)  # fmt: skip
        if table is None:
            readings[path] = Reading(REFUSED.cells, REFUSED.times, failures.get(name, "no CSV"))
        else:
            readings[path] = _from_classes(table)
    return readings


def _run(module: str, *args: object, allowed: Sequence[int] = (0,)) -> str:
    """Run a module as a command, and return its standard error."""
    done = processes.run(["-m", module, *args])
    if done.returncode not in allowed:
        raise RuntimeError(done.stderr[-2000:])
    return done.stderr


def _from_classes(table: Path) -> Reading:
    """Cells from the probabilities of `cell_model`: their logarithms, up to a constant."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    logits = np.zeros((len(rows), 48))
    for row, found in zip(rows, logits, strict=True):
        for place in range(1, 49):
            found[int(row[f"label_{place}"])] = np.log(float(row[f"prob_{place}"]))
    times = np.array([float(row["time_seconds"]) for row in rows])
    return Reading(logits / LOGIT_SCALE, times)


LOGIT_SCALE = 2.0
"""Factor of the model's mean colours, small enough that all probabilities keep their digits."""


class CellModel:
    """Stand-in for a trained model of windows that keeps the mean colours of its input."""

    window = 1
    class_names = ("nothing",)

    def __init__(self) -> None:
        from preprocess.shards.settings import FrameSettings

        self.frame_settings = FrameSettings(_SIZE)
        self.cells: list[NDArray[np.float64]] = []

    def predict(
        self, windows: Sequence[NDArray[np.uint8]], original_size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Keep the mean colours of windows, and return probabilities (N, 1)."""
        self.cells += [cells_of(window) for window in windows]
        return np.ones((len(windows), 1), np.float32)


def predictions(specimens: Sequence[Specimen], scratch: Path) -> dict[Path, Reading]:
    """Read videos with `predict`: what it gives its model, and the times of its windows."""
    from experiments.clips.prediction.predict import predict_video
    from preprocess.errors import DecodeError

    readings = {}
    for specimen in specimens:
        model = CellModel()
        try:
            found = predict_video(model, specimen.path, hop=1, rolling=1)
        except DecodeError as error:
            readings[specimen.path] = Reading(REFUSED.cells, REFUSED.times, str(error))
            continue
        times = np.asarray(found.start_seconds)
        readings[specimen.path] = Reading(np.concatenate(model.cells), times, found.complaint)
    return readings


CROPPING = frozenset({"classify"})
"""Commands that crop to the shape of their frames."""
COMMANDS: Mapping[str, Callable[[Sequence[Specimen], Path], dict[Path, Reading]]] = {
    "preprocess": preprocesses,
    "classify": classifications,
    "predict": predictions,
}


@dataclass(frozen=True)
class _Folder:
    folder: Path
    originals: dict[str, Path]


def _as_folder(specimens: Sequence[Specimen], folder: Path) -> _Folder:
    """Make links to all videos in one folder, under different names."""
    folder.mkdir(parents=True)
    originals = {}
    for number, specimen in enumerate(specimens):
        name = f"{number:03d}_{specimen.path.stem.replace('_', '-')}{specimen.path.suffix}"
        os.symlink(specimen.path, folder / name)
        originals[name] = specimen.path
    return _Folder(folder, originals)


def differences(specimen: Specimen, expected: Reading, found: Reading) -> str:
    """Describe how a reading differs from the expected one; empty if it does not.

    Args:
        specimen: the video.
        expected: reading of the ffmpeg program.
        found: reading of a command.
    """
    if len(found.cells) != len(expected.cells):
        why = f" ({found.complaint})" if found.complaint else ""
        return f"{len(found.cells)} frames, ffmpeg reads {len(expected.cells)}{why}"
    if not len(expected.cells):
        return "" if found.complaint else "refused without a reason"
    # A softmax tells differences of colours alone, so all are compared less their mean.
    pair = [cells - cells.mean(axis=1, keepdims=True) for cells in (found.cells, expected.cells)]
    wrong = np.abs(pair[0] - pair[1]).max(axis=1)
    if wrong.max() > _COLOUR_TOLERANCE:
        number = int((wrong > _COLOUR_TOLERANCE).argmax())
        nearest = int(np.abs(pair[1] - pair[0][number]).max(axis=1).argmin())
        return f"frame {number} is off by {wrong[number]:.2f}; it looks most like {nearest}"
    if found.times is None:
        return ""
    times = np.arange(len(found.times)) / RATE if specimen.restarts else expected.times
    assert times is not None
    late = (found.times - found.times[0]) - (times - times[0])
    if np.abs(late).max() > _TIME_TOLERANCE:
        number = int((np.abs(late) > _TIME_TOLERANCE).argmax())
        return f"frame {number} is {late[number]:+.3f} s off"
    return ""


def numbers_in(cells: NDArray[np.float64]) -> tuple[int, ...]:
    """Read the numbers of numbered frames from their cells."""
    bright = cells.reshape(-1, 16, 3).mean(axis=2) > 0.42
    return tuple(int(bits @ (1 << np.arange(16))) for bits in bright)
