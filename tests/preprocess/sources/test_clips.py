"""Which files are clips, and what their places tell."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imageio_ffmpeg import get_ffmpeg_exe

from preprocess import PreprocessError, find_clips, iter_frames
from preprocess.sources.clips import VIDEO_SUFFIXES, list_videos


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


@pytest.mark.parametrize("suffix", ["mpg", "mp4", "MPG", "Mts", "dvr-ms", "3gp", "m2v", "divx"])
def test_suffixes(tmp_path: Path, suffix: str) -> None:
    assert len(find_clips(touch(tmp_path, f"a/x.{suffix}"))) == 1


# Encoder and muxer of each kind of file; ffmpeg can write no others.
KINDS = {
    ("mpeg4", "mp4"): ".mp4 .m4v .3gp .3g2",
    ("libx264", "mov"): ".mov .qt .insv .f4v",
    ("jpeg2000", "mov"): ".mj2",
    ("libx264", "matroska"): ".mkv .mk3d",
    ("libvpx", "webm"): ".webm",
    ("mpeg4", "avi"): ".avi .divx .xvid",
    ("mpeg1video", "mpeg"): ".mpg .mpeg .mpe",
    ("mpeg1video", "mpeg1video"): ".m1v .mpv",
    ("mpeg2video", "mpeg2video"): ".m2v",
    ("mpeg2video", "vob"): ".vob .vro .evo .mod .m2p",
    ("libx264", "mpegts"): ".ts .mts .m2ts .m2t .tp .trp .tod",
    ("flv1", "flv"): ".flv",
    ("wmv2", "asf"): ".wmv .asf .wm .dvr-ms",
    ("wmv2", "wtv"): ".wtv",
    ("libtheora", "ogg"): ".ogv .ogm",
    ("mpeg2video", "mxf"): ".mxf",
    ("mpeg2video", "gxf"): ".gxf",
    ("rv20", "rm"): ".rm .rmvb",
    ("dvvideo", "dv"): ".dv .dif",
    ("ffv1", "nut"): ".nut",
    ("libvpx", "ivf"): ".ivf",
    ("wrapped_avframe", "yuv4mpegpipe"): ".y4m",
    ("mjpeg", "mjpeg"): ".mjpg .mjpeg",
    ("libx264", "h264"): ".h264 .264",
    ("libx265", "hevc"): ".h265 .265 .hevc",
    ("libvvenc", "vvc"): ".vvc .266",
    ("libsvtav1", "obu"): ".obu",
}


@pytest.mark.parametrize(("encoder", "muxer"), KINDS)
def test_what_counts_as_a_video_can_be_read(tmp_path: Path, encoder: str, muxer: str) -> None:
    """Red when a suffix is accepted whose demuxer is refused, or loses frames."""
    (tmp_path / "a").mkdir()
    suffixes = KINDS[encoder, muxer].split()
    first = tmp_path / "a" / f"x{suffixes[0]}"
    image = ["-f", "lavfi", "-i", "testsrc=s=720x576:r=25:d=0.4", "-pix_fmt", "yuvj420p"]
    output = ["-c:v", encoder, "-strict", "-1", "-f", muxer, str(first)]
    subprocess.run(
        [get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", *image, *output], check=True
    )
    for suffix in suffixes[1:]:
        shutil.copy(first, first.with_suffix(suffix))
    clips = find_clips(tmp_path)
    assert {clip.path.suffix for clip in clips} == set(suffixes)
    assert {clip.path.suffix: len(list(iter_frames(clip.path))) for clip in clips} == (
        dict.fromkeys(suffixes, 10)
    )


def test_every_suffix_is_tried() -> None:
    """Red when a suffix is added that nobody has read; ffmpeg cannot write VC-1."""
    assert {suffix for kind in KINDS.values() for suffix in kind.split()} == (
        VIDEO_SUFFIXES - {".vc1"}
    )


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
    assert [clip.source for clip in find_clips(tmp_path / "videos")] == ["jump/x.mp4"]
    with pytest.raises(PreprocessError, match=r"in no layout, for instance a/b/c/d/e/x.mp4"):
        find_clips(touch(tmp_path / "videos", "a/b/c/d/e/x.mp4"))


def test_misplaced_clips_are_not_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "train/jump/x.mp4", "jump/y.mp4")
    with pytest.raises(PreprocessError, match=r"1 of 2 clips .* train/jump/x.mp4"):
        find_clips(tmp_path)


@pytest.mark.parametrize(
    ("name", "message", "expected"),
    [
        ("missing", "does not exist", "class/clip.mp4"),
        ("file.mp4", "is a file", "NAME.csv"),
        ("empty", "No videos found", "class/v_name_NN"),
    ],
)
def test_errors_say_what_is_expected(
    tmp_path: Path, name: str, message: str, expected: str
) -> None:
    """Red when an error lacks its remedy."""
    (tmp_path / "file.mp4").touch()
    touch(tmp_path, "empty/a/readme.txt")
    with pytest.raises(PreprocessError, match=message) as caught:
        find_clips(tmp_path / name)
    assert expected in str(caught.value)


def test_what_is_left_out_is_counted_by_suffix(tmp_path: Path) -> None:
    """Red when files vanish without a word, or one is spent on what every system leaves behind."""
    touch(
        tmp_path,
        *("a/x.mp4", "a/y.MP4.part", "a/cover.JPG", "a/frame000001.jpg", "a/README", "a/z.f1.srt"),
        *("b/frame000001.jpg", "b/frame000002.jpg", "b/notes.txt", "b/preview.gif"),
        *("a/.DS_Store", "a/._x.mp4", "Thumbs.db", "a/desktop.ini", ".git/config", "@eaDir/x.jpg"),
        *("__MACOSX/a/x.mp4", "lost+found/x.mp4", "synthetic.json"),
    )
    listing = list_videos(tmp_path)
    assert (listing.videos, listing.frame_folders) == (["a/x.mp4"], ["b"])
    kinds = {".jpg": 2, ".mp4.part": 1, "": 1, ".srt": 1, ".txt": 1, ".gif": 1}
    assert listing.left_out == kinds
    assert listing.notice.startswith("Left out: 7 files are no videos by their names: 2 .jpg, 1 ")
    assert "1 without a suffix" in listing.notice
    touch(tmp_path, "a/Annotations/x.mp4", "a/Annotations/x.xml", *(f"a/{n}.{n}" for n in "1234"))
    touch(tmp_path, "_unlabeled/x.mp4")
    notice = list_videos(tmp_path).notice
    ignored = "Left out: 2 videos are in a folder called annotation or _unlabeled."
    assert f"4 of other kinds. {ignored}" in notice
    assert list_videos(tmp_path).videos == ["a/x.mp4"]


def test_nothing_left_out_is_nothing_to_say(tmp_path: Path) -> None:
    assert list_videos(touch(tmp_path, "a/x.mp4", "a/.hidden.txt")).notice == ""


def test_a_folder_without_a_video_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(PreprocessError, match=r"found in .*1 file is no video by its name: 1 .zip"):
        find_clips(touch(tmp_path, "a/x.zip"))
