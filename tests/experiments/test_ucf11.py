"""The UCF11 job as a user runs it, small: files, figures, wrong commands."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.process.runtime import default_threads
from experiments.runs.run import threads_of_run
from preprocess.system.machine import read_machine
from tests import processes

RUN_FILES = {
    "explained",
    *("best.keras", "last.keras", "checkpoint.npz", "config.json", "metrics.csv"),
    *("predictions.csv", "result.json", "report.html", "curves.png", "confusion_matrix.png"),
    *("predictions.parquet", "predictions.html", "strips", "model.keras", "model.json"),
}


def ucf11(*arguments, cwd):
    return processes.run(["-m", "experiments.ucf11", *arguments], cwd=cwd)


@pytest.fixture(scope="module")
def finished(small_shards, tmp_path_factory):
    """One short run, recorded."""
    cwd = tmp_path_factory.mktemp("run")
    (cwd / "experiments").mkdir()
    run = ucf11(
        *("--tt", "--maxlen", 20, "--stride", 4, "--epochs", 2, "--shards", small_shards),
        *("--out", "out", "--record"),
        cwd=cwd,
    )
    assert run.returncode == 0, run.stderr
    return cwd, run


def test_a_run_leaves_all_its_files(finished):
    cwd, run = finished
    assert {path.name for path in (cwd / "out").iterdir()} == RUN_FILES
    assert "test accuracy" in run.stdout


def test_the_result_agrees_with_the_predictions(finished):
    """Red when the accuracy is another fold's, or the predictions are in another order."""
    cwd, _ = finished
    result = json.loads((cwd / "out" / "result.json").read_text())
    rows = list(csv.DictReader((cwd / "out" / "predictions.csv").open()))
    right = [row["clip"].split("/")[0] == row["predicted"] for row in rows]
    assert result["accuracy"] == pytest.approx(np.mean(right))
    assert all(row["clip"].split("/")[0] == row["label"] for row in rows)
    assert result["num_test_clips"] == len(rows) == 11
    assert result["num_test_clips_with_sibling"] == 0
    assert result["dataset"] == "demo"
    assert result["chance"] == pytest.approx(1 / 11)
    assert result["peak_rss_bytes"] > 1e8
    assert result["wall_seconds"] > 0


def test_the_kept_model_repeats_the_predictions(finished, small_shards):
    """Red when model.json names another stride or window, or other weights are kept."""
    from experiments.clips.model import load_clip_model
    from preprocess.shards.reader import open_shards

    cwd, _ = finished
    model = load_clip_model(cwd / "out")
    assert (model.frame_settings.stride, model.window) == (4, 20)
    row = next(csv.DictReader((cwd / "out" / "predictions.csv").open()))
    with open_shards(small_shards) as shards:
        clip = shards[shards.sources.index(row["clip"])]
        (found,) = model.predict([clip.read(stride=4)], clip.original_size)
    expected = [float(row[f"p_{name}"]) for name in model.class_names]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "args",
    [
        ["experiments.predict", "out", "{video}"],
        ["experiments.ucf11", "predict", "{video}", "--run", "out"],
    ],
)
def test_new_videos_are_predicted_with_the_run(finished, videos, args, tmp_path):
    """The first window of a clip is what was tested of it; red when `predict` is no command of
    the job, or takes the run for a video."""
    cwd, _ = finished
    tested = next(csv.DictReader((cwd / "out" / "predictions.csv").open()))
    args = [word.format(video=videos / tested["clip"]) for word in args]
    run = processes.run(["-m", *args, "--no-annotate", "--out", tmp_path], cwd=cwd)
    assert run.returncode == 0, run.stderr
    window = next(csv.DictReader((tmp_path / f"{Path(tested['clip']).stem}.csv").open()))
    columns = [name for name in tested if name.startswith("p_")]
    found, expected = ([float(row[name]) for name in columns] for row in (window, tested))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_threads_are_printed_and_kept(finished, tmp_path):
    """Red when nobody can tell later what a run had, or a resumed run takes other threads."""
    cwd, run = finished
    default = default_threads(read_machine(), "tt-train")
    assert str(default) in run.stdout
    used = json.loads((cwd / "out" / "config.json").read_text())["threads_used"]
    assert (used["intra_op"], used["inter_op"]) == (default.intra_op, default.inter_op)
    assert threads_of_run(cwd / "out") == default
    assert threads_of_run(tmp_path) is None


def test_the_row_is_recorded(finished):
    cwd, _ = finished
    (row,) = csv.DictReader((cwd / "experiments" / "results.csv").open())
    assert row["model"] == "tt-gru"
    assert row["recipe"] == "tuned"


def test_a_second_run_takes_no_other_runs_place(finished, small_shards):
    cwd, _ = finished
    run = ucf11("--shards", small_shards, "--out", "out", cwd=cwd)
    assert run.returncode == 2
    assert "--resume" in run.stderr


def test_a_finished_run_is_not_run_again(finished, small_shards):
    cwd, _ = finished
    before = (cwd / "out" / "last.keras").stat().st_mtime_ns
    run = ucf11(
        *("--maxlen", 20, "--stride", 4, "--epochs", 2, "--shards", small_shards),
        *("--out", "out", "--resume"),
        cwd=cwd,
    )
    assert run.returncode == 0, run.stderr
    assert (cwd / "out" / "last.keras").stat().st_mtime_ns == before


def test_resuming_with_other_settings_is_refused(finished, small_shards):
    cwd, _ = finished
    run = ucf11("--maxlen", 30, "--shards", small_shards, "--out", "out", "--resume", cwd=cwd)
    assert run.returncode == 2
    assert "maxlen was 20, now 30" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--videos", "nowhere"], "nowhere"),
        (["--shards", "nowhere"], "nowhere"),
        (["--threads", "many"], "--threads must be"),
        (["--set", "inputz=raw"], "--set takes"),
        (["--maxlen", "0"], "--maxlen must be greater than 0"),
        (["--batch-size", "-1"], "--batch-size must be greater than 0"),
        (["--fold", "7"], "fold"),
        (["--record"], "root of the repository"),
        (["--no-such-flag"], "no-such-flag"),
    ],
)
def test_wrong_commands_get_one_clear_line(arguments, message, small_shards, tmp_path):
    """Red when a traceback is the only answer."""
    if arguments[0] == "--fold":
        arguments = [*arguments, "--shards", small_shards]
    run = ucf11(*arguments, cwd=tmp_path)
    assert run.returncode == 2
    assert message in run.stderr + run.stdout
    assert "Traceback" not in run.stderr
