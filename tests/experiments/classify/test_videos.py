"""Which videos are taken, in which order, under which names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.classify.videos import Video, find_videos, select_range
from preprocess.errors import PreprocessError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_videos_are_sorted_and_other_files_passed_over(tmp_path):
    touch(tmp_path, "b.mp4", "a.MKV", "notes.txt", ".hidden.mp4", "below/c.mp4")
    assert [video.source for video in find_videos(tmp_path)] == ["a.MKV", "b.mp4"]
    every = find_videos(tmp_path, recursive=True)
    assert [video.results for video in every] == ["a", "b", "below/c"]


def test_two_videos_never_share_a_result(tmp_path):
    """Red when a.mp4 and a.mkv write the same CSV."""
    touch(tmp_path, "a.mp4", "a.mkv", "b.mp4", "x/a.mp4")
    names = [video.results for video in find_videos(tmp_path, recursive=True)]
    assert names == ["a.mkv", "a.mp4", "b", "x/a"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "none", "does not exist"),
        (lambda root: touch(root, "f.mp4") or root / "f.mp4", "is a file"),
        (lambda root: root, "No videos found"),
        (lambda root: touch(root, "x/a.mp4") or root, "add --recursive"),
    ],
)
def test_a_wrong_folder_is_named(tmp_path, make, message):
    with pytest.raises(PreprocessError, match=message):
        find_videos(make(tmp_path))


@given(st.integers(1, 9), st.integers(0, 12), st.integers(0, 12), st.sampled_from([" ", "  ", ","]))
def test_a_range_is_a_slice(number, start, end, between):
    """Red when the end is included, or a range beyond the last video is empty without a word."""
    videos = [Video(None, str(n), str(n)) for n in range(number)]
    text = f"{start}{between}{end}"
    if start < min(end, number):
        assert select_range(videos, text) == videos[start:end]
    else:
        with pytest.raises(ValueError, match="--range"):
            select_range(videos, text)


@pytest.mark.parametrize("text", ["", "1", "a b", "-1 3", "1 2 3", "1.5 2"])
def test_other_texts_are_no_range(text):
    with pytest.raises(ValueError, match="--range must be"):
        select_range([Video(None, "a", "a")], text)
