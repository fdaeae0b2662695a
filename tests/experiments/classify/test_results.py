"""A table that is broken off anywhere ends up as if it had not been."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import WriteError
from experiments.clips.classification.results import Row, Table, header

LABELS = ("plain", 'with "quotes"', "a, comma", "é", "semi;colon")


def some_rows(number, top, stride):
    return [
        Row(n * stride, n / 25, LABELS[:top], tuple(1 / (n + k + 2) for k in range(top)))
        for n in range(number)
    ]


def table_in(folder, *, top=3, stride=1, **options):
    kept = options.pop("kept", top)
    settings = {"model": "m", **options}
    return Table(Path(folder) / "clip", settings, top=top, kept=kept, stride=stride)


def finish(folder, rows, columns="all", **options):
    table = table_in(folder, **options)
    table.begin()
    table.append(rows[table.num_rows :])
    table.finish({"failure": ""}, columns)
    return (Path(folder) / "clip.csv").read_bytes()


def test_columns(tmp_path):
    lines = finish(tmp_path, some_rows(2, 3, 4), stride=4).decode().splitlines()
    assert lines[0] == "frame,time_seconds,label_1,label_2,label_3,prob_1,prob_2,prob_3"
    assert lines[2] == ('4,0.040000,plain,"with ""quotes""","a, comma",0.333333,0.250000,0.200000')
    assert len(header(5)) == 12


@pytest.mark.parametrize("columns", ["all", "seed"])
def test_more_is_kept_than_shown(tmp_path, columns):
    """Red when the wrong columns are cut off, or a summary sees no more than the file shows."""
    table = table_in(tmp_path, top=2, kept=4)
    table.begin()
    table.append(some_rows(3, 4, 1))
    assert [row.labels for row in table.rows()] == [LABELS[:4]] * 3
    table.finish({}, columns)
    expected = finish(tmp_path / "plain", some_rows(3, 2, 1), columns, top=2)
    assert (tmp_path / "clip.csv").read_bytes() == expected
    assert [row.labels for row in table.rows()] == [LABELS[:2]] * 3


def test_the_originals_ten_columns(tmp_path):
    text = finish(tmp_path, some_rows(1, 5, 1), "seed", top=5).decode()
    first = "label_1,label_2,label_3,label_4,label_5,prob_1,prob_2,prob_3,prob_4,prob_5"
    assert text.splitlines()[0] == first
    assert len(text.splitlines()) == 2


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 12),
    st.sampled_from([1, 3, 5]),
    st.integers(1, 4),
    st.integers(0, 10**6),
    st.binary(max_size=30),
)
def test_broken_off_anywhere(number, top, stride, cut, garbage):
    """Red when half a row is kept, a whole one is lost or rows are written twice."""
    rows = some_rows(number, top, stride)
    with tempfile.TemporaryDirectory() as plain, tempfile.TemporaryDirectory() as broken:
        expected = finish(plain, rows, top=top, stride=stride)
        table = table_in(broken, top=top, stride=stride)
        table.begin()
        table.append(rows)
        table.close()
        part = Path(broken) / "clip.csv.part"
        content = part.read_bytes()
        part.write_bytes(content[: cut % (len(content) + 1)] + garbage)
        again = table_in(broken, top=top, stride=stride)
        again.begin()
        assert [row.labels for row in again.rows()] == [r.labels for r in rows[: again.num_rows]]
        again.close()
        assert finish(broken, rows, top=top, stride=stride) == expected
        assert sorted(path.name for path in Path(broken).iterdir()) == ["clip.csv", "clip.json"]


def test_broken_off_within_the_last_row(tmp_path):
    """Red when a row that lacks a digit, or the end of its line, passes for whole."""
    rows = some_rows(3, 3, 1)
    expected = finish(tmp_path / "plain", rows)
    for missing in range(1, len(expected.splitlines()[-1]) + 3):
        folder = tmp_path / str(missing)
        table = table_in(folder)
        table.begin()
        table.append(rows)
        table.close()
        part = folder / "clip.csv.part"
        part.write_bytes(part.read_bytes()[:-missing])
        assert finish(folder, rows) == expected


def test_a_complete_table_is_known(tmp_path):
    finish(tmp_path, some_rows(3, 3, 1))
    assert table_in(tmp_path).finished() is not None
    assert table_in(tmp_path, policy="other").finished() is None
    assert [row.frame for row in table_in(tmp_path).rows()] == [0, 1, 2]


@pytest.mark.parametrize("complete", [True, False])
def test_other_settings_start_over_and_say_which(tmp_path, complete):
    """Red when rows of two models meet in one file."""
    if complete:
        finish(tmp_path, some_rows(3, 3, 1))
    else:
        table = table_in(tmp_path)
        table.begin()
        table.append(some_rows(3, 3, 1))
        table.close()
    other = table_in(tmp_path, policy="mixed_bfloat16")
    other.begin()
    assert other.num_rows == 0
    assert other.started_over == "policy"
    assert not (tmp_path / "clip.csv").exists()
    other.close()


def test_killed_between_the_two_names(tmp_path):
    """Red when a CSV without its JSON counts as done, or as another model's."""
    rows = some_rows(4, 3, 1)
    expected = finish(tmp_path, rows)
    saved = json.loads((tmp_path / "clip.json").read_text())["settings"]
    (tmp_path / "clip.json").unlink()
    (tmp_path / "clip.csv.part").write_bytes(expected)
    (tmp_path / "clip.json.part").write_text(json.dumps({"settings": saved}))
    table = table_in(tmp_path)
    assert table.finished() is None
    table.begin()
    assert table.num_rows == 4
    table.close()


def test_two_runs_do_not_write_the_same_table(tmp_path):
    first = table_in(tmp_path)
    first.begin()
    with pytest.raises(WriteError, match="another run"):
        table_in(tmp_path).begin()
    first.close()
