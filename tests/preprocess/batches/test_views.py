"""Views: which frames and which part of a picture, against plain slicing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess import PreprocessError
from preprocess.batches.cutting import cut, read_frames
from preprocess.batches.views import Crop, CropChoice, FrameChoice, Views

choices = st.builds(
    FrameChoice,
    st.integers(1, 12),
    st.sampled_from(["window", "segments", "rounded segments"]),
    st.sampled_from(["first", "random"]),
    st.booleans(),
)
stored = st.integers(1, 60)


@given(choices, stored, st.integers(0, 9))
def test_drawn_frames_are_the_clips_in_order(
    choice: FrameChoice, num_stored: int, seed: int
) -> None:
    """Red when a view runs past the end, or goes back in time though the clip is long enough."""
    frames = choice.drawn(num_stored, np.random.default_rng(seed))
    assert len(frames) == choice.length(num_stored)
    assert frames.min() >= 0
    assert frames.max() < num_stored
    if num_stored >= choice.num_frames:
        shares = choice.sampling == "rounded segments"  # neighbours share a frame
        assert (np.diff(frames) >= (0 if shares else 1)).all()
        if choice.sampling == "window":
            assert (np.diff(frames) == 1).all()
            assert choice.start != "first" or frames[0] == 0


@given(choices, stored, st.integers(1, 10))
def test_tested_views_are_spread_over_the_clip(
    choice: FrameChoice, num_stored: int, num_places: int
) -> None:
    """Red when the first view does not begin, or the last does not end, where the clip does."""
    views = [choice.tested(num_stored, place, num_places) for place in range(num_places)]
    starts = [int(view[0]) for view in views]
    assert starts == sorted(starts)
    assert all(view.max() < num_stored for view in views)
    if choice.sampling == "window" and num_places > 1 and num_stored >= choice.num_frames:
        assert starts[0] == 0
        assert views[-1][-1] == num_stored - 1


def test_one_view_is_the_middle_or_the_first() -> None:
    assert FrameChoice(4).tested(11, 0, 1).tolist() == [4, 5, 6, 7]
    assert FrameChoice(4, start="first").tested(11, 0, 1).tolist() == [0, 1, 2, 3]
    assert FrameChoice(3, "segments").tested(12, 0, 1).tolist() == [2, 6, 10]
    assert FrameChoice(3, "segments", "first").tested(12, 0, 1).tolist() == [0, 4, 8]


def test_a_random_segment_frame_may_be_any_of_its_segment() -> None:
    """Red when a segment's last frame is never drawn, or that of another is."""
    choice, rng = FrameChoice(3, "segments"), np.random.default_rng(0)
    drawn = np.array([choice.drawn(12, rng) for _ in range(300)])
    for segment, column in enumerate(drawn.T):
        assert set(column) == set(range(4 * segment, 4 * segment + 4))


def test_short_clips_begin_again_or_stay_short() -> None:
    rng = np.random.default_rng(0)
    assert FrameChoice(5).drawn(3, rng).tolist() == [0, 1, 2, 0, 1]
    assert FrameChoice(5, exact=False).drawn(3, rng).tolist() == [0, 1, 2]
    assert FrameChoice(5, "segments").tested(3, 0, 1).tolist() == [0, 0, 1, 1, 2]


@given(st.integers(8, 40), st.integers(8, 40), st.floats(1, 3), st.booleans(), st.integers(0, 9))
def test_drawn_crops_lie_in_the_picture(
    width: int, height: int, zoom: float, mirror: bool, seed: int
) -> None:
    choice = CropChoice((8, 6), zoom, mirror)
    crop = choice.drawn((width, height), np.random.default_rng(seed))
    assert crop.left >= 0
    assert crop.top >= 0
    assert crop.left + crop.width <= width
    assert crop.top + crop.height <= height
    assert mirror or not crop.mirrored
    assert round(8 / zoom) - 1 <= crop.width <= 8


def test_three_crops_lie_along_the_longer_way() -> None:
    wide = [CropChoice((10, 10)).tested((30, 12), n, 3) for n in range(3)]
    assert [(crop.left, crop.top) for crop in wide] == [(0, 1), (10, 1), (20, 1)]
    high = [CropChoice((10, 10)).tested((12, 30), n, 3) for n in range(3)]
    assert [(crop.left, crop.top) for crop in high] == [(1, 0), (1, 10), (1, 20)]
    assert CropChoice((10, 10)).tested((30, 12), 0, 1) == wide[1]


def test_cut_slices_mirrors_and_enlarges() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 10, 3), np.uint8)
    part = frames[:, 1:5, 2:8]
    np.testing.assert_array_equal(cut(frames, Crop(1, 2, 4, 6), (6, 4)), part)
    mirrored = cut(frames, Crop(1, 2, 4, 6, mirrored=True), (6, 4))
    np.testing.assert_array_equal(mirrored, part[:, :, ::-1])
    assert cut(frames, Crop(1, 2, 4, 6), (12, 8)).shape == (2, 8, 12, 3)


def test_frames_are_read_in_the_order_asked_for() -> None:
    class Clip:
        def read(self, *, start: int = 0, max_frames: int | None = None) -> np.ndarray:
            return np.arange(100)[start:][:max_frames]

    wanted = np.array([7, 9, 7, 8])
    assert read_frames(Clip(), wanted).tolist() == wanted.tolist()


@pytest.mark.parametrize("text", ["", "10", "x3", "10x", "0x1", "3x2", "10x3x1", "-1x1", "1.5x1"])
def test_other_views_are_refused(text: str) -> None:
    with pytest.raises(PreprocessError, match="views must be"):
        Views.parse(text)


def test_views_are_read_and_written() -> None:
    assert str(Views.parse("10x3")) == "10x3"
    assert list(Views(2, 3)) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_too_small_frames_are_told() -> None:
    with pytest.raises(PreprocessError, match="stored frames, which are 100x120"):
        CropChoice((112, 112)).require_fit((100, 120))


GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "timesformer_views.npz")
"""The original's own views; golden/make_timesformer_views.py says how they were made."""
IMAGES = sorted(name.removeprefix("test_") for name in GOLDEN.files if name[:5] == "test_")
SCALED = CropChoice((16, 16), mirror=True, short_sides=(19, 24))


def original_images(name: str) -> tuple[tuple[int, int], np.ndarray]:
    """Width and height, and the clip that make_timesformer_views.py's rule makes, in RGB."""
    width, height = map(int, name.split("x"))
    images = [
        np.random.default_rng([2021, number]).integers(0, 256, (height, width, 3), np.uint8)
        for number in range(11)
    ]
    return (width, height), np.stack(images)[..., ::-1]


def assert_normalized(view: np.ndarray, golden: np.ndarray) -> None:
    """A view uint8 (T, H, W, 3), RGB, against floats (3, T, H, W), BGR, less .45 and over .225.

    The original scales floats, so what is rounded here is at most half a level off.
    """
    levels = (golden[::-1].transpose(1, 2, 3, 0) * 0.225 + 0.45) * 255
    assert np.abs(view - levels).max() <= 0.5 + 1e-2


@pytest.mark.parametrize("num_frames", [8, 16])
def test_rounded_segments_are_the_originals(num_frames: int) -> None:
    """Red when an edge is rounded down, halves go up, or the last frame of a segment is left out
    of what training draws from."""
    choice = FrameChoice(num_frames, "rounded segments")
    for length, rows in enumerate(GOLDEN[f"segments_{num_frames}"], 1):
        first, last, tested = rows.T
        assert choice.tested(length, 0, 1).tolist() == tested.tolist()
        rng = np.random.default_rng(length)
        drawn = np.array([choice.drawn(length, rng) for _ in range(400)])
        assert (drawn.min(axis=0) >= first).all()
        assert (drawn.max(axis=0) <= last).all()
        if length <= 5 * num_frames:  # each of up to 6 is drawn at least once in 400
            assert drawn.min(axis=0).tolist() == first.tolist()
            assert drawn.max(axis=0).tolist() == last.tolist()


@pytest.mark.parametrize("name", IMAGES)
def test_crops_of_scaled_pictures_are_the_originals(name: str) -> None:
    """Red when pictures lose their shape, are antialiased, or the middle is rounded down."""
    size, images = original_images(name)
    frames = FrameChoice(4, "rounded segments").tested(len(images), 0, 1)
    for number in range(3):
        view = cut(images[frames], SCALED.tested(size, number, 3), SCALED.size)
        assert_normalized(view, GOLDEN[f"test_{name}"][number])
    assert SCALED.tested(size, 0, 1) == SCALED.tested(size, 1, 3)


@pytest.mark.parametrize("name", IMAGES)
def test_training_crops_of_scaled_pictures_are_the_originals(name: str) -> None:
    """Red when a crop is cut before the picture is scaled, or mirrored in another place."""
    size, images = original_images(name)
    rows, columns = GOLDEN[f"offsets_{name}"].tolist()
    rng = np.random.default_rng(0)
    drawn = [SCALED.drawn(size, rng) for _ in range(2000)]
    assert {min(crop.scaled_width, crop.scaled_height) for crop in drawn} == set(range(19, 25))
    of_22 = [crop for crop in drawn if min(crop.scaled_width, crop.scaled_height) == 22]
    assert {crop.mirrored for crop in of_22} == {False, True}
    assert (max(crop.top for crop in of_22), max(crop.left for crop in of_22)) == (
        rows - 1,
        columns - 1,
    )
    (scaled,) = {(crop.scaled_width, crop.scaled_height) for crop in of_22}
    crop = Crop(min(1, rows - 1), min(3, columns - 1), 16, 16, True, *scaled)
    frames = FrameChoice(4, "rounded segments").tested(len(images), 0, 1)
    assert_normalized(cut(images[frames], crop, (16, 16)), GOLDEN[f"train_{name}"])


def test_scaled_pictures_may_be_smaller_than_the_crop() -> None:
    SCALED.require_fit((5, 4))
    view = cut(np.zeros((1, 4, 5, 3), np.uint8), SCALED.tested((5, 4), 2, 3), (16, 16))
    assert view.shape == (1, 16, 16, 3)


@pytest.mark.parametrize("stored", [(5, 4), (40, 12)])
def test_whole_frames_are_scaled_and_not_cut(stored) -> None:
    """Red when a part is cut off, the frame is not mirrored, or small frames are refused."""
    choice = CropChoice((16, 8), mirror=True, whole=True)
    choice.require_fit(stored)
    frame = np.random.default_rng(0).integers(0, 256, (*stored[::-1], 3), np.uint8)
    expected = cv2.resize(frame, (16, 8))
    for number in range(3):
        (view,) = cut(frame[None], choice.tested(stored, number, 3), choice.size)
        assert (view == expected).all()
    rng = np.random.default_rng(0)
    drawn = [cut(frame[None], choice.drawn(stored, rng), choice.size)[0] for _ in range(20)]
    kinds = {view.tobytes() for view in drawn}
    assert kinds == {expected.tobytes(), cv2.resize(frame[:, ::-1], (16, 8)).tobytes()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (16, 16), "short_sides": (19, 24), "whole": True}, "must be None then"),
        ({"size": (16, 12), "largest_zoom": 1.2, "whole": True}, "largest_zoom 1"),
        ({"size": (16, 12), "short_sides": (19, 24)}, "square crop"),
        ({"size": (20, 20), "short_sides": (19, 24)}, "no less than the side"),
        ({"size": (16, 16), "short_sides": (24, 19)}, "second no less"),
        ({"size": (16, 16), "short_sides": (19, 24), "largest_zoom": 1.2}, "must be 1 then"),
    ],
)
def test_short_sides_that_cannot_be_are_refused(options, message) -> None:
    with pytest.raises(PreprocessError, match=message):
        CropChoice(**options)
