"""Rows: written once and whole, read back, and made into pages."""

import csv
import fcntl
import json
import multiprocessing
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from experiments import results
from experiments.results.groups import accuracy_cell, epochs_cell, group_rows, other_flags
from experiments.results.page import fill_block, results_page, results_table_markdown
from experiments.runs import records
from experiments.runs.records import ADDED_COLUMNS, COLUMNS, FIELDS, flatten
from tests.processes import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
SETTINGS = ("Model", "Recipe", "Clips", "Classes", "Epochs", "Split", "Frames", "Policy")
MACHINE = {"cpu": "Test | CPU", "cores": 2, "memory_bytes": 8_000_000_000, "os": "Linux"}


def row(**changes):
    """A result of one fold on the demo set."""
    return {
        **{"date": "2025-01-02T03:04:05Z", "commit": "abc123", "experiment": "ucf11"},
        **{"command": "python -m experiments.ucf11 --tt", "dataset": "demo", "num_clips": 704},
        **{"num_classes": 11, "chance": 1 / 11, "split": "group", "num_test_clips": 132},
        **{"num_test_clips_with_sibling": 0, "fold": 0, "num_folds": 5, "seed": 0},
        **{"recipe": "tuned", "model": "tt-gru", "maxlen": 450, "stride": 1},
        **{"policy": "float32", "epochs": 20, "batch_size": 16, "params": 203_435},
        **{"epochs_run": 20, "recipe_epochs": 20},
        **{"tt_params": 3_232, "compression_kernel": 13687.1, "compression_layer": 220.5},
        **{
            "accuracy": 0.9,
            "accuracy_interval": {"low": 0.84, "high": 0.94},
            "validation_accuracy": 0.95,
            "train_accuracy": 0.99,
        },
        **{"frames_per_second": 4200.4, "wall_seconds": 300.0, "peak_rss_bytes": 2e9},
        **{"machine": MACHINE, "status": "ok"},
        **changes,
    }


@pytest.fixture
def record(tmp_path):
    """Records rows in a CSV and reads all of them back."""

    def append_and_read(*rows):
        for result in rows:
            records.append_record(result, tmp_path / "results.csv")
        return records.read_records(tmp_path / "results.csv")

    return append_and_read


def table_rows(page, first_cell):
    """The cells of a Markdown page's table rows that begin with `first_cell`."""
    lines = [line for line in page.splitlines() if line.startswith(f"| {first_cell} |")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def rows_by_head(page, head):
    """The rows of those of a Markdown page's tables that have a column, each by its heads."""
    found, heads = [], None
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            heads = None
        elif heads is None:
            heads = cells
        elif set(line) != set("| -"):
            found.append(dict(zip(heads, cells, strict=True)))
    return [row for row in found if head in row]


def test_result_json_has_every_field_and_null_where_nothing_is_known(tmp_path):
    given = {"accuracy": np.float32(0.5), "accuracy_last": float("nan"), "dataset": "demo"}
    written = records.write_result(tmp_path, {**given, "machine": MACHINE, "status": "failed: x"})
    found = json.loads((tmp_path / "result.json").read_text())
    assert found == written
    assert list(found) == list(FIELDS)
    circumstances = ("date", "commit", "versions", "peak_rss_bytes")
    known = {name: found[name] for name in found if found[name] and name not in circumstances}
    assert known == {
        **{"accuracy": 0.5, "dataset": "demo"},
        **{"machine": MACHINE, "status": "failed: x"},
    }


def test_the_circumstances_of_a_run_are_filled_in(tmp_path):
    began = datetime.now(UTC).replace(microsecond=0)
    found = records.write_result(tmp_path, {"dataset": "demo"})
    assert began <= datetime.fromisoformat(found["date"]) <= datetime.now(UTC)
    assert found["status"] == "ok"
    assert found["versions"]["numpy"] == np.__version__
    assert found["peak_rss_bytes"] > 1e7


def test_an_unknown_field_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"\['acuracy'\]"):
        records.write_result(tmp_path, {"acuracy": 0.5})
    with pytest.raises(ValueError, match=r"\['machine.gpu'\]"):
        records.append_record({"machine": {"gpu": "none"}}, tmp_path / "results.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_row_comes_back_as_it_went_in(record):
    command = 'python -m experiments.ucf11 --note "a, b\nand | c"'
    (found,) = record(row(command=command, seed=None))
    assert tuple(found) == COLUMNS
    assert found["command"] == 'python -m experiments.ucf11 --note "a, b and | c"'
    assert found["accuracy"] == 0.9
    assert found["compression_kernel"] == 13687.1
    assert found["accuracy_interval.high"] == 0.94
    assert found["machine.memory_bytes"] == 8_000_000_000
    assert found["seed"] is None
    assert found["commit"] == "abc123"


def test_a_commit_of_digits_stays_text(record):
    (found,) = record(row(commit="123456789012", fold=3))
    assert (found["commit"], found["fold"]) == ("123456789012", 3)


def test_the_header_is_written_once(record, tmp_path):
    record(row(), row())
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["date", row()["date"], row()["date"]]


def test_a_last_line_without_its_end_is_not_joined_to_the_next(record, tmp_path):
    record(row())
    path = tmp_path / "results.csv"
    path.write_text(path.read_text().rstrip("\n"))
    assert len(record(row())) == 2


def test_a_file_with_other_columns_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("date,score\n1,2\n")
    with pytest.raises(ValueError, match=r"not known: \['score'\]"):
        records.append_record(row(), path)
    with pytest.raises(ValueError, match=r"Missing: .*'accuracy'"):
        records.read_records(path)
    assert path.read_text() == "date,score\n1,2\n"


def test_a_damaged_row_is_named_by_its_line(record, tmp_path):
    record(row())
    with (tmp_path / "results.csv").open("a") as file:
        file.write("<<<<<<< HEAD\n")
    with pytest.raises(ValueError, match=r"Received 1 in .*line 3"):
        records.read_records(tmp_path / "results.csv")


def append_many(path, start, fold):
    start.wait()
    for seed in range(50):
        records.append_record(row(fold=fold, seed=seed), path)


def test_two_processes_append_at_once_without_loss(tmp_path):
    path = tmp_path / "results.csv"
    context = multiprocessing.get_context("fork")
    start = context.Barrier(2)
    writers = [context.Process(target=append_many, args=(path, start, fold)) for fold in (0, 1)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = sorted((each["fold"], each["seed"]) for each in records.read_records(path))
    assert found == [(fold, seed) for fold in (0, 1) for seed in range(50)]


def test_appending_waits_for_whoever_holds_the_file(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    context, lock = multiprocessing.get_context("fork"), fcntl.flock
    with path.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        asks = context.Event()
        monkeypatch.setattr("fcntl.flock", lambda *args: (asks.set(), lock(*args)))
        writer = context.Process(target=records.append_record, args=(row(), path))
        writer.start()
        assert asks.wait(PATIENCE_SECONDS)
        writer.join(0.1)
        waited = writer.is_alive() and path.stat().st_size == 0
        fcntl.flock(held, fcntl.LOCK_UN)  # closing would not do: the fork holds the file as well
    writer.join()
    assert waited
    assert len(records.read_records(path)) == 1


def test_folds_are_put_together_and_a_fold_run_twice_counts_by_its_latest(record):
    rows = record(
        row(fold=0, accuracy=0.1),
        row(fold=0, accuracy=0.5),
        row(fold=1, accuracy=0.6),
        row(fold=2, accuracy=0.7),
    )
    page = results_page(rows)
    (found,) = rows_by_head(page, "Model")
    assert found["Accuracy"] == "0.600 ± 0.100 (3 of 5 folds)"
    assert "chance 0.091" in page
    assert found["Rows"] == "1 to 4"


def test_each_seed_deals_its_own_folds(record):
    rows = record(
        row(fold=0, seed=0, accuracy=0.4),
        row(fold=0, seed=1, accuracy=0.6),
        row(fold=1, seed=0, accuracy=0.7),
    )
    (group,) = group_rows(rows)
    # 0.4, 0.6 and 0.7: mean 17/30, deviations -5/30, 1/30 and 4/30
    assert group.spread("accuracy") == pytest.approx((17 / 30, (42 / 900 / 2) ** 0.5, 3))
    assert accuracy_cell(group) == "0.567 ± 0.153 (3 of 10 folds of 2 seeds)"


def test_runs_that_differ_in_an_unrecorded_flag_are_not_put_together(record):
    command = "python -m experiments.ucf11 --tt --fold 1 --lr 3e-4 --out 'a b'"
    assert other_flags(command) == "--lr 3e-4"
    assert other_flags("python -m experiments.ucf11 --fold=1 --seed 3 --no-augment") == (
        "--no-augment"
    )
    assert len(group_rows(record(row(), row(command=command)))) == 2


def test_the_readme_leaves_out_trials_with_changed_settings(record):
    changed = [row(recipe="tuned inputs=raw"), row(command="python -m experiments.ucf11 --lr 1")]
    rows = record(row(), *changed)
    assert results_table_markdown(rows).count("0.900") == 1
    assert results_page(rows).partition("## Every row")[0].count("0.900") == 3


TOY = {"dataset": "ucf11", "num_clips": 30, "num_classes": 11, "epochs": 2, "epochs_run": 2}
WHOLE = {"dataset": "ucf11", "num_clips": 1600, "num_classes": 11}


def ours(markdown, model="TT-GRU"):
    """The cells of the README's rows of a model on UCF11."""
    return [cells for cells in table_rows(markdown, "UCF11") if cells[1] == model]


@pytest.mark.parametrize(
    "part",
    [
        TOY,
        {**WHOLE, "num_clips": 1599},
        {**WHOLE, "num_classes": 10},
        {**WHOLE, "epochs": 2, "epochs_run": 2},
        {**WHOLE, "recipe": "paper", "recipe_epochs": 100, "epochs": 15, "epochs_run": 15},
        {"dataset": "mine", "num_clips": 500},
        {"dataset": "demo", "num_clips": 55},
        {**WHOLE, "experiment": "ucf101", "recipe_epochs": None},
    ],
)
def test_the_readme_shows_whole_runs_only(record, part):
    """Red when 30 clips and 2 epochs stand beside the published .813."""
    rows = record(row(**part, accuracy=0.123))
    readme = results_table_markdown(rows)
    assert "0.123" not in readme
    assert ours(readme)[0][7:9] == ["0.813 (unverified)", "not yet run"]
    page = results_page(rows)
    assert "0.123" not in page.partition("| Input | Who |")[0]
    assert "0.123" in page.partition("## Every row")[0]


def test_real_videos_come_first_with_both_splits_in_a_row(record):
    """Red when a split stands for the other, a trial is shown, the demo set comes before, or when
    README repeats a model for each arithmetic, or docs/results.md does not."""
    part = {"experiment": "ucf101", "dataset": "ucf101", "num_clips": 96, "num_classes": 10}
    command = "python -m experiments.ucf101 --features efficientnet-lite0 --cell lstm --fold 1"
    lstm = {**part, "model": "efficientnet-lite0-lstm", "command": command}
    rows = record(
        row(),
        row(**part, accuracy=0.31),
        row(**lstm, accuracy=0.87, fold=0),
        row(**lstm, accuracy=0.89, fold=1),
        row(**lstm, accuracy=0.97, split="random"),
        row(**{**lstm, "recipe": "tuned validation=test"}, accuracy=0.85),
        row(**{**lstm, "recipe": "tuned tt_rank=8"}, accuracy=0.123),
        row(**lstm, accuracy=0.123, epochs=3, epochs_run=3),
        row(**{**lstm, "model": "efficientnet-lite0-low-rank-gru-tr"}, accuracy=0.2),
        row(**{**part, "model": "ht-gru"}, accuracy=0.1),
        row(**{**lstm, "model": "efficientnet-lite0-joint-cp-gru"}, accuracy=0.09),
        row(**{**part, "model": "ht-gru"}, accuracy=0.095, policy="mixed_bfloat16"),
        row(**{**part, "model": "joint-low-rank-gru"}, accuracy=0.08),
    )
    expected = [
        ("LSTM on efficientnet-lite0", "tuned"),
        ("LSTM on efficientnet-lite0", "tuned, four folds"),
        ("TT-GRU", "tuned"),
        ("low-rank-GRU-TR on efficientnet-lite0", "tuned"),
        ("HT-GRU", "tuned"),
        ("HT-GRU", "tuned, mixed_bfloat16"),
        ("joint-CP-GRU on efficientnet-lite0", "tuned"),
        ("joint-low-rank-GRU", "tuned"),
    ]
    short = [each for each in expected if each != ("HT-GRU", "tuned")]
    page = results_page(rows).partition("## UCF11")[0]
    for text, shown in ((results_table_markdown(rows), short), (page, expected)):
        found = rows_by_head(text, "At random")
        assert [(each["Model"], each["Recipe"]) for each in found] == shown
        assert found[0]["Accuracy by scene"].startswith("0.880 \N{PLUS-MINUS SIGN} 0.014 (2 of 5")
        assert found[0]["At random"] == "0.970 (0.840 to 0.940)"
        assert found[2]["At random"] == "\N{EN DASH}"
        assert "0.123" not in text
        assert "ucf101: 96 real clips of 10 classes, chance 0.091." in text
    readme = results_table_markdown(rows)
    assert readme.index("At random") < readme.index("| UCF11 |") < readme.index("| demo |")


def test_a_whole_run_has_its_clips_classes_and_epochs_beside_it(record):
    """A run that stopped early has still been given the recipe's own epochs."""
    rows = record(
        row(**WHOLE, accuracy=0.7),
        row(**TOY, accuracy=0.123),
        row(**{**WHOLE, "epochs_run": 12}, model="tt-lstm", accuracy=0.6),
    )
    readme = results_table_markdown(rows)
    (gru,), (lstm,) = ours(readme), ours(readme, "TT-LSTM")
    assert gru[2:7] == ["tuned", "1,600", "11", "20 of 20", "group"]
    assert gru[8] == "0.700 (0.840 to 0.940), 1 of 5 folds"
    assert lstm[2:6] == ["tuned", "1,600", "11", "12 of 20"]
    page = results_page(rows)
    found = [(each["Rows"], each["Clips"], each["Epochs"]) for each in rows_by_head(page, "Model")]
    assert found == [("1", "1,600", "20 of 20"), ("2", "30", "2 of 20"), ("3", "1,600", "12 of 20")]
    assert "The same in all rows: classes 11;" in page


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"policy": "mixed_bfloat16"}, ("float32", "mixed_bfloat16")),
        ({"maxlen": 200}, ("maxlen 450", "maxlen 200")),
        ({"stride": 2}, ("stride 1", "stride 2")),
        ({"batch_size": 64}, ("batches of 16", "batches of 64")),
        ({"num_folds": 4}, ("5 folds", "4 folds")),
        ({"policy": "mixed_bfloat16", "stride": 2}, ("float32, stride 1", "mixed_bfloat16, s")),
    ],
)
def test_rows_that_look_alike_say_what_differs(record, change, expected):
    rows = record(row(), row(**change, accuracy=0.8), row(model="gru"))
    cells = table_rows(results_table_markdown(rows), "demo")
    assert all(f"tuned ({word}" in cells[number][2] for number, word in enumerate(expected))
    assert cells[2][2] == "tuned"
    found = rows_by_head(results_page(rows), "Model")
    configurations = [tuple(each.get(name) for name in SETTINGS) for each in found]
    assert len(set(configurations)) == len(configurations) == 3


def test_settings_that_gave_the_same_figures_share_a_row_of_the_readme(record):
    rows = record(row(), row(policy="mixed_bfloat16"), row(policy="mixed_bfloat16", maxlen=200))
    (cells,) = table_rows(results_table_markdown(rows), "demo")
    assert cells[2] == (
        "tuned (float32, maxlen 450; mixed_bfloat16, maxlen 450; mixed_bfloat16, maxlen 200)"
    )
    assert len(rows_by_head(results_page(rows), "Model")) == 3


def test_a_row_of_other_input_than_the_readmes_says_so(record):
    """Red when 20 frames of each clip pass for the recipe as README gives it."""
    rows = record(row(**WHOLE, accuracy=0.7), row(**WHOLE, model="tt-lstm", maxlen=20))
    readme = results_table_markdown(rows)
    assert ours(readme)[0][2] == "tuned"
    assert ours(readme, "TT-LSTM")[0][2] == "tuned (maxlen 20)"


def test_a_column_that_is_the_same_in_all_rows_is_said_once(record):
    """Red when a column is left out though a row differs in it."""
    rows = record(row(maxlen=200), row(maxlen=200, model="gru"), row(maxlen=300))
    page = results_page(rows[:2])
    assert "frames maxlen 200" in page
    assert all("Frames" not in each for each in rows_by_head(page, "Model"))
    page = results_page(rows)
    assert "frames maxlen" not in page
    frames = [each["Frames"] for each in rows_by_head(page, "Model")]
    assert frames == ["maxlen 200", "maxlen 200", "maxlen 300"]


def test_runs_of_one_command_are_one_line_of_every_row(record):
    """Red when runs of another flag, commit or machine are passed off as the same."""

    def run(command, **changes):
        return row(command=f"python -m experiments.ucf11 --tt {command}", **changes)

    rows = record(
        run("--fold 1 --out runs/a --record", fold=1, accuracy=0.5),
        run("--lr 1", accuracy=0.1),
        run("--fold=0 --resume", accuracy=0.4),
        run("--fold 2 --seed 3", fold=2, seed=3, accuracy=None, status="failed: no memory"),
        run("--fold 3", fold=3, accuracy=0.3),
        run("--fold 4", fold=4, accuracy=0.2, commit="def"),
        run("", accuracy=0.6, machine={**MACHINE, "cores": 4}),
    )
    plain, changed = (f"`python -m experiments.ucf11 --tt{flag}`" for flag in ("", " --lr 1"))
    found = [list(each.values()) for each in rows_by_head(results_page(rows), "Command")]
    here, there = (f"Test \\| CPU, {cores} cores, 8.0 GB" for cores in (2, 4))
    expected = "fold 0: 0.400, fold 1: 0.500, fold 3: 0.300, fold 2 seed 3: failed: no memory"
    assert found == [
        ["1, 3 to 5", expected, "abc123", plain, here],
        ["2", "fold 0: 0.100", "abc123", changed, here],
        ["6", "fold 4: 0.200", "def", plain, here],
        ["7", "fold 0: 0.600", "abc123", plain, there],
    ]


def write_old(path, *rows):
    """A file as it was before the columns of ADDED_COLUMNS came."""
    old = [name for name in COLUMNS if name not in ADDED_COLUMNS]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, old, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(flatten(each) for each in rows)


def test_a_file_of_before_is_read_and_gets_the_added_columns(tmp_path):
    """Red when old rows are refused, lost, or shifted by the added columns."""
    path = tmp_path / "results.csv"
    write_old(path, row(recipe="paper", epochs=15, commit="0123"), row(accuracy=0.25))
    before = records.read_records(path)
    assert [each["recipe_epochs"] for each in before] == [None, None]
    (paper, tuned) = group_rows(before)
    assert (epochs_cell(paper), paper.is_whole) == ("15 of 100", False)
    assert (epochs_cell(tuned), tuned.is_whole) == ("20 of 20", True)
    records.append_record(row(epochs_run=7), path)
    after = records.read_records(path)
    assert after[:2] == before
    assert (after[2]["epochs_run"], after[2]["recipe_epochs"]) == (7, 20)
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    records.append_record(row(), path)
    assert len(records.read_records(path)) == 4
    assert [each.name for each in tmp_path.iterdir()] == ["results.csv"]


def test_two_processes_append_to_a_file_of_before(tmp_path):
    """Red when a row goes to the file that another process has just replaced."""
    path = tmp_path / "results.csv"
    write_old(path, row(fold=4))
    context = multiprocessing.get_context("fork")
    start = context.Barrier(2)
    writers = [context.Process(target=append_many, args=(path, start, fold)) for fold in (0, 1)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(records.read_records(path)) == 101


def test_a_failed_attempt_stays_as_a_row_of_its_own(record):
    page = results_page(record(row(), row(status="failed: out of memory", accuracy=None)))
    cells = [each["Accuracy"] for each in rows_by_head(page, "Model")]
    assert cells == ["0.900 (0.840 to 0.940)", "failed: out of memory"]
    assert "failed" not in results_table_markdown(record(row()))


def test_data_sets_have_their_own_tables(record):
    page = results_page(record(row(), row(dataset="ucf101", accuracy=0.33, chance=0.1)))
    assert page.index("## UCF11") < page.index("## ucf101") < page.index("## demo")
    small, _, demo = page.partition("## ucf101")[2].partition("## demo")
    assert ("0.330" in small, "0.900" in small) == (True, False)
    demo = demo.partition("## Every row")[0]
    assert ("0.330" in demo, "0.900" in demo) == (False, True)


def test_our_ucf11_rows_stand_beside_the_published_figures(record):
    ours = {"dataset": "ucf11", "split": "random", "num_clips": 1600}
    every_frame = row(**ours, recipe="other", maxlen=200)  # the reproduction took every 2nd
    page = results_page(record(row(**ours, accuracy=0.8, maxlen=450), every_frame))
    (paper,) = [cells for cells in table_rows(page, "TT-GRU") if len(cells) == 5]
    assert paper[1:4] == ["Yang et al. 2017", "0.813 (unverified)", "not yet run"]
    assert paper[4] == "0.800 (0.840 to 0.940), random split, maxlen 450"
    costs = page.partition("| Input | Who |")[2].partition("\n\n")[0].splitlines()
    assert [line.split(" | ")[2] for line in costs[2:]] == [
        *("0.40", "not yet run", "0.38", "0.800 (0.840 to 0.940)", "0.25", "not yet run")
    ]


def test_the_whole_demo_section(record):
    page = results_page(record(row()))
    assert page.partition("## demo\n\n")[2] == GOLDEN


def test_the_page_without_rows_says_so():
    page = results_page([])
    assert "## demo" in page
    assert "No row was recorded yet." in page
    assert results_table_markdown([]).count("not yet run") == 4


def test_the_block_is_replaced_and_the_rest_kept():
    text = "a\n<!-- results:begin -->\nold\n<!-- results:end -->\nz\n"
    filled = fill_block(text, "new")
    assert filled == "a\n<!-- results:begin -->\nnew\n<!-- results:end -->\nz\n"
    assert fill_block(filled, "new") == filled
    with pytest.raises(ValueError, match="results:begin"):
        fill_block("no marks", "new")


@pytest.fixture
def flags(tmp_path, record):
    record(row())
    (tmp_path / "README.md").write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    names = {"records": "results.csv", "page": "results.md", "readme": "README.md"}
    return [part for flag, name in names.items() for part in (f"--{flag}", str(tmp_path / name))]


def test_check_is_red_until_the_pages_are_written_and_after_a_new_row(flags, record, tmp_path):
    assert results.main([*flags, "--check"]) == 1
    assert not (tmp_path / "results.md").exists()
    assert results.main(flags) == 0
    assert results.main([*flags, "--check"]) == 0
    assert "0.900" in (tmp_path / "README.md").read_text()
    record(row(accuracy=0.95, fold=1))
    assert results.main([*flags, "--check"]) == 1


def test_check_is_red_when_only_the_readme_is_stale(flags, tmp_path):
    results.main(flags)
    readme = tmp_path / "README.md"
    readme.write_text(readme.read_text().replace("0.900", "0.990"))
    assert results.main([*flags, "--check"]) == 1


def test_missing_rows_are_one_clear_line(tmp_path, capsys):
    assert results.main(["--records", str(tmp_path / "none.csv")]) == 2
    assert "run this from the repository's root" in capsys.readouterr().err


def test_this_repositorys_pages_are_up_to_date():
    done = subprocess.run(
        [sys.executable, "-m", "experiments.results", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


GOLDEN = """\
The built-in demo set: rendered clips, 11 classes that differ by motion alone. These rows show that
the suite works; they compare with no published figure.

The same in all rows: clips 704; classes 11; epochs 20 of 20; split group \
(0.0\N{NO-BREAK SPACE}% with a sibling); frames maxlen 450; policy float32; chance 0.091.

| Model | Recipe | Accuracy | Validation | Train | Parameters | Compression: layer | Kernel | \
Frames/s | Memory | Time | Rows |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| TT-GRU | tuned | 0.900 (0.840 to 0.940) | 0.950 | 0.990 | 203,435 | 220x | 13,687x | 4,200 | \
2.0 GB | 5 min 0 s | 1 |

## Every row

A line is a command without `--fold`, `--seed`, `--out`, `--record` and `--resume`; the CSV has each
command as it was typed.

The same in all rows: date 2025-01-02; machine Test | CPU, 2 cores, 8.0 GB.

| Rows | Accuracy | Commit | Command |
| --- | --- | --- | --- |
| 1 | fold 0: 0.900 | abc123 | `python -m experiments.ucf11 --tt` |
"""
