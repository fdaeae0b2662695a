"""Frames against a plain OpenCV loop."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from preprocess import DecodeError, iter_frames
from preprocess.video.decode import VideoReader
from preprocess.video.transforms import FrameFit
from preprocess.video.video_decoder import StreamClock
from preprocess.video.video_file import clock_restarts, joined_at
from tests.preprocess.conftest import read_plainly, write_video
from tests.processes import REPOSITORY


def stack(path: Path, **options: object) -> np.ndarray:
    return np.stack(list(iter_frames(path, **options)))


@pytest.mark.parametrize("suffix", [".mpg", ".avi", ".mp4"])
def test_frames_are_opencvs_own_in_rgb(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"x{suffix}", 7)
    frames = stack(path)
    assert frames.dtype == np.uint8
    assert frames.shape == (7, 120, 160, 3)
    np.testing.assert_array_equal(frames, read_plainly(path))


def test_the_first_channel_is_red(tmp_path: Path) -> None:
    import cv2

    writer = cv2.VideoWriter(
        str(tmp_path / "red.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48)
    )
    writer.write(np.full((48, 64, 3), (0, 0, 255), np.uint8))  # OpenCV's order: blue first
    writer.release()
    red, green, blue = stack(tmp_path / "red.avi")[0].mean(axis=(0, 1))
    assert red > 200
    assert max(green, blue) < 50


def test_a_frame_of_the_wanted_size_is_not_scaled(tmp_path: Path) -> None:
    path = write_video(tmp_path / "x.mpg", 3, size=(64, 48))
    np.testing.assert_array_equal(stack(path, size=(64, 48)), read_plainly(path, (64, 48)))


@pytest.mark.parametrize("stride", [1, 2, 3, 11, 50])
@pytest.mark.parametrize("max_frames", [None, 1, 4, 100])
def test_stride_then_max_frames(tmp_path: Path, stride: int, max_frames: int | None) -> None:
    path = write_video(tmp_path / "x.mpg", 11)
    expected = read_plainly(path)[::stride][:max_frames]
    np.testing.assert_array_equal(stack(path, stride=stride, max_frames=max_frames), expected)


def test_frames_do_not_share_memory(tmp_path: Path) -> None:
    path = write_video(tmp_path / "x.mpg", 3)
    first, second, _ = iter_frames(path)
    assert not np.shares_memory(first, second)


def test_info(tmp_path: Path) -> None:
    path = write_video(tmp_path / "x.mp4", 9, size=(64, 48))
    with VideoReader(path, fit=FrameFit((160, 120))) as video:
        assert video.info.fps == pytest.approx(25)
        assert (video.info.width, video.info.height) == (64, 48)
        assert video.info.claimed_frames == 9
        assert video.info.size_bytes == path.stat().st_size
        assert video.info.mtime_ns == path.stat().st_mtime_ns


@pytest.mark.parametrize("name", ["-i.mpg", "a:b c'd.mpg", "100%d.mpg", "é.mpg"])
def test_any_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_video(tmp_path / "x.mpg", 3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(list(iter_frames(name))) == 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"", "empty"), (b"no video" * 9, "not a video")],
)
def test_errors_give_the_reason(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(DecodeError, match=reason):
        list(iter_frames(tmp_path / "x.mp4"))


def test_a_name_that_is_not_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mpg"))
    write_video(tmp_path / "x.mpg", 3).rename(path)
    with pytest.raises(DecodeError, match="UTF-8"):
        list(iter_frames(path))


def ffmpeg_times(path: Path) -> np.ndarray:
    """When each frame is shown, as the ffmpeg program says."""
    import re
    import subprocess

    import imageio_ffmpeg

    args = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-i", f"file:{path}", "-an"]
    args += ["-map", "0:V:0", "-fps_mode", "passthrough", "-vf", "showinfo", "-f", "null", "-"]
    output = subprocess.run(args, capture_output=True, text=True, check=True).stderr
    return np.array([float(t) for t in re.findall(r"pts_time:\s*([-\d.]+)", output)])


def times_of(path: Path, **options: object) -> list[float]:
    fit = FrameFit((8, 8))
    frame = np.empty(fit.frame_shape, np.uint8)
    with VideoReader(path, fit=fit, **options) as video:
        times = []
        while video.read_into(frame):
            times.append(video.time_seconds)
    return times


@pytest.fixture(scope="module")
def variable_rate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames that come ever more slowly."""
    import subprocess

    import imageio_ffmpeg

    root = tmp_path_factory.mktemp("variable")
    source = write_video(root / "x.mp4", 12)
    args = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-nostdin", "-i", str(source)]
    args += ["-vf", "settb=1/1000,setpts=N*N*10", "-fps_mode", "vfr", "-enc_time_base", "1/1000"]
    subprocess.run([*args, str(root / "vfr.mkv")], check=True)
    return root / "vfr.mkv"


def test_times_are_the_streams_own(variable_rate: Path) -> None:
    """Red when times are made of a frame number and an average rate."""
    expected = np.arange(12) ** 2 / 100
    np.testing.assert_allclose(ffmpeg_times(variable_rate), expected, atol=1e-3)
    np.testing.assert_allclose(times_of(variable_rate), expected, atol=1e-3)
    np.testing.assert_allclose(times_of(variable_rate, stride=3), expected[::3], atol=1e-3)


def test_times_after_passing_over(variable_rate: Path) -> None:
    fit = FrameFit((8, 8))
    frame = np.empty(fit.frame_shape, np.uint8)
    with VideoReader(variable_rate, fit=fit, stride=2) as video:
        assert all(video.pass_over() for _ in range(3))
        assert video.read_into(frame)
        assert video.time_seconds == pytest.approx(0.36, abs=1e-3)
        assert video.num_given == 4
        assert all(video.pass_over() for _ in range(2))
        assert not video.pass_over()


def ticked(stamps: list[float | None], **options: float | None) -> list[float]:
    clock = StreamClock(0.04, **options)
    return [round(clock.tick(stamp), 6) for stamp in stamps]


def test_times_never_go_back() -> None:
    """Red when a frame without a timestamp, or with a wrong one, is shown before the one before."""
    assert ticked([0.04, 0.08, None, 0.13, 0.16]) == [0.04, 0.08, 0.12, 0.13, 0.16]
    assert ticked([0.04, 0.08, 0.07, 0.12]) == [0.04, 0.08, 0.1, 0.12]
    assert ticked([0.04, 0.08, 0.08, 0.16]) == [0.04, 0.08, 0.1, 0.16]
    assert ticked([None, None]) == [0.0, 0.04]


def test_times_go_on_where_the_clock_begins_again() -> None:
    """Red when two files joined by `cat` are read at half steps from the second on."""
    first, second = [n * 0.04 for n in range(100)], [1.4 + n * 0.04 for n in range(100)]
    np.testing.assert_allclose(ticked(first + second), np.arange(200) * 0.04)
    np.testing.assert_allclose(ticked(first + second + first), np.arange(300) * 0.04)


def test_one_wrong_timestamp_is_no_new_clock() -> None:
    """Red when all times after a damaged one are shifted."""
    stamps: list[float | None] = [n * 0.04 for n in range(40)]
    expected = np.arange(40) * 0.04
    for wrong in (0.0, 26.5 * 3600):
        stamps[20] = wrong
        np.testing.assert_allclose(ticked(stamps), expected)
        np.testing.assert_allclose(ticked(stamps, ending=2.0), expected)


def test_a_long_gap_is_a_gap_in_a_file_of_one_clock() -> None:
    """Red when a minute in which a screen recording shows nothing new is cut out; FFmpeg takes it
    for a new clock in streams alone."""
    stamps: list[float | None] = [0.0, 0.04, 60.0, 60.04]
    assert ticked(stamps, ending=60.08) == stamps
    assert ticked(stamps) == [0.0, 0.04, 0.08, 0.12]


def joined(path: Path, *args: str) -> tuple[Path, Path]:
    """Two seconds of 25 frames/s, and the same file twice over."""
    import subprocess

    import imageio_ffmpeg

    source = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-nostdin", "-f", "lavfi"]
    source += ["-i", "testsrc2=s=320x240:d=2", "-f", "lavfi", "-i", "sine=d=2"]
    subprocess.run([*source, "-c:v", "libx264", "-qp", "1", *args, str(path)], check=True)
    twice = path.with_name(f"twice{path.suffix}")
    twice.write_bytes(2 * path.read_bytes())
    return path, twice


def read_through(path: Path) -> tuple[int, str]:
    frame = np.empty((8, 8, 3), np.uint8)
    with VideoReader(path, fit=FrameFit((8, 8))) as video:
        while video.read_into(frame):
            pass
        return video.num_given, video.complaint


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_part_that_is_not_read_is_told(tmp_path: Path, suffix: str) -> None:
    """Red when FFmpeg ends at the second of two joined files and nobody says so."""
    once, twice = joined(tmp_path / f"once{suffix}")
    assert read_through(once) == (50, "")
    num_frames, complaint = read_through(twice)
    assert (num_frames, bool(complaint)) in ((50, True), (100, False))
    if suffix == ".mp4":
        place = f"{once.stat().st_size:,}"
        assert complaint == f"another file is joined to this one at byte {place}; it is not read"


@pytest.mark.parametrize(
    "content",
    [
        b"\0\0\0\x10ftypmp42\0\0\0\0" + b"\0\0\0\1mdat" + b"\xff" * 8,
        b"\0\0\0\x10ftypmp42\0\0\0\0" + b"\0\0\0\1mdat\0\1" + bytes(6),
        b"\x1a\x45\xdf\xa3\x81\0" + b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xfe",
        b"\x1a\x45\xdf\xa3\x01\x7f\xff\xff\xff\xff\xff\xfe",
        b"\x1a\x45\xdf\xa3",
    ],
)
def test_sizes_that_no_file_has_are_no_second_file(tmp_path: Path, content: bytes) -> None:
    """Red when a damaged size is sought to, which ends the job instead of the clip."""
    (tmp_path / "x").write_bytes(content)
    assert joined_at(tmp_path / "x") is None


def test_two_matroska_files_that_are_read_as_one(tmp_path: Path) -> None:
    """Red when the second part is looked for on the clock of the first by seeking."""
    once, twice = joined(tmp_path / "once.mkv", "-an")
    assert read_through(twice) == (100, "")
    assert [clock_restarts(path) for path in (once, twice)] == [False, True]
    np.testing.assert_allclose(times_of(twice), np.arange(100) / 25, atol=1e-3)


CLIPS = REPOSITORY.parent / "shared" / "clips"
UNLIKE_FFMPEG = {"h264-png.mkv"}  # its times go backwards


@pytest.mark.skipif(not CLIPS.is_dir(), reason="needs the real clips in ../shared/clips")
def test_times_of_real_clips() -> None:
    """Red when a container's timestamps are not honoured; and no time ever lies before another."""
    paths = sorted([*CLIPS.glob("odd/*"), *CLIPS.glob("actions/*"), *CLIPS.glob("asl/a*")])
    checked = 0
    for path in paths:
        try:
            times = np.array(times_of(path))
        except DecodeError:
            continue
        assert (np.diff(times) > 0).all(), path.name
        if path.name in UNLIKE_FFMPEG or not len(times):
            continue
        expected = ffmpeg_times(path)
        np.testing.assert_allclose(times, expected, atol=2e-3, err_msg=path.name)
        checked += 1
    assert checked > 15
