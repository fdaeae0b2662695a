"""Windows against a list of all frames, and what follows from their probabilities."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.clips.prediction.predict import (
    VideoPrediction,
    predict_video,
    rolling_mean,
    sliding_windows,
)
from preprocess.errors import DecodeError
from tests.experiments.clips.prediction.conftest import Colours, ffmpeg, write_colours


class NumberedFrames:
    """A reader whose frame n holds n and is shown after n^2 hundredths of a second."""

    def __init__(self, num_frames: int) -> None:
        self._left = iter(range(num_frames))
        self.info = SimpleNamespace(fps=10.0)
        self.time_seconds = -1.0

    def read_into(self, frame) -> bool:
        number = next(self._left, None)
        if number is None:
            return False
        frame[:] = number
        self.time_seconds = number**2 / 100
        return True


@given(st.integers(0, 40), st.integers(1, 12), st.integers(1, 15))
def test_windows_cover_a_clip_to_its_end(num_frames, window, hop):
    """Red when the last frames are in no window, one comes twice, or times are a frame off."""
    found = list(sliding_windows(NumberedFrames(num_frames), (1, 1, 3), window=window, hop=hop))
    starts = list(range(0, max(num_frames - window, 0) + 1, hop))
    if num_frames > window and starts[-1] != num_frames - window:
        starts.append(num_frames - window)
    expected = [list(range(num_frames))[start : start + window] for start in starts]
    assert [one.frames[:, 0, 0, 0].tolist() for one in found] == (expected if num_frames else [])
    times = [number**2 / 100 for number in range(num_frames)]
    ends = [*times, times[-1] + 0.1 if times else 0.0]
    for one, numbers in zip(found, expected, strict=False):
        assert one.start_seconds == times[numbers[0]]
        assert one.end_seconds == pytest.approx(ends[numbers[-1] + 1])


def test_only_a_window_is_in_memory():
    """Red when a video's frames are gathered."""
    windows = sliding_windows(NumberedFrames(10**12), (1, 1, 3), window=3, hop=2)
    assert next(windows).frames[:, 0, 0, 0].tolist() == [0, 1, 2]


@given(st.integers(1, 20), st.integers(1, 8), st.integers(0, 99))
def test_rolling_mean_is_over_the_past(num_rows, width, seed):
    values = np.random.default_rng(seed).random((num_rows, 3)).astype(np.float32)
    expected = [values[max(0, row - width + 1) : row + 1].mean(axis=0) for row in range(num_rows)]
    np.testing.assert_allclose(rolling_mean(values, width), expected, rtol=1e-5, atol=1e-7)


def prediction(rows) -> VideoPrediction:
    starts = np.arange(len(rows), dtype=float)
    names = tuple("abc")[: len(rows[0])]
    return VideoPrediction(names, starts, starts + 2, np.array(rows, np.float32), 2)


def test_the_vote_need_not_be_the_mean():
    """Red when the vote is taken from means, or from the rolling ones."""
    found = prediction([[0.6, 0.4, 0], [0, 1, 0], [0.6, 0.4, 0], [0.6, 0.4, 0]])
    assert (found.vote, found.ranking) == (0, [1, 0, 2])
    assert found.votes.tolist() == [3, 1, 0]
    assert found.duration_seconds == 5


def test_a_tied_vote_goes_to_the_higher_mean():
    assert prediction([[0.6, 0.4, 0], [0, 0.9, 0.1]]).vote == 1
    assert prediction([[0.6, 0.4], [0.4, 0.6]]).vote == 0


@pytest.mark.parametrize("colour", ["red", "green", "blue"])
def test_colours_keep_their_places(tmp_path, model, colour):
    """Red when a model is given BGR, as OpenCV decodes."""
    found = predict_video(model, write_colours(tmp_path / "x.mp4", [colour] * 9))
    assert found.class_names[found.ranking[0]] == colour
    assert found.mean.max() > 0.75


def test_a_folder_of_frames_is_seen_as_its_video(tmp_path, model):
    """Red when one way of reading swaps colours, or leaves out frames."""
    video = write_colours(tmp_path / "x.mp4", ["red", "blue", "green"] * 5)
    (tmp_path / "frames").mkdir()
    ffmpeg("-i", video, tmp_path / "frames" / "frame%06d.png")
    ours, theirs = predict_video(model, video), predict_video(model, tmp_path / "frames")
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=0.02)
    np.testing.assert_allclose(ours.start_seconds, theirs.start_seconds, atol=1e-3)
    np.testing.assert_allclose(ours.end_seconds, theirs.end_seconds, atol=1e-3)


def test_frames_are_those_of_training(tmp_path):
    """Against a plain loop: red when the stride, the size or the end is another."""
    path = tmp_path / "x.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=80x64:r=10:d=5", path)
    model = Colours(window=5, stride=3, max_frames=2)
    found = predict_video(model, path, hop=2)
    capture, frames = cv2.VideoCapture(str(path)), []
    while (image := capture.read()[1]) is not None:
        frames.append(cv2.resize(image, (20, 16))[..., ::-1])
    assert len(frames) == 50
    kept = frames[::3]  # 17: windows from 0, 2, ... 12
    for start, seen in zip(range(0, 13, 2), model.seen, strict=True):
        np.testing.assert_array_equal(seen, kept[start : start + 5])
    np.testing.assert_allclose(found.start_seconds, 0.6 * np.arange(7), atol=1e-3)
    np.testing.assert_allclose(found.end_seconds[:-1], 0.6 * np.arange(6) + 1.5, atol=1e-3)
    assert found.duration_seconds == pytest.approx(5, abs=1e-3)


def test_times_are_those_of_the_file(tmp_path, model):
    """Red when frames are counted: at a variable rate they are not equally far apart."""
    source = write_colours(tmp_path / "x.mp4", ["red"] * 12)
    args = ("-vf", "settb=1/1000,setpts=N*N*20", "-fps_mode", "vfr", "-enc_time_base", "1/1000")
    ffmpeg("-i", source, *args, tmp_path / "vfr.mkv")
    found = predict_video(model, tmp_path / "vfr.mkv", hop=4)
    np.testing.assert_allclose(found.start_seconds, [0, 0.32, 1.28], atol=2e-3)
    np.testing.assert_allclose(found.end_seconds[:2], [0.32, 1.28], atol=2e-3)


def test_what_cannot_be_read(tmp_path, model):
    (tmp_path / "junk.mp4").write_bytes(b"junk" * 40)
    with pytest.raises(DecodeError, match="not a video"):
        predict_video(model, tmp_path / "junk.mp4")
    source = write_colours(tmp_path / "x.mp4", ["red", "blue"] * 40, size=(320, 240))
    ffmpeg("-i", source, "-c:v", "mjpeg", tmp_path / "cut.avi")
    content = (tmp_path / "cut.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    found = predict_video(model, tmp_path / "cut.avi")
    assert found.is_cut_short
    assert "of 80 frames decoded" in found.complaint
