"""What can be refused is refused before long work: rendering, decoding, training, asking a network.

Every command here runs in an empty folder of its own, in which any such work is an error.
"""

from __future__ import annotations

import csv
import importlib
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from preprocess.catalog import DEMO

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Run a command that must not begin its work: its exit code, and all that it says."""
    monkeypatch.chdir(tmp_path)

    def work(*words: object, **options: object) -> None:
        raise AssertionError("work has begun")

    monkeypatch.setattr("preprocess.commands.Extract.run", work)
    monkeypatch.setattr("preprocess.synthetic.render_dataset", work)
    monkeypatch.setattr("experiments.runtime.configure", work)
    monkeypatch.setattr("experiments.runtime.answer_signals", lambda going_on: None)

    def run(module: str, *words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [module, *map(str, words)])
        found = importlib.import_module(module)
        if hasattr(found, "__path__"):
            found = importlib.import_module(f"{module}.__main__")
        try:
            code = found.main()
        except SystemExit as end:  # tyro's
            code = end.code
        said = capfd.readouterr()
        return int(code or 0), said.out + said.err

    return run


Row = tuple[str, str, str]  # video, label, group


def write_list(path: Path, rows: list[Row], parts: list[str] | None = None) -> Path:
    """A list of videos that need not exist: video, label and group, and a part of each."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["video", "label", "group", *(["part"] if parts else [])])
        for number, row in enumerate(rows):
            writer.writerow([*row, *([parts[number]] if parts else [])])
    return path


def clips(*groups: tuple[str, str, int]) -> list[Row]:
    """So many clips of each (label, group)."""
    return [
        (f"{label}-{group}-{number}.mp4", label, group)
        for label, group, count in groups
        for number in range(count)
    ]


MANY = clips(*((label, f"{label}{n}", 2) for label in "ab" for n in range(6)))
ONE_GROUP = clips(("a", "g", 9), ("b", "g", 9))
ONE_CLASS = clips(*(("a", f"g{n}", 2) for n in range(8)))
UNEQUAL = clips(
    *(("a", "0", 2), ("c", "0", 3), ("a", "1", 3), ("d", "1", 1), ("a", "2", 3), ("b", "2", 2)),
    *(("c", "2", 1), ("d", "2", 3), ("b", "3", 3), ("d", "3", 2), ("a", "4", 3), ("c", "4", 2)),
    ("d", "4", 4),
)  # as shared/clips/reported/five_sessions.csv
JOBS = {
    "ucf11": ("experiments.ucf11",),
    "ucf101": ("experiments.ucf101",),
    "epic": ("experiments.epic_kitchens", "train", "--split", "group"),
}


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (UNEQUAL, "leave fold 3 empty"),
        (ONE_GROUP, "5 folds need at least 5 groups. Received 1"),
        (ONE_CLASS, "at least 2 classes. Received 16 clips, all of 'a'"),
        (clips(*((label, label, 1) for label in "abcdefg")), "a class of at least 5 clips"),
    ],
)
def test_clips_that_cannot_be_split(
    command: Command, tmp_path: Path, job: str, rows: list[Row], message: str
) -> None:
    """Red when they are refused after the extraction, or end in a division by zero."""
    file = write_list(tmp_path / "list.csv", rows)
    code, said = command(*JOBS[job], "--videos", file)
    assert code == 2
    assert message in said
    assert said.count("\n") == 1
    assert os.listdir(tmp_path) == ["list.csv"]


def test_every_fold_is_looked_at_before_the_first_is_trained(
    command: Command, tmp_path: Path
) -> None:
    """Red when --folds 2 of 3 groups ends at the second fold, after the first was trained."""
    file = write_list(
        tmp_path / "list.csv", clips(*((label, g, 1) for g in "123" for label in "ab"))
    )
    job = ("experiments.epic_kitchens", "train", "--videos", file, "--folds")
    code, said = command(*job, 2)
    assert (code, "A validation part needs training clips of its own" in said) == (2, True)
    code, said = command(*job, 9)
    assert (code, "9 folds need at least 9 groups. Received 3" in said) == (2, True)
    taken = tmp_path / "out" / "fold-4"
    taken.mkdir(parents=True)
    (taken / "config.json").write_text("{}")
    file = write_list(tmp_path / "many.csv", MANY)
    job = ("experiments.epic_kitchens", "train", "--videos", file, "--folds", 5, "--out", "out")
    code, said = command(*job)
    assert (code, "fold-4 holds a run" in said) == (2, True)
    assert not (tmp_path / "out" / "fold-0").exists()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["validation"] * 24, "must have clips of the part train"),
        (["train"] * 24, "must have clips of the part validation or test"),
    ],
)
def test_listed_parts_that_are_empty(
    command: Command, tmp_path: Path, parts: list[str], message: str
) -> None:
    file = write_list(tmp_path / "list.csv", MANY, parts)
    code, said = command("experiments.ucf101", "--split", "listed", "--videos", file)
    assert (code, message in said) == (2, True)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"trainlist01.txt": ""}, "official train list has no clip"),
        ({"testlist01.txt": ""}, "official test list has no clip"),
        ({"testlist01.txt": "a/v_a_g09_c01.avi"}, "None of the 1 clips of the official test list"),
        ({"classInd.txt": "1 a\n1 b"}, "line 2: 1 or b stands in a line before"),
        ({"trainlist01.txt": "a/v_a_g01_c01.avi"}, "and the number of the class"),
        ({"trainlist01.txt": "a/v_a_g01_c01.avi 1"}, "A validation part needs"),
        ({"testlist01.txt": None}, "Cannot read"),
    ],
)
def test_official_lists_that_do_not_fit(
    command: Command, tmp_path: Path, lists: dict[str, str | None], message: str
) -> None:
    """Red when a line that is not understood is found after the extraction."""
    names = [f"{label}/v_{label}_g{n:02d}_c01.avi" for label in "ab" for n in range(1, 5)]
    train = [f"{name} {'ab'.index(name[0]) + 1}" for name in names if "g04" not in name]
    texts: dict[str, str | None] = {
        "classInd.txt": "1 a\n2 b\n",
        "trainlist01.txt": "\n".join(train),
        "testlist01.txt": "\n".join(name for name in names if "g04" in name),
    }
    for name in names:
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()
    for name, text in (texts | lists).items():
        if text is not None:
            (tmp_path / name).write_text(text)
    job = ("experiments.ucf101", "--split", "official", "--lists", ".", "--videos", "videos")
    code, said = command(*job)
    assert (code, message in said) == (2, True)


def test_odd_class_names_of_official_lists_reach_the_extraction(
    command: Command, tmp_path: Path
) -> None:
    """Red when a space in a class is refused, which a job used to do after the extraction."""
    classes = ("Play Dead", "St. John", "-x", 'Rock"n"Roll')
    names = {c: [f"{c}/v_{c}_g{n:02d}_c01.avi" for n in range(1, 5)] for c in classes}
    for name in itertools.chain(*names.values()):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()
    index = [f"{label} {c}" for label, c in enumerate(classes, 1)]
    train = [f"{n} {label}" for label, c in enumerate(classes, 1) for n in names[c][:3]]
    (tmp_path / "classInd.txt").write_text("\n".join(index))
    (tmp_path / "trainlist01.txt").write_text("\n".join(train))
    (tmp_path / "testlist01.txt").write_text("\n".join(names[c][3] for c in classes))
    with pytest.raises(AssertionError, match="work has begun"):
        command("experiments.ucf101", "--split", "official", "--lists", ".", "--videos", "videos")


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--fold", 7], "--fold must be one of the 5 folds, 0 to 4. Received 7."),
        (["--fold", -1], "one of the 5 folds"),
        (["--seed", -1], "--seed must be 0 to 4294967295"),
        (["--out", "full"], "full holds a run"),
        (["--out", "file"], "file is a file"),
        (["--out", "file/a/b"], "file is a file"),
        (["--out", "full", "--resume"], "epochs was 1, now"),
    ],
)
def test_flags_that_cannot_be(
    command: Command, tmp_path: Path, job: str, flags: list[object], message: str
) -> None:
    """On the demo set, which would be rendered first."""
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "config.json").write_text('{"epochs": 1}')
    code, said = command(*JOBS[job], *flags)
    assert code == 2
    assert message in said
    assert sorted(os.listdir(tmp_path)) == ["file", "full"]


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("flags", [["--resume"], ["--resume", "--out", "new"]])
def test_nothing_to_resume_is_said_before_the_work(
    command: Command, capfd: pytest.CaptureFixture[str], job: str, flags: list[object]
) -> None:
    """Red when a misspelt --out begins a run of hours in silence."""
    with pytest.raises(AssertionError, match="work has begun"):
        command(*JOBS[job], *flags)
    where = "new" if "--out" in flags else "runs/"
    assert f"nothing to resume in {where}" in capfd.readouterr().err


def test_the_clips_of_the_demo_are_known_before_it_is_rendered(
    videos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its splits are made of them: red when sources or groups differ from those on the disk."""
    from dataclasses import replace

    from experiments import datasets
    from preprocess.catalog import UCF11
    from preprocess.clips import find_clips

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("preprocess.synthetic.GROUPS_PER_CLASS", 5)
    monkeypatch.setattr("preprocess.synthetic.CLIPS_PER_GROUP", 1)
    monkeypatch.setattr(datasets, "DEMO", replace(DEMO, default_videos_dir=str(videos)))
    known = datasets.clips_to_open(UCF11, videos=None, shards=None)
    assert list(known.clips) == find_clips(videos)
    assert known.class_names == DEMO.class_names
    some = datasets.clips_to_open(UCF11, videos=None, shards=None, classes=["left_aac"])
    assert {clip.class_name for clip in some.clips} == {"left_aac"}
