"""Real clips: UCF11's own, and files that are odd in every way."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from preprocess import open_shards
from tests.preprocess.conftest import Run, read_plainly

UCF11_FRAMES = {
    "basketball/v_shooting_01/v_shooting_01_01.mpg": 108,  # its header claims 106
    "basketball/v_shooting_01/v_shooting_01_02.mpg": 141,  # and this one's 138
}
ODD_FRAMES = {
    "-video-with-dash-.mp4": 5,
    "SAR-2by3.mp4": 60,
    "av1_video.mkv": 125,
    "bt709_full_range.mp4": 30,
    "counter.mp4": 30,
    "delayed_start.mp4": 24,
    "filename with spaces and '_half_res.mp4": 324,
    "h264-mjpeg.mp4": 60,
    "h264-png.mkv": 60,
    "h264_10bits.mp4": 30,
    "h265_10bits.mp4": 30,
    "h265_video.mp4": 10,
    "issue-134-rotate.mp4": 240,
    "mov_text.mp4": 40,
    "no_duration.webm": 74,
    "test_13_frames.mp4": 13,
    "test_yuv422p.mp4": 60,
    "vfr_mp4_named.webm": 150,
    "video_with_failing_audio.mp4": 280,
}
ODD_FAILURES = {
    "bad_video.mp4": "moov atom not found",
    "zero_bytes.webm": "the file is empty",
}


def test_ucf11_clips(real_clips: Path, tmp_path: Path, command: Run) -> None:
    done = command("ucf11", real_clips / "ucf11", tmp_path)
    assert done.returncode == 0, done.stderr
    with open_shards(tmp_path) as shards:
        assert dict(zip(shards.sources, shards.num_frames.tolist(), strict=True)) == UCF11_FRAMES
        assert shards.dataset == "ucf11"
        assert len(shards.class_names) == 11
        for clip in shards:
            assert clip.original_size == (320, 240)
            assert clip.fps == pytest.approx(29.97, abs=0.01)
            expected = read_plainly(real_clips / "ucf11" / clip.source)
            np.testing.assert_array_equal(clip.frames, expected)


def test_odd_files_are_read_or_named(real_clips: Path, tmp_path: Path, command: Run) -> None:
    done = command("ucf11", real_clips / "odd", tmp_path)
    assert done.returncode == 1
    assert "2 of 21 clips failed; see" in done.stderr
    assert "Traceback" not in done.stderr
    with (tmp_path / "failures.csv").open(newline="") as file:
        failures = {row["source"]: row["reason"] for row in csv.DictReader(file)}
    assert failures.keys() == ODD_FAILURES.keys()
    for source, reason in ODD_FAILURES.items():
        assert reason in failures[source]
    with open_shards(tmp_path) as shards:
        assert dict(zip(shards.sources, shards.num_frames.tolist(), strict=True)) == ODD_FRAMES
        rotated = shards[shards.sources.index("issue-134-rotate.mp4")]
        assert rotated.original_size == (544, 1280)  # stored lying, shown upright
        counted = shards[shards.sources.index("counter.mp4")]
        assert len({frame.tobytes() for frame in counted.frames}) == 30
