"""Which videos are found, and that no two have one name for their results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.media.videos import TABLES, find_videos
from preprocess.errors import PreprocessError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def named(videos) -> dict[str, str]:
    return {video.source: video.results for video in videos}


def test_a_folder_and_those_below_it(tmp_path):
    """Red when other files are taken for videos, or the order is the disk's."""
    names = ("b.mp4", "a/x.AVI", "a/.hidden.mp4", "a/notes.txt", "-z.webm", "a/b/y.mkv")
    touch(*(tmp_path / name for name in names))
    found = find_videos([tmp_path], tmp_path / "out").videos
    assert named(found) == {"-z.webm": "-z", "a/b/y.mkv": "a/b/y", "a/x.AVI": "a/x", "b.mp4": "b"}
    assert [video.source for video in found] == sorted(video.source for video in found)


def test_names_that_clash(tmp_path):
    """Red when one video's results would replace another's, or those of all."""
    touch(*(tmp_path / name for name in ("a/x.mp4", "b/x.mp4", "b/y.mp4", "b/y.avi")))
    touch(*(tmp_path / name for name in ("b/predictions.mp4", "b/z.mp4", "b/z.avi", "b/z.mp4.avi")))
    found = find_videos([tmp_path / "a" / "x.mp4", tmp_path / "b"], tmp_path / "out").videos
    assert named(found) == {
        "a/x.mp4": "a/x",
        "b/x.mp4": "b/x",
        "predictions.mp4": "predictions.mp4",
        "y.avi": "y.avi",
        "y.mp4": "y.mp4",
        "z.avi": "z.avi",
        "z.mp4": "z.mp4",
        "z.mp4.avi": "z.mp4.avi",
    }


_NAMES = st.sampled_from(["x", "x.mp4", "y", "predictions", "a b"])
_FILES = st.tuples(st.lists(_NAMES, max_size=2), _NAMES, st.sampled_from([".mp4", ".avi"]))


@settings(max_examples=30)
@given(st.sets(_FILES.map(lambda file: "/".join([*file[0], file[1] + file[2]])), min_size=1))
def test_any_names_differ(tmp_path_factory, files):
    root = tmp_path_factory.mktemp("root")
    for name in files:
        in_a_file = any((root / part).is_file() for part in Path(name).parents)
        if not in_a_file and not (root / name).exists():
            touch(root / name)
    found = find_videos(sorted(root.iterdir()), root / "out").videos
    assert len({video.results for video in found}) == len(found)
    assert len({video.source for video in found}) == len(found)
    assert not {video.results for video in found} & set(TABLES)


def test_a_video_named_twice_comes_once(tmp_path):
    touch(tmp_path / "v" / "x.mp4")
    paths = [tmp_path / "v", tmp_path / "v" / ".." / "v" / "x.mp4"]
    assert named(find_videos(paths, tmp_path / "out").videos) == {"x.mp4": "x"}


def test_our_own_videos_are_not_predicted(tmp_path):
    """Red when a second run with --out among the videos takes the first one's for more."""
    touch(tmp_path / "x.mp4", tmp_path / "x.annotated.mp4")
    assert named(find_videos([tmp_path], tmp_path).videos) == {"x.mp4": "x"}
    assert len(find_videos([tmp_path], tmp_path / "elsewhere").videos) == 2


def test_a_folder_of_frames_is_a_video(tmp_path):
    touch(tmp_path / "clip.01" / "frame000001.jpg")
    touch(tmp_path / "more" / "clip.02" / "frame000001.jpg")
    found = find_videos([tmp_path / "clip.01", tmp_path / "more"], tmp_path)
    assert named(found.videos) == {"clip.01": "clip.01", "clip.02": "clip.02"}
    assert found.notices == []


def test_what_holds_no_video(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PreprocessError, match="No videos found in"):
        find_videos([tmp_path / "empty"], tmp_path)
    with pytest.raises(PreprocessError, match="no video or folder"):
        find_videos([tmp_path / "nowhere"], tmp_path)


def test_a_name_that_is_not_text(tmp_path):
    name = os.fsdecode(b"\xff.mp4")
    touch(tmp_path / name)
    (video,) = find_videos([tmp_path], tmp_path / "out").videos
    assert video.source == "\\xff.mp4"
    assert video.path == tmp_path / name


def test_what_is_left_out_is_named(tmp_path):
    """Red when a file that is no video is passed over without a word, or our own results are."""
    touch(
        *(tmp_path / "v" / name for name in ("a.mts", "b.MP4.part", "cover.jpg", "notes", "x.M4V"))
    )
    touch(*(tmp_path / "v" / name for name in (".DS_Store", "Thumbs.db", "._a.mts", "below/c.TS")))
    out = tmp_path / "v" / "save"
    touch(out / "a.csv", out / "a.json", out / "a.annotated.mp4")
    found = find_videos([tmp_path / "v"], out)
    assert list(named(found.videos)) == ["a.mts", "below/c.TS", "x.M4V"]
    kinds = "1 .mp4.part, 1 .jpg, 1 without a suffix"
    message = f"{tmp_path / 'v'}: Left out: 3 files are no videos by their names: {kinds}."
    (notice,) = found.notices
    assert sorted(notice.rpartition(": ")[2][:-1].split(", ")) == sorted(kinds.split(", "))
    assert notice.rpartition(": ")[0] == message.rpartition(": ")[0]


def test_folders_below_count_only_where_they_are_asked_for(tmp_path):
    touch(tmp_path / "a.MKV", tmp_path / "below" / "c.mp4", tmp_path / "below" / "d" / "f" / "e.ts")
    found = find_videos([tmp_path], tmp_path / "out", recursive=False)
    assert named(found.videos) == {"a.MKV": "a"}
    assert "2 videos lie in folders below; add --recursive" in found.notices[0]
    with pytest.raises(PreprocessError, match="1 video lies in folders below; add --recursive"):
        find_videos([tmp_path / "below" / "d"], tmp_path / "out", recursive=False)


def test_patterns(tmp_path, monkeypatch):
    """Red when a pattern that the shell left alone is taken for a name."""
    touch(*(tmp_path / name for name in ("b_left.mp4", "a_left.mkv", "a_right.mp4", "c[1].mp4")))
    monkeypatch.chdir(tmp_path)
    assert named(find_videos(["*_left.*"], tmp_path).videos) == {
        "a_left.mkv": "a_left",
        "b_left.mp4": "b_left",
    }
    assert named(find_videos(["c[1].mp4"], tmp_path).videos) == {"c[1].mp4": "c[1]"}
    with pytest.raises(PreprocessError, match=r"matches none\*"):
        find_videos(["none*"], tmp_path)


def test_what_matches_and_is_no_video_is_left_out(tmp_path):
    """Red when an empty folder ends the search, or notes.txt is taken for a video."""
    touch(*(tmp_path / name for name in ("v/a.mp4", "v/b/c.mp4", "v/x.txt", "v/Thumbs.db")))
    touch(tmp_path / "v" / "save" / "a.annotated.mp4")
    (tmp_path / "v" / "empty").mkdir()
    for pattern, recursive in (("**", True), ("**", False), ("*", True)):
        found = find_videos(
            [tmp_path / "v" / pattern], tmp_path / "v" / "save", recursive=recursive
        )
        assert sorted(video.path.name for video in found.videos) == ["a.mp4", "c.mp4"]
        message = " ".join(found.notices)
        assert message.count("2 folders hold no videos") == 1
        assert "1 file is no video by its name: 1 .txt." in message
        assert "thumbs" not in message.lower()
    with pytest.raises(PreprocessError, match=r"matches .*x\*.*1 file is no video"):
        find_videos([tmp_path / "v" / "x*"], tmp_path)
    with pytest.raises(PreprocessError, match=r"matches .*1 folder holds no videos"):
        find_videos([tmp_path / "v" / "emp*"], tmp_path)
