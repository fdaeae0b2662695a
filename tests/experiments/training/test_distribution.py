"""Training on several workers: the weights of one process, whoever dies in between."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.training.tasks import Task, read_task
from preprocess import FrameSettings
from preprocess.batches.planning import IDLE_LABEL, PlannedBatch, ReplicaShard
from preprocess.extraction.extract import extract
from tests.experiments.training.two_workers import (
    launch_two,
    start,
    start_in_slurm,
    steps,
    variables,
)
from tests.processes import PATIENCE_SECONDS

NO_DROPOUT = [f"{name}_dropout=0" for name in ("recurrent", "dense_input", "head", "scene")]
# In float32: sums in another order would differ by more in bfloat16, which some machines choose.
COMMON = ("--batch-size", 7, "--threads", "1,1", "--policy", "float32", "--set")
UCF11 = ("--maxlen", 12, *COMMON, *NO_DROPOUT)
UCF101 = ("--model", "crnn", *COMMON, "stride=1", "num_frames=8", "dropout=0")
ARGS = {"ucf11": UCF11, "ucf101": UCF101}


SIZES = {"ucf11": (40, 30), "ucf101": (112, 112)}


@pytest.fixture(scope="module")
def shards(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Function that gives the shards for a job, made once.

    There are some 40 clips to train on: 7 a batch leave a last one of fewer.
    """
    root = tmp_path_factory.mktemp("clips")

    def of(name: str) -> Path:
        if not (root / name).exists():
            settings = FrameSettings(size=SIZES[name], max_frames=12)
            extract(videos, root / name, settings, jobs=1, dataset="demo")
        return root / name

    return of


@pytest.fixture(scope="module")
def alone(shards, tmp_path_factory) -> Callable[[str], Path]:
    """Function that gives the weights of a job in one process, of two epochs, trained once."""
    folder = tmp_path_factory.mktemp("alone")

    def of(name: str) -> Path:
        if not (folder / f"{name}.npz").exists():
            args = ("--shards", shards(name), "--epochs", 2, "--out", name, *ARGS[name])
            ended([start(f"experiments.{name}", folder / f"{name}.npz", *args)])
        return folder / f"{name}.npz"

    return of


def ended(processes: list[subprocess.Popen[str]], *, code: int = 0) -> list[str]:
    """What processes said on standard error, once they have ended."""
    texts = [process.communicate(timeout=PATIENCE_SECONDS)[1] for process in processes]
    assert [process.returncode for process in processes] == [code] * len(processes), texts
    return texts


def assert_close(ours: Path, theirs: Path, *, tolerance: float = 1e-4) -> None:
    for mine, other in zip(variables(ours), variables(theirs), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ucf11", "ucf101"])
def test_two_workers_learn_what_one_process_does(
    shards, alone, tmp_path, monkeypatch, name
) -> None:
    """Red if clips are dealt out twice or not at all, gradients or batch statistics are not those
    of the whole batch, or a worker goes its own way.

    Of UCF101's model with batch normalisation, Adam divides gradients of 1e-8 by themselves, and
    so makes steps of their rounding: there the path is compared, and not each weight.
    """
    args = ("--shards", shards(name), "--epochs", 2, "--out", "two", *ARGS[name])
    launch_two(monkeypatch, (f"experiments.{name}", *args), tmp_path)
    ours, single = steps(tmp_path / "0.npz"), steps(alone(name))
    apart = float(np.linalg.norm(ours - single) / np.linalg.norm(single))
    print(f"{name}: apart by {apart:.1e} of the path")
    assert apart < 0.05
    if name == "ucf11":
        assert_close(tmp_path / "0.npz", alone(name))
    assert_close(tmp_path / "0.npz", tmp_path / "1.npz", tolerance=1e-6)
    assert_same_metrics(alone(name).with_suffix(""), tmp_path / "two")


def assert_same_metrics(one: Path, two: Path) -> None:
    tables = [(run / "metrics.csv").read_text().splitlines() for run in (one, two)]
    head = tables[0][0].split(",")
    counted = [i for i, name in enumerate(head) if "loss" in name or "accuracy" in name]
    rows = [[[float(line.split(",")[i]) for i in counted] for line in t[1:]] for t in tables]
    np.testing.assert_allclose(*rows, atol=1e-3)


def test_a_worker_that_dies_ends_the_job_and_it_resumes(
    shards, alone, tmp_path, monkeypatch
) -> None:
    """Red if the others wait for ever, or begin anew; if clips are dealt out twice or not at all,
    gradients are not those of the whole batch, or a worker goes its own way.

    First SLURM starts the processes, then the launcher.
    """
    job = ("experiments.ucf11", "--shards", shards("ucf11"), "--epochs", 2, "--out", "two", *UCF11)
    chief, mortal = start_in_slurm(job, tmp_path, dies_in_epoch=(None, 1))
    (text,) = ended([chief], code=2)
    last = text.strip().splitlines()[-1]
    assert last.startswith("error: Another worker of this job has ended"), text
    assert "--resume" in last
    assert "Traceback" not in text
    ended([mortal], code=-signal.SIGKILL)
    assert (tmp_path / "two" / "checkpoint.npz").exists()

    launch_two(monkeypatch, (*job, "--resume"), tmp_path)
    assert_close(tmp_path / "0.npz", alone("ucf11"))
    assert_close(tmp_path / "0.npz", tmp_path / "1.npz", tolerance=1e-6)
    assert_same_metrics(alone("ucf11").with_suffix(""), tmp_path / "two")


def test_a_worker_that_waits_alone_can_be_stopped(shards, tmp_path) -> None:
    """Red if Ctrl-C is heard only when the others have come."""
    job = ("experiments.ucf11", "--shards", shards("ucf11"), "--out", "two", *UCF11)
    (first,) = start_in_slurm(job, tmp_path, dies_in_epoch=(None,))
    assert first.stdout is not None
    assert any("waiting for the others" in line for line in first.stdout)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=PATIENCE_SECONDS)
    assert first.returncode == -signal.SIGINT


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}'],
)
def test_a_wrong_tf_config_is_one_line(monkeypatch, text) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="needs the variable TF_CONFIG"):
        read_task("workers", Path("run"))
    with pytest.raises(ValueError, match="needs --out"):
        read_task("workers", None)
    assert read_task(None, None) == Task(0, 1)


def test_gpus_are_asked_for_before_clips_are_extracted(monkeypatch) -> None:
    """Red if TensorFlow is asked only once the model is built, hours later."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ValueError, match="--distribute gpus needs GPUs"):
        read_task("gpus", None)


@given(st.integers(1, 20), st.integers(1, 8), st.booleans())
def test_each_clip_goes_to_one_replica(num_clips, count, has_views) -> None:
    """Red if a clip counts twice or not at all, or goes without its view; what is idle counts for
    nothing."""
    clips = np.random.default_rng(num_clips).permutation(num_clips)
    batch = PlannedBatch(clips, tuple(map(str, clips)) if has_views else None)
    parts = [ReplicaShard(index, count).of_batch(batch) for index in range(count)]
    assert all(len(part) for part in parts)
    positions = np.concatenate([part.clips for part in parts])
    labels = np.concatenate([part.labels(np.arange(num_clips) + 5) for part in parts])
    counted = labels != IDLE_LABEL
    assert (labels[~counted] < 0).all()  # as losses and scores know them
    assert sorted(positions[counted]) == list(range(num_clips))
    np.testing.assert_array_equal(labels[counted], positions[counted] + 5)
    assert np.all((positions >= 0) & (positions < num_clips))
    for part in parts:
        assert part.views == (tuple(map(str, part.clips)) if has_views else None)


@given(st.integers(1, 9), st.integers(1, 6))
def test_each_batch_of_an_evaluation_goes_to_one_process(num_batches, count) -> None:
    """Red if a process evaluates another's batch, or one has none, for which all would wait."""
    plan = [PlannedBatch(np.array([2 * number, 2 * number + 1])) for number in range(num_batches)]
    dealt = [batch for index in range(count) for batch in ReplicaShard(index, count).of_plan(plan)]
    real = np.concatenate([batch.clips for batch in dealt if not batch.is_idle])
    assert sorted(real) == list(range(2 * num_batches))
    assert all(len(ReplicaShard(index, count).of_plan(plan)) for index in range(count))
