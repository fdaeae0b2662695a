"""Frames against a plain NumPy account of what each fit means."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from preprocess.errors import PreprocessError
from preprocess.video.transforms import FrameFit


def image(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def fitted(fit: FrameFit, pixels: np.ndarray) -> np.ndarray:
    frame = np.empty(fit.frame_shape, fit.dtype)
    fit(pixels, frame)
    return frame


def test_stretching_is_opencvs_resize_in_rgb() -> None:
    pixels = image(64, 48)
    expected = cv2.resize(pixels, (20, 30))[..., ::-1]
    np.testing.assert_array_equal(fitted(FrameFit((20, 30)), pixels), expected)


def test_a_margin_is_cut_off_after_scaling() -> None:
    """Red when the middle is cut before scaling, as a crop would do it."""
    pixels = image(64, 48)
    expected = cv2.resize(pixels, (25, 26))[3:23, 2:22, ::-1]
    fit = FrameFit((20, 20), margin=(2, 3, 3, 3))
    np.testing.assert_array_equal(fitted(fit, pixels), expected)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (48, 64), (50, 50), (49, 20)])
def test_aspect_keeps_the_middle_square(width: int, height: int) -> None:
    """Red when portrait or square pictures are cut along the wrong side, as in the original."""
    pixels = image(width, height)
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    expected = pixels[top : top + side, left : left + side, ::-1]
    fit = FrameFit((side, side), crop="aspect")
    np.testing.assert_array_equal(fitted(fit, pixels), expected)


def test_centred_takes_the_whole_pictures_mean() -> None:
    """Red when the mean is that of the crop, or is rounded to bytes."""
    pixels = image(60, 20)
    fit = FrameFit((20, 20), crop="aspect", centred=True)
    expected = pixels[:, 20:40, ::-1].astype(np.float64) - pixels.mean(dtype=np.float64)
    assert fitted(fit, pixels).dtype == np.float32
    np.testing.assert_allclose(fitted(fit, pixels), expected, atol=1e-4)


def test_area_is_the_mean_of_what_a_pixel_covers() -> None:
    pixels = image(40, 40)
    means = pixels.reshape(20, 2, 20, 2, 3).mean(axis=(1, 3))[..., ::-1]
    fit = FrameFit((20, 20), interpolation="area")
    np.testing.assert_allclose(fitted(fit, pixels), means, atol=0.51)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (131, 97), (500, 401), (20, 15)])
def test_smooth_is_close_to_area(width: int, height: int) -> None:
    """Red when most of the pixels that a new one covers are not looked at, or places shift."""
    coarse = image(9, 7)
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


SHAPES = [(64, 48), (320, 240), (37, 90), (20, 30), (7, 5), (1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("interpolation", "method"), [("pillow", "BILINEAR"), ("pillow-bicubic", "BICUBIC")]
)
def test_pillows_resize_to_the_pixel(shape, interpolation, method) -> None:
    """Red for OpenCV's resize, which is not antialiased, and for a rounding of its own."""
    pixels = image(*shape)
    rgb = Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))
    wanted = np.array(rgb.resize((20, 30), Image.Resampling[method]))
    np.testing.assert_array_equal(
        fitted(FrameFit((20, 30), interpolation=interpolation), pixels), wanted
    )


def triangle_means(values: np.ndarray, length: int) -> np.ndarray:
    """Along the first axis: of each new place the mean of the old ones, weighted by a triangle as
    wide as two new ones, or two old ones where there are fewer of these."""
    scale = max(len(values) / length, 1)
    centres = (np.arange(length) + 0.5) * len(values) / length
    distance = np.abs(np.arange(len(values)) + 0.5 - centres[:, None]) / scale
    weights = np.maximum(1 - distance, 0)
    return np.tensordot(weights / weights.sum(axis=1, keepdims=True), values, 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_pillows_resize_is_a_mean_over_triangles(shape) -> None:
    """By NumPy alone. Two passes are each rounded."""
    pixels = image(*shape)
    wanted = triangle_means(pixels.astype(float), 30)
    wanted = triangle_means(wanted.swapaxes(0, 1), 20).swapaxes(0, 1)[..., ::-1]
    found = fitted(FrameFit((20, 30), interpolation="pillow"), pixels)
    assert np.abs(found - wanted).max() <= 1.01


@pytest.mark.parametrize("interpolation", ["linear", "pillow"])
def test_grey_comes_before_scaling(interpolation: str) -> None:
    """Red when colours are scaled and then made grey, or grey is OpenCV's."""
    pixels = image(64, 48)
    grey = Image.fromarray(np.ascontiguousarray(pixels[..., ::-1])).convert("L")
    found = fitted(FrameFit((20, 30), interpolation=interpolation, grey=True), pixels)
    if interpolation == "pillow":
        wanted = np.array(grey.resize((20, 30), Image.Resampling.BILINEAR))
    else:
        wanted = cv2.resize(np.array(grey), (20, 30))
    np.testing.assert_array_equal(found, np.repeat(wanted[..., None], 3, axis=2))


def test_pillows_box_is_cut_as_the_original_cuts_it() -> None:
    """eqy/autotosis: `crop` of whole pixels, fractions cut off, then a bicubic resize."""
    pixels, box = image(101, 57), (0.7833, 0.1296, 0.9682, 0.3694)
    rgb = Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))
    wanted = rgb.crop((79, 7, 97, 21)).resize((32, 32))  # 79.1, 7.4, 97.8, 21.1
    found = fitted(FrameFit((32, 32), interpolation="pillow-bicubic", box=box), pixels)
    np.testing.assert_array_equal(found, np.array(wanted))


@pytest.mark.parametrize("options", [{"interpolation": "pillow"}, {"grey": True}])
def test_centred_frames_are_not_scaled_in_whole_numbers(options) -> None:
    with pytest.raises(PreprocessError, match="Centred frames must"):
        FrameFit((8, 8), centred=True, **options)
