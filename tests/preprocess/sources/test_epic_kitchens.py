"""Epic Kitchens' layout: that the frames of each action, and no others, are its clip."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError
from preprocess import FrameSettings, PreprocessError, open_shards
from preprocess.extraction.extract import extract
from preprocess.sources.clip_sets import find_clip_set, read_subsets
from preprocess.sources.splits import split_by_subsets
from tests.preprocess.video.test_frame_folders import write_frames

TRAIN = (
    "uid,participant_id,video_id,narration,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "verb,verb_class,noun,noun_class,all_nouns,all_noun_classes,action_class"
)
VAL = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,"
    "start_frame,stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes,"
    "action_class"
)
SETTINGS = FrameSettings(size=(4, 2))


def train_row(video: str, first: int, last: int, label: str) -> str:
    return (
        f"1,{video[:3]},{video},pick up bag,00:08:30.46,00:08:31.35,{first},{last},pick-up,0,bag,"
        f"""20,"['bag', 'bag:new']","[20, 20]", {label}"""
    )


def val_row(video: str, first: int, last: int, label: str) -> str:
    return (
        f"{video}_137,{video[:3]},{video},00:08:24.530,00:08:22.80,00:08:30.49,{first},{last},"
        f"open bag,open,3,bag,19,['bag'],[19],{label}"
    )


def write(folder: Path, name: str, *lines: str) -> None:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def kitchens(tmp_path: Path) -> Path:
    """Frames whose blue is their number; the names do not sort as their numbers."""
    data = tmp_path / "data"
    write_frames(data / "train/P01/P01_09", *(f"frame_{n}.png" for n in range(2, 31)))
    write_frames(data / "train/P02/P02_01", *(f"frame_{n:010d}.png" for n in range(95, 120)))
    write_frames(data / "val/P01/P01_11", *(f"frame_{n:010d}.png" for n in range(30, 50)))
    rows = [
        train_row("P01_09", 8, 12, "take bag"),
        train_row("P01_09", 13, 13, "open bag "),
        train_row("P02_01", 98, 104, "open bag"),
    ]
    write(data, "train_action_classes.csv", TRAIN, *rows)
    write(data, "val_action_classes.csv", VAL, val_row("P01_11", 36, 45, "open bag"))
    write(data, "class_names.json", json.dumps({"take bag": 0, "open bag": 1, "wash bag": 2}))
    return data


def numbers(folder: Path) -> dict[str, list[int]]:
    """Which frames were stored, by source: the blue of each."""
    return {
        clip.source: np.mean(clip.frames[..., 2], (1, 2)).tolist() for clip in open_shards(folder)
    }


def test_frames_are_those_of_the_action_in_order(kitchens: Path, tmp_path: Path) -> None:
    summary = extract(kitchens, tmp_path / "shards", SETTINGS, jobs=1)
    assert (summary.dataset, summary.failures, summary.notices) == ("epic_kitchens", {}, {})
    assert numbers(tmp_path / "shards") == {
        "train/P01/P01_09 [frames 8-12]": [8, 9, 10, 11, 12],
        "train/P01/P01_09 [frames 13-13]": [13],
        "train/P02/P02_01 [frames 98-104]": list(range(98, 105)),
        "val/P01/P01_11 [frames 36-45]": list(range(36, 46)),
    }
    shards = open_shards(tmp_path / "shards")
    assert list(shards.class_names) == ["take bag", "open bag", "wash bag"]
    assert {clip.source: clip.class_name for clip in shards} == {
        "train/P01/P01_09 [frames 8-12]": "take bag",
        "train/P01/P01_09 [frames 13-13]": "open bag",
        "train/P02/P02_01 [frames 98-104]": "open bag",
        "val/P01/P01_11 [frames 36-45]": "open bag",
    }
    assert [clip.group for clip in shards] == [
        "P01/P01_09",
        "P01/P01_09",
        "P02/P02_01",
        "P01/P01_11",
    ]


def test_another_data_set_s_name_is_not_taken(kitchens: Path, tmp_path: Path) -> None:
    summary = extract(kitchens, tmp_path / "shards", SETTINGS, jobs=1, dataset="ucf11")
    assert summary.dataset == "epic_kitchens"


def test_stride_counts_from_the_first_frame_of_an_action(kitchens: Path, tmp_path: Path) -> None:
    settings = FrameSettings(size=(4, 2), stride=3, max_frames=2)
    extract(kitchens, tmp_path / "shards", settings, jobs=1)
    assert sorted(numbers(tmp_path / "shards").values()) == [[8, 11], [13], [36, 39], [98, 101]]


def test_parts_are_those_of_the_two_lists(kitchens: Path, tmp_path: Path) -> None:
    extract(kitchens, tmp_path / "shards", SETTINGS, jobs=1)
    split = split_by_subsets(read_subsets(kitchens), open_shards(tmp_path / "shards").sources)
    assert [part.tolist() for part in (split.train, split.validation, split.test)] == [
        [0, 1, 2],
        [3],
        [],
    ]


def test_missing_frames_and_folders_are_named(kitchens: Path, tmp_path: Path) -> None:
    (kitchens / "train/P01/P01_09/frame_10.png").unlink()
    rows = [train_row("P01_09", 8, 12, "take bag"), train_row("P07_01", 1, 9, "take bag")]
    rows += [train_row("P02_01", 200, 300, "take bag"), train_row("P02_01", 118, 140, "take bag")]
    write(kitchens, "train_action_classes.csv", TRAIN, *rows)
    summary = extract(kitchens, tmp_path / "shards", SETTINGS, jobs=1)
    assert summary.notices == {
        "train/P01/P01_09 [frames 8-12]": "no frames of number 10",
        "train/P02/P02_01 [frames 118-140]": "no frames of number 120 to 140",
    }
    assert summary.failures == {
        "train/P07/P07_01 [frames 1-9]": "No such file or directory",
        "train/P02/P02_01 [frames 200-300]": "the folder holds no frames 200-300",
    }


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('["take bag", "open bag"]', ["take bag", "open bag"]),
        ('{"open bag": 0, " take bag ": 1}', ["open bag", "take bag"]),
        ('\ufeff{"take bag": 1, "open bag": 0}', ["open bag", "take bag"]),
        (None, ["open bag", "take bag"]),
    ],
)
def test_the_order_of_the_classes(
    kitchens: Path, tmp_path: Path, content: str | None, expected: list[str]
) -> None:
    file = kitchens / "class_names.json"
    file.unlink()
    if content is not None:
        file.write_text(content, encoding="utf-8")
    extract(kitchens, tmp_path / "shards", SETTINGS, jobs=1)
    assert list(open_shards(tmp_path / "shards").class_names) == expected


@pytest.mark.parametrize(
    "content",
    ['{"open bag": 0, "take bag": 2}', '{"0": "open bag"}', '["a", "a"]', "[]", "3", '[" "]', "{"],
)
def test_class_names_that_are_none(kitchens: Path, tmp_path: Path, content: str) -> None:
    write(kitchens, "class_names.json", content)
    with pytest.raises(PreprocessError, match=r"class_names\.json"):
        extract(kitchens, tmp_path / "shards", SETTINGS, jobs=1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (val_row("P01_11", 36, 45, "shut bag"), r"line 2: action_class must be one of the 3 in"),
        (val_row("P01_11", 46, 45, "open bag"), r"line 2: .*Received 46 to 45"),
        (val_row("P01_11", 36, 45, "open bag").replace(",36,", ",,"), r"line 2: .*a start_frame"),
        (val_row("", 36, 45, "open bag"), r"line 2: A row must have a participant_id"),
        (
            f"{val_row('P01_11', 36, 45, 'open bag')}\n{val_row('P01_11', 36, 45, 'take bag')}",
            r"line 3: .* is on line 2",
        ),
    ],
)
def test_rows_that_cannot_be(kitchens: Path, tmp_path: Path, row: str, message: str) -> None:
    write(kitchens, "val_action_classes.csv", VAL, row)
    with pytest.raises(InputError, match=rf"val_action_classes\.csv, {message}"):
        extract(kitchens, tmp_path / "shards", SETTINGS, jobs=1)


def test_columns_that_are_not_there(kitchens: Path, tmp_path: Path) -> None:
    write(kitchens, "val_action_classes.csv", "participant_id,video_id,start_frame,stop_frame", "a")
    with pytest.raises(InputError, match=r"line 1: .* lacks 'action_class'"):
        extract(kitchens, tmp_path / "shards", SETTINGS, jobs=1)


def test_videos_that_no_row_names_are_named(kitchens: Path) -> None:
    """Red when frames that lie in the folder are passed over without a word."""
    assert find_clip_set(kitchens).notice == ""
    write_frames(kitchens / "train/P02/P02_07", "frame_1.png")
    (kitchens / "train/P02/.DS_Store").touch()
    (kitchens / "val/P03").mkdir()
    (kitchens / "val/P03/P03_01.MP4").touch()
    message = "Left out: no row names 2 of 5 videos, train/P02/P02_07 for instance."
    assert find_clip_set(kitchens).notice == message
