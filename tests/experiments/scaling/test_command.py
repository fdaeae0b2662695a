"""The command as it is typed, and its tables."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from experiments.scaling import main
from experiments.scaling.assumptions import Assumptions
from experiments.scaling.cells import MACHINES, all_cells
from experiments.scaling.clips import UCF101
from experiments.scaling.extraction import extract_estimate
from experiments.scaling.tables import blocks, cells_csv, fill
from experiments.scaling.training import epoch_estimate, models

PAGE = Path(__file__).resolve().parents[3] / "docs" / "scaling.md"


@pytest.fixture(scope="module")
def cells():
    return all_cells(Assumptions())


def test_every_cell_is_there_and_adds_up(cells, tmp_path):
    """Red when a job, a set or a number of machines is left out, or dollars are not by the hour."""
    assert len(cells) == 3 * 3 * 2 * len(MACHINES)
    path = tmp_path / "cells.csv"
    path.write_bytes(cells_csv(cells))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for cell, row in zip(cells, rows, strict=True):
        assert float(row["seconds"]) == pytest.approx(cell.seconds, rel=1e-3)
        assert cell.dollars == pytest.approx(cell.machines * 2 * cell.seconds / 3600 * 0.04)
        assert 0 < cell.efficiency < 1.1
    assert {cell.efficiency for cell in cells if cell.machines == 1} == {1.0}


def test_the_same_twice():
    """Red when a draw is not seeded."""
    given = Assumptions(mtbf_hours=1.0)
    gru, _ = models(given)
    assert extract_estimate(UCF101, 20, given) == extract_estimate(UCF101, 20, given)
    assert epoch_estimate(gru, UCF101, 20, given) == epoch_estimate(gru, UCF101, 20, given)


def test_the_page_is_what_the_command_makes(cells):
    """Red when a rate changes and docs/scaling.md does not: see its first lines for the command."""
    page = PAGE.read_text(encoding="utf-8")
    made = {name: text for name, text in blocks(cells, []).items() if name != "changes"}
    assert fill(page, made) == page


def test_tables_go_between_their_marks():
    page = "a\n<!-- scaling: x -->\nold\n<!-- end -->\nb\n"
    assert fill(page, {"x": "| new |"}) == "a\n<!-- scaling: x -->\n| new |\n<!-- end -->\nb\n"
    with pytest.raises(ValueError, match="<!-- scaling: y -->"):
        fill(page, {"y": ""})


def test_a_run(tmp_path, monkeypatch):
    for module in ("cells", "tables"):
        monkeypatch.setattr(f"experiments.scaling.{module}.MACHINES", (1, 10))
    monkeypatch.setattr("experiments.scaling.cells._extraction_changes", lambda given: [])
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    marks = ("extraction", "tt-gru", "conv3d", "costs", "changes")
    page.write_text("".join(f"<!-- scaling: {mark} -->\n<!-- end -->\n" for mark in marks))
    assert main(["--out", str(tmp_path / "out"), "--page", str(page)]) == 0
    assert "| 10 |" in page.read_text()
    pictures = sorted((page.parent / "images").iterdir())
    assert [path.name for path in pictures] == [
        f"scaling_{name}.png" for name in ("conv3d", "extraction", "tt_gru")
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"cells.csv", "tables.md"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--network-gigabits", "0"], "--network-gigabits must be more than 0"),
        (["--publish-seconds", "-1"], "--publish-seconds must be at least 0"),
        (["--slow-factor", "0.5"], "--slow-factor at least 1"),
        (["--page", "nowhere.md"], "nowhere.md"),
    ],
)
def test_wrong_flags_get_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1
