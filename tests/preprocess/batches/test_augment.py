"""Augmentation: within bounds, the same for all frames, the same for the same generator."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.batches.augment import Augmentation

CLIP = np.random.default_rng(0).integers(0, 256, (20, 9, 11, 3), np.uint8)


@given(st.integers(0, 10**6), st.floats(0.05, 1))
def test_a_stretch_is_consecutive_and_long_enough(seed, share):
    """Red when frames are dropped from the middle, or the clip can become empty."""
    numbered = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    changed = Augmentation(shortest_share=share)(numbered, np.random.default_rng(seed))
    assert len(changed) >= max(1, round(share * 20) - 1)
    assert set(np.diff(changed[:, 0, 0, 0])) <= {1}


@given(st.integers(0, 10**6))
def test_the_whole_clip_shifts_alike(seed):
    """Red when each frame is moved by itself: a still background would seem to shake."""
    changed = Augmentation(largest_shift=3)(CLIP, np.random.default_rng(seed))
    inner = changed[:, 3:-3, 3:-3]
    found = [
        (down, right)
        for down in range(-3, 4)
        for right in range(-3, 4)
        if np.array_equal(inner, CLIP[:, 3 - down : 6 - down, 3 - right : 8 - right])
    ]
    assert len(found) == 1


def test_a_mirrored_clip_is_mirrored_as_a_whole_and_drawn_half_the_time():
    """Red when frames are mirrored one by one, or rows, or when mirroring alters other changes."""
    mirrored = 0
    for seed in range(40):
        plain, changed = (
            Augmentation(0.5, 3, 0.3, 20, mirror)(CLIP, np.random.default_rng(seed))
            for mirror in (False, True)
        )
        if np.array_equal(plain, changed):
            continue
        mirrored += 1
        # The shift is the same one, to the right: the same columns count on the other side.
        flipped = Augmentation(0.5, 3, 0.3, 20)(CLIP[:, :, ::-1], np.random.default_rng(seed))
        np.testing.assert_array_equal(changed, flipped)
    assert 10 <= mirrored <= 30


def test_light_is_changed_without_wrapping():
    """Red when uint8 overflows: bright pixels would turn black."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        changed = Augmentation(contrast=0.5, brightness=60)(CLIP, rng)
        ranks = np.argsort(np.argsort(CLIP[0], axis=None, kind="stable"))
        ordered = changed[0].reshape(-1)[np.argsort(ranks)].astype(int)
        assert (np.diff(ordered) >= 0).all()


def test_nothing_asked_for_nothing_changed():
    np.testing.assert_array_equal(Augmentation()(CLIP, np.random.default_rng(0)), CLIP)


@pytest.mark.parametrize(
    "wrong",
    [{"shortest_share": 0}, {"shortest_share": 1.1}, {"largest_shift": -1}, {"contrast": 1.0}],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="Received"):
        Augmentation(**wrong)
