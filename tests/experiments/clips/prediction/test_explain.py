"""Occlusion through time finds the moment that decides."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from experiments.clips.prediction.explain import explain_video
from experiments.clips.prediction.job import predict_paths
from experiments.clips.prediction.predict import predict_video
from tests.experiments.clips.prediction.conftest import Colours, read_rows, write_colours


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
