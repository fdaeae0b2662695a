"""Frames against a plain NumPy account of what each fit means."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.transforms import FrameFit


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def fitted(fit: FrameFit, pixels: np.ndarray) -> np.ndarray:
    frame = np.empty(fit.frame_shape, fit.dtype)
    fit(pixels, frame)
    return frame


def test_stretching_is_opencvs_resize_in_rgb() -> None:
    pixels = picture(64, 48)
    expected = cv2.resize(pixels, (20, 30))[..., ::-1]
    np.testing.assert_array_equal(fitted(FrameFit((20, 30)), pixels), expected)


def test_a_margin_is_cut_off_after_scaling() -> None:
    """Red when the middle is cut before scaling, as a crop would do it."""
    pixels = picture(64, 48)
    expected = cv2.resize(pixels, (25, 26))[3:23, 2:22, ::-1]
    fit = FrameFit((20, 20), margin=(2, 3, 3, 3))
    np.testing.assert_array_equal(fitted(fit, pixels), expected)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (48, 64), (50, 50), (49, 20)])
def test_aspect_keeps_the_middle_square(width: int, height: int) -> None:
    """Red when portrait or square pictures are cut along the wrong side, as in the original."""
    pixels = picture(width, height)
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    expected = pixels[top : top + side, left : left + side, ::-1]
    fit = FrameFit((side, side), crop="aspect")
    np.testing.assert_array_equal(fitted(fit, pixels), expected)


def test_centred_takes_the_whole_pictures_mean() -> None:
    """Red when the mean is that of the crop, or is rounded to bytes."""
    pixels = picture(60, 20)
    fit = FrameFit((20, 20), crop="aspect", centred=True)
    expected = pixels[:, 20:40, ::-1].astype(np.float64) - pixels.mean(dtype=np.float64)
    assert fitted(fit, pixels).dtype == np.float32
    np.testing.assert_allclose(fitted(fit, pixels), expected, atol=1e-4)


def test_area_is_the_mean_of_what_a_pixel_covers() -> None:
    pixels = picture(40, 40)
    means = pixels.reshape(20, 2, 20, 2, 3).mean(axis=(1, 3))[..., ::-1]
    fit = FrameFit((20, 20), interpolation="area")
    np.testing.assert_allclose(fitted(fit, pixels), means, atol=0.51)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (131, 97), (500, 401), (20, 15)])
def test_smooth_is_close_to_area(width: int, height: int) -> None:
    """Red when most of the pixels that a new one covers are not looked at, or places shift."""
    coarse = picture(9, 7)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(1).integers(0, 20, pixels.shape, np.uint8)
    pixels = np.clip(pixels.astype(int) + noise, 0, 255).astype(np.uint8)
    frames = {
        how: fitted(FrameFit((20, 15), interpolation=how), pixels).astype(int)
        for how in ("smooth", "area", "linear")
    }
    difference = np.abs(frames["smooth"] - frames["area"]).mean()
    assert difference < 12
    if width > 60:
        assert difference < np.abs(frames["linear"] - frames["area"]).mean()


@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(["none", "aspect"]),
    st.sampled_from(["linear", "area", "smooth"]),
    st.booleans(),
)
def test_any_picture_fills_the_frame(source, size, crop, interpolation, centred) -> None:
    """Red when a crop of a very flat picture is empty: every constant picture stays constant."""
    fit = FrameFit(size, crop=crop, interpolation=interpolation, centred=centred)
    pixels = np.full((source[1], source[0], 3), 77, np.uint8)
    frame = fitted(fit, pixels)
    assert frame.shape == (size[1], size[0], 3)
    assert np.ptp(frame) == 0
    assert frame[0, 0, 0] == (0 if centred else 77)
