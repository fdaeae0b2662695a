"""Pictures are decoded again and looked at: size, colours, and what must be drawn."""

import warnings

import cv2
import numpy as np
import pytest

from experiments.runs import plots

HISTORY = {
    "epoch": np.arange(1.0, 6.0),
    "train_loss": np.array([2.0, 1.5, 1.0, 0.7, 0.5]),
    "validation_loss": np.array([2.1, 1.7, 1.4, 1.5, 1.6]),
    "train_accuracy": np.array([0.2, 0.4, 0.6, 0.8, 0.9]),
    "validation_accuracy": np.array([0.2, 0.3, 0.5, 0.5, 0.4]),
}


def decode(png):
    """A PNG's pixels, (H, W, 3) RGB."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    return image[:, :, ::-1]


def rgb(colour):
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def share_of(image, colour, tolerance=8):
    close = np.abs(image.astype(int) - rgb(colour)).max(axis=2) <= tolerance
    return close.mean()


@pytest.mark.parametrize("theme", [plots.LIGHT, plots.DARK])
def test_curves_show_both_lines_and_the_best_epoch_in_the_themes_colours(theme):
    image = decode(plots.curves_png(HISTORY, chance=0.1, theme=theme))
    assert image.shape == (600, 1500, 3)
    assert share_of(image, theme.background, 0) > 0.8
    for colour in (theme.train, theme.validation, theme.accent):
        assert share_of(image, colour) > 1e-4
    assert share_of(image[:, :750], theme.accent) > 1e-4  # the best epoch in the loss's half too


def test_best_epoch_is_the_highest_then_of_the_lowest_loss_and_ignores_nan():
    assert plots.best_epoch(HISTORY) == 3
    assert plots.best_epoch({**HISTORY, "validation_loss": -HISTORY["epoch"]}) == 4
    gaps = {**HISTORY, "validation_accuracy": np.array([np.nan, 0.3, np.nan, 0.4, 0.4])}
    assert plots.best_epoch(gaps) == 4
    never = {**HISTORY, "validation_accuracy": np.full(5, np.nan)}
    assert plots.best_epoch(never) is None


def test_curves_of_one_epoch_without_validation_are_drawn_without_a_warning():
    history = {name: values[:1] for name, values in HISTORY.items() if "validation" not in name}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(plots.curves_png(history)).shape == (600, 1500, 3)


def test_confusion_colours_a_row_by_its_share_not_by_its_count():
    counts = np.array([[100, 0], [0, 1]])  # both rows are wholly right: the same colour
    image = decode(plots.confusion_png(counts, ["many", "few"]))
    height, width, _ = image.shape
    full = np.abs(image.astype(int) - rgb(plots.LIGHT.heat[-1])).max(axis=2) <= 8
    left, right = full[: height // 2, : width // 2].sum(), full[height // 3 :, width // 3 :].sum()
    assert left > 1000
    assert 0.5 < left / right < 2


def test_confusion_grows_with_the_classes_so_that_101_names_stay_readable():
    names = [f"class_{i:03d}" for i in range(101)]
    few = decode(plots.confusion_png(np.eye(11, dtype=np.int64), names[:11]))
    many = decode(plots.confusion_png(np.eye(101, dtype=np.int64), names))
    assert min(few.shape[:2]) >= 700
    assert many.shape[0] / 101 >= 20  # pixels a row, for 7-point names (15 pixels high)


def test_a_class_name_is_text_not_mathematics():
    names = ["$x_1", "a$b$c", r"$\frac{$", "n" * 300]
    image = decode(plots.confusion_png(np.eye(4, dtype=np.int64), names))
    assert image.shape[1] < 2000  # the long name is shortened


def test_lengths_mark_the_truncation_only_where_it_is_near_the_clips():
    lengths = np.array([40, 60, 80, 200])
    near = decode(plots.lengths_png(lengths, maxlen=100))
    far = decode(plots.lengths_png(lengths, maxlen=5000))
    assert near.shape == (525, 1500, 3)
    assert share_of(near, plots.LIGHT.validation) > 0
    assert share_of(far, plots.LIGHT.validation) == 0


def test_drawing_leaves_no_global_state():
    """Red when a figure is made by pyplot, which keeps it for ever."""
    from matplotlib import pyplot, rcParams

    before = dict(rcParams)
    plots.curves_png(HISTORY)
    assert pyplot.get_fignums() == []
    assert dict(rcParams) == before
