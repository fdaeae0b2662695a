"""Figures of merit against values worked out by hand."""

import math

import numpy as np
import pytest

from experiments.runs import metrics, records

LABELS = [0, 0, 0, 1, 1, 2]
PREDICTED = [0, 0, 1, 1, 2, 2]
PROBABILITIES = np.array(
    [
        [0.6, 0.3, 0.1, 0.0],
        [0.5, 0.2, 0.2, 0.1],
        [0.3, 0.4, 0.2, 0.1],
        [0.1, 0.7, 0.1, 0.1],
        [0.2, 0.1, 0.4, 0.3],
        [0.0, 0.1, 0.8, 0.1],
    ]
)


def test_confusion_has_true_classes_as_rows_and_keeps_absent_classes():
    by_hand = [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    found = metrics.confusion_matrix(LABELS, PREDICTED, num_classes=4)
    np.testing.assert_array_equal(found, by_hand)


def test_recall_and_precision_by_class():
    confusion = np.array([[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(metrics.per_class_recall(confusion), [2 / 3, 1 / 2, 1, np.nan])
    np.testing.assert_allclose(metrics.per_class_precision(confusion), [1, 1 / 2, 1 / 2, np.nan])


def test_accuracy_is_the_share_of_right_clips():
    assert metrics.accuracy(LABELS, PREDICTED) == pytest.approx(4 / 6)


@pytest.mark.parametrize(("k", "right"), [(1, 4), (2, 5), (3, 5), (4, 6), (9, 6)])
def test_top_k_counts_a_clip_whose_class_is_among_the_first_k(k, right):
    # Clip 2 (class 0) has its class second, clip 4 (class 1) has it last.
    assert metrics.top_k_accuracy(LABELS, PROBABILITIES, k=k) == pytest.approx(right / 6)


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_equals_published_values(right, total, low, high):
    assert metrics.wilson_interval(right, total) == pytest.approx((low, high), abs=5e-5)
    mirrored = metrics.wilson_interval(total - right, total)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_interval_refuses_more_right_than_clips():
    with pytest.raises(ValueError, match="Received 5 of 4"):
        metrics.wilson_interval(5, 4)


def test_spread_is_the_sample_standard_deviation():
    spread = records.mean_and_spread([0.5, 0.6, 0.7, 0.6])
    assert spread.mean == pytest.approx(0.6)
    assert spread.deviation == pytest.approx(math.sqrt(0.02 / 3))
    assert spread.num_values == 4
    assert records.mean_and_spread([0.5]).deviation is None


def test_no_clips_is_an_error_not_a_nan():
    with pytest.raises(ValueError, match="at least one"):
        metrics.accuracy([], [])
