"""Classification on a Dask cluster: a real scheduler and real workers, one of which dies."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.classify import main
from experiments.classify.progress import FolderProgress

from ...preprocess.dask_cluster import DaskCluster
from .conftest import read_rows, write_colours

ROOT = Path(__file__).resolve().parents[3]
LENGTHS = {"a": 500, "b": 20, "c": 350, "d": 60, "e": 400, "f": 10, "g": 30}


@pytest.fixture
def dask(tmp_path_factory):
    cluster = DaskCluster(tmp_path_factory.mktemp("dask"), 3)
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Videos of several lengths; one cannot be read."""
    root = tmp_path_factory.mktemp("videos")
    for number, (name, length) in enumerate(LENGTHS.items()):
        colours = ["red", "green", "blue"] * length
        write_colours(root / f"{name}.mp4", colours[number : number + length])
    (root / "broken.mp4").write_bytes(b"junk" * 40)
    return root


@pytest.fixture
def words(model_file, videos):
    labels = model_file.parent / "labels.txt"
    model = ["--model", str(model_file), "--labels", str(labels), "--scaling", "unit"]
    flags = ["--batch-size", "8", "--top", "2", "--threads", "1,1", "--no-timeline"]
    return ["-d", str(videos), *model, *flags]


def command(*words):
    return [sys.executable, "-m", "experiments.classify", *map(str, words)]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_worker_that_dies_changes_nothing(words, dask, tmp_path, monkeypatch, capsys):
    """Red if rows are lost or there twice, failures stay on the worker, or progress is wrong."""
    finished, frames = [], []
    finish, advance = FolderProgress.finish, FolderProgress.advance

    def kill_one(progress, path):
        finish(progress, path)
        finished.append(path.name)
        if len(finished) == 2:
            dask.workers[1].kill()

    def count(progress, path, num_rows, every, info):
        advance(progress, path, num_rows, every, info)
        frames.append(num_rows)

    monkeypatch.setattr(FolderProgress, "finish", kill_one)
    monkeypatch.setattr(FolderProgress, "advance", count)
    out = tmp_path / "cluster"
    assert main([*words, "--out", str(out), "--scheduler", dask.address]) == 1
    assert dask.workers[1].wait() == -signal.SIGKILL
    assert sorted(finished) == sorted([*(f"{name}.mp4" for name in LENGTHS), "broken.mp4"])
    said = capsys.readouterr()
    assert "broken.mp4: not a video" in said.out
    assert "1 of 8 videos failed" in said.err
    monkeypatch.undo()
    serial = command(*words, "--out", tmp_path / "serial")
    assert subprocess.run(serial, cwd=ROOT, capture_output=True).returncode == 1
    assert files(out) == files(tmp_path / "serial")
    for name, length in LENGTHS.items():
        assert len(read_rows(out / f"{name}.csv")) == length
    assert [row["video"] for row in read_rows(out / "failures.csv")] == ["broken.mp4"]
