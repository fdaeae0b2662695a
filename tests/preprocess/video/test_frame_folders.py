"""Folders of numbered pictures as clips: against the pictures, and against videos."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess import DecodeError, FrameSettings, open_shards
from preprocess.extraction.extract import extract
from preprocess.sources.catalog import UCF101
from preprocess.video.decode import FrameReader, VideoReader
from preprocess.video.frame_folder import list_frames
from preprocess.video.frame_reader import FrameFolderReader
from preprocess.video.transforms import FrameFit
from tests.preprocess.conftest import Run, read_plainly, stored_frames, write_video

TINY = (4, 2)


@cache
def encoded(value: int, suffix: str = ".png", size: tuple[int, int] = TINY) -> bytes:
    """A picture file of one blue; its red and green are 0."""
    import cv2

    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[..., 0] = value
    return cv2.imencode(suffix, image)[1].tobytes()


def write_frames(folder: Path, *names: str) -> Path:
    """Frames whose blue is their number; the suffix is what the name says."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        number = int("".join(filter(str.isdigit, name)))
        (folder / name).write_bytes(encoded(number, Path(name).suffix.lower()))
    return folder


def names_of(count: int, *, suffix: str = ".png", first: int = 1) -> list[str]:
    return [f"frame{number:06d}{suffix}" for number in range(first, first + count)]


def frames_of_video(video: Path, folder: Path) -> Path:
    """A video's frames as PNG files, which lose nothing."""
    import cv2

    folder.mkdir(parents=True)
    capture = cv2.VideoCapture(str(video))
    number = 0
    while (found := capture.read())[0]:
        number += 1
        cv2.imwrite(str(folder / f"frame{number:06d}.png"), found[1])
    return folder


def read_all(reader: FrameReader, size: tuple[int, int] = TINY) -> list[np.ndarray]:
    frames = []
    with reader:
        while reader.read_into(frame := np.empty((size[1], size[0], 3), np.uint8)):
            frames.append(frame)
    return frames


def blues(reader: FrameReader) -> list[int]:
    """What was read, told by the last channel: the frames are RGB."""
    frames = read_all(reader)
    assert all(frame[..., :2].max() == 0 for frame in frames)
    return [int(frame[0, 0, 2]) for frame in frames]


@given(
    names=st.dictionaries(
        st.integers(0, 255), st.tuples(st.integers(1, 6), st.booleans(), st.booleans()), min_size=1
    ),
    stride=st.integers(1, 4),
    max_frames=st.none() | st.integers(1, 9),
)
@settings(max_examples=40, deadline=None)
def test_frames_come_in_the_order_of_their_numbers(
    names: dict[int, tuple[int, bool, bool]], stride: int, max_frames: int | None
) -> None:
    with tempfile.TemporaryDirectory() as name:
        for number, (digits, underscore, capital) in names.items():
            file = f"frame{'_' * underscore}{number:0{digits}d}.png"
            (Path(name) / (file.upper() if capital else file)).write_bytes(encoded(number))
        kept = {"stride": stride, "max_frames": max_frames}
        reader = FrameFolderReader(name, fit=FrameFit(TINY), **kept)
        assert blues(reader) == sorted(names)[::stride][:max_frames]


@pytest.fixture(scope="module")
def video_and_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("both")
    video = write_video(root / "x.avi", 11)
    return video, frames_of_video(video, root / "x")


@pytest.mark.parametrize("stride", [1, 2, 3, 10, 11, 12])
@pytest.mark.parametrize("max_frames", [None, 1, 4, 11, 12])
def test_a_folder_is_read_as_the_video_of_its_frames(
    video_and_folder: tuple[Path, Path], stride: int, max_frames: int | None
) -> None:
    video, folder = video_and_folder
    kept = {"fit": FrameFit((32, 24)), "stride": stride, "max_frames": max_frames}
    expected, frame = np.empty((24, 32, 3), np.uint8), np.empty((24, 32, 3), np.uint8)
    with VideoReader(video, **kept) as of_video, FrameFolderReader(folder, **kept) as of_folder:
        while of_video.read_into(expected):
            assert of_folder.read_into(frame)
            np.testing.assert_array_equal(frame, expected)
            assert of_folder.time_seconds == pytest.approx(of_video.time_seconds)
        assert not of_folder.read_into(frame)
        for name in ("num_given", "num_decoded", "reached_end"):
            assert getattr(of_folder, name) == getattr(of_video, name), name
    sizes = [(reader.info.width, reader.info.height) for reader in (of_video, of_folder)]
    assert sizes == [(64, 48), (64, 48)]
    assert (of_folder.info.claimed_frames, of_folder.info.fps) == (None, 0.0)


def test_jpegs_and_grey_pictures_are_read(tmp_path: Path) -> None:
    import cv2

    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8), (64, 48))
    cv2.imwrite(str(tmp_path / "frame000001.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    cv2.imwrite(str(tmp_path / "frame000002.JPEG"), image[..., 0])
    first, second = read_all(FrameFolderReader(tmp_path, fit=FrameFit((64, 48))), (64, 48))
    assert np.abs(first[..., ::-1].astype(int) - image).mean() < 3
    assert np.abs(second.astype(int) - image[..., :1]).mean() < 3


@pytest.mark.parametrize(
    ("names", "num_frames", "expected"),
    [
        (names_of(5), 5, ""),
        (names_of(5, first=0), 5, ""),
        (["frame2.png", "frame4.png", "frame7.png"], 3, "no frames of number 1, 3, 5 to 6"),
        (["frame2.png", "frame4.png", "frame7.png"], 2, "no frames of number 1, 3"),
        (["frame2.png", "frame4.png", "frame7.png"], 0, ""),
    ],
)
def test_missing_numbers_are_told(
    tmp_path: Path, names: list[str], num_frames: int, expected: str
) -> None:
    assert list_frames(write_frames(tmp_path, *names)).missing(num_frames) == expected


def broken(kind: str, jpeg: bytes) -> bytes:
    whole = {"empty": b"", "text": b"no picture", "cut": jpeg[:-40], "last byte": jpeg[:-1]}
    return whole[kind]


@pytest.mark.parametrize("position", [1, 3])
@pytest.mark.parametrize("kind", ["empty", "text", "cut", "last byte"])
def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path, kind: str, position: int) -> None:
    write_frames(tmp_path, *names_of(4, suffix=".jpg"))
    bad = tmp_path / f"frame{position:06d}.jpg"
    bad.write_bytes(broken(kind, encoded(9, ".jpg", (64, 48))))
    with pytest.raises(DecodeError, match=bad.name):
        read_all(FrameFolderReader(tmp_path, fit=FrameFit(TINY)))
    if position == 3:
        assert len(read_all(FrameFolderReader(tmp_path, fit=FrameFit(TINY), max_frames=2))) == 2


def test_a_number_that_two_files_have_is_refused(tmp_path: Path) -> None:
    write_frames(tmp_path, "frame000001.png", "frame1.jpg")
    with pytest.raises(DecodeError, match=r"frame 1 is there twice: frame000001.png and frame1.jp"):
        list_frames(tmp_path)


def test_an_unreadable_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="No such file"):
        list_frames(tmp_path / "nowhere")
    with pytest.raises(DecodeError, match="no frames"):
        FrameFolderReader(tmp_path, fit=FrameFit(TINY))


def test_extraction_makes_the_same_of_frames_and_of_videos(tmp_path: Path) -> None:
    for seed, name in enumerate(("v_Archery_g01_c01", "v_Archery_g02_c01", "v_YoYo_g01_c01")):
        video = write_video(tmp_path / "videos" / f"{name}.avi", 12, seed=seed)
        frames_of_video(video, tmp_path / "frames" / name)
    settings_ = FrameSettings(size=(32, 24), stride=2, max_frames=5)
    summary = extract(tmp_path / "frames", tmp_path / "a", settings_, jobs=2, dataset="ucf101")
    extract(tmp_path / "videos", tmp_path / "b", settings_, jobs=1, dataset="ucf101")
    assert (summary.num_extracted, summary.notices) == (3, {})
    frames, videos = stored_frames(tmp_path / "a"), stored_frames(tmp_path / "b")
    assert {f"{source}.avi": stored for source, stored in frames.items()} == videos
    with open_shards(tmp_path / "a") as shards:
        assert shards.dataset == "ucf101"
        assert tuple(shards.class_names) == UCF101.class_names
        assert shards.labels.tolist() == [2, 2, 100]
        assert shards.groups == ["Archery/g01", "Archery/g02", "YoYo/g01"]
        assert shards[0].original_size == (64, 48)


def test_the_originals_frames_are_1_to_28(tmp_path: Path) -> None:
    write_frames(tmp_path / "jpegs_256" / "v_YoYo_g01_c01", *names_of(29))
    write_frames(tmp_path / "jpegs_256" / "v_YoYo_g01_c02", *names_of(20))
    extract(tmp_path / "jpegs_256", tmp_path / "s", FrameSettings((342, 256), 1, 28), jobs=1)
    with open_shards(tmp_path / "s") as shards:
        assert [clip.frames.shape for clip in shards] == [(28, 256, 342, 3), (20, 256, 342, 3)]
        assert shards[0].frames[:, 0, 0, 2].tolist() == list(range(1, 29))


def test_the_command_names_missing_and_unreadable_frames(tmp_path: Path, command: Run) -> None:
    root = tmp_path / "videos"
    write_frames(root / "a" / "gap", "frame1.png", "frame3.png", "frame9.png")
    write_frames(root / "a" / "whole", *names_of(3))
    write_frames(root / "b" / "bad", *names_of(3))
    (root / "b" / "bad" / "frame000002.png").write_bytes(b"x")
    done = command("folder", root, tmp_path / "s", "--jobs", 1, "--max-frames", 2)
    assert done.returncode == 1
    assert "a/gap: no frames of number 2\n" in done.stderr
    assert "a/whole" not in done.stderr
    assert "1 of 3 clips failed" in done.stderr
    failures = (tmp_path / "s" / "failures.csv").read_text()
    assert "b/bad,frame000002.png is not a whole picture" in failures


def change_image(folder: Path) -> None:
    (folder / "frame000002.png").write_bytes(encoded(200))


def change_time(folder: Path) -> None:
    os.utime(folder / "frame000002.png", ns=(0, 2 * 10**18))


def change_size(folder: Path) -> None:
    """As a copy that keeps times would."""
    path = folder / "frame000002.png"
    path.write_bytes(encoded(2) + b"more")
    os.utime(path, ns=(0, 10**18))


def swap_two(folder: Path) -> None:
    for old, new in (("1", "x"), ("2", "1"), ("x", "2")):
        os.rename(folder / f"frame00000{old}.png", folder / f"frame00000{new}.png")


def remove_one(folder: Path) -> None:
    (folder / "frame000003.png").unlink()


CHANGES = (change_image, change_time, change_size, swap_two, remove_one, None)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder_is_read_again(tmp_path: Path, change: object) -> None:
    folder = write_frames(tmp_path / "videos" / "a" / "x", *names_of(3))
    write_frames(tmp_path / "videos" / "a" / "y", *names_of(3))
    for path in (*folder.iterdir(), folder):
        os.utime(path, ns=(0, 10**18))
    small = FrameSettings(size=TINY)
    extract(tmp_path / "videos", tmp_path / "s", small, jobs=1)
    if callable(change):
        change(folder)
    summary = extract(tmp_path / "videos", tmp_path / "s", small, jobs=1)
    assert summary.num_extracted == (1 if change else 0)
    with open_shards(tmp_path / "s") as shards:
        stored = [frame[0, 0, 2] for frame in shards[0].frames]
    assert stored == blues(FrameFolderReader(folder, fit=FrameFit(TINY)))


def test_a_folder_that_went_away_is_forgotten(tmp_path: Path) -> None:
    for name in ("x", "y"):
        write_frames(tmp_path / "videos" / "a" / name, *names_of(2))
    extract(tmp_path / "videos", tmp_path / "s", FrameSettings(size=TINY), jobs=1)
    shutil.rmtree(tmp_path / "videos" / "a" / "x")
    extract(tmp_path / "videos", tmp_path / "s", FrameSettings(size=TINY), jobs=1)
    with open_shards(tmp_path / "s") as shards:
        assert shards.sources == ["a/y"]


def test_a_real_clip_as_frames(real_clips: Path, tmp_path: Path) -> None:
    video = sorted((real_clips / "ucf101").rglob("*.mp4"))[0]
    frames_of_video(video, tmp_path / "jpegs_256" / video.stem)
    extract(tmp_path / "jpegs_256", tmp_path / "s", FrameSettings((112, 84), 1, 28), jobs=1)
    with open_shards(tmp_path / "s") as shards:
        np.testing.assert_array_equal(shards[0].frames, read_plainly(video, (112, 84))[:28])
        assert shards[0].class_name == video.parent.name
