"""The panel of predictions in annotated videos, by other means than those that made it."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest

from experiments.clips.prediction.panel import Panel, layout_for
from experiments.clips.prediction.predict import VideoPrediction, predict_video
from experiments.media.annotation import annotate, fitted
from experiments.media.ffmpeg import RenderError
from tests.experiments.clips.prediction.conftest import ffmpeg, frames_of, write_colours


def image_times(path) -> list[float]:
    """When each picture is shown, in seconds of the file, as ffmpeg says."""
    output = ffmpeg("-i", path, "-map", "0:v:0", "-vf", "showinfo", "-f", "null", "-")
    return [float(time) for time in re.findall(r"showinfo.* pts_time:\s*(\S+)", output)]


def annotated(model, path, out):
    annotate(path, partial(Panel, predict_video(model, path)), out)
    return out


def test_it_shows_the_moment(tmp_path, model):
    """Red when the panel is late, its colours are swapped, or the picture is changed elsewhere."""
    source = write_colours(tmp_path / "x.mp4", ["red"] * 25 + ["blue"] * 25, size=(320, 240))
    frames = frames_of(annotated(model, source, tmp_path / "out.mp4")).astype(int)
    assert frames.shape == (50, 240, 320, 3)
    upper = frames[:, :100].mean(axis=(1, 2))  # BGR
    assert (upper[:25, 2] > 180).all()
    assert (upper[25:, 0] > 180).all()
    layout = layout_for((320, 240), 3)
    bar = frames[:, 240 - layout.height + layout.title + 2, layout.width // 2]
    assert np.abs(bar[0] - bar[22]).max() < 25  # the same class, red, by far
    # The rolling mean comes over to blue within a second; its bar has another colour.
    assert np.abs(bar[0] - bar[-1]).max() > 60


def test_the_cursor_goes_from_left_to_right(tmp_path, model):
    found = predict_video(model, write_colours(tmp_path / "x.mp4", ["red"] * 50))
    panel = Panel(found, (320, 240))
    width, height = panel.size
    places = []
    for seconds in np.linspace(0, 2, 9):
        pixels = np.frombuffer(panel.image(seconds), np.uint8).reshape(height, width, 4)
        still = np.frombuffer(panel.image(9.0), np.uint8).reshape(height, width, 4)
        changed = (pixels != still).any(axis=(0, 2)).nonzero()[0]
        places.append(changed.min() if len(changed) else width - 1)
    np.testing.assert_allclose(places, np.linspace(0, width - 1, 9), atol=2)


@pytest.mark.parametrize(
    ("first", "last"), [((1, 0, 0), (0, 1, 0)), ((0, 0, 1), (1, 0, 0))], ids=["down", "up"]
)
def test_the_curve_is_the_rolling_mean(first, last):
    """Red when the curve is upside down, or another class's."""
    rows = np.array([first] * 10 + [last] * 10, np.float32)
    rows = rows * 0.9 + 0.1 * np.array([0.6, 0.3, 0.1], np.float32)
    times = np.arange(20.0)
    found = VideoPrediction(("a", "b", "c"), times, times + 1, rows, 1)
    panel = Panel(found, (640, 480))
    layout = layout_for((640, 480), 3)
    pixels = np.frombuffer(panel.image(99), np.uint8).reshape(layout.height, layout.width, 4)
    curves = pixels[-layout.curves :]
    top = found.ranking[0]
    colour = np.array([86, 180, 233, 255])
    for share in (0.2, 0.8):
        column = curves[:, int(share * layout.width)].astype(int)
        hits = (np.abs(column - colour).max(axis=1) < 30).nonzero()[0]
        height = 1 - hits.mean() / (layout.curves - 1)
        assert height == pytest.approx(rows[int(share * 20), top], abs=0.12)


@pytest.mark.parametrize("size", [(320, 240), (240, 426), (64, 48), (16, 16), (161, 121), (2, 2)])
def test_any_size(tmp_path, model, size):
    """Red when odd, tiny or portrait pictures cannot be written or change their size."""
    source = tmp_path / "x.mkv"
    args = ("-f", "lavfi", "-i", f"color=red:s={size[0]}x{size[1]}:r=10:d=1")
    ffmpeg(*args, "-c:v", "ffv1", source)
    frames = frames_of(annotated(model, source, tmp_path / "out.mp4"))
    even = tuple(side + side % 2 for side in size)
    assert frames.shape == (10, even[1], even[0], 3)


def test_pictures_and_sound_keep_their_times(tmp_path, model):
    """Red when a variable rate becomes a constant one, or the sound is lost or moved."""
    source = write_colours(tmp_path / "x.mp4", ["red", "green", "blue"] * 4)
    ffmpeg(
        *("-i", source, "-f", "lavfi", "-i", "sine=frequency=440:duration=3"),
        *("-vf", "settb=1/1000,setpts=N*N*20", "-fps_mode", "vfr"),
        *("-enc_time_base", "1/1000", tmp_path / "vfr.mkv"),
    )
    out = annotated(model, tmp_path / "vfr.mkv", tmp_path / "out.mp4")
    times = image_times(out)
    assert len(times) == 12
    np.testing.assert_allclose(times, image_times(tmp_path / "vfr.mkv"), atol=2e-3)
    output = ffmpeg("-i", out)
    assert "Audio: aac" in output
    seconds = float(re.search(r"Duration: 00:00:(\d\d\.\d\d)", output)[1])
    assert seconds == pytest.approx(3, abs=0.1)


def test_a_picture_that_comes_late(tmp_path, model):
    """Red when the panel, or the picture, begins with the sound."""
    source = write_colours(tmp_path / "x.mp4", ["red"] * 25 + ["blue"] * 25, size=(320, 240))
    ffmpeg(
        *("-itsoffset", "1.5", "-i", source, "-f", "lavfi", "-i", "sine=duration=4"),
        *("-map", "0:v", "-map", "1:a", "-c:v", "copy", tmp_path / "late.mkv"),
    )
    late = annotated(model, tmp_path / "late.mkv", tmp_path / "late.mp4")
    np.testing.assert_allclose(image_times(late), 1.5 + np.arange(50) / 25, atol=0.03)
    usual = annotated(model, source, tmp_path / "usual.mp4")
    bars = [frames_of(path)[:, 140:180, 100:200].mean(axis=(1, 2)) for path in (late, usual)]
    np.testing.assert_allclose(bars[0][::5], bars[1][::5], atol=12)


def test_a_turned_picture_is_upright(tmp_path, model):
    source = write_colours(tmp_path / "x.mp4", ["red"] * 8, size=(320, 240))
    ffmpeg("-display_rotation", "90", "-i", source, "-c", "copy", tmp_path / "turned.mp4")
    out = annotated(model, tmp_path / "turned.mp4", tmp_path / "out.mp4")
    assert frames_of(out).shape == (8, 320, 240, 3)


def test_a_folder_of_frames(tmp_path, model):
    video = write_colours(tmp_path / "x.mp4", ["red"] * 9 + ["green"] * 9)
    (tmp_path / "frames").mkdir()
    ffmpeg("-i", video, tmp_path / "frames" / "frame%06d.png")
    frames = frames_of(annotated(model, tmp_path / "frames", tmp_path / "out.mp4"))
    assert len(frames) == 18
    assert frames[0, :9].mean(axis=(0, 1)).argmax() == 2  # BGR
    assert frames[-1, :9].mean(axis=(0, 1)).argmax() == 1


def test_nothing_half_made_is_left(tmp_path, model):
    """Red when the thread that draws waits for ever, or an error is lost."""
    source = write_colours(tmp_path / "x.mp4", ["red"] * 9)
    found = predict_video(model, source)
    source.write_bytes(source.read_bytes()[:200])
    with pytest.raises(RenderError):
        annotate(source, partial(Panel, found), tmp_path / "out.mp4")

    class Broken(Exception):
        pass

    def interrupted(share: float) -> None:
        raise Broken

    source = write_colours(tmp_path / "x.mp4", ["red"] * 9)
    with pytest.raises(Broken):
        annotate(source, partial(Panel, found), tmp_path / "out.mp4", on_progress=interrupted)
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]


@pytest.mark.parametrize(
    "text", ["Archery", "日本\n語", "a" * 500, "😀", "\x00\x7f", "naïve Ωж", "", "W" * 30]
)
@pytest.mark.parametrize("width", [8, 60, 600])
def test_any_text_fits_in_its_line(text, width):
    found, font = fitted(text, 12, width)
    assert font.getlength(found) <= width
    assert "\n" not in found
    if width == 600 and text in ("Archery", "naïve Ωж"):
        assert found == text
