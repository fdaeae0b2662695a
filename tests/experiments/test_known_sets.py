"""Known data sets end to end, on small trees of their layouts: official splits and labels."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from experiments import crossval
from tests import processes
from tests.processes import REPOSITORY

SMALL = ("--maxlen", 6, "--stride", 8, "--epochs", 1, "--cell", "rnn", "--jobs", 1)
LABELS = ("DriveCar", "Run", "SitUp")
REAL = REPOSITORY.parent / "shared" / "clips" / "ucf101"


def ucf11(*args: object, cwd: Path):
    done = processes.run(["-m", "experiments.ucf11", *SMALL, *args], cwd=cwd)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def read_rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8")))


def write_hollywood2(root: Path, sources: list[Path]) -> dict[str, set[str]]:
    """Twelve clips to train on and six to test, of one to three classes; returns their classes."""
    labels = {}
    for number in range(18):
        name = f"actioncliptrain{number:05}" if number < 12 else f"actioncliptest{number:05}"
        copy(sources[number % len(sources)], root / "AVIClips" / f"{name}.avi")
        labels[name] = {LABELS[number % 3], *LABELS[: number % 2 * (number % 3)]}
    (root / "ClipSets").mkdir()
    for part in ("train", "test"):
        for label in LABELS:
            lines = [
                f"{name}  {1 if label in own else -1}\n"
                for name, own in labels.items()
                if f"clip{part}" in name
            ]
            (root / "ClipSets" / f"{label}_{part}.txt").write_text("".join(lines))
    return labels


@pytest.fixture(scope="module")
def several(videos, tmp_path_factory):
    """A run on Hollywood2's layout, and the classes of its clips."""
    cwd = tmp_path_factory.mktemp("several")
    labels = write_hollywood2(cwd / "Hollywood2", sorted(videos.rglob("*.mpg")))
    run = ucf11("--videos", "Hollywood2", "--split", "official", "--out", "out", cwd=cwd)
    return cwd, labels, run


def test_hollywood2_is_trained_and_ranked(several) -> None:
    """Red when a clip loses a label on its way through shards, batches, step, test or table."""
    cwd, labels, run = several
    rows = read_rows(cwd / "out" / "predictions.csv")
    assert {Path(row["clip"]).stem for row in rows} == {n for n in labels if "test" in n}
    assert {Path(r["clip"]).stem: set(r["label"].split("|")) for r in rows} == {
        name: own for name, own in labels.items() if "test" in name
    }
    scores = np.array([[float(row[f"p_{label}"]) for label in LABELS] for row in rows])
    truth = np.array([[label in row["label"].split("|") for label in LABELS] for row in rows])
    assert not np.allclose(scores.sum(axis=1), 1)  # no softmax
    result = json.loads((cwd / "out" / "result.json").read_text())
    expected = average_precision_score(truth, scores, average="macro")
    assert result["mean_average_precision"] == pytest.approx(expected)
    assert result["accuracy"] == pytest.approx(
        truth[np.arange(len(truth)), scores.argmax(axis=1)].mean()
    )
    assert (result["dataset"], result["num_classes"]) == ("hollywood2", 3)
    assert result["chance"] == pytest.approx(truth.mean())
    assert (result["fold"], result["num_folds"]) == (0, 1)
    for row, own in zip(rows, scores, strict=True):
        above = [label for label, p in zip(LABELS, own, strict=True) if p >= 0.5]
        assert row["above_threshold"] == "|".join(above)
    assert f"hollywood2: mean average precision {expected:.3f}, test accuracy" in run.stdout
    assert " mAP " in run.stdout
    report = (cwd / "out" / "report.html").read_text()
    assert "Average precision by class" in report
    assert "Confusion matrix" not in report


def test_all_labels_above_the_threshold_are_predicted(several, videos, tmp_path) -> None:
    """Red when the kept model forgets that clips have several classes."""
    cwd, _, _ = several
    clip = cwd / "Hollywood2" / "AVIClips" / "actioncliptest00012.avi"
    args = ("experiments.predict", "out", clip, "--no-annotate", "--out", tmp_path)
    done = processes.run(["-m", *args, "--threshold", 0.3], cwd=cwd)
    assert done.returncode == 0, done.stderr[-3000:]
    for row in read_rows(tmp_path / f"{clip.stem}.csv"):
        above = [label for label in LABELS if float(row[f"p_{label}"]) >= 0.3]
        assert row["labels"] == "|".join(above)
    summary = json.loads((tmp_path / f"{clip.stem}.json").read_text())
    named = [label["label"] for label in summary["labels"]]
    (row,) = read_rows(tmp_path / "predictions.csv")
    assert sorted(named) == sorted(filter(None, row["labels"].split("|")))
    assert summary["threshold"] == 0.3
    assert "at least 0.3" in done.stdout


def test_shards_hold_all_labels_and_old_programs_the_first(several, tmp_path) -> None:
    """Red when labels are stored in another order than the clips, or a damaged file is believed."""
    from preprocess import open_shards
    from preprocess.errors import ShardError

    cwd, labels, _ = several
    folder = cwd / json.loads((cwd / "out" / "config.json").read_text())["shards"]
    shards = open_shards(folder)
    expected = [labels[Path(source).stem] for source in shards.sources]
    assert shards.label_matrix is not None
    assert shards.label_matrix.tolist() == [[label in own for label in LABELS] for own in expected]
    firsts = [min(own, key=LABELS.index) for own in expected]
    assert [clip.class_name for clip in shards] == firsts
    part = shards.of_classes(["SitUp", "Run"])
    assert part.label_matrix is not None
    assert part.label_matrix.tolist() == [
        [label in own for label in ("Run", "SitUp")] for own in expected if own - {"DriveCar"}
    ]
    copied = tmp_path / "shards"
    shutil.copytree(folder, copied)
    for text in ("{}", "[", '{"AVIClips/actioncliptest00012.avi": ["Dance"]}'):
        (copied / "labels.json").write_text(text)
        with pytest.raises(ShardError, match=r"labels\.json is damaged"):
            open_shards(copied)


@pytest.mark.slow
def test_a_model_of_several_labels_is_exported(several, tmp_path) -> None:
    """Red when the exported graph sums to one, or its file forgets the labels."""
    from experiments.clips.prediction.predict import OnnxClipModel

    cwd, _, _ = several
    done = processes.run(["-m", "experiments.export", "out", tmp_path / "m.onnx"], cwd=cwd)
    assert done.returncode == 0, done.stderr[-3000:]
    model = OnnxClipModel(tmp_path / "m.onnx")
    assert model.several_labels
    assert model.class_names == LABELS


def test_jobs_of_one_class_a_clip_refuse_hollywood2(several, tmp_path) -> None:
    cwd, _, _ = several
    done = processes.run(["-m", "experiments.ucf101", "--videos", cwd / "Hollywood2"], cwd=tmp_path)
    assert done.returncode == 2
    assert "use python -m experiments.ucf11" in done.stderr
    assert "Traceback" not in done.stderr


def hmdb51(root: Path, sources: list[Path]) -> tuple[str, ...]:
    """Two classes of five videos of two clips, and a list that tests the fifth."""
    lists = root / "lists"
    lists.mkdir(parents=True)
    for label in ("brush_hair", "wave"):
        lines = []
        for number in range(10):
            name = f"Film_{number // 2}_{label}_u_nm_np1_fr_med_{number % 2}.avi"
            copy(sources[number], root / "videos" / label / name)
            lines.append(f"{name} {2 if number >= 8 else 1} \n")
        (lists / f"{label}_test_split3.txt").write_text("".join(lines))
    return ("--lists", "lists", "--list", 3, "--classes", "wave", "brush_hair")


def ucf50(root: Path, sources: list[Path]) -> tuple[str, ...]:
    for label in ("TaiChi", "YoYo"):
        for number in range(10):
            name = f"v_{label}_g{number // 2 + 1:02}_c{number % 2:02}.avi"
            copy(sources[number], root / "UCF50" / label / name)
    return ("--videos", "UCF50", "--list", 5, "--classes", "TaiChi", "YoYo")


def celebrities(root: Path, sources: list[Path]) -> tuple[str, ...]:
    for number in range(36):
        person = "al_gore" if number < 18 else "jodie_foster"
        name = f"{number:04}_{number % 3 + 1:02}_{number // 3:03}_{person}.avi"
        copy(sources[number % len(sources)], root / "videos" / name)
    return ("--list", 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "name", "num_test", "num_folds"),
    [
        (hmdb51, "hmdb51", 4, 3),
        (ucf50, "ucf50", 4, 25),
        (celebrities, "youtube_celebrities", 12, 5),
    ],
)
def test_single_labels_by_the_official_split(videos, tmp_path, write, name, num_test, num_folds):
    """Red when a layout, or its official split, does not reach the trained model."""
    flags = write(tmp_path, sorted(videos.rglob("*.mpg")))
    run = ucf11(
        *("--videos", "videos", "--split", "official", "--out", "out", *flags), cwd=tmp_path
    )
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (result["dataset"], result["num_test_clips"]) == (name, num_test)
    assert (result["fold"], result["num_folds"]) == (
        flags[flags.index("--list") + 1] - 1,
        num_folds,
    )
    assert f"{name}: " in run.stdout
    assert result["mean_average_precision"] is None


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="needs the clips in ../shared/clips/ucf101")
@pytest.mark.parametrize("write", [write_hollywood2, hmdb51, ucf50, celebrities])
def test_real_clips_in_every_layout(tmp_path, write) -> None:
    """Red when what holds for rendered clips does not for clips of cameras."""
    sources = sorted(REAL.rglob("*.mp4"))[::5]
    flags = write(tmp_path / ("videos" if write is write_hollywood2 else ""), sources)
    args = ("--videos", "videos", *(flags if isinstance(flags, tuple) else ()))
    ucf11("--split", "official", "--out", "out", *args, cwd=tmp_path)
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (result["mean_average_precision"] is not None) is (write is write_hollywood2)


@pytest.mark.parametrize("flags", ["--stride 3 --split official", "--split=official"])
def test_crossval_goes_through_official_splits(flags: str) -> None:
    """Red when five folds are five times the first list."""
    setting = crossval.Setting("tuned", "gru", "tt", "")
    args = setting.command(crossval.Arguments(flags=flags), 2, 0, Path("out"))
    assert args[args.index("--list") + 1] == "3"
    assert "--fold" not in args
    args = setting.command(crossval.Arguments(flags="--split group"), 2, 0, Path("out"))
    assert args[args.index("--fold") + 1] == "2"
