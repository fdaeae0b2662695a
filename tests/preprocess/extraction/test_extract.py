"""Extraction as a whole: what it keeps, redoes, refuses and reports."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import pytest

from preprocess import FrameSettings, PreprocessError, open_shards
from preprocess.extraction.extract import extract
from preprocess.shards.schema import read_records
from preprocess.system.progress import Silent
from preprocess.video.decode import is_cut_short
from tests.preprocess.conftest import decoding_processes, stored_frames, write_video
from tests.processes import children_of

SMALL = FrameSettings(size=(32, 24))


@pytest.fixture(scope="module")
def extracted(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of the videos, to be copied."""
    folder = tmp_path_factory.mktemp("extracted")
    extract(videos, folder, SMALL, jobs=1)
    return folder


@pytest.fixture
def own_videos(videos: Path, tmp_path: Path) -> Path:
    """A copy of the videos, to be changed."""
    return Path(shutil.copytree(videos, tmp_path / "videos"))


def shard_files(folder: Path) -> dict[str, int]:
    """The shards' inodes by name: a shard that was written anew has another."""
    return {path.name: path.stat().st_ino for path in folder.glob("shard-*.h5")}


def read_failures(folder: Path) -> dict[str, str]:
    with (folder / "failures.csv").open(newline="") as file:
        return {row["source"]: row["reason"] for row in csv.DictReader(file)}


def test_frames_do_not_depend_on_the_number_of_workers(videos: Path, tmp_path: Path) -> None:
    for jobs in (1, 2, 3):
        summary = extract(videos, tmp_path / str(jobs), SMALL, jobs=jobs)
        assert (summary.num_clips, summary.num_extracted) == (12, 12)
        assert summary.num_frames == sum(range(10, 22))
    one, two, three = (stored_frames(tmp_path / str(jobs)) for jobs in (1, 2, 3))
    assert one == two == three
    assert shard_files(tmp_path / "1").keys() == shard_files(tmp_path / "2").keys()


def test_stride_and_max_frames_reach_the_shards(videos: Path, tmp_path: Path) -> None:
    extract(videos, tmp_path, FrameSettings(size=(32, 24), stride=3, max_frames=4), jobs=1)
    shards = open_shards(tmp_path)
    assert set(shards.num_frames) == {4}
    assert (shards.stride, shards.max_frames) == (3, 4)


def test_shards_are_of_bounded_size(tmp_path: Path) -> None:
    for number in range(130):  # so many that a task has two clips
        source = tmp_path / "videos" / "a" / f"{number:03d}.avi"
        source.parent.mkdir(parents=True, exist_ok=True)
        if number == 0:
            write_video(source, 2)
        else:
            os.link(tmp_path / "videos" / "a" / "000.avi", source)
    for bound, expected in [(10**9, 2), (1, 1)]:
        folder = tmp_path / str(bound)
        extract(tmp_path / "videos", folder, SMALL, jobs=1, max_shard_bytes=bound)
        counts = {len(read_records(path)) for path in folder.glob("shard-*.h5")}
        assert counts == {expected}
        assert len(open_shards(folder)) == 130


def test_a_second_run_does_nothing(videos: Path, extracted: Path, tmp_path: Path) -> None:
    shutil.copytree(extracted, tmp_path, dirs_exist_ok=True)
    before = shard_files(tmp_path)
    summary = extract(videos, tmp_path, SMALL, jobs=1)
    assert (summary.num_kept, summary.num_extracted, summary.num_frames) == (12, 0, 0)
    assert shard_files(tmp_path) == before


def test_what_changed_is_redone_and_the_rest_kept(own_videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    extract(own_videos, folder, SMALL, jobs=1)
    before = shard_files(folder)
    changed, gone, *_ = sorted(own_videos.rglob("*.mpg"))
    write_video(changed, 33, seed=99)
    gone.unlink()
    new = write_video(own_videos / "walking" / "new.mpg", 5)
    summary = extract(own_videos, folder, SMALL, jobs=1)
    assert (summary.num_clips, summary.num_kept, summary.num_extracted) == (12, 10, 2)
    lengths = {clip.source: clip.num_frames for clip in open_shards(folder)}
    assert lengths[changed.relative_to(own_videos).as_posix()] == 33
    assert lengths[new.relative_to(own_videos).as_posix()] == 5
    assert gone.relative_to(own_videos).as_posix() not in lengths
    assert len(before.items() & shard_files(folder).items()) == 10


def test_a_touched_file_counts_as_changed(own_videos: Path, tmp_path: Path) -> None:
    extract(own_videos, tmp_path / "shards", SMALL, jobs=1)
    os.utime(next(own_videos.rglob("*.mpg")), ns=(1, 1))
    assert extract(own_videos, tmp_path / "shards", SMALL, jobs=1).num_extracted == 1


def test_a_damaged_shard_is_made_again(videos: Path, extracted: Path, tmp_path: Path) -> None:
    shutil.copytree(extracted, tmp_path, dirs_exist_ok=True)
    frames = stored_frames(tmp_path)
    next(tmp_path.glob("shard-*.h5")).write_bytes(b"junk")
    assert extract(videos, tmp_path, SMALL, jobs=1).num_extracted == 1
    assert stored_frames(tmp_path) == frames


def test_a_clip_in_two_shards_is_kept_once(videos: Path, extracted: Path, tmp_path: Path) -> None:
    shutil.copytree(extracted, tmp_path, dirs_exist_ok=True)
    frames = stored_frames(tmp_path)
    shutil.copy(next(tmp_path.glob("shard-*.h5")), tmp_path / "shard-copy.h5")
    extract(videos, tmp_path, SMALL, jobs=1)
    assert len(shard_files(tmp_path)) == 12
    assert stored_frames(tmp_path) == frames


def test_while_it_works_the_directory_is_incomplete(own_videos: Path, tmp_path: Path) -> None:
    class Stopped(Silent):
        def advance(self, num_clips: int, num_frames: int) -> None:
            raise KeyboardInterrupt

    folder = tmp_path / "shards"
    extract(own_videos, folder, SMALL, jobs=1)
    write_video(own_videos / "walking" / "new.mpg", 5)
    with pytest.raises(KeyboardInterrupt):
        extract(own_videos, folder, SMALL, jobs=1, progress=Stopped())
    with pytest.raises(PreprocessError, match="did not come to its end"):
        open_shards(folder)


def test_no_worker_stays_behind(videos: Path, tmp_path: Path) -> None:
    # joblib keeps those of a rendering, of a test before, for a while.
    before = children_of(os.getpid(), "popen_loky")
    extract(videos, tmp_path, SMALL, jobs=2)
    assert set(children_of(os.getpid(), "popen_loky")) <= set(before)
    assert not decoding_processes(os.getpid())


@pytest.mark.parametrize(
    "other",
    [
        FrameSettings(size=(16, 12)),
        FrameSettings(size=(32, 24), stride=2),
        FrameSettings(size=(32, 24), max_frames=3),
        FrameSettings(size=(32, 24), compression="none"),
    ],
)
def test_other_settings_are_refused(
    videos: Path, extracted: Path, tmp_path: Path, other: FrameSettings
) -> None:
    shutil.copytree(extracted, tmp_path, dirs_exist_ok=True)
    before = shard_files(tmp_path)
    with pytest.raises(PreprocessError, match=r"was made with .* --overwrite"):
        extract(videos, tmp_path, other, jobs=1)
    assert shard_files(tmp_path) == before
    assert extract(videos, tmp_path, other, jobs=1, overwrite=True).num_extracted == 12
    assert not before.items() & shard_files(tmp_path).items()


def test_other_videos_are_refused(videos: Path, tmp_path: Path) -> None:
    extract(videos, tmp_path / "shards", SMALL, jobs=1)
    before = shard_files(tmp_path / "shards")
    write_video(tmp_path / "others" / "a" / "x.avi")
    with pytest.raises(PreprocessError, match=r"shards of other videos, .*biking.* --overwrite"):
        extract(tmp_path / "others", tmp_path / "shards", SMALL, jobs=1)
    assert shard_files(tmp_path / "shards") == before


def test_overwrite_leaves_foreign_files_alone(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    extract(videos, tmp_path, SMALL, jobs=1, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_failed_clips_are_named_and_tried_again(own_videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    broken = own_videos / "walking" / "broken, with a comma.mp4"
    broken.write_bytes(b"no video" * 100)
    (own_videos / "walking" / "empty.mpg").touch()
    summary = extract(own_videos, folder, SMALL, jobs=2)
    assert (summary.num_clips, summary.num_extracted) == (14, 12)
    assert read_failures(folder) == summary.failures
    assert "moov atom not found" in summary.failures["walking/broken, with a comma.mp4"]
    assert summary.failures["walking/empty.mpg"] == "the file is empty"
    assert len(open_shards(folder)) == 12
    assert open_shards(folder).num_failed == 2

    (own_videos / "walking" / "empty.mpg").unlink()
    os.replace(write_video(tmp_path / "whole.mp4", 4), broken)
    summary = extract(own_videos, folder, SMALL, jobs=1)
    assert (summary.num_kept, summary.num_extracted, summary.failures) == (12, 1, {})
    assert not (folder / "failures.csv").exists()


def test_nothing_but_failures(tmp_path: Path) -> None:
    (tmp_path / "videos" / "a").mkdir(parents=True)
    (tmp_path / "videos" / "a" / "x.mpg").write_bytes(b"junk")
    summary = extract(tmp_path / "videos", tmp_path / "shards", SMALL, jobs=1)
    assert summary.num_stored == 0
    with pytest.raises(PreprocessError, match="no clips"):
        open_shards(tmp_path / "shards")


def test_an_avi_that_ends_early_is_a_failure(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "videos" / "a" / "whole.avi", 60)
    content = whole.read_bytes()
    between_frames = content.index(b"00dc", len(content) // 2)  # where FFmpeg has no complaint
    (tmp_path / "videos" / "a" / "cut.avi").write_bytes(content[:between_frames])
    summary = extract(tmp_path / "videos", tmp_path / "shards", SMALL, jobs=1)
    assert list(summary.failures) == ["a/cut.avi"]
    assert summary.failures["a/cut.avi"].startswith("ended early: ")
    assert "of 60 frames decoded" in summary.failures["a/cut.avi"]
    limited = FrameSettings(size=(32, 24), max_frames=10)  # its first frames are all there
    assert not extract(tmp_path / "videos", tmp_path / "limited", limited, jobs=1).failures


AVI, MP4 = b"RIFF\0\0\0\0AVI ", b"\0\0\0 ftypisom"
MPEG = b"\0\0\1\xba" + bytes(8)


@pytest.mark.parametrize(
    ("head", "decoded", "complained", "expected"),
    [
        (AVI, 50, False, True),
        (AVI, 91, True, False),
        (MP4, 50, True, True),
        (MP4, 50, False, False),  # an edit list hides the rest
        (MP4, 91, True, False),
        (MPEG, 50, True, False),  # the claim is only a guess
        (AVI, 130, True, False),
    ],
)
def test_what_counts_as_cut_short(
    head: bytes, decoded: int, complained: bool, expected: bool
) -> None:
    assert is_cut_short(head, 100, decoded, complained=complained) is expected


def test_an_mpeg_stream_that_ends_early_is_a_shorter_clip(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "videos" / "a" / "whole.mpg", 60)
    content = whole.read_bytes()
    (tmp_path / "videos" / "a" / "cut.mpg").write_bytes(content[: len(content) // 2])
    summary = extract(tmp_path / "videos", tmp_path / "shards", SMALL, jobs=1)
    assert summary.failures == {}
    assert open_shards(tmp_path / "shards").num_frames[0] < 40


def test_a_clip_that_fails_within_a_shard_takes_no_other_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "preprocess.extraction.extract.split_clips", lambda clips, num_clips: [tuple(clips)]
    )
    for name, seed in [("a", 1), ("b", 2), ("c", 3)]:
        write_video(tmp_path / "videos" / "x" / f"{name}.avi", 60, seed=seed)
    cut = tmp_path / "videos" / "x" / "b.avi"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    extract(tmp_path / "videos", tmp_path / "shards", SMALL, jobs=1)
    cut.unlink()
    extract(tmp_path / "videos", tmp_path / "without", SMALL, jobs=1)
    assert stored_frames(tmp_path / "shards") == stored_frames(tmp_path / "without")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": (0, 120)}, "Received 0x120"),
        ({"size": (2**15, 120)}, "Received 32768x120"),
        ({"size": (True, 120)}, "Received Truex120"),  # as JSON may have them
        ({"size": (float("nan"), 120)}, "Received nanx120"),
        ({"stride": 1.5}, "a whole number of at least 1. Received 1.5"),
        ({"stride": 0}, "stride must be a whole number of at least 1. Received 0"),
        ({"max_frames": -1}, "max_frames must be a whole number of at least 1. Received -1"),
        ({"compression": "gzip"}, "one of none, lz4, zstd. Received 'gzip'"),
    ],
)
def test_settings_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(PreprocessError, match=message):
        FrameSettings(**settings)


def test_jobs_out_of_range(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(PreprocessError, match=r"jobs must be at least 1. Received 0"):
        extract(videos, tmp_path, SMALL, jobs=0)


def test_shards_directory_that_cannot_be(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PreprocessError, match="Cannot make the shards directory"):
        extract(videos, tmp_path / "file" / "shards", SMALL, jobs=1)
