"""Some classes of a data set: chosen by name, extracted, and read from shards of all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess import FrameSettings, PreprocessError, make_split, open_shards
from preprocess.extraction.extract import extract
from preprocess.sources.catalog import UCF101, choose_classes
from tests.preprocess.conftest import Run, stored_frames, write_video

SMALL = FrameSettings(size=(32, 24))
CLASSES = ("Archery", "Bowling", "YoYo")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of three groups of one clip."""
    root = tmp_path_factory.mktemp("videos")
    for number in range(9):
        name, group = CLASSES[number // 3], number % 3 + 1
        write_video(root / name / f"v_{name}_g{group:02d}_c01.avi", 3 + number, seed=number)
    return root


@given(
    st.sets(st.sampled_from(UCF101.class_names), min_size=1).flatmap(
        lambda s: st.permutations(list(s))
    )
)
def test_the_order_is_that_of_the_data_set(wanted: list[str]) -> None:
    chosen = choose_classes(wanted, UCF101.class_names)
    assert sorted(chosen) == sorted(wanted)
    assert list(chosen) == sorted(chosen, key=str.casefold)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([], "at least one class"),
        (["archery"], r"101 classes here. Received archery. Did you mean Archery\?"),
        (["YoYo", "BowlingBall"], r"Received BowlingBall. Did you mean Bowling\?"),
        (["handstandpushup"], r"Did you mean HandstandPushups\?"),
        (["xyzzy"], "They are ApplyEyeMakeup, ApplyLipstick"),
        (["YoYo", "Archery", "YoYo"], "Received YoYo twice"),
    ],
)
def test_errors(wanted: list[str], message: str) -> None:
    with pytest.raises(PreprocessError, match=message):
        choose_classes(wanted, UCF101.class_names)


def test_the_file_names_spelling_is_understood() -> None:
    assert choose_classes(["HandStandPushups"], UCF101.class_names) == ("HandstandPushups",)


def test_shards_of_some_classes_are_labelled_anew(videos: Path, tmp_path: Path) -> None:
    extract(videos, tmp_path, SMALL, jobs=1, dataset="ucf101")
    with open_shards(tmp_path) as shards:
        assert len(shards.class_names) == 101
        some = shards.of_classes(["YoYo", "Archery"])
        assert some.class_names == ["Archery", "YoYo"]
        assert some.labels.tolist() == [clip.label for clip in some] == [0, 0, 0, 1, 1, 1]
        assert some.num_frames.tolist() == [3, 4, 5, 9, 10, 11]
        whole = {clip.source: clip.frames for clip in shards}
        for clip in some:
            np.testing.assert_array_equal(clip.frames, whole[clip.source])
        assert shards.labels.tolist() == [2] * 3 + [15] * 3 + [100] * 3
        split = make_split(some.labels, some.groups, fold=0, num_folds=3)
        assert sorted([*split.train, *split.validation, *split.test]) == list(range(6))
        with pytest.raises(PreprocessError, match="No clips of Biking, Diving in"):
            shards.of_classes(["Diving", "Archery", "Biking"])
        with pytest.raises(PreprocessError, match=r"2 classes here. Received Bowling"):
            some.of_classes(["Bowling"])


def test_extraction_of_some_classes(videos: Path, tmp_path: Path) -> None:
    extract(videos, tmp_path / "all", SMALL, jobs=1)
    wanted = ["YoYo", "Archery"]
    summary = extract(videos, tmp_path / "some", SMALL, jobs=1, dataset="ucf101", classes=wanted)
    assert summary.num_clips == summary.num_extracted == 6
    with open_shards(tmp_path / "some") as shards:
        assert shards.class_names == ["Archery", "YoYo"]
        assert shards.labels.tolist() == [0, 0, 0, 1, 1, 1]
    frames = stored_frames(tmp_path / "all")
    assert stored_frames(tmp_path / "some") == {
        source: stored for source, stored in frames.items() if "Bowling" not in source
    }


def test_more_classes_are_added_and_fewer_are_refused(videos: Path, tmp_path: Path) -> None:
    shards = tmp_path / "s"
    extract(videos, shards, SMALL, jobs=1, classes=["Archery"])
    assert extract(videos, shards, SMALL, jobs=1, classes=["Archery", "YoYo"]).num_extracted == 3
    assert extract(videos, shards, SMALL, jobs=1).num_extracted == 3
    before = sorted(shards.glob("shard-*.h5"))
    with pytest.raises(PreprocessError, match=r"2 classes more .*, Bowling for instance"):
        extract(videos, shards, SMALL, jobs=1, classes=["Archery"])
    assert sorted(shards.glob("shard-*.h5")) == before
    assert extract(videos, shards, SMALL, jobs=1, classes=CLASSES).num_kept == 9
    extract(videos, shards, SMALL, jobs=1, dataset="ucf101")  # with the names of all 101
    assert extract(videos, shards, SMALL, jobs=1, classes=CLASSES).num_kept == 9
    extract(videos, shards, SMALL, jobs=1, classes=["Archery"], overwrite=True)
    with open_shards(shards) as anew:
        assert anew.class_names == ["Archery"]


def test_the_command(videos: Path, tmp_path: Path, command: Run) -> None:
    done = command("ucf101", videos, tmp_path / "s", "--jobs", 1, "--classes", "YoYo", "Archery")
    assert done.returncode == 0, done.stderr
    assert "ucf101: 6 clips extracted" in done.stdout
    done = command("ucf101", videos, tmp_path / "t", "--classes", "Yoyo")
    assert done.returncode == 2
    assert done.stderr.strip().endswith("Received Yoyo. Did you mean YoYo?")
    done = command("ucf101", videos, tmp_path / "t", "--classes", "Biking")
    assert f"No clips of Biking in {videos}" in done.stderr
    assert not (tmp_path / "t").exists()
