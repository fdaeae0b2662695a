"""Sampled frames against the timestamps that the ffmpeg program tells."""

from __future__ import annotations

import math
import re
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from preprocess.errors import DecodeError, PreprocessError
from preprocess.video.decode import VideoReader
from preprocess.video.sampling import FrameSampler
from preprocess.video.transforms import FrameFit
from tests.preprocess.conftest import REPOSITORY, read_plainly, write_video

CLIPS = REPOSITORY.parent / "shared" / "clips"
needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason=f"no real clips in {CLIPS}")
SIZE = (16, 12)
FUNCTION_SCOPED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def ffmpeg(*args: object) -> str:
    import imageio_ffmpeg

    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y"]
    run = subprocess.run([*program, *map(str, args)], capture_output=True, text=True, check=True)
    return run.stderr


def shown_times(path: Path) -> list[float]:
    """When each frame is shown, from the first on."""
    args = ["-i", f"file:{path}", "-an", "-fps_mode", "passthrough", "-vf", "showinfo"]
    output = ffmpeg(*args, "-f", "null", "-")
    times = np.array([float(t) for t in re.findall(r"pts_time:\s*([-\d.]+)", output)])
    return list(times - times[0])


def frames_due(times: list[float], fps: float, start: float, end: float) -> list[int]:
    """By the definition: sample k is the first frame at start + k / fps or later."""
    numbers, k = [], 0
    while start + k / fps < end:
        found = [n for n, time in enumerate(times) if time >= start + k / fps - 0.0015]
        if not found:
            break
        if times[found[0]] < end - 0.0015 and found[0] not in numbers[-1:]:
            numbers.append(found[0])
        k += 1
    return numbers


def sampled(path: Path, **options: Any) -> tuple[list[float], list[np.ndarray]]:
    box = options.pop("box", None)
    start, end = options.pop("start", 0.0), options.pop("end", None)
    fit = FrameFit(options.pop("size", SIZE), interpolation="smooth", box=box)
    times, frames = [], []
    with FrameSampler(
        path, fit=fit, stretches=[(start, math.inf if end is None else end)], **options
    ) as video:
        while video.read_into(frame := np.empty(fit.frame_shape, np.uint8)):
            times.append(video.time_seconds)
            frames.append(frame)
    return times, frames


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Noise at 59.94 frames a second, at a rate that varies, and at 30 in rounded times."""
    root = tmp_path_factory.mktemp("sampling")
    source = write_video(root / "source.mp4", 180)
    paths = {"ntsc": root / "ntsc.mp4", "varying": root / "varying.mkv", "30": root / "30.mkv"}
    quiet = ["-loglevel", "error", "-i", source]
    ffmpeg(*quiet, "-vf", "setpts=N*1001/60000/TB", "-r", "60000/1001", paths["ntsc"])
    uneven = "settb=1/1000,setpts=20*N+9*mod(N*N\\,7)+if(gt(N\\,90)\\,700\\,0)"
    ffmpeg(*quiet, "-vf", uneven, "-fps_mode", "vfr", "-enc_time_base", "1/1000", paths["varying"])
    ffmpeg(*quiet, "-vf", "setpts=N/30/TB", "-r", 30, paths["30"])
    return paths


@pytest.mark.parametrize("name", ["ntsc", "varying", "30"])
@pytest.mark.parametrize(
    ("fps", "start", "end"),
    [(2, 0, None), (7.3, 0, None), (30, 0, None), (200, 0, None), (10, 0.77, 2.5), (1, 90, None)],
)
def test_samples_are_those_of_the_definition(
    videos: dict[str, Path], name: str, fps: float, start: float, end: float | None
) -> None:
    """Red when frames are counted at an average rate, or a frame comes twice."""
    path = videos[name]
    times = shown_times(path)
    expected = frames_due(times, fps, start, end if end is not None else 1e9)
    found, frames = sampled(path, fps=fps, start=start, end=end)
    np.testing.assert_allclose(found, [times[n] for n in expected], atol=2e-3)
    everything = sampled(path, stride=1)[1]
    for frame, number in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame, everything[number])


def test_rounded_times_lose_no_frame(videos: dict[str, Path]) -> None:
    """Red when frame 1 of Matroska, at 0.033, comes too early for 1/30: every other one is lost."""
    assert len(sampled(videos["30"], fps=30)[0]) == 180


@settings(max_examples=12, deadline=None, suppress_health_check=FUNCTION_SCOPED)
@given(st.floats(0.5, 70), st.floats(0, 3), st.floats(0.1, 3))
def test_parts_join_without_overlap(
    videos: dict[str, Path], fps: float, start: float, length: float
) -> None:
    """Red when a frame at the seam of two parts belongs to both, or to none."""
    path, end = videos["varying"], start + length
    part = sampled(path, fps=fps, start=start, end=end)[0]
    assert part == [time for time in sampled(path, fps=fps, start=start)[0] if time < end - 0.0015]
    before, after = (sampled(path, stride=1, **o)[0] for o in ({"end": end}, {"start": end}))
    assert before + after == sampled(path, stride=1)[0]


def test_ten_minutes_do_not_drift(tmp_path: Path) -> None:
    """Red when 59.94 is taken for 59 or 60: 9.5 s and 0.6 s off after ten minutes."""
    path = tmp_path / "long.mp4"
    source = "color=black:s=16x16:r=60000/1001:d=600"
    ffmpeg("-loglevel", "error", "-f", "lavfi", "-i", source, "-c:v", "mpeg4", "-g", 300, path)
    times = sampled(path, fps=2, size=(4, 4), end=599.9)[0]
    assert len(times) == 1200
    late = np.array(times) - np.arange(1200) / 2
    assert late.min() >= -0.0015 - 1e-9
    assert late.max() < 1001 / 60000


def test_every_nth(videos: dict[str, Path]) -> None:
    times = sampled(videos["varying"], stride=1)[0]
    assert sampled(videos["varying"], stride=7)[0] == times[::7]
    later = [time for time in times if time >= 1]
    assert sampled(videos["varying"], stride=7, start=1)[0] == later[::7]


def test_only_samples_are_converted(
    videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when every frame is made into RGB and most are thrown away."""
    converted, convert = [], VideoReader.convert_into

    def count(self: VideoReader, frame: np.ndarray) -> None:
        converted.append(self.time_seconds)
        convert(self, frame)

    monkeypatch.setattr(VideoReader, "convert_into", count)
    monkeypatch.setattr(VideoReader, "read_into", None)
    assert sampled(videos["ntsc"], fps=2)[0] == converted
    assert len(converted) == 7


def test_frames_are_rgb_and_do_not_share_memory(tmp_path: Path) -> None:
    path = write_video(tmp_path / "x.mp4", 5)
    frames = sampled(path, stride=1, size=(64, 48))[1]
    np.testing.assert_array_equal(np.stack(frames), read_plainly(path, (64, 48)))
    assert not np.shares_memory(frames[0], frames[1])


def test_the_box_is_cut_before_scaling(tmp_path: Path) -> None:
    """Red when the picture is scaled first: its details are then gone."""
    path = write_video(tmp_path / "x.mp4", 4, size=(64, 48))
    whole = read_plainly(path, (64, 48))
    box = (0.25, 0.5, 0.75, 1.0)
    (frames,) = (sampled(path, stride=1, size=(32, 24), box=box)[1],)
    np.testing.assert_array_equal(np.stack(frames), whole[:, 24:48, 16:48])
    smaller = sampled(path, stride=1, size=(16, 12), box=box)[1]
    means = whole[:, 24:48, 16:48].reshape(4, 12, 2, 16, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(np.stack(smaller), means, atol=0.51)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_the_box_is_of_the_picture_as_shown(tmp_path: Path, degrees: int) -> None:
    """Red when the box is cut out of a picture that has yet to be turned."""
    path, turned = tmp_path / "x.mp4", tmp_path / "turned.mp4"
    write_video(path, 2, size=(64, 48))
    args = ["-loglevel", "error", "-display_rotation", degrees, "-i", path, "-c", "copy", turned]
    ffmpeg(*args)
    upright = np.rot90(read_plainly(path, (64, 48)), degrees // 90, axes=(1, 2))
    height, width = upright.shape[1] // 2, upright.shape[2] // 2
    frames = sampled(turned, stride=1, size=(width, height), box=(0.5, 0, 1, 0.5))[1]
    np.testing.assert_array_equal(np.stack(frames), upright[:, :height, width:])


@given(
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True).map(sorted),
    st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True).map(sorted),
    st.sampled_from(["none", "aspect"]),
    st.booleans(),
)
def test_any_box_fills_the_frame(source, across, down, crop, centred) -> None:
    """Red when a very narrow box has no pixel; and a box is nothing but a smaller picture."""
    box = (across[0], down[0], across[1], down[1])
    width, height = source
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    fit = FrameFit((8, 6), crop=crop, centred=centred, box=box)
    plain = FrameFit((8, 6), crop=crop, centred=centred)
    frame, expected = (np.full(fit.frame_shape, 7, fit.dtype) for _ in range(2))
    fit(pixels, frame)
    left, right = (min(round(x * width), width - 1 + n) for n, x in enumerate(across))
    top, bottom = (min(round(y * height), height - 1 + n) for n, y in enumerate(down))
    plain(pixels[top : max(bottom, top + 1), left : max(right, left + 1)], expected)
    np.testing.assert_array_equal(frame, expected)


def test_a_fit_with_a_box_is_a_key_and_plain_values() -> None:
    fit = FrameFit((8, 6), box=(0.1, 0.2, 0.3, 0.4))
    assert hash(fit) == hash(FrameFit(**asdict(fit)))
    assert FrameFit((8, 6)).box is None


@pytest.mark.parametrize("box", [(0.5, 0, 0.5, 1), (-0.1, 0, 1, 1), (0, 0, 64, 48), (0, 0.9, 1, 0)])
def test_boxes_out_of_range(tmp_path: Path, box: tuple[float, ...]) -> None:
    with pytest.raises(PreprocessError, match="divide pixels by the picture's width"):
        FrameFit(SIZE, box=box)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Either fps or every"),
        ({"fps": 1, "stride": 1}, "Either fps or every"),
        ({"fps": 0}, "fps must be above 0"),
        ({"stride": 0}, "every must be at least 1"),
    ],
)
def test_arguments_out_of_range(tmp_path: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(PreprocessError, match=message):
        FrameSampler(tmp_path / "x.mp4", fit=FrameFit(SIZE), **options)


def test_errors_give_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="No such file"):
        sampled(tmp_path / "x.mp4", stride=1)


@needs_clips
@pytest.mark.parametrize("name", ["delayed_start.mp4", "counter.mp4", "vfr_mp4_named.webm"])
def test_real_clips(name: str) -> None:
    path = CLIPS / "odd" / name
    times = shown_times(path)
    expected = [times[n] for n in frames_due(times, 5, 0, 4)]
    found, frames = sampled(path, fps=5, end=4, size=(64, 48))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert cv2.cvtColor(frames[0], cv2.COLOR_RGB2GRAY).shape == (48, 64)
