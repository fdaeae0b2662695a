"""The TimeSformer job as a user runs it, small: lists, weights, folds, rates, wrong commands."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests import processes

SMALL = [
    *("--size", "small", "--epochs", 1, "--batch-size", 8, "--views", "1x1", "--set"),
    *("frame_size=[24,16]", "crop_size=[16,16]", "num_frames=4", "num_operations=1"),
]


# The command with a network of one block instead of four, which is traced in a third of the time.
SHALLOW = """
import sys
from dataclasses import replace
from experiments.epic_kitchens import recipes
from experiments.epic_kitchens.__main__ import main

recipes.SIZES["small"] = replace(recipes.SIZES["small"], depth=1)
sys.exit(main())
"""


def epic(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return processes.run(["-m", "experiments.epic_kitchens", *arguments], cwd=cwd)


def train(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(processes.REPOSITORY)}
    done = processes.run(["-c", SHALLOW, "train", *arguments, *SMALL], cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of 24 stretches of 12 videos, two classes, a third of the stretches validating."""
    from preprocess.sources import synthetic

    root, names, rows = tmp_path_factory.mktemp("epic"), ("left_aaa", "right_ccc"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "CLASS_NAMES", names)  # the others are not needed
        synthetic.render_dataset(
            root / "demo", groups_per_class=6, clips_per_group=1, jobs=1, progress=False
        )
    for class_name in names:
        for number, video in enumerate(sorted((root / "demo" / class_name).rglob("*.mpg"))):
            part = "validation" if number < 2 else "train"
            for start in (0.0, 0.5):
                rows.append((video.relative_to(root), start, start + 0.5, f" {class_name} ", part))
    with (root / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("video", "start", "stop", "label", "part"), *rows])
    return root


@pytest.fixture(scope="module")
def trained(place: Path) -> subprocess.CompletedProcess[str]:
    return train("--videos", "list.csv", "--out", "run", cwd=place)


def test_the_parts_of_the_list_are_kept_to(
    place: Path, trained: subprocess.CompletedProcess[str]
) -> None:
    rows = list(csv.DictReader((place / "run" / "predictions.csv").open()))
    listed = list(csv.DictReader((place / "list.csv").open()))
    wanted = {row["video"] for row in listed if row["part"] == "validation"}
    assert {row["clip"].partition(" [")[0] for row in rows} == wanted
    assert len(rows) == 8
    assert {row["label"] for row in rows} == {"left_aaa", "right_ccc"}
    assert "no clips of the part test" in trained.stderr
    result = json.loads((place / "run" / "result.json").read_text())
    assert result["split"] == "listed"
    assert result["model"] == "timesformer-small-divided"


def test_a_finished_run_is_left_alone(
    place: Path, trained: subprocess.CompletedProcess[str]
) -> None:
    command = ("train", "--videos", "list.csv", "--out", "run", *SMALL)
    assert "--resume" in epic(*command, cwd=place).stderr
    again = epic(*command[:5], "--resume", *command[5:], cwd=place)
    assert again.returncode == 0, again.stderr
    assert "nothing to resume" in again.stdout


def test_predict_takes_the_run(place: Path, trained: subprocess.CompletedProcess[str]) -> None:
    done = epic("predict", "demo/left_aaa", "--run", "run", "--no-annotate", cwd=place)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((place / "run" / "predictions" / "predictions.csv").open()))
    assert len(rows) == 6


def test_frozen_weights_stay_those_of_the_file(place: Path) -> None:
    """Red when weights are not loaded, or what is frozen is trained; the head starts anew."""
    from experiments.clips.model import load_clip_model
    from experiments.epic_kitchens.recipes import SIZES
    from ttrnn.models import build_timesformer
    from weights.arrays import write_safetensors
    from weights.assign import model_arrays

    size = SIZES["small"]
    shape = {"image_size": 16, "patch_size": size.patch_size, "dim": size.dim}
    model = build_timesformer(5, num_frames=4, depth=1, heads=size.heads, **shape)
    before = model_arrays(model)
    write_safetensors(place / "weights.safetensors", before)
    done = train(
        *("--videos", "list.csv", "--out", "frozen", "--weights", "weights.safetensors"),
        *("--freeze", "head", "--mixup", 0.2),
        cwd=place,
    )
    assert "head of 5 classes is left out" in done.stdout
    assert "parameters are trained" in done.stdout
    after = model_arrays(load_clip_model(place / "frozen").model)
    assert after["head/bias"].shape == (2,)
    for name, array in after.items():
        if not name.startswith("head/"):
            np.testing.assert_array_equal(array, before[name])


@pytest.mark.slow
def test_folds_give_mean_and_spread(place: Path) -> None:
    args = ("--videos", "list.csv", "--folds", 2, "--out", "folds", "--split", "group")
    done = train(*args, cwd=place)
    summary = json.loads((place / "folds" / "folds.json").read_text())
    results = [
        json.loads((place / "folds" / f"fold-{fold}" / "result.json").read_text())
        for fold in range(2)
    ]
    assert summary["accuracy"] == [result["accuracy"] for result in results]
    assert "±" in done.stdout
    tested = [
        {
            row["clip"]
            for row in csv.DictReader((place / "folds" / f"fold-{n}" / "predictions.csv").open())
        }
        for n in range(2)
    ]
    assert not tested[0] & tested[1]
    assert len(tested[0] | tested[1]) == 24


def test_rates_are_tried_and_drawn(place: Path) -> None:
    done = train("--videos", "list.csv", "--find-rate", "--out", "rates", cwd=place)
    assert "learning rates" in done.stdout
    assert (place / "rates" / "rate_finder.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("args", "summary"),
    [
        ((), "A command is needed"),
        (("fly",), "'fly'"),
        (("train", "--videos", "nowhere.csv"), "nowhere.csv"),
        (("train", "--videos", "list.csv", "--freeze", "all"), "--freeze must be"),
        (("train", "--videos", "list.csv", "--freeze", "head"), "give --weights too"),
        (("train", "--videos", "list.csv", "--weights", "none.pyth"), "must be a file"),
        (("train", "--videos", "list.csv", "--folds", "1"), "at least 2"),
        (("train", "--videos", "list.csv", "--folds", "2", "--find-rate"), "--find-rate tries"),
        (("predict", "demo", "--run", "nowhere"), "nowhere"),
    ],
)
def test_wrong_commands_are_told_in_a_line(
    place: Path, args: tuple[str, ...], summary: str
) -> None:
    done = epic(*args, cwd=place)
    assert done.returncode == 2
    assert summary in done.stderr
    assert "Traceback" not in done.stderr
