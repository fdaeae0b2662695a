"""Inputs of the jobs: each is a folder of its own, made when it is first needed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from tests.demo_set import write_demo_set
from tests.experiments.highlights.counters import ffmpeg
from tests.full_disk.jobs import JOBS
from tests.processes import start


def make_input(name: str, folder: Path) -> None:
    """Make an input by its name in the folder of all inputs, unless it exists."""
    if (folder / name).exists():
        return
    for needed in _NEEDS.get(name, ()):
        make_input(needed, folder)
    _MAKERS[name](folder)


def _run(*args: object) -> None:
    process = start(args)
    _, output = process.communicate()
    assert process.returncode == 0, output


def _videos(folder: Path) -> None:
    """Small demo set: 11 classes of 5 clips."""
    write_demo_set(folder / "videos")


def _shards(folder: Path) -> None:
    _run(*_EXTRACT, folder / "videos", folder / "shards", "--size", "16x12")


def _large(folder: Path) -> None:
    _run(*_EXTRACT, folder / "videos", folder / "large", "--size", "64x48")


def _stretches(folder: Path) -> None:
    """List of half a second of each video of two classes, for TimeSformer."""
    rows = [("video", "start", "stop", "label", "part")]
    for name in ("left_aaa", "right_ccc"):
        for number, video in enumerate(sorted((folder / "videos" / name).rglob("*.mpg"))):
            part = "validation" if number < 2 else "train"
            rows.append((str(video), "0.0", "0.5", name, part))
    (folder / "stretches").mkdir()
    with (folder / "stretches" / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def _finished_run(folder: Path) -> None:
    _run(*JOBS["ucf11"].args(folder, folder))


def _colours(folder: Path) -> None:
    (folder / "colours").mkdir()
    _run("-m", "tests.killing.colour_model", folder / "colours" / "colours.keras")


def _recording(folder: Path) -> None:
    """Recording of twenty seconds of noise, white for two of each ten."""
    white = "drawbox=t=fill:c=white:enable='lt(mod(t,10),2)'"
    image = f"color=black:s=320x240:r=25:d=20,{white},noise=alls=20"
    inputs = ["-f", "lavfi", "-i", image, "-f", "lavfi", "-i", "sine=500:d=20"]
    encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-c:a", "aac"]
    (folder / "recording").mkdir()
    ffmpeg(*inputs, *encoder, str(folder / "recording" / "recording.mp4"))


def _labels(folder: Path) -> None:
    """Labels of the recording under four names, with its highlights."""
    (folder / "labels").mkdir()
    lines = ["path,x1,y1,x2,y2,start,end,label,group\n"]
    for number in range(4):
        clip = folder / "labels" / f"clip{number}.mp4"
        clip.hardlink_to(folder / "recording" / "recording.mp4")
        for begin in (0, 10):
            lines.append(f"{clip},0,0,1,1,{begin},{begin + 2},highlight,g{number}\n")
    (folder / "labels" / "labels.csv").write_text("".join(lines))


def _images(folder: Path) -> None:
    _run(*JOBS["highlights extract"].args(folder, folder))


def _scores(folder: Path) -> None:
    rows = [f"{time / 2},{int(time / 2 % 10 < 2)}\n" for time in range(40)]
    (folder / "scores").mkdir()
    (folder / "scores" / "scores.csv").write_text("time_seconds,probability\n" + "".join(rows))


def _model(folder: Path) -> None:
    """Files of a scorer that are hashed and never read."""
    (folder / "model").mkdir()
    for name in ("scorer.json", "best.keras"):
        (folder / "model" / name).write_text(json.dumps(name))


def _arrays(folder: Path) -> None:
    (folder / "arrays").mkdir()
    np.savez(folder / "arrays" / "arrays.npz", **{"preds/kernel": np.ones((99, 99), "f4")})


_EXTRACT = ("-m", "preprocess", "folder")
_NEEDS = {
    "shards": ("videos",),
    "large": ("videos",),
    "stretches": ("videos",),
    "run": ("shards",),
    "labels": ("recording",),
    "pictures": ("labels",),
}
_MAKERS = {
    "videos": _videos,
    "shards": _shards,
    "large": _large,
    "stretches": _stretches,
    "run": _finished_run,
    "colours": _colours,
    "recording": _recording,
    "labels": _labels,
    "pictures": _images,
    "scores": _scores,
    "model": _model,
    "arrays": _arrays,
}
