"""Occlusion finds the moment and the place that decide."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from experiments.clips.explanation import explain
from experiments.clips.prediction.job import explain_video, predict_paths
from experiments.clips.prediction.predict import predict_video
from tests.experiments.clips.prediction.conftest import Colours, read_rows, write_colours
from tests.experiments.clips.prediction.conftest import model as model


class Flash(Colours):
    """Model that takes a window for red if one of its frames is: red, or else blue."""

    def predict(self, windows, original_size):
        means = [frames.mean(axis=(1, 2)) for frames in windows]  # (T, 3) each
        reds = np.array([(mean[:, 0] > mean[:, 2] + 100).any() for mean in means])
        return np.stack([0.8 * reds + 0.1, np.full(len(reds), 0.1), 0.8 - 0.8 * reds], 1)


@pytest.mark.parametrize("flash", [2, 7, 17])
def test_the_deciding_moment_is_found(flash, tmp_path):
    """Red when parts are counted from elsewhere, or another window or class is explained."""
    colours = ["blue"] * 18
    colours[flash] = "red"
    video, model = write_colours(tmp_path / "x.mp4", colours), Flash(window=6)
    prediction = predict_video(model, video, hop=6)
    assert prediction.vote == 2  # most windows are blue; the mean decides what is explained
    found = explain_video(model, video, prediction, hop=6, parts=3)
    assert (found.class_name, len(found.drops)) == ("blue", 3)
    # With red frames in each window the class is red, and rests on the part with the flash.
    colours = ["blue"] * 12
    colours[flash % 6] = colours[flash % 6 + 6] = "red"
    video = write_colours(tmp_path / "y.mp4", colours)
    found = explain_video(model, video, predict_video(model, video, hop=6), hop=6, parts=3)
    assert found.class_name == "red"
    part = flash % 6 // 2
    np.testing.assert_allclose(found.drops, np.where(np.arange(3) == part, 0.8, 0), atol=1e-6)
    np.testing.assert_allclose(found.starts, [0, 0.08, 0.16], atol=1e-3)  # at 25 frames a second
    assert found.frames.shape == (3, 16, 20, 3)


def spark(frames: np.ndarray) -> float:
    """Probability that rests on the red of 10 x 10 pixels from (10, 30), in frames 6 and 7."""
    return 0.2 + 0.7 * float(frames[6:8, 10:20, 30:40, 0].mean()) / 255


def explained_spark(**options):
    """Explain `spark` for a clip of 12 frames of 40 x 50 pixels, with red all over the picture."""
    frames = np.full((12, 40, 50, 3), (0, 60, 120), np.uint8)
    frames[6:8, 10:20, 30:40] = 255, 0, 0  # what decides
    frames[2:4, 30:40, 0:10] = 255, 0, 0  # as red, at another moment and place
    return explain(
        lambda copies: np.array([[1 - spark(copy), spark(copy)] for copy in copies]),
        frames,
        1,
        class_name="spark",
        start_seconds=2.0,
        end_seconds=8.0,
        **options,
    )


def test_the_deciding_place_is_found():
    """Red when rows and columns are swapped, or another cell or only some frames are covered."""
    found = explained_spark(parts=6)
    # Red is there for a sixth of the time, and a sixtieth of all pixels.
    by_time = np.where(np.arange(6) == 3, 0.7 * 5 / 6, 0)
    np.testing.assert_allclose(found.drops, by_time, atol=0.003)
    np.testing.assert_allclose(found.starts, np.arange(2, 8))
    by_place = np.zeros((4, 5))
    by_place[1, 3] = 0.7 * (1 - 1 / 60)
    np.testing.assert_allclose(found.places, by_place, atol=0.003)
    assert found.probability == pytest.approx(0.9)


def test_the_deciding_place_is_lit_in_the_deciding_frame():
    """Red when the spotlight lies elsewhere, or shows another frame."""
    found = explained_spark(parts=6)
    light = found.spotlight()
    np.testing.assert_array_equal(light[10:20, 30:40], np.full((10, 10, 3), (255, 0, 0)))
    np.testing.assert_array_equal(light[:10, :10], np.full((10, 10, 3), (0, 12, 24)))
    strip = found.strip()
    # The spotlight and six frames of 120 x 150 pixels, each over its bar.
    assert strip.shape == (160, 7 * 150 + 8 + 5 * 2, 3)
    bars = (strip[120:, :, 1] == 158).sum(axis=0)
    assert bars.max() == 40
    assert np.flatnonzero(bars).min() == 150 + 8 + 3 * 152
    assert np.count_nonzero(bars) == 150


def test_a_window_of_a_pixel_or_a_frame_is_explained():
    """Red when there are more parts than frames, or cells without a pixel."""
    for shape, places in (((1, 1, 1, 3), (1, 1)), ((3, 2, 90, 3), (2, 8)), ((2, 90, 2, 3), (4, 1))):
        found = explain(
            lambda copies: np.full((len(copies), 1), 0.5),
            np.zeros(shape, np.uint8),
            0,
            class_name="x",
            start_seconds=0,
            end_seconds=1,
        )
        assert (found.places.shape, len(found.drops)) == (places, min(12, shape[0]))
        assert not found.places.any()
        assert found.strip().dtype == np.uint8


def test_the_picture_is_written_beside_the_table(tmp_path, model):
    """Red when the flag does nothing, or the picture is empty."""
    video = write_colours(tmp_path / "v" / "x.mp4", ["red", "green", "green", "blue"] * 3)
    out = tmp_path / "out"
    assert predict_paths(model, [video], out, annotate=False, explain=True) == 0
    image = cv2.imread(str(out / "x.explained.png"))
    assert image is not None
    assert image.shape[1] > 300
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 50
    assert len(read_rows(out / "x.csv")) == 5
