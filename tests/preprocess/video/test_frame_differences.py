"""Differences of frames that are measured while a video is decoded."""

from __future__ import annotations

import numpy as np
import pytest

from preprocess.video.decode import VideoReader
from preprocess.video.frame_differences import DifferenceMeter, FrameDifferences, join_differences
from preprocess.video.transforms import FrameFit
from tests.experiments.highlights.counters import ffmpeg

RATE = 25


@pytest.mark.parametrize("pixels", ["gray", "yuvj420p", "yuv420p10le"])
def test_they_are_means_over_small_frames(pixels, tmp_path):
    """Red when a difference is of another frame, of more than brightness, or not in percent."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(16, 235, (6, 36, 64)).astype(np.uint8)
    frames = np.repeat(np.repeat(blocks, 4, axis=1), 4, axis=2)
    path = tmp_path / "film.mkv"
    ffmpeg(
        *("-f", "rawvideo", "-pix_fmt", "gray", "-s", "256x144", "-r", str(RATE), "-i", "-"),
        *("-pix_fmt", pixels, "-c:v", "ffv1", str(path)),
        stdin=frames.tobytes(),
    )
    meter = DifferenceMeter()
    with VideoReader(path, fit=FrameFit((8, 8)), meter=meter) as video:
        while video.pass_over():
            pass
    found = meter.take(zero=10.0)
    assert found.times == pytest.approx(10 + np.arange(6) / RATE, abs=1e-3)
    expected = np.abs(np.diff(blocks.astype(float), axis=0)).mean(axis=(1, 2)) / 2.56
    # Stored in another range, brightness has fewer or more steps.
    assert found.values[1:] == pytest.approx(expected, rel=0.2 if pixels != "gray" else 0.02)
    assert found.values[0] == 0
    assert not len(meter.take().times)


def test_what_is_known():
    """Red when a frame that was skipped counts as known, or a known one is replaced."""
    first = FrameDifferences(np.arange(4.0), np.array([0, 1, 2, 3], np.float32))
    later = FrameDifferences(np.arange(3.0, 6), np.array([np.nan, 4, 5], np.float32))
    far = FrameDifferences(np.arange(8.0, 11), np.array([np.nan, 9, 10], np.float32))
    both = join_differences([far, later, first])
    np.testing.assert_array_equal(both.values, [0, 1, 2, 3, 4, 5, np.nan, 9, 10])
    assert both.cover(0, 5)
    assert both.cover(-1, 4.5)
    assert not both.cover(4, 5.5)
    assert both.cover(8, 10)
    assert both.cover(8, 10 + 4e-7)  # an end that was rounded
    assert not both.cover(9, 10.5)
    assert not later.cover(2, 4)
    np.testing.assert_array_equal(both.within(2, 4).values, [2, 3, 4])
