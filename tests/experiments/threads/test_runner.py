"""Runs in processes of their own."""

import dataclasses
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest

from experiments.threads import measurement
from experiments.threads.inputs import render_videos
from experiments.threads.measurement import MeasureError, Runner
from experiments.threads.space import Task, find_mallocs, variants_of
from tests.fork_server import ForkedProcess
from tests.grids import slow
from tests.processes import PATIENCE_SECONDS, REPOSITORY


@pytest.fixture
def records():
    return []


@pytest.fixture
def runner(tmp_path, records, monkeypatch):
    monkeypatch.setattr(measurement, "_FIRST_RUN_SECONDS", PATIENCE_SECONDS)
    return Runner(tmp_path, deadline=math.inf, note=records.append)


@pytest.fixture
def task(tmp_path):
    return Task(
        "alexnet", {"intra_op": 3, "inter_op": 2}, "", str(tmp_path / "work"), 0.01, "float32", 2
    )


@pytest.fixture
def forked(monkeypatch):
    """Let the measured processes have TensorFlow already; they set its threads themselves."""

    def run(command, *, input, timeout, **options):
        with ForkedProcess(command, stdin=subprocess.PIPE, cwd=REPOSITORY, **options) as process:
            output, errors = process.communicate(input, timeout)
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    monkeypatch.setattr(measurement.subprocess, "run", run)


def test_a_run_has_the_threads_it_was_given(runner, records, task, forked):
    """Red when the setting does not reach the process that is measured."""
    assert runner.measure(task, {"OMP_NUM_THREADS": "1"}) > 0
    (record,) = records
    assert (record["tensorflow_intra_op"], record["tensorflow_inter_op"]) == (3, 2)
    assert record["num_threads"] >= 5
    assert record["environment"] == {"OMP_NUM_THREADS": "1"}


def test_extraction_is_measured(runner, records, videos, tmp_path):
    task = Task(
        "extract", {"jobs": 2, "opencv_threads": 1}, str(videos), str(tmp_path / "work"), 0.01
    )
    assert runner.measure(task) > 0
    assert "tensorflow_intra_op" not in records[0]
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("workload", "stages"),
    [
        ("tt-train", ["compiling, training step 1 of 8", "warming up, training step 2 of 8"]),
        *slow(("classify", ["predicting the first batch"])),
    ],
)
def test_a_run_says_what_it_does(
    tmp_path, records, monkeypatch, small_shards, forked, workload, stages
):
    """Red when the work cannot be done as the job does it, or a long wait is not explained."""
    monkeypatch.setattr(measurement, "_FIRST_RUN_SECONDS", PATIENCE_SECONDS)
    messages = []
    runner = Runner(tmp_path, deadline=math.inf, note=records.append, on_stage=messages.append)
    inputs = small_shards
    if workload == "classify":
        inputs = render_videos(tmp_path / "videos", num_videos=1, num_frames=8)
    setting = {"intra_op": 1, "inter_op": 2}
    task = Task(workload, setting, str(inputs), str(tmp_path / "work"), 0.01, "float32", 2)
    assert runner.measure(task) > 0
    assert messages[:2] == ["starting TensorFlow", "building the model"]
    assert messages[2 : 2 + len(stages)] == stages
    assert messages[-1] == "timing for 0.01 s"


def test_a_process_that_fails_says_why(runner, records, task):
    with pytest.raises(MeasureError, match="CPUs must be one of"):
        runner.measure(
            dataclasses.replace(task, setting={"intra_op": 1, "inter_op": 1, "cpus": "node9"})
        )
    assert "CPUs must be one of" in records[0]["failure"]


def instead(monkeypatch, code):
    """Let the runs be another program's."""
    real = measurement.subprocess.run

    def run(command, **options):
        return real([sys.executable, "-c", code, command[-1]], **options)

    monkeypatch.setattr(measurement.subprocess, "run", run)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.kill(os.getpid(), 9)", "too little memory"),
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("raise SystemExit(3)", "exit code 3: it said nothing"),
        ("pass", "exit code 0"),
    ],
)
def test_a_process_that_dies_is_told_apart(runner, task, monkeypatch, code, reason):
    """Red when a crash counts as a rate, or ends the whole search."""
    instead(monkeypatch, code)
    with pytest.raises(MeasureError, match=reason):
        runner.measure(task)


def test_a_process_that_hangs_is_ended(runner, task, monkeypatch):
    instead(monkeypatch, "import signal; signal.pause()")
    monkeypatch.setattr(measurement, "_FIRST_RUN_SECONDS", 0.5)
    with pytest.raises(MeasureError, match="did not end"):
        runner.measure(task)


def test_runs_left_follow_their_duration(runner, monkeypatch):
    """Red when the budget is overrun because runs take longer than thought."""
    monkeypatch.setattr(measurement, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    runner.deadline = 1600.0
    assert runner.runs_left() == 1  # nothing is known before the first
    runner._durations += [10.0, 10.0, 40.0]
    runner.deadline = 1101.0
    assert runner.runs_left() == 5
    runner.deadline = 1039.0  # the next may be another long one
    assert runner.runs_left() == 0


@pytest.mark.parametrize("workload", ["tt-train", "alexnet", "resnet", "classify"])
def test_variants_fit_their_task(task, workload):
    """Red when a variant names a field that a task does not have."""
    for variant in variants_of(workload):
        changed = dataclasses.replace(task, **variant.changes)
        assert (changed != task) != bool(variant.environment)


def test_mallocs_are_found_where_they_are(monkeypatch, tmp_path):
    monkeypatch.setattr("experiments.threads.space._LIBRARY_FOLDERS", (str(tmp_path),))
    assert find_mallocs() == {}
    for name in ("libtcmalloc_minimal.so.4", "libtcmalloc.so.4", "libjemalloc.so.2"):
        (tmp_path / name).touch()
    assert find_mallocs() == {
        "tcmalloc": f"{tmp_path}/libtcmalloc.so.4",
        "jemalloc": f"{tmp_path}/libjemalloc.so.2",
    }
