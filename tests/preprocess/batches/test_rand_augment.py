"""RandAugment: Pillow's operations, the same in all frames, the same for the same generator."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from preprocess.batches.rand_augment import FILL, OPERATIONS, RandAugment

RNG = np.random.default_rng(0)
NOISE = RNG.integers(20, 200, (5, 13, 18, 3)).astype(np.uint8)
ROWS, COLUMNS = np.mgrid[:40, :60]
SMOOTH = np.stack([6 * ROWS, 4 * COLUMNS, 3 * ROWS + 2 * COLUMNS], axis=-1).astype(np.uint8)
STRENGTHS = (-1.0, -0.37, 0.0, 0.5, 1.0)
WITHOUT_STRENGTH = ("autocontrast", "equalize")


def factor(strength):
    return 1 + 0.9 * strength


def shifted(image, right, down):
    return image.transform(
        image.size, Image.Transform.AFFINE, (1, 0, -right, 0, 1, -down), fillcolor=FILL
    )


OF_PILLOW = {
    "identity": lambda image, s: image,
    "autocontrast": lambda image, s: ImageOps.autocontrast(image),
    "equalize": lambda image, s: ImageOps.equalize(image),
    "solarize": lambda image, s: ImageOps.solarize(image, 256 * (1 - abs(s))),
    "posterize": lambda image, s: ImageOps.posterize(image, 8 - round(4 * abs(s))),
    "color": lambda image, s: ImageEnhance.Color(image).enhance(factor(s)),
    "contrast": lambda image, s: ImageEnhance.Contrast(image).enhance(factor(s)),
    "brightness": lambda image, s: ImageEnhance.Brightness(image).enhance(factor(s)),
}
FRAME_BY_FRAME = {
    "sharpness": lambda image, s: ImageEnhance.Sharpness(image).enhance(factor(s)),
    "translate-x": lambda image, s: shifted(image, round(0.45 * s * image.width), 0),
    "translate-y": lambda image, s: shifted(image, 0, round(0.45 * s * image.height)),
}
MOVES = {
    "rotate": lambda image, s: image.rotate(
        30 * s, resample=Image.Resampling.BILINEAR, fillcolor=FILL
    ),
    "shear-x": lambda image, s: sheared(image, (1, 0.3 * s, 0, 0, 1, 0)),
    "shear-y": lambda image, s: sheared(image, (1, 0, 0, 0.3 * s, 1, 0)),
}


def sheared(image, matrix):
    options = {"resample": Image.Resampling.BILINEAR, "fillcolor": FILL}
    return image.transform(image.size, Image.Transform.AFFINE, matrix, **options)


def applied(operation, pixels, strength):
    return np.asarray(operation(Image.fromarray(pixels), strength))


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("name", OF_PILLOW)
def test_all_frames_are_changed_as_one_picture_by_pillow(name, strength):
    """Red when a histogram or a mean is a frame's own, for another rounding, scale or direction.

    The frames above each other are one picture, of whose pixels each is changed alike.
    """
    tall = NOISE.reshape(-1, *NOISE.shape[2:])  # (T * H, W, 3)
    expected = applied(OF_PILLOW[name], tall, strength).reshape(NOISE.shape)
    np.testing.assert_array_equal(OPERATIONS[name](NOISE, strength), expected)


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("name", FRAME_BY_FRAME)
def test_each_frame_is_changed_as_by_pillow(name, strength):
    """Red for another kernel, changed edges, a shift by a part of a pixel or the other way."""
    expected = np.stack([applied(FRAME_BY_FRAME[name], frame, strength) for frame in NOISE])
    np.testing.assert_array_equal(OPERATIONS[name](NOISE, strength), expected)


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("name", MOVES)
def test_moves_are_pillows(name, strength):
    """Red for another direction, another fixed point or a part of a pixel: 6 levels a row.

    Pillow cuts fractions off where OpenCV rounds, and it does not blend with what is outside:
    pixels beside that are not compared.
    """
    expected = applied(MOVES[name], SMOOTH, strength)
    inside = applied(MOVES[name], np.full_like(SMOOTH, 255), strength)[..., 0] == 255
    inside = np.pad(inside, 1)  # False around the picture too, but where the picture stays
    near = [inside[1 + i : 41 + i, 1 + j : 61 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    compared = np.all(near, axis=0)
    assert compared.mean() > 0.4
    changed = OPERATIONS[name](np.stack([SMOOTH, SMOOTH]), strength)
    np.testing.assert_array_equal(changed[0], changed[1])
    difference = (changed[0].astype(int) - expected)[compared]  # (pixels, 3)
    assert set(np.unique(difference)) <= {0, 1}
    outside = applied(MOVES[name], np.zeros_like(SMOOTH), strength)[..., 0] == FILL[0]
    far = np.pad(outside, 1, constant_values=True)
    far = np.all([far[1 + i : 41 + i, 1 + j : 61 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)], 0)
    assert (changed[0][far] == FILL[0]).all()


def test_one_level_is_left_alone():
    """Red when a colour without contrast is divided by zero."""
    plain = np.full((2, 4, 5, 3), (10, 20, 30), np.uint8)
    for name in WITHOUT_STRENGTH:
        np.testing.assert_array_equal(OPERATIONS[name](plain, 1.0), plain)


def test_without_a_magnitude_only_what_has_none_changes_a_clip():
    """Red when a strength of 0 solarizes all, or blurs."""
    changed = {name for name in OPERATIONS if (OPERATIONS[name](NOISE, 0.0) != NOISE).any()}
    assert changed == set(WITHOUT_STRENGTH)


def test_there_are_the_papers_fourteen():
    assert set(OPERATIONS) == set(OF_PILLOW) | set(FRAME_BY_FRAME) | set(MOVES)
    assert len(OPERATIONS) == 14


@given(
    st.integers(0, 10**6),
    st.integers(0, 4),
    st.floats(0, 10),
    st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)),
)
def test_any_clip_keeps_shape_and_kind_and_its_source(seed, num_operations, magnitude, shape):
    """Red when a clip of one pixel breaks, or the shards' own frames are written over."""
    frames = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)[:, :, ::-1]
    before = frames.copy()
    augment = RandAugment(num_operations, magnitude)
    changed = augment(frames, np.random.default_rng(seed))
    assert changed.shape == frames.shape
    assert changed.dtype == np.uint8
    assert not np.shares_memory(changed, frames)
    np.testing.assert_array_equal(frames, before)
    np.testing.assert_array_equal(changed, augment(frames, np.random.default_rng(seed)))


@given(st.integers(0, 10**6), st.integers(0, 4), st.floats(0, 10))
def test_one_draw_holds_for_all_frames(seed, num_operations, magnitude):
    """Red when each frame is changed by its own draw: a still background would seem to shake."""
    still = np.repeat(NOISE[:1], 4, axis=0)
    changed = RandAugment(num_operations, magnitude)(still, np.random.default_rng(seed))
    np.testing.assert_array_equal(changed, np.repeat(changed[:1], 4, axis=0))


def test_every_operation_is_drawn_both_ways():
    """Red when one is never drawn, or signs are always alike."""
    seen = set()
    for seed in range(300):
        changed = RandAugment(1, 10)(NOISE, np.random.default_rng(seed))
        seen |= {
            (name, strength)
            for name in OPERATIONS
            for strength in (-1.0, 1.0)
            if np.array_equal(changed, OPERATIONS[name](NOISE, strength))
        }
    assert len(seen) == 2 * len(OPERATIONS)


@pytest.mark.parametrize("wrong", [(-1, 9), (2, -0.1), (2, 10.5)])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="Received"):
        RandAugment(*wrong)
