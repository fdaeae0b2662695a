"""Classification on a Dask cluster: a real scheduler and real workers, one of which dies."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from experiments.classify import cluster, main
from experiments.classify.cluster import (
    VideoClassifier,
    VideoReport,
    VideoTask,
    classify_on_cluster,
)
from experiments.clips.classification.job import JobOptions
from experiments.clips.classification.progress import FolderProgress
from experiments.clips.classification.results import Outcome
from experiments.media.videos import Video
from experiments.models import image_loading
from experiments.models.image_models import ImageModel, ModelOptions
from preprocess.errors import PreprocessError
from preprocess.video.transforms import FrameFit
from preprocess.workers.pool import WorkerDiedError
from tests import processes
from tests.experiments.classify.conftest import NAMES, read_rows, write_colours
from tests.preprocess.dask_cluster import DaskCluster, InPlaceOfACluster
from tests.processes import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).resolve().parents[3]
LENGTHS = {"a": 500, "b": 20, "c": 350, "d": 60, "e": 400, "f": 10, "g": 30}


@pytest.fixture
def dask(tmp_path_factory):
    cluster = DaskCluster(tmp_path_factory.mktemp("dask"), 2)
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
def args(model_file, videos):
    labels = model_file.parent / "labels.txt"
    model = ["--model", str(model_file), "--labels", str(labels), "--scaling", "unit"]
    flags = ["--batch-size", "8", "--top", "2", "--threads", "1,1", "--no-timeline"]
    return ["-d", str(videos), *model, *flags]


def command(*args):
    return ["-m", "experiments.classify", *args]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_worker_that_dies_changes_nothing(args, dask, tmp_path, monkeypatch, capsys):
    """Red if rows are lost or there twice, failures stay on the worker, or progress is wrong."""
    finished, frames = [], []
    finish, advance = FolderProgress.finish, FolderProgress.advance

    def kill_one(progress, path):
        finish(progress, path)
        finished.append(path.name)
        if len(finished) == 2:
            dask.workers[1].kill()

    def count(progress, path, num_rows, stride, info):
        advance(progress, path, num_rows, stride, info)
        frames.append(num_rows)

    monkeypatch.setattr(FolderProgress, "finish", kill_one)
    monkeypatch.setattr(FolderProgress, "advance", count)
    out = tmp_path / "cluster"
    assert main([*args, "--out", str(out), "--scheduler", dask.address]) == 1
    assert dask.workers[1].wait() == -signal.SIGKILL
    assert sorted(finished) == sorted([*(f"{name}.mp4" for name in LENGTHS), "broken.mp4"])
    output = capsys.readouterr()
    assert "broken.mp4: not a video" in output.out
    assert "1 of 8 videos failed" in output.err
    monkeypatch.undo()
    serial = command(*args, "--out", tmp_path / "serial")
    assert processes.run(serial).returncode == 1
    assert files(out) == files(tmp_path / "serial")
    for name, length in LENGTHS.items():
        assert len(read_rows(out / f"{name}.csv")) == length
    assert [row["video"] for row in read_rows(out / "failures.csv")] == ["broken.mp4"]


@pytest.mark.slow
def test_ctrl_c_ends_what_workers_do(args, dask, tmp_path):
    """Red if a worker goes on for a command that is gone, or the next run does not go on."""
    out = tmp_path / "out"
    long = write_colours(tmp_path / "v" / "long.mp4", ["red", "green", "blue"] * 3000)
    cluster = command(*args, "-d", long.parent, "--out", out, "--scheduler", dask.address)
    run = processes.start(cluster)
    part = out / "long.csv.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 2000, "rows", run)
    run.send_signal(signal.SIGINT)
    _, output = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 130, output
    assert output.strip().splitlines()[-1].startswith("Interrupted. The rows so far are")
    assert "Traceback" not in output
    dask.wait_until_idle()
    assert sorted(path.name for path in out.iterdir()) == ["long.csv.part", "long.json.part"]
    again = processes.run(cluster)
    assert "long.mp4: going on after" in again.stdout
    assert [int(row["frame"]) for row in read_rows(out / "long.csv")] == list(range(9000))


def numpy_model(predict, settings=None) -> ImageModel:
    return ImageModel("stub", FrameFit((32, 32)), NAMES, predict, settings or {})


def test_who_is_taken_for_dead_ends_its_video_first(tmp_path, monkeypatch):
    """Red if the rows of a video are written by two processes, or the second calls it a failure."""
    path = write_colours(tmp_path / "x.mp4", ["red"] * 20)
    began, waits, may_go_on = threading.Event(), threading.Event(), threading.Event()

    def predict(frames):
        began.set()
        assert may_go_on.wait(PATIENCE_SECONDS)
        return np.full((len(frames), 4), 0.25, np.float32)

    exclusive = cluster.exclusive
    monkeypatch.setattr(
        cluster, "exclusive", lambda lock, on_wait: exclusive(lock, on_wait=waits.set)
    )
    monkeypatch.setattr(cluster.runtime, "configure", lambda *arguments, **options: None)
    monkeypatch.setattr(image_loading, "load_model", lambda *_, **options: numpy_model(predict))
    options = JobOptions(top=2, batch_size=8, timeline=False)
    task = VideoTask(Video(path, "x.mp4", "x"), tmp_path, options)
    classify = VideoClassifier(ModelOptions(), {}, 8, "1,1").open()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(classify, task)
        wait_until(lambda: began.is_set() or first.done(), "the first's pictures")
        second = threads.submit(classify, task)
        wait_until(lambda: waits.is_set() or second.done(), "the second's wait")
        has_waited = not second.done()
        may_go_on.set()
        assert has_waited
        assert (first.result().outcome, first.result().num_rows) == (Outcome(), 20)
        assert (second.result().outcome, second.result().num_rows) == (Outcome({}, 1), 0)


def test_another_model_under_the_same_path(monkeypatch):
    """Red if machines that see different files classify with different models."""
    found = {"model": "/mnt/m.keras", "model_sha256": "b"}
    monkeypatch.setattr(cluster.runtime, "configure", lambda *arguments, **options: None)
    monkeypatch.setattr(image_loading, "load_model", lambda *_, **options: numpy_model(None, found))
    options = ModelOptions("/mnt/m.keras")
    VideoClassifier(options, {"model": "m.keras", "model_sha256": "b"}, 8, "auto").open()
    with pytest.raises(PreprocessError, match="finds other files than this machine"):
        VideoClassifier(options, {"model": "m.keras", "model_sha256": "a"}, 8, "auto").open()


def but_for_b(task):
    """Every video is done, but one at which processes die."""
    if task.video.source == "b.mp4":
        raise WorkerDiedError("the process died (SIGSEGV)")
    return VideoReport(Outcome({}, 1))


def test_a_video_at_which_processes_die_fails_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "open_workers", InPlaceOfACluster(but_for_b))
    videos = [Video(tmp_path / name, name, name[0]) for name in ("a.mp4", "b.mp4", "c.mp4")]
    failures = classify_on_cluster(
        *("tcp://x:1", ModelOptions(), videos, tmp_path, JobOptions()),
        threads="auto",
    )
    assert failures == {"b.mp4": "the process died (SIGSEGV)"}
    assert read_rows(tmp_path / "failures.csv")[0]["video"] == "b.mp4"
    output = capsys.readouterr().out
    assert "b.mp4: the process died" in output
    assert "2 of 3 videos were there already" in output
