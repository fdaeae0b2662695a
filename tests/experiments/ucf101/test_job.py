"""The UCF101 job as a user runs it, small: all models, official lists, wrong commands."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import processes
from tests.grids import slow

SMALL = [
    *("--epochs", 1, "--batch-size", 8, "--seed", 1, "--set"),
    *("frame_size=[48,40]", "crop_size=[40,40]", "num_frames=9", "stride=4", "views=2x1"),
]


# The command with one block in each layer of ResNet-18 instead of two: half of it to trace.
SHALLOW = """
import sys
from experiments.ucf101.__main__ import main
from ttrnn.models.resnet import BLOCKS

BLOCKS[18] = (1, 1, 1, 1)
sys.exit(main())
"""


def ucf101(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return processes.run(["-m", "experiments.ucf101", *arguments], cwd=cwd)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 6 groups of 2 clips of two classes, named as UCF101 does, with its lists."""
    from preprocess.sources import synthetic

    root = tmp_path_factory.mktemp("ucf101")
    names = {"left_aaa": "Archery", "right_ccc": "YoYo"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "CLASS_NAMES", tuple(names))  # the others are not needed
        synthetic.render_dataset(
            root / "demo", groups_per_class=6, clips_per_group=2, jobs=1, progress=False
        )
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for class_name, official in names.items():
        (root / "videos" / official).mkdir(parents=True)
        for group in range(1, 7):
            for clip in (1, 2):
                name = f"{official}/v_{official}_g{group:02}_c{clip:02}.avi"
                path = synthetic.clip_path(root / "demo", class_name, group, clip)
                path.rename(root / "videos" / name)
                lines["test" if group == 3 else "train"].append(name)
    lists = root / "lists"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Archery\n2 YoYo\n")
    labels = {"Archery": 1, "YoYo": 2}
    train = [f"{name} {labels[name.split('/')[0]]}" for name in lines["train"]]
    (lists / "trainlist01.txt").write_text("\n".join(train) + "\n")
    (lists / "testlist01.txt").write_text("\n".join(lines["test"]) + "\n")
    return root


def run(place: Path, out: str, *flags: object) -> tuple[dict[str, Any], str]:
    done = processes.run(
        ["-c", SHALLOW, "--videos", "videos", "--out", out, *flags, *SMALL],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(processes.REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((place / out / "result.json").read_text()), done.stdout


@pytest.fixture(scope="module")
def resnet_run(place: Path) -> tuple[dict[str, Any], str]:
    flags = ("--model", "resnet-crnn", "--depth", 18, "--weights", "random")
    return run(place, "resnet", *flags, "--split", "official", "--lists", "lists")


def test_official_lists_are_honoured_to_the_clip(
    place: Path, resnet_run: tuple[dict[str, Any], str]
) -> None:
    result, _ = resnet_run
    rows = list(csv.DictReader((place / "resnet" / "predictions.csv").open()))
    wanted = (place / "lists" / "testlist01.txt").read_text().split()
    assert sorted(row["clip"] for row in rows) == sorted(wanted)
    assert result["split"] == "official"
    assert result["num_test_clips_with_sibling"] == 0
    right = [row["clip"].split("/")[0] == row["predicted"] for row in rows]
    assert result["accuracy"] == pytest.approx(np.mean(right))
    assert result["accuracy_top5"] == 1.0


def test_features_are_computed_once_for_all_runs(
    place: Path, resnet_run: tuple[dict[str, Any], str]
) -> None:
    """Red when another seed's run computes them again."""
    before = {path: path.stat().st_mtime_ns for path in (place / "data").rglob("*.npy")}
    assert before
    flags = ("--model", "resnet-crnn", "--depth", 18, "--weights", "random", "--varlen")
    run(place, "again", *flags)
    after = {path: path.stat().st_mtime_ns for path in (place / "data").rglob("*.npy")}
    assert after == before


def test_the_model_kept_says_what_the_run_said(
    place: Path, resnet_run: tuple[dict[str, Any], str]
) -> None:
    """Red when the kept model is not the one tested: weights, frames, crop, or ResNet differ."""
    from experiments.clips.model import load_clip_model
    from preprocess import open_shards
    from preprocess.batches.views import Views

    config = json.loads((place / "resnet" / "config.json").read_text())
    shards = open_shards(place / config["shards"])
    model = load_clip_model(place / "resnet", views=Views.parse("2x1"))
    rows = list(csv.DictReader((place / "resnet" / "predictions.csv").open()))[:3]
    windows = [shards[shards.sources.index(row["clip"])].frames for row in rows]
    expected = [[float(row[f"p_{name}"]) for name in model.class_names] for row in rows]
    np.testing.assert_allclose(model.predict(windows, shards[0].original_size), expected, atol=1e-4)


def test_a_frozen_resnet_does_not_move(place: Path, resnet_run: tuple[dict[str, Any], str]) -> None:
    """Red when a weight or a statistic of the ResNet is trained. Random weights follow from the
    seed, so a second run's are the first one's."""
    from experiments.clips.model import load_clip_model
    from weights.assign import model_arrays

    kept = [
        {
            name: array
            for name, array in model_arrays(load_clip_model(place / out).model).items()
            if not name.startswith(("encoder_", "decoder_"))
        }
        for out in ("resnet", "again")
    ]
    assert kept[0].keys() == kept[1].keys()
    assert kept[0]
    for name, array in kept[0].items():
        np.testing.assert_array_equal(array, kept[1][name])


@pytest.mark.parametrize(
    "flags",
    [
        ("--model", "conv3d", "--recipe", "original", "--split", "random"),
        *slow(
            (("--model", "conv3d"),),
            (("--model", "conv3d", "--head", "gap", "--recipe", "original"),),
            (("--model", "crnn", "--varlen"),),
        ),
    ],
)
def test_models_train_and_are_kept(place: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    result, output = run(place, str(tmp_path / "out"), *flags)
    assert 0 <= result["accuracy"] <= 1
    assert (tmp_path / "out" / "model.json").exists()
    if "gap" not in flags and "conv3d" in flags:
        assert "parameters needs about" in output
    if "random" in flags:
        assert result["num_test_clips_with_sibling"] > 0
        assert "have a sibling of their scene in training" in output


def test_any_head_classifies_frozen_features_by_the_official_lists(place: Path) -> None:
    """Red when the features' job forgets the lists, the classes, or its own name."""
    flags = ("--features", "efficientnet-lite0", "--frames", 2, "--size", 64, 48, "--epochs", 1)
    done = ucf101(
        *(*flags, "--cell", "lstm", "--videos", "videos", "--out", "features", "--jobs", 1),
        *("--split", "official", "--lists", "lists", "--classes", "YoYo", "Archery"),
        cwd=place,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((place / "features" / "result.json").read_text())
    rows = list(csv.DictReader((place / "features" / "predictions.csv").open()))
    wanted = (place / "lists" / "testlist01.txt").read_text().split()
    assert sorted(row["clip"] for row in rows) == sorted(wanted)
    assert (result["experiment"], result["model"]) == ("ucf101", "efficientnet-lite0-tt-lstm")
    assert (result["split"], result["fold"], result["num_folds"]) == ("official", 0, 3)
    assert result["tt_params"] > 0


def test_a_finished_run_is_left_alone(place: Path, resnet_run: tuple[dict[str, Any], str]) -> None:
    flags = ("--model", "resnet-crnn", "--depth", 18, "--weights", "random")
    again = ucf101(
        *("--videos", "videos", "--out", "resnet", *flags, "--split", "official"),
        *("--lists", "lists", "--resume", *SMALL),
        cwd=place,
    )
    assert again.returncode == 0, again.stderr
    assert "nothing to resume" in again.stdout


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--videos", "nowhere"), "nowhere"),
        (("--videos", "videos", "--model", "conv3d", "--varlen"), "needs a recurrent model"),
        (("--videos", "videos", "--model", "resnet-crnn"), "--weights FILE"),
        (("--videos", "videos", "--split", "official", "--lists", "none"), "none"),
        (("--videos", "videos", "--classes", "Archery", "Bowing"), "Bowing"),
        (("--videos", "videos", "--features", "efficientnet"), "efficientnet-lite0"),
        (
            ("--videos", "videos", "--features=efficientnet-lite0", "--classes", "Bowing"),
            "Bowing",
        ),
        (
            ("--videos", "videos", "--model=conv3d", "--recipe=original", "--batch-size=100000"),
            "this machine grants",
        ),
    ],
)
def test_wrong_commands_are_told_in_a_line(
    place: Path, flags: tuple[object, ...], expected: str
) -> None:
    done = ucf101(*flags, cwd=place)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not (place / "runs").exists()
