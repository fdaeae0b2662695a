"""Changes to training pictures: each against a plain oracle, and each within its own part."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from experiments.clips.images import ImageSettings
from experiments.highlights.training.augmentation import (
    Augmentation,
    OriginalAugmentation,
    build_change,
)
from experiments.highlights.training.recipes import ORIGINAL, TUNED

SIDE = 40
SETTINGS = ImageSettings(parts=("box", "frame", "sound"), side=SIDE)
ALONE = {part: ImageSettings(parts=(part,), side=SIDE) for part in SETTINGS.parts}
RNG = np.random.default_rng(0)
NOISE = RNG.integers(1, 256, size=SETTINGS.frame_shape).astype(np.uint8)


def square(fill=0, part="box"):
    """One part of one grey level."""
    return np.full(ALONE[part].frame_shape, fill, np.uint8)


@pytest.mark.parametrize("recipe", [TUNED, ORIGINAL], ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("seed", range(30))
def test_parts_are_never_mixed(recipe, seed):
    """Red when a crop, a shift or a mask reaches over a part's edge."""
    levels = {"box": (1, 60), "frame": (90, 150), "sound": (180, 255)}
    image = np.concatenate(
        [RNG.integers(*levels[part], size=(SIDE, SIDE, 3)) for part in SETTINGS.parts]
    ).astype(np.uint8)
    quiet = replace(recipe, contrast=0.0, brightness=0.0, colour=0.0, gain=0.0)
    before = image.copy()
    changed = build_change(quiet, SETTINGS)(image, np.random.default_rng(seed))
    np.testing.assert_array_equal(image, before)
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    for number, part in enumerate(SETTINGS.parts):
        low, high = levels[part]
        of_part = changed[number * SIDE : (number + 1) * SIDE]
        assert ((of_part == 0) | ((of_part >= low) & (of_part < high))).all()


def test_no_strength_changes_nothing():
    changed = Augmentation(SETTINGS)(NOISE, np.random.default_rng(0))
    np.testing.assert_array_equal(changed, NOISE)


def test_the_tuned_change_is_drawn_anew():
    change = build_change(TUNED, SETTINGS)
    first, second, again = (change(NOISE, np.random.default_rng(seed)) for seed in (0, 1, 0))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, again)


def test_shift_and_zoom_move_about_the_centre():
    """Red when zoom moves the picture, a shift is in pixels, or the edge comes in black."""
    part = square(50)
    part[18:22, 18:22] = 250  # about the middle, 19.5
    places = []
    for seed in range(200):
        zoomed = Augmentation(ALONE["box"], zoom=0.4)(part, np.random.default_rng(seed))
        weights = zoomed[..., 0].astype(float) - 50
        assert zoomed.min() >= 50
        assert (np.indices((SIDE, SIDE)) * weights).sum((1, 2)) / weights.sum() == pytest.approx(
            [19.5, 19.5], abs=0.1
        )
        moved = Augmentation(ALONE["box"], shift=0.1)(part, np.random.default_rng(seed))
        weights = moved[..., 0].astype(float) - 50
        places.append((np.indices((SIDE, SIDE)) * weights).sum((1, 2)) / weights.sum() - 19.5)
    places = np.array(places)
    assert np.abs(places).max() <= 0.1 * SIDE + 0.1
    assert places.max(axis=0) == pytest.approx([4, 4], abs=0.3)
    assert places.min(axis=0) == pytest.approx([-4, -4], abs=0.3)


def test_light_is_a_line_through_mid_grey():
    """Red when contrast also brightens, or a colour moves all channels alike."""
    ramp = square()
    ramp[:] = np.linspace(60, 200, SIDE).astype(np.uint8)[:, None, None]
    contrast = Augmentation(ALONE["box"], contrast=0.2)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        changed = contrast(ramp, rng).astype(float)
        slope = (changed[-1] - changed[0]).mean() / (200 - 60)
        assert 0.79 <= slope <= 1.21
        np.testing.assert_allclose(changed, 128 + slope * (ramp.astype(float) - 128), atol=1.1)
    offsets = {"brightness": [], "colour": []}
    for name, found in offsets.items():
        for seed in range(200):
            change = Augmentation(ALONE["box"], **{name: 10.0})
            found.append(change(square(100), np.random.default_rng(seed))[0, 0].astype(int) - 100)
    bright, coloured = np.array(offsets["brightness"]), np.array(offsets["colour"])
    assert (bright == bright[:, :1]).all()
    assert (bright.min(), bright.max()) == (-10, 10)
    assert (coloured.min(), coloured.max()) == (-10, 10)
    assert np.abs(np.corrcoef(coloured.T)[0, 1]) < 0.2


def test_gain_is_in_decibels_and_silence_stays_black():
    """80 dB are 255 levels, so 8 dB are 25.5."""
    sound = square(100, "sound")
    sound[:10] = 0
    change = Augmentation(ALONE["sound"], gain=8.0)
    offsets = []
    for seed in range(200):
        changed = change(sound, np.random.default_rng(seed)).astype(int)
        assert (changed[:10] == 0).all()
        offsets.append(changed[-1, 0, 0] - 100)
    assert (min(offsets), max(offsets)) == pytest.approx((-25.5, 25.5), abs=1.5)


def test_sound_moves_in_time_and_pitch():
    """5 s over 40 columns: 0.5 s are 4. Pitch moves all rows alike: they are logarithmic."""
    settings = ALONE["sound"]
    sound = square(0, "sound")
    sound[20, 20] = 200
    octaves = math.log2(8000 / 60)
    semitones = 12 * octaves / SIDE  # of a row
    moves = {"time_shift": [], "pitch_shift": []}
    for seed in range(100):
        for name, upper in (("time_shift", 0.5), ("pitch_shift", 3 * semitones)):
            changed = Augmentation(settings, **{name: upper})(sound, np.random.default_rng(seed))
            (row,), (column,) = np.nonzero(changed[..., 0])
            moves[name].append((row - 20, column - 20))
    times, pitches = np.array(moves["time_shift"]), np.array(moves["pitch_shift"])
    assert (times[:, 0] == 0).all()
    assert (times[:, 1].min(), times[:, 1].max()) == (-4, 4)
    assert (pitches[:, 1] == 0).all()
    assert (pitches[:, 0].min(), pitches[:, 0].max()) == (-3, 3)


def test_masks_are_one_block_of_rows_and_one_of_columns():
    change = Augmentation(ALONE["sound"], mask=0.2)
    widths = []
    for seed in range(200):
        black = change(square(99, "sound"), np.random.default_rng(seed))[..., 0] == 0
        rows, columns = black.all(axis=1), black.all(axis=0)
        np.testing.assert_array_equal(black, rows[:, None] | columns)
        for lines in (rows, columns):
            assert (np.diff(lines.astype(int)) != 0).sum() <= 2  # one block
            widths.append(lines.sum())
    assert (min(widths), max(widths)) == (0, 8)


@pytest.mark.parametrize("name", ["shift", "zoom", "contrast", "mask", "gain"])
def test_strengths_have_a_range(name):
    with pytest.raises(ValueError, match=name):
        Augmentation(SETTINGS, **{name: -0.1})
    if name != "gain":
        with pytest.raises(ValueError, match=name):
            Augmentation(SETTINGS, **{name: 1.0})


def test_the_originals_crops_are_scaled_by_pillow():
    """torchvision has an image scale itself. Red for OpenCV's resize."""
    part = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    options = {"crop_scale": (0.7, 0.7), "crop_ratio": (1.0, 1.0), "erase_probability": 0.0}
    found = OriginalAugmentation(ALONE["box"], **options)(part, np.random.default_rng(1))
    size = round((0.7 * SIDE**2) ** 0.5)
    crops = [
        Image.fromarray(part).crop((left, top, left + size, top + size))
        for left in range(SIDE - size + 1)
        for top in range(SIDE - size + 1)
    ]
    scaled = [np.array(crop.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for crop in crops]
    assert sum(np.array_equal(found, one) for one in scaled) == 1


def test_the_originals_crops_are_those_of_random_resized_crop():
    """Red when the share is of the side, the ratio is unbounded, or the crop leaves the part.

    The picture tells where it was cut: its values are its coordinates.
    """
    rows, columns = np.indices((SIDE, SIDE)) * 6
    part = np.stack([rows, columns, np.full_like(rows, 255)], axis=-1).astype(np.uint8)
    change = OriginalAugmentation(ALONE["box"], erase_probability=0.0)
    shares, ratios = [], []
    for seed in range(400):
        crop = change(part, np.random.default_rng(seed)).astype(float) / 6
        height, width = (
            (crop[-1, 0, 0] - crop[0, 0, 0] + 1),
            (crop[0, -1, 1] - crop[0, 0, 1] + 1),
        )
        shares.append(height * width / SIDE**2)
        ratios.append(width / height)
    assert 0.45 < min(shares) < 0.53
    assert max(shares) > 0.95
    assert np.mean(shares) == pytest.approx(0.71, abs=0.04)  # those that do not fit are drawn anew
    assert 0.72 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < 1.39
    assert np.median(ratios) == pytest.approx(1, abs=0.03)


def erased(part, seed, **options):
    """Height and width of what was blackened, (0, 0) where nothing was."""
    change = OriginalAugmentation(ALONE[part], crop_scale=(1.0, 1.0), crop_ratio=(1, 1), **options)
    black = (change(square(77, part), np.random.default_rng(seed)) == 0).all(axis=-1)
    height, width = black.any(axis=1).sum(), black.any(axis=0).sum()
    assert black.sum() == height * width  # one rectangle
    return height, width


def test_the_originals_rectangles_are_those_of_random_erasing():
    """Half the time, 0.02 to 0.33 of the area, height to width from 0.3 to 3.3."""
    sizes = np.array([erased("box", seed) for seed in range(400)])
    some = sizes[sizes[:, 0] > 0]
    assert 0.42 < len(some) / len(sizes) < 0.58
    shares, ratios = some.prod(axis=1) / SIDE**2, some[:, 0] / some[:, 1]
    assert 0.01 < shares.min() < 0.04
    assert 0.28 < shares.max() < 0.35
    assert 0.25 < ratios.min() < 0.4
    assert 2.5 < ratios.max() < 4


def test_the_original_always_blackens_some_sound_and_never_crops_it():
    """Red when the spectrogram, whose place means frequency and time, is cropped too."""
    sizes = np.array([erased("sound", seed) for seed in range(200)])
    shares = sizes.prod(axis=1) / SIDE**2
    assert shares.min() > 0.07
    assert 0.5 < shares.max() < 1
    noise = NOISE[-SIDE:]
    changed = OriginalAugmentation(ALONE["sound"])(noise, np.random.default_rng(0))
    np.testing.assert_array_equal(changed[changed > 0], noise[changed > 0])


def test_the_original_recipe_is_the_originals():
    """Red when a constant of its is changed."""
    named = (ORIGINAL.learning_rate, ORIGINAL.momentum, ORIGINAL.weight_decay, ORIGINAL.batch_size)
    assert named == (1e-3, 0.9, 1e-4, 32)
    assert (ORIGINAL.epochs, ORIGINAL.epochs_a_step, ORIGINAL.schedule) == (30, 10, "steps")
    assert (ORIGINAL.optimizer, ORIGINAL.select) == ("sgd", "accuracy")
    change = build_change(ORIGINAL, SETTINGS)
    assert (change.crop_scale, change.crop_ratio) == ((0.5, 1.0), (0.75, 4 / 3))
