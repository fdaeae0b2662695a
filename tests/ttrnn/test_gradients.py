"""Descriptions of cells, against OpenCV's operations and what they must not depend on."""

import cv2
import keras
import numpy as np
import pytest

from ttrnn.gradients import GradientCells
from ttrnn.models.video_rnn import build_video_rnn

CELLS = (4, 3)
LENGTHS = np.array([3, 0, 1, 1], np.int32)  # the mean of one frame is that frame


@pytest.fixture
def frames():
    """Five frames of 48x36 with edges of all directions, and no two alike."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (5, 9, 12, 3), np.uint8)
    return np.stack([cv2.resize(frame, (48, 36)) for frame in coarse])


def described(frames, lengths=LENGTHS):
    return keras.ops.convert_to_numpy(GradientCells(CELLS)(frames, lengths)).astype(int)


def by_opencv(clip):
    """The definition for one clip, (T, rows, columns, 12), a cell at a time."""
    columns, rows = CELLS
    half = [
        cv2.resize(frame.astype(np.float32), (24, 18), interpolation=cv2.INTER_AREA)
        for frame in clip
    ]
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in half]
    expected = np.zeros((len(clip), rows, columns, 12))
    kernel = np.array([[-1, 0, 1]], np.float32)
    for time, (frame, grey) in enumerate(zip(half, greys, strict=True)):
        x = cv2.filter2D(grey, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT)
        y = cv2.filter2D(grey, cv2.CV_32F, kernel.T, borderType=cv2.BORDER_REFLECT)
        length, degrees = cv2.cartToPolar(x, y, angleInDegrees=True)
        change = np.abs(grey - np.mean(greys, axis=0))
        for row, column in np.ndindex(rows, columns):
            cell = np.s_[6 * row : 6 * row + 6, 6 * column : 6 * column + 6]
            histogram = np.zeros(9)
            for weight, angle in zip(length[cell].flat, degrees[cell].flat, strict=True):
                lower, share = divmod(angle % 180 / 22.5, 1)
                histogram[int(lower)] += weight * (1 - share)
                histogram[int(lower) + 1] += weight * share
            histogram[0] += histogram[8]  # 180 degrees are 0
            histogram = histogram[:8] / 36
            expected[time, row, column, :8] = 255 * histogram / np.sqrt(1 + histogram @ histogram)
            expected[time, row, column, 8] = 15.9 * np.sqrt(change[cell].mean())
            expected[time, row, column, 9:] = frame[cell].mean(axis=(0, 1))
    return expected


def test_it_is_what_opencv_makes_of_each_cell(frames):
    """Red for another direction, border, norm or order of channels, or a mean over all clips."""
    expected = np.concatenate([by_opencv(clip) for clip in np.split(frames, [3, 4])])
    found = described(frames)
    # Rounded to whole numbers; OpenCV's angles are good to a hundredth of a degree or so.
    np.testing.assert_allclose(found, expected, atol=0.8)
    assert (np.ptp(found, axis=(0, 1, 2)) > 30).all()  # every channel tells cells apart


def test_a_clip_is_described_without_its_neighbours(frames):
    """Red when a clip's mean picture has frames of another clip."""
    lengths = np.array([3, 2], np.int32)
    alone = described(frames[3:], lengths[1:])
    np.testing.assert_array_equal(described(frames, lengths)[3:], alone)


def test_light_changes_colours_alone(frames):
    """Red when gradients or movement depend on brightness."""
    dark = frames // 2
    plain, bright = described(dark), described(dark + 100)
    np.testing.assert_allclose(bright[..., :9], plain[..., :9], atol=1)
    np.testing.assert_array_equal(bright[..., 9:], plain[..., 9:] + 100)


def test_a_mirror_image_has_mirrored_directions(frames):
    """Red when directions are counted from another axis, or a border is treated one-sidedly."""
    mirrored = described(frames[:, :, ::-1])[:, :, ::-1]
    channels = [0, 7, 6, 5, 4, 3, 2, 1, 8, 9, 10, 11]
    np.testing.assert_allclose(mirrored, described(frames)[..., channels], atol=1)


def test_flat_pictures_have_no_gradients_and_no_nan():
    flat = np.full((5, 36, 48, 3), 77, np.uint8)
    found = described(flat)
    assert (found[..., :9] == 0).all()
    assert (found[..., 9:] == 77).all()


@pytest.mark.parametrize("cells", [(5, 3), (4, 4), (48, 36), (0, 3)])
def test_cells_that_do_not_fit_are_refused(frames, cells):
    with pytest.raises(ValueError, match="whole blocks of 2x2"):
        GradientCells(cells)(frames, LENGTHS)


def test_a_model_sees_the_cells_and_nothing_else(frames, tmp_path):
    """Red when the network gets pixels besides, or a saved one has lost its grid."""
    options = {"tt_input_shape": (12, 12), "tt_output_shape": (4, 4), "tt_ranks": 3, "seed": 0}
    keras.utils.set_random_seed(0)
    seeing = {"inputs": "foreground", "pooling": "mean", "scene": True, "pixel_scale": 64.0}
    model = build_video_rnn((36, 48, 3), 5, gradient_cells=CELLS, **seeing, **options)
    inputs = {"frames": frames, "num_frames": LENGTHS}
    found = keras.ops.convert_to_numpy(model(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.ops.convert_to_numpy(loaded(inputs)), found, atol=1e-6)
    # The same weights over the descriptions themselves, as frames of twelve channels.
    plain = build_video_rnn((3, 4, 12), 5, **seeing, **options)
    plain.set_weights(model.get_weights())
    cells = {"frames": described(frames).astype(np.uint8), "num_frames": LENGTHS}
    np.testing.assert_allclose(keras.ops.convert_to_numpy(plain(cells)), found, atol=1e-6)
    assert np.ptp(found, axis=0).max() > 0.01
