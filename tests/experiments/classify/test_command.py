"""The command as it is typed, right and wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import runtime
from experiments.classify import main
from tests.processes import PATIENCE_SECONDS, wait_until

from .conftest import read_rows, write_colours

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def tensorflow_is_running(monkeypatch):
    """The tests' own process has its thread pools already."""
    monkeypatch.setattr(runtime, "configure", lambda threads, seed: None)
    monkeypatch.setattr(runtime, "answer_signals", lambda going_on: None)


@pytest.fixture
def words(model_file):
    labels = model_file.parent / "labels.txt"
    model = ["--model", str(model_file), "--labels", str(labels), "--scaling", "unit"]
    return [*model, "--batch-size", "8", "--top", "2"]


def test_a_folder(folder, words, tmp_path, capsys):
    out = tmp_path / "new" / "save"
    assert main(["-d", str(folder), "--out", str(out), *words]) == 1
    captured = capsys.readouterr()
    assert "1 of 5 videos failed or are incomplete" in captured.err
    assert "broken.mp4: not a video" in captured.out
    assert {path.name for path in out.iterdir()} == {
        f"{stem}{suffix}"
        for stem in ("-dash", "a b'c\"d", "é,x", "long")
        for suffix in (".csv", ".json", ".png")
    } | {"failures.csv"}
    assert [row["label_1"] for row in read_rows(out / "a b'c\"d.csv")] == (
        ["green"] * 5 + ["blue"] * 6
    )


def test_the_originals_flags(folder, words, tmp_path, monkeypatch):
    """-d, -r and save/: red when the range is not over the sorted videos."""
    monkeypatch.chdir(tmp_path)
    assert main(["-d", str(folder), "-r", "1 2", *words]) == 0
    assert [path.name for path in (tmp_path / "save").glob("*.csv")] == ["a b'c\"d.csv"]


def test_annotate_after_the_fact(tmp_path, words):
    write_colours(tmp_path / "v" / "x.mp4", ["red"] * 4)
    command = ["-d", str(tmp_path / "v"), "--out", str(tmp_path / "o"), *words]
    assert main(command) == 0
    assert not (tmp_path / "o" / "x.annotated.mp4").exists()
    assert main([*command, "--annotate"]) == 0
    assert (tmp_path / "o" / "x.annotated.mp4").exists()


def test_a_full_disk_is_told_in_a_line(tmp_path, words, capsys, monkeypatch):
    """Red when it ends in a traceback, or a second run does not go on."""
    from experiments.classify.tables import Table
    from preprocess.errors import WriteError

    def full(table, rows):
        raise WriteError("No space left on device")

    write_colours(tmp_path / "v" / "x.mp4", ["red"] * 20)
    command = ["-d", str(tmp_path / "v"), "--out", str(tmp_path / "o"), *words]
    with monkeypatch.context() as patch:
        patch.setattr(Table, "append", full)
        assert main(command) == 2
    assert "Cannot write to" in capsys.readouterr().err
    assert main(command) == 0
    assert len(read_rows(tmp_path / "o" / "x.csv")) == 20


def test_a_copy_that_cannot_be_drawn_costs_itself_alone(tmp_path, words, monkeypatch, capsys):
    """Red when the videos after it are not classified."""
    from experiments.classify import job
    from preprocess.errors import WriteError

    def broken(path, rows, out):
        raise WriteError("could not be encoded")

    monkeypatch.setattr(job, "draw_video", broken)
    for name in "ab":
        write_colours(tmp_path / "v" / f"{name}.mp4", ["red"] * 9)
    assert (
        main(["-d", str(tmp_path / "v"), "--out", str(tmp_path / "o"), "--annotate", *words]) == 1
    )
    assert "could not be encoded" in capsys.readouterr().out
    assert len(read_rows(tmp_path / "o" / "b.csv")) == 9


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "--data-dir, or -d, must name a folder"),
        (["-d", "nowhere"], "no video or folder nowhere"),
        (["-d", "empty"], "No videos found in empty"),
        (["-d", "v", "-r", "5 2"], "START below END"),
        (["-d", "v", "-r", "7 9"], "begins at video 7, but there are 1"),
        (["-d", "v", "--top", "0"], "--top must be at least 1"),
        (["-d", "v", "--top", "9"], "--top must be at most the 4 classes"),
        (["-d", "v", "--threads", "many"], "--threads must be auto"),
        (["-d", "v", "--columns", "seed"], "--columns seed means 5 classes"),
        (["-d", "v", "--out", "v/x.mp4"], "Cannot write to v/x.mp4"),
        (["-d", "v", "--policy", "mixed_bfloat16"], "holds its own arithmetic"),
        (["--export", "x.bin"], "must name a file that ends in .onnx"),
    ],
)
def test_wrong_commands_get_one_line(tmp_path, monkeypatch, capsys, words, wrong, message):
    (tmp_path / "empty").mkdir()
    write_colours(tmp_path / "v" / "x.mp4", ["red"])
    monkeypatch.chdir(tmp_path)
    assert main([*words, *wrong]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_export_then_classify(folder, words, tmp_path, capsys):
    """Red when ONNX Runtime's labels or probabilities are not Keras's."""
    assert main([*words, "--export", str(tmp_path / "m.onnx")]) == 0
    assert "probabilities within" in capsys.readouterr().out
    plain, onnx = tmp_path / "keras", tmp_path / "onnx"
    main(["-d", str(folder), "--out", str(plain), *words])
    main(["-d", str(folder), "--out", str(onnx), "--model", str(tmp_path / "m.onnx"), "--top", "2"])
    for ours, theirs in zip(
        read_rows(plain / "long.csv"), read_rows(onnx / "long.csv"), strict=True
    ):
        assert ours["label_1"] == theirs["label_1"]
        assert float(ours["prob_1"]) == pytest.approx(float(theirs["prob_1"]), abs=1e-4)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_from_outside(tmp_path, words, stop):
    """Red when a signal leaves processes or half files, or the next run gives other rows."""
    write_colours(tmp_path / "v" / "x.mp4", ["red", "green", "blue"] * 1500)
    command = [sys.executable, "-m", "experiments.classify", "-d", str(tmp_path / "v"), *words]
    command += ["--no-timeline", "--out"]
    part = tmp_path / "stopped" / "x.csv.part"
    run = subprocess.Popen(
        [*command, str(part.parent)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_until(lambda: part.exists() and part.stat().st_size > 2000, "rows", run)
    run.send_signal(stop)
    _, said = run.communicate(timeout=PATIENCE_SECONDS)
    if stop is not signal.SIGKILL:
        assert run.returncode == 130
        assert said.decode().strip().endswith("the same command goes on from there.")
        assert "Traceback" not in said.decode()
    assert not (part.parent / "x.csv").exists()
    again = subprocess.run([*command, str(part.parent)], cwd=ROOT, capture_output=True, text=True)
    assert "going on after" in again.stdout
    subprocess.run([*command, str(tmp_path / "whole")], cwd=ROOT, check=True, capture_output=True)
    for name in ("x.csv", "x.json"):
        assert (part.parent / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
