"""The timeline and the annotated copy, looked at by other means than those that made them."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest

from experiments.clips.classification.annotate import ClassPanel, draw_video
from experiments.clips.classification.results import Row
from experiments.clips.classification.summary import _averages, most_telling, timeline_png
from tests.experiments.classify.conftest import ffmpeg, write_colours


def rows_of(labels, stride=1):
    return [
        Row(n * stride, n * stride / 25, (label, "other $x_1$"), (0.75, 0.25))
        for n, label in enumerate(labels)
    ]


def test_averages_are_means_over_equal_spans():
    """Red when a class that is missing from a row counts as unknown, or a span is cut off."""
    rows = rows_of(["a", "b"] * 900)
    times, curves = _averages(rows, 1800, ["a", "other $x_1$"])
    assert len(times) == 600
    np.testing.assert_allclose(times, np.arange(1800).reshape(600, 3).mean(axis=1) / 25)
    a = np.where(np.arange(1800) % 2 == 0, 0.75, 0).reshape(600, 3).mean(axis=1)
    np.testing.assert_allclose(curves[0], a)
    np.testing.assert_allclose(curves[1], 0.25)


def test_every_stretch_has_a_curve():
    """Red when classes are chosen by their mean alone: the short last scene stays empty."""
    curves = np.zeros((4, 10))
    curves[0, :9], curves[1, :9], curves[2, :9], curves[3, 9] = 0.5, 0.4, 0.3, 0.9
    assert most_telling(curves, 2) == [0, 3]
    assert most_telling(curves, 9) == [0, 1, 2, 3]
    assert most_telling(curves[:1], 2) == [0]


@pytest.mark.parametrize("number", [1, 7, 2000])
def test_a_timeline_of_any_length(number):
    """Red when one row, or a name that looks like a formula, cannot be drawn."""
    rows = rows_of(["ab $\\frac{$ c"] * number)
    png = timeline_png(lambda: rows, number, title="a $b_ é.mp4")
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (600, 1500, 3)
    assert io.BytesIO(png).read(4) == b"\x89PNG"


def frames_of(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        found, frame = capture.read()
        if not found:
            return np.array(frames)
        frames.append(frame)


def test_the_copy_shows_each_rows_class(tmp_path):
    """Red when labels are a frame late, or the picture's colours change places."""
    source = write_colours(tmp_path / "-a b'c.mp4", ["red"] * 10 + ["blue"] * 10, size=(322, 240))
    rows = rows_of(["red"] * 10 + ["blue"] * 10)
    rows[10:] = [Row(row.frame, row.time_seconds, row.labels, (0.0, 0.0)) for row in rows[10:]]
    draw_video(source, rows, tmp_path / "out.mp4")
    frames = frames_of(tmp_path / "out.mp4").astype(int)
    assert frames.shape == (20, 240, 322, 3)
    upper = frames[:, :100].mean(axis=(1, 2))  # BGR
    assert (upper[:10, 2] > 180).all()
    assert (upper[10:, 0] > 180).all()
    bar_is_long = np.abs(frames[:, 216, 90, 0] - frames[:, 216, 230, 0]) > 30
    np.testing.assert_array_equal(bar_is_long, [True] * 10 + [False] * 10)


def test_rows_of_every_nth_frame_stay_until_the_next(tmp_path):
    source = write_colours(tmp_path / "x.mp4", ["green"] * 9)
    draw_video(source, rows_of(["a", "b", "c"], stride=3), tmp_path / "out.mp4")
    assert len(frames_of(tmp_path / "out.mp4")) == 9


def test_rows_without_times_show_their_own_frames(tmp_path):
    """Red when the original's columns, which tell no times, are drawn one after the other."""
    source = write_colours(tmp_path / "x.mp4", ["red"] * 12)
    ffmpeg(
        *("-i", str(source), "-vf", "settb=1/1000,setpts=N*N*20", "-fps_mode", "vfr"),
        *("-enc_time_base", "1/1000", "-c:v", "ffv1", str(tmp_path / "vfr.mkv")),
    )
    rows = [Row(n, float("nan"), ("a",), (0.9 if n < 6 else 0.0,)) for n in range(0, 12, 3)]
    draw_video(tmp_path / "vfr.mkv", rows, tmp_path / "out.mp4")
    frames = frames_of(tmp_path / "out.mp4").astype(int)
    assert len(frames) == 12
    bar = frames[:, 36, 50, 0]  # blue
    assert (np.abs(bar[:6] - bar[0]) < 12).all()
    assert (bar[6:] < bar[0] - 40).all()


def test_a_folder_of_frames(tmp_path):
    source = write_colours(tmp_path / "x.mp4", ["red"] * 9)
    (tmp_path / "frames").mkdir()
    ffmpeg("-i", str(source), str(tmp_path / "frames" / "frame%06d.png"))
    draw_video(tmp_path / "frames", rows_of(["a"] * 9), tmp_path / "out.mp4")
    assert len(frames_of(tmp_path / "out.mp4")) == 9


@pytest.mark.parametrize("size", [(16, 16), (64, 48), (1920, 1080)])
def test_a_panel_fits_any_picture(size):
    first, second = rows_of(["a very long name of a class " * 5, "日本 😀"])
    panel = ClassPanel([(0.0, first), (0.04, second)], first, size)
    assert panel.size[0] <= size[0]
    assert panel.size[1] <= size[1]
    images = panel.images()
    times, pixels = zip(*(next(images) for _ in range(4)), strict=True)
    assert times == pytest.approx((0.0, 0.04, 0.14, 0.24))
    assert {len(image) for image in pixels} == {4 * panel.size[0] * panel.size[1]}
    assert pixels[1] == pixels[2] == pixels[3]


def test_a_panel_without_rows_repeats_the_first():
    """Red when a video that ends before its first row ends in an UnboundLocalError."""
    (first,) = rows_of(["a"])
    images = ClassPanel([], first, (64, 48)).images()
    (_, one), (_, two) = next(images), next(images)
    assert one == two != b""
