"""Which files are clips, and what their places tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocess import PreprocessError, find_clips


def touch(root: Path, *sources: str) -> Path:
    for source in sources:
        (root / source).parent.mkdir(parents=True, exist_ok=True)
        (root / source).touch()
    return root


def places(root: Path) -> list[tuple[str, str, str]]:
    return [(clip.source, clip.class_name, clip.group) for clip in find_clips(root)]


def test_ucf11_layout(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "diving/v_dive_02/v_dive_02_01.mpg",
        "basketball/v_shooting_01/v_shooting_01_02.mpg",
        "basketball/v_shooting_01/v_shooting_01_01.mpg",
        "basketball/v_shooting_01/Annotation/v_shooting_01_01.avi",
        "basketball/v_shooting_01/.DS_Store",
        "basketball/.DS_Store",
        "basketball/v_shooting_01/._v_shooting_01_01.mpg",
        "basketball/v_shooting_01/notes.txt",
    )
    assert places(tmp_path) == [
        (
            "basketball/v_shooting_01/v_shooting_01_01.mpg",
            "basketball",
            "basketball/v_shooting_01",
        ),
        (
            "basketball/v_shooting_01/v_shooting_01_02.mpg",
            "basketball",
            "basketball/v_shooting_01",
        ),
        ("diving/v_dive_02/v_dive_02_01.mpg", "diving", "diving/v_dive_02"),
    ]


def test_generic_layout_takes_the_group_from_the_name_or_makes_one(tmp_path: Path) -> None:
    touch(tmp_path, "Archery/v_Archery_g01_c02.avi", "Archery/v_Archery_g01_c01.mp4", "Bow/x.MKV")
    assert places(tmp_path) == [
        ("Archery/v_Archery_g01_c01.mp4", "Archery", "Archery/g01"),
        ("Archery/v_Archery_g01_c02.avi", "Archery", "Archery/g01"),
        ("Bow/x.MKV", "Bow", "Bow/x.MKV"),
    ]


def test_groups_of_two_classes_are_not_one(tmp_path: Path) -> None:
    touch(tmp_path, "a/v_g01_c01.avi", "b/v_g01_c01.avi", "c/v_x_01/1.mpg", "d/v_x_01/1.mpg")
    assert len({clip.group for clip in find_clips(tmp_path)}) == 4


@pytest.mark.parametrize("suffix", ["mpg", "mpeg", "avi", "mp4", "mkv", "webm", "mov", "MPG"])
def test_suffixes(tmp_path: Path, suffix: str) -> None:
    assert len(find_clips(touch(tmp_path, f"a/x.{suffix}"))) == 1


def test_a_folder_of_clips_alone_is_one_class(tmp_path: Path) -> None:
    touch(tmp_path / "odd", "b.mp4", "a.mp4")
    assert places(tmp_path / "odd") == [
        ("a.mp4", "odd", "odd/a.mp4"),
        ("b.mp4", "odd", "odd/b.mp4"),
    ]


def test_linked_folders_count_and_a_loop_of_links_ends(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "x.mp4")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "jump").symlink_to(tmp_path / "elsewhere")
    assert [clip.source for clip in find_clips(tmp_path / "videos")] == ["jump/x.mp4"]
    (tmp_path / "videos" / "jump" / "up").symlink_to(tmp_path / "videos")
    with pytest.raises(PreprocessError, match="neither layout"):
        find_clips(tmp_path / "videos")


def test_misplaced_clips_are_not_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "train/jump/x.mp4", "jump/y.mp4")
    with pytest.raises(PreprocessError, match=r"1 of 2 videos .* train/jump/x.mp4"):
        find_clips(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing", "does not exist"), ("file.mp4", "is a file"), ("empty", "No videos found")],
)
def test_errors_say_what_is_expected(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file.mp4").touch()
    touch(tmp_path, "empty/a/readme.txt")
    with pytest.raises(PreprocessError, match=message) as caught:
        find_clips(tmp_path / name)
    assert "class/v_name_NN" in str(caught.value)
