"""Extraction on a Dask cluster: a real scheduler and real workers, one of which dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from preprocess import FrameSettings, PreprocessError, open_shards
from preprocess.extraction.extract import extract
from preprocess.system.progress import Silent
from preprocess.workers import cluster as cluster_module
from preprocess.workers.cluster import shared_mark
from tests.hold import start_held
from tests.preprocess.conftest import stored_frames, write_video
from tests.preprocess.dask_cluster import DaskCluster
from tests.processes import PATIENCE_SECONDS, wait_until

SMALL = FrameSettings(size=(64, 48))
NUM_CLIPS = 40


@pytest.fixture
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    cluster = DaskCluster(tmp_path_factory.mktemp("dask"), 3)
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def many_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of some hundredths of a second each, and two that cannot be read."""
    root = tmp_path_factory.mktemp("many")
    first = write_video(root / "a" / "00.mpg", 300, size=(160, 120))
    (root / "b").mkdir()
    for number in range(1, NUM_CLIPS):
        os.link(first, root / "ab"[number % 2] / f"{number:02d}.mpg")
    (root / "a" / "bad.mpg").write_bytes(b"no video")
    (root / "b" / "empty.mpg").touch()
    return root


class Watcher(Silent):
    """Counts, and does something when so many clips are done."""

    def __init__(self, at: int, act) -> None:
        self.total, self.steps, self.at, self.act = 0, [], at, act

    def start(self, num_clips: int, num_done: int) -> None:
        self.total = num_clips

    def advance(self, num_clips: int, num_frames: int) -> None:
        self.steps.append(num_clips)
        if self.act and sum(self.steps) >= self.at:
            self.act()
            self.act = None


def test_a_worker_that_dies_changes_nothing(many_videos, tmp_path, dask) -> None:
    """Red if clips are lost or stored twice, failures stay on the worker, or progress is wrong."""
    watcher = Watcher(NUM_CLIPS // 3, lambda: dask.workers[1].kill())
    summary = extract(
        many_videos, tmp_path / "cluster", SMALL, scheduler=dask.address, progress=watcher
    )
    serial = extract(many_videos, tmp_path / "serial", SMALL, jobs=1)
    assert watcher.act is None
    assert dask.workers[1].wait() == -signal.SIGKILL
    assert summary == serial
    assert sorted(summary.failures) == ["a/bad.mpg", "b/empty.mpg"]
    assert sum(watcher.steps) == watcher.total == NUM_CLIPS + 2
    assert stored_frames(tmp_path / "cluster") == stored_frames(tmp_path / "serial")
    with open_shards(tmp_path / "cluster") as shards:
        assert len(shards) == NUM_CLIPS
    for name in ("failures.csv", "dataset.json"):
        texts = [(tmp_path / run / name).read_text() for run in ("cluster", "serial")]
        assert texts[0].replace("cluster", "serial") == texts[1]
    assert not list((tmp_path / "cluster").glob(".shard-*"))


def test_ctrl_c_leaves_nothing_behind(many_videos, tmp_path, dask, tmp_path_factory) -> None:
    """Red if a worker goes on writing shards for a command that is gone."""
    args = ("folder", many_videos, tmp_path, "--size", "64x48", "--scheduler", dask.address)
    args = ("-m", "preprocess", *args)
    process = start_held(tmp_path_factory.mktemp("hold"), args).process
    wait_until(lambda: list(tmp_path.glob("shard-*.h5")), "a shard", process)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, text
    assert text.strip().splitlines()[-1].startswith("Interrupted."), text
    assert f"--scheduler {dask.address}" in text.strip().splitlines()[-1]
    assert "Traceback" not in text
    before = sorted(tmp_path.glob("shard-*.h5"))
    dask.wait_until_idle()
    assert sorted(tmp_path.glob("shard-*.h5")) == before
    assert not list(tmp_path.glob(".shard-*"))


def test_no_scheduler_is_one_line(many_videos, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cluster_module, "_ANSWER_SECONDS", 1)
    with pytest.raises(PreprocessError, match="No Dask scheduler answers at tcp"):
        extract(many_videos, tmp_path, SMALL, scheduler="tcp://127.0.0.1:1")
    with pytest.raises(PreprocessError, match="No Dask scheduler answers at nonsense"):
        extract(many_videos, tmp_path, SMALL, scheduler="nonsense")


class HalfBlind:
    """A client of two workers, one of which has another file system."""

    def run(self, function, mark) -> dict[str, bool]:
        return {"tcp://one": function(mark), "tcp://two": False}


def test_a_worker_that_does_not_see_the_folder_is_named(tmp_path) -> None:
    rule = rf"1 of 2 workers do not see {tmp_path}, tcp://two"
    with pytest.raises(PreprocessError, match=rule), shared_mark(HalfBlind(), tmp_path):
        pass
    assert not list(tmp_path.iterdir())


class Stale:
    """A client of a scheduler that was started with another version of this package."""

    def run_on_scheduler(self, function, work):
        raise ImportError("cannot import name 'ClipTask'")

    def run(self, function, work):
        return {"tcp://one": function(work)}


def test_another_version_is_one_line() -> None:
    """Red if a scheduler that cannot read the tasks ends the job in a traceback."""
    with pytest.raises(PreprocessError, match=r"'ClipTask'.*Install the same version"):
        cluster_module._require_understood(Stale(), len)
