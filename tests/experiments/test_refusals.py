"""What can be refused is refused before long work: rendering, decoding, training, asking a network.

Every command here runs in an empty folder of its own, in which any such work is an error.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import runpy
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from experiments.runs.run import RunError, write_config
from experiments.training import recipes
from experiments.ucf101.recipes import recipe_for
from preprocess.sources.catalog import DEMO
from preprocess.system import stopping
from tests.grids import slow

Command = Callable[..., tuple[int, str]]
pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")  # runpy's


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Run a command that must not begin its work: its exit code, and all that it says."""
    monkeypatch.chdir(tmp_path)

    def work(*args: object, **options: object) -> None:
        raise AssertionError("work has begun")

    monkeypatch.setattr("preprocess.extraction.commands.Extract.run", work)
    monkeypatch.setattr("experiments.clips.datasets.render_dataset", work)
    monkeypatch.setattr("preprocess.sources.synthetic.render_dataset", work)
    monkeypatch.setattr("experiments.process.runtime.configure", work)
    monkeypatch.setattr(stopping, "answer_signals", lambda resume_hint: None)

    def run(module: str, *args: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [module, *map(str, args)])
        with pytest.raises(SystemExit) as end:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        output = capfd.readouterr()
        return int(end.value.code or 0), output.out + output.err

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
    code, output = command(*JOBS[job], "--videos", file)
    assert code == 2
    assert message in output
    assert output.count("\n") == 1
    assert os.listdir(tmp_path) == ["list.csv"]


def test_every_fold_is_looked_at_before_the_first_is_trained(
    command: Command, tmp_path: Path
) -> None:
    """Red when --folds 2 of 3 groups ends at the second fold, after the first was trained."""
    file = write_list(
        tmp_path / "list.csv", clips(*((label, g, 1) for g in "123" for label in "ab"))
    )
    job = ("experiments.epic_kitchens", "train", "--videos", file, "--folds")
    code, output = command(*job, 2)
    assert (code, "A validation part needs training clips of its own" in output) == (2, True)
    code, output = command(*job, 9)
    assert (code, "9 folds need at least 9 groups. Received 3" in output) == (2, True)
    taken = tmp_path / "out" / "fold-4"
    taken.mkdir(parents=True)
    (taken / "config.json").write_text("{}")
    file = write_list(tmp_path / "many.csv", MANY)
    job = ("experiments.epic_kitchens", "train", "--videos", file, "--folds", 5, "--out", "out")
    code, output = command(*job)
    assert (code, "fold-4 holds a run" in output) == (2, True)
    assert not (tmp_path / "out" / "fold-0").exists()


def test_epic_kitchens_in_its_usual_place_is_its_own_list(command: Command, tmp_path: Path) -> None:
    """Red when the list is only looked for in --videos, and the default split is refused."""
    folder = tmp_path / "data" / "epic_kitchens"
    folder.mkdir(parents=True)
    header = "participant_id,video_id,start_frame,stop_frame,action_class\n"
    for part in ("train", "val"):
        rows = [f"P01,P01_0{number},1,9,{'ab'[number % 2]}\n" for number in range(4)]
        (folder / f"{part}_action_classes.csv").write_text(header + "".join(rows))
    with pytest.raises(AssertionError, match="work has begun"):
        command("experiments.epic_kitchens", "train")


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
    code, output = command("experiments.ucf101", "--split", "listed", "--videos", file)
    assert (code, message in output) == (2, True)


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
    code, output = command(*job)
    assert (code, message in output) == (2, True)


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
    code, output = command(*JOBS[job], *flags)
    assert code == 2
    assert message in output
    assert sorted(os.listdir(tmp_path)) == ["file", "full"]


def test_a_run_of_before_a_setting_resumes_where_it_would_do_the_same(tmp_path: Path) -> None:
    """Red when config.json must have fields that recipes did not have when it was written."""
    new = {"epsilon", "interpolation", "grey", "short_sides", "normalization"}

    def begun(job: str, recipe: Any) -> dict[str, Any]:
        now = asdict(recipe)
        before = {key: value for key, value in now.items() if key not in new}
        (tmp_path / job).mkdir()
        (tmp_path / job / "config.json").write_text(json.dumps(before))
        return now

    write_config(tmp_path / "ours", begun("ours", recipes.TUNED))
    write_config(tmp_path / "conv3d", begun("conv3d", recipe_for("tuned", "conv3d", varlen=False)))
    with pytest.raises(RunError, match="epsilon was 1e-07, before it was a setting, now 1e-08"):
        write_config(tmp_path / "paper", begun("paper", recipes.PAPER))
    original = begun("original", recipe_for("original", "conv3d", varlen=False))
    with pytest.raises(RunError) as refused:
        write_config(tmp_path / "original", original)
    for was in ("interpolation was linear", "grey was False", "normalization was imagenet"):
        assert f"{was}, before it was a setting, now " in str(refused.value)


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

    from experiments.clips import datasets
    from preprocess.sources.catalog import UCF11
    from preprocess.sources.clips import find_clips

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "GROUPS_PER_CLASS", 5)
    monkeypatch.setattr(datasets, "CLIPS_PER_GROUP", 1)
    monkeypatch.setattr(datasets, "DEMO", replace(DEMO, default_videos_dir=str(videos)))
    known = datasets.clips_to_open(UCF11, videos=None, shards=None)
    assert list(known.clips) == find_clips(videos)
    assert known.class_names == DEMO.class_names
    some = datasets.clips_to_open(UCF11, videos=None, shards=None, classes=["left_aac"])
    assert {clip.class_name for clip in some.clips} == {"left_aac"}


@pytest.mark.parametrize("job", [*JOBS, "preprocess"])
def test_a_folder_of_videos_is_no_directory_of_shards(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: str
) -> None:
    """Red when the advice is to write shards among the videos, or that is done."""
    (tmp_path / "videos" / "class").mkdir(parents=True)
    (tmp_path / "videos" / "class" / "a.mp4").touch()
    if job == "preprocess":
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(stopping, "answer_signals", lambda resume_hint: None)
        code, output = command("preprocess", "folder", "videos", "videos")
        assert "Shards need a directory of their own. videos holds videos" in output
    else:
        code, output = command(*JOBS[job], "--shards", "videos")
        assert "videos holds videos, not the shards" in output
        assert "python -m preprocess folder videos SHARDS" in output
    assert code == 2
    assert os.listdir(tmp_path / "videos") == ["class"]


def write_run(path: Path, *names: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name in names:
        (path / name).write_text("{}")
    return path


LATE = {
    "crossval: a fold": (["experiments.crossval", "--folds", 0, 7], "Received 7"),
    "crossval: a set": (["experiments.crossval", "--settings", "", "inputz=raw"], "mean inputs?"),
    "crossval: a flag": (["experiments.crossval", "--flags=--maxlne 3"], "did you mean --maxlen?"),
    "crossval: videos": (["experiments.crossval", "--flags=--videos no"], "no does not exist"),
    "crossval: a file": (["experiments.crossval", "--name", "../file"], "file is a file"),
    "crossval: nothing": (["experiments.crossval", "--jobs", 0], "--jobs must be"),
    "predict: no video": (["experiments.predict", "run", "no.mp4"], "no video or folder no.mp4"),
    "predict: no run": (["experiments.predict", "rnu", "file"], "Did you mean run?"),
    "predict: a stopped run": (["experiments.ucf11", "predict", "stopped", "file"], "--resume"),
    "predict: a scorer": (["experiments.ucf101", "predict", "scorer", "file"], "highlights run"),
    "predict: only a run": (["experiments.predict", "run"], "must be named, after the run"),
    "predict: out": (
        ["experiments.predict", "run", "file", "--out", "file"],
        "Cannot write to file",
    ),
    "export: no run": (["experiments.export", "file", "a.onnx"], "a .keras file, is needed"),
    "export: a stopped run": (["experiments.export", "stopped", "a.onnx"], "--resume"),
    "threads: no videos": (["experiments.threads", "--videos", "run"], "There are none in run"),
    "threads: no shards": (["experiments.threads", "--shards", "run"], "No shards in run"),
    "threads: out": (["experiments.threads", "--out", "file"], "file is a file"),
    "bench: out": (["experiments.bench_tt", "--out", "file/a"], "file is a file"),
    "bench: run": (["experiments.bench_timesformer", "--run", "stopped"], "--resume"),
    "scaling: out": (["experiments.scaling", "--out", "file"], "file is a file"),
    "ucf101: weights": (
        ["experiments.ucf101", "--model", "resnet-crnn", "--weights", "radnom"],
        "Did you mean random?",
    ),
    "ucf101: no weights": (
        ["experiments.ucf101", "--model", "resnet-crnn", "--weights", "file"],
        "do not fit a ResNet-18",
    ),
    "epic: weights": (["experiments.epic_kitchens", "train", "--weights", "file"], "Received file"),
    "epic: blocks": (
        ["experiments.epic_kitchens", "train", "--freeze", 9, "--weights", "file"],
        "at most 4",
    ),
    "epic: folds": (["experiments.epic_kitchens", "train", "--folds", 3, "--fold", 1], "--fold 1"),
    "a range": (["experiments.ucf11", "--set", "head_dropout=1.5"], "must be in [0, 1). Received"),
    "an odd crop": (
        ["experiments.epic_kitchens", "train", "--set", "crop_size=[60,60]"],
        "multiple of 8",
    ),
    "GPUs": (["experiments.ucf11", "--distribute", "gpus"], "it finds none"),
    "records": (["experiments.ucf11", "--record"], "must have the columns"),
}


# A process imports TensorFlow to look for GPUs; training/test_distribution.py sees the refusal.
@pytest.mark.parametrize("case", [*(case for case in LATE if case != "GPUs"), *slow("GPUs")])
def test_a_refusal_comes_before_the_work(command: Command, tmp_path: Path, case: str) -> None:
    """Red when it comes after rendering, decoding, training or the start of TensorFlow."""
    (tmp_path / "file").touch()
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "results.csv").write_text("date,score\n1,2\n")
    write_run(tmp_path / "run", "config.json", "model.json")
    write_run(tmp_path / "stopped", "config.json")
    write_run(tmp_path / "scorer", "config.json", "scorer.json")
    args, message = LATE[case]
    code, output = command(*args)
    assert code == (1 if case.startswith("bench") else 2)
    assert message in output
    assert "Traceback" not in output
    assert sorted(os.listdir(tmp_path)) == ["experiments", "file", "run", "scorer", "stopped"]


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (["experiments.ucf11", "--recipe", "tunned"], "--recipe tunned: did you mean tuned?"),
        (["experiments.ucf11", "--recipe=Paper"], "did you mean paper?"),
        (["experiments.ucf11", "--eposch", 3], "--eposch: did you mean --epochs?"),
        (["experiments.ucf11", "--no-determinstic"], "did you mean --no-deterministic?"),
        (["experiments.ucf11", "--distribute", "wokers"], "did you mean workers?"),
        (["experiments.ucf11", "prdict", "run", "a.mp4"], "prdict: did you mean predict?"),
        (["experiments.ucf11", "--set", "optimzer=adam"], "--set takes NAME=VALUE"),
        (["experiments.ucf11", "--set", "schedule=cosin"], "Did you mean cosine?"),
        (["experiments.ucf11", "--set", "kernel_initializer=he_nromal"], "mean he_normal?"),
        (["experiments.ucf11", "--threads", "atuo"], "Did you mean auto?"),
        (["experiments.ucf101", "--model", "resnet_crnn"], "did you mean resnet-crnn?"),
        (["experiments.ucf101", "--split", "oficial"], "did you mean official?"),
        (["experiments.ucf101", "--head", "gpa"], "did you mean gap?"),
        (["experiments.ucf101", "--classes", "left_aab"], "Did you mean left_"),
        (["experiments.epic_kitchens", "trian"], "Did you mean train?"),
        (["experiments.epic_kitchens", "train", "--size", "smal"], "did you mean small?"),
        (["experiments.epic_kitchens", "train", "--freeze", "hed"], "Did you mean head?"),
        (["experiments.crossval", "--cells", "gru", "lstn"], "--cells lstn: did you mean lstm?"),
        (["experiments.threads", "--workload", "alexnte"], "did you mean alexnet?"),
        (["experiments.threads", "--workload", "tt"], "--workload tt: did you mean tt-train?"),
        (["experiments.highlights", "reviw"], "reviw: did you mean review?"),
        (["experiments.predict", "a", "b", "--anotate"], "did you mean --annotate?"),
        (["experiments.results", "--chek"], "did you mean --check?"),
        (["preprocess", "ufc11", "a", "b"], "ufc11: did you mean ucf11?"),
        (["preprocess", "foldr", "a", "b", "--stirde", 2], "--stirde: did you mean --stride?"),
        (["preprocess", "folder", "a", "b", "--compression", "lzr"], "did you mean lz4?"),
        (["weights", "fecth", "alexnet"], "fecth: did you mean fetch?"),
        (["weights", "fetch", "alexnt"], "Did you mean alexnet?"),
        (["weights", "convert", "a.npz", "a.safetensors", "--model", "vg16"], "mean vgg16?"),
    ],
)
def test_misspelt_names(command: Command, args: list[object], meant: str) -> None:
    """Of sub-commands, flags, fixed choices, recipes' values, models, data sets and weights."""
    code, output = command(*args)
    assert (code, meant in output) == (2, True), output


def test_a_list_of_windows_is_refused_before_videos_are_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from preprocess.errors import PreprocessError
    from preprocess.extraction.windows import write_windows

    def work(*args: object) -> None:
        raise AssertionError("work has begun")

    monkeypatch.setattr("preprocess.extraction.windows._timestamps", work)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    (tmp_path / "mine.csv").write_text("video,label\n")
    (tmp_path / "folder.csv").mkdir()
    for name, message in (("mine.csv", "is not this list"), ("folder.csv", "cannot be written")):
        with pytest.raises(PreprocessError, match=message):
            write_windows(tmp_path / "videos", tmp_path / name, num_windows=3)
    with pytest.raises(AssertionError, match="work has begun"):
        write_windows(tmp_path / "videos", tmp_path / "new.csv", num_windows=3)
