"""Which files are clips, and what their places tell."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


UCF101_FORMS = ("{c}/{n}.avi", "{n}.avi", "{c}/{n}/frame000001.jpg", "{n}/frame000001.jpg")


@given(
    names=st.sets(
        st.tuples(st.from_regex(r"[A-Z][a-z_]{0,8}", fullmatch=True), *[st.integers(1, 25)] * 2),
        min_size=2,
        max_size=9,
    )
)
@settings(max_examples=25, deadline=None)
def test_flat_or_in_folders_and_as_videos_or_frames_names_tell_the_same(
    names: set[tuple[str, int, int]],
) -> None:
    expected = {f"v_{c}_g{g:02d}_c{n:02d}": (c, f"{c}/g{g:02d}") for c, g, n in names}
    for form in UCF101_FORMS:
        with tempfile.TemporaryDirectory() as root:
            touch(Path(root), *(form.format(c=c, n=name) for name, (c, _) in expected.items()))
            clips = find_clips(root)
        assert [clip.source for clip in clips] == sorted(clip.source for clip in clips)
        found = {
            clip.path.name.removesuffix(".avi"): (clip.class_name, clip.group) for clip in clips
        }
        assert found == expected


def test_the_class_whose_files_spell_it_in_another_way(tmp_path: Path) -> None:
    name = "v_HandStandPushups_g01_c01"
    expected = ("HandstandPushups", "HandstandPushups/g01")
    for number, form in enumerate((*UCF101_FORMS, "{n}.mp4")):
        root = touch(tmp_path / str(number), form.format(c="HandstandPushups", n=name))
        assert [(clip.class_name, clip.group) for clip in find_clips(root)] == [expected]
    renamed = touch(tmp_path / "renamed", f"HandStandPushups/{name}.avi")
    assert [(clip.class_name, clip.group) for clip in find_clips(renamed)] == [expected]


def test_frame_folders_stand_in_for_videos_in_every_layout(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "biking/v_biking_01/v_biking_01_02/frame1.jpg",
        "biking/v_biking_01/v_biking_01_01/frame_0001.PNG",
        "biking/v_biking_02/Annotation/frame0001.jpg",
        "biking/v_biking_02/.hidden/frame0001.jpg",
        "jump/long/Frame01.JPEG",
        "jump/long/.frame02.jpeg",
        "jump/long/notes.txt",
        "jump/high.avi",
        "jump/frame_of_mine.jpg",
        "jump/cover1.jpg",
    )
    assert places(tmp_path) == [
        ("biking/v_biking_01/v_biking_01_01", "biking", "biking/v_biking_01"),
        ("biking/v_biking_01/v_biking_01_02", "biking", "biking/v_biking_01"),
        ("jump/high.avi", "jump", "jump/high.avi"),
        ("jump/long", "jump", "jump/long"),
    ]


def test_flat_frame_folders_of_other_names_are_one_class(tmp_path: Path) -> None:
    touch(tmp_path / "odd", "b/frame000001.jpg", "a/frame000001.jpg")
    assert places(tmp_path / "odd") == [("a", "odd", "odd/a"), ("b", "odd", "odd/b")]


def test_pictures_beside_videos_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "walking/v_walk_01/v_walk_01_01.mpg", "walking/v_walk_01/frame000001.jpg")
    assert [clip.source for clip in find_clips(tmp_path)] == ["walking/v_walk_01/v_walk_01_01.mpg"]


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["frame000001.jpg"], "holds the frames of one clip"),
        (
            ["a/x.avi", "a/x/frame000001.jpg", "a/y.avi"],
            "1 clips .* as a video and .* instance a/x",
        ),
        (["v_A_g01_c01.avi", "x.avi"], "1 of 2 clips .* are not called v_Class.* instance x.avi"),
        (["jpegs_256/v_A_g01_c01/frame1.jpg", "jpegs_256/v_B_g01_c01/frame1.jpg"], "2 classes"),
        (["a/x/frame1.jpg", "a/x/flow/frame1.jpg"], "1 of 2 clips .* in no layout, .* a/x/flow"),
        (["UCF-101/A/v_A_g01_c01.avi"], "in no layout"),
    ],
)
def test_clips_that_would_be_labelled_wrongly(
    tmp_path: Path, sources: list[str], message: str
) -> None:
    with pytest.raises(PreprocessError, match=message):
        find_clips(touch(tmp_path, *sources))


def test_a_class_of_ones_own_may_hold_clips_of_several(tmp_path: Path) -> None:
    touch(tmp_path, "sport/v_A_g01_c01.avi", "sport/v_B_g01_c01.avi", "music/v_C_g01_c01.avi")
    assert [clip.class_name for clip in find_clips(tmp_path)] == ["music", "sport", "sport"]


def test_real_clips_are_named_for_their_folders(real_clips: Path) -> None:
    clips = find_clips(real_clips / "ucf101")
    assert [clip.class_name for clip in clips] == [clip.path.parent.name for clip in clips]
    assert len({clip.group for clip in clips}) < len(clips)
    assert {clip.class_name for clip in find_clips(real_clips / "asl")} == {"asl"}


def test_linked_folders_count_and_a_loop_of_links_ends(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "x.mp4")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "jump").symlink_to(tmp_path / "elsewhere")
    assert [clip.source for clip in find_clips(tmp_path / "videos")] == ["jump/x.mp4"]
    (tmp_path / "videos" / "jump" / "up").symlink_to(tmp_path / "videos")
    with pytest.raises(PreprocessError, match="in no layout"):
        find_clips(tmp_path / "videos")


def test_misplaced_clips_are_not_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "train/jump/x.mp4", "jump/y.mp4")
    with pytest.raises(PreprocessError, match=r"1 of 2 clips .* train/jump/x.mp4"):
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
