"""Which videos are found, and that no two have one name for their results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.prediction.sources import TABLES, find_videos
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
    found = find_videos([tmp_path], tmp_path / "out")
    assert named(found) == {"-z.webm": "-z", "a/b/y.mkv": "a/b/y", "a/x.AVI": "a/x", "b.mp4": "b"}
    assert [video.source for video in found] == sorted(video.source for video in found)


def test_names_that_clash(tmp_path):
    """Red when one video's results would replace another's, or those of all."""
    touch(*(tmp_path / name for name in ("a/x.mp4", "b/x.mp4", "b/y.mp4", "b/y.avi")))
    touch(*(tmp_path / name for name in ("b/predictions.mp4", "b/z.mp4", "b/z.avi", "b/z.mp4.avi")))
    found = find_videos([tmp_path / "a" / "x.mp4", tmp_path / "b"], tmp_path / "out")
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
    found = find_videos(sorted(root.iterdir()), root / "out")
    assert len({video.results for video in found}) == len(found)
    assert len({video.source for video in found}) == len(found)
    assert not {video.results for video in found} & set(TABLES)


def test_a_video_named_twice_comes_once(tmp_path):
    touch(tmp_path / "v" / "x.mp4")
    paths = [tmp_path / "v", tmp_path / "v" / ".." / "v" / "x.mp4"]
    assert named(find_videos(paths, tmp_path / "out")) == {"x.mp4": "x"}


def test_our_own_videos_are_not_predicted(tmp_path):
    """Red when a second run with --out among the videos takes the first one's for more."""
    touch(tmp_path / "x.mp4", tmp_path / "x.annotated.mp4")
    assert named(find_videos([tmp_path], tmp_path)) == {"x.mp4": "x"}
    assert len(find_videos([tmp_path], tmp_path / "elsewhere")) == 2


def test_a_folder_of_frames_is_a_video(tmp_path):
    touch(tmp_path / "clip.01" / "frame000001.jpg")
    assert named(find_videos([tmp_path / "clip.01"], tmp_path)) == {"clip.01": "clip.01"}


def test_what_holds_no_video(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PreprocessError, match="No videos found in"):
        find_videos([tmp_path / "empty"], tmp_path)
    with pytest.raises(PreprocessError, match="no video or folder"):
        find_videos([tmp_path / "nowhere"], tmp_path)


def test_a_name_that_is_not_text(tmp_path):
    name = os.fsdecode(b"\xff.mp4")
    touch(tmp_path / name)
    (video,) = find_videos([tmp_path], tmp_path / "out")
    assert video.source == "\\xff.mp4"
    assert video.path == tmp_path / name
