"""A damaged file of a run is named, with the line; nothing of it is taken for a number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.report import main
from experiments.runs.directory import read_history, read_predictions, read_run
from experiments.runs.files import RunFileError, read_object, read_table
from tests.experiments.runs.report_runs import make_run


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    make_run(tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"7", b"\xff\xfe{}", b"[" * 100_000])
def test_what_is_no_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(RunFileError, match=r"config\.json is damaged"):
        read_object(tmp_path / "config.json")


def test_what_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_object(tmp_path / "config.json") == {}
    assert read_table(tmp_path / "metrics.csv") == []


@pytest.mark.parametrize(
    "content", [b"a,b\n1\n", b"a,b\n1,2,3\n", b"a,a\n1,2\n", b"a\n\xff\n", b'a\n"x\n', b"\n1,2\n"]
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(RunFileError, match=r"metrics\.csv is damaged"):
        read_table(tmp_path / "metrics.csv")


def test_a_word_among_the_numbers_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,loss\n1,\n2,0x5\n")
    with pytest.raises(RunFileError, match=r"metrics\.csv, line 3: loss must be a number.*'0x5'"):
        read_history(tmp_path / "metrics.csv")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("clip,", "klip,", "must have the columns clip"),
        ("p_walking", "walking", "must have the columns clip"),
        (",0.8,0.1,", ",1.8,0.1,", "line 2: p_walking must be a number from 0 to 1"),
        (",0.8,0.1,", ",nan,0.1,", "line 2: p_walking must be a number from 0 to 1"),
        (",0.8,0.1,", ",,0.1,", "line 2: p_walking must be a number from 0 to 1"),
        (",40,", ",-40,", "line 2: num_frames must be a whole number"),
        (",40,", ",4_0,", "line 2: num_frames must be a whole number"),
    ],
)
def test_predictions_that_cannot_be(run_dir: Path, old: str, new: str, message: str) -> None:
    """Red when a probability is none, or a column is taken for another."""
    path = run_dir / "predictions.csv"
    text = path.read_text()
    header, rest = text.split("\n", 1)
    if old in header:
        path.write_text(text.replace(old, new, 1))
    else:
        path.write_text(f"{header}\n{rest.replace(old, new, 1)}")
    assert path.read_text() != text
    with pytest.raises(RunFileError, match=message):
        read_predictions(path)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("result.json", {"model": ["gru"]}),
        ("result.json", {"chance": "high"}),
        ("result.json", {"params": "many"}),
        ("result.json", {"epochs": float("inf")}),
        ("result.json", {"seed": True}),
        ("result.json", {"machine": "mine"}),
        ("result.json", {"machine": {"cores": "two"}}),
        ("config.json", {"stride": 0.5}),
        ("config.json", {"maxlen": {}}),
        ("config.json", {"maxlen": 10**30}),
        ("config.json", {"views": 3}),
        ("model.json", {"choice": [1]}),
    ],
    ids=str,
)
def test_the_report_names_the_file(
    run_dir: Path, capsys: pytest.CaptureFixture[str], file: str, changes: dict[str, object]
) -> None:
    """Red when there is a traceback instead."""
    path = run_dir / file
    values = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(values | changes))
    assert main([str(run_dir)]) == 2
    output = capsys.readouterr().err
    assert file in output
    assert len(output.strip().splitlines()) == 1


def test_a_history_without_epochs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoc,loss\n1,2\n")
    with pytest.raises(RunFileError, match="must have the column epoch"):
        read_history(tmp_path / "metrics.csv")


def test_a_sound_run_is_read(run_dir: Path) -> None:
    run = read_run(run_dir)
    assert run.predictions is not None
    assert run.predictions.num_frames.tolist() == [40] * 6
    assert run.history is not None
    assert run.history["epoch"].tolist() == [1, 2]
