"""Figures of merit against values worked out by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

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


def average_precision(truth, scores):
    """Mean of the precision at each clip of the class, by its definition; no two scores equal."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    found = [truth[i] for i in order]
    at = [sum(found[: n + 1]) / (n + 1) for n in range(len(found)) if found[n]]
    return sum(at) / len(at)


def test_mean_average_precision_is_that_of_its_definition_and_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth, scores = rng.random((40, 5)) < 0.2, rng.random((40, 5))
    expected = [average_precision(truth[:, c].tolist(), scores[:, c].tolist()) for c in range(5)]
    np.testing.assert_allclose(metrics.average_precisions(scores, truth), expected)
    found = metrics.mean_average_precision(scores, truth)
    assert found == pytest.approx(np.mean(expected))
    assert found == pytest.approx(average_precision_score(truth, scores, average="macro"))


def test_a_class_without_clips_is_left_out_of_the_mean():
    """scikit-learn counts it as 0, so that a split that lacks a class would look worse."""
    truth, scores = np.array([[1, 0], [0, 0]]), np.array([[0.9, 0.5], [0.1, 0.4]])
    found = metrics.average_precisions(scores, truth)
    assert found[0] == 1
    assert np.isnan(found[1])
    assert metrics.mean_average_precision(scores, truth) == 1


def test_one_of_several_classes_is_enough():
    truth, scores = np.array([[1, 1, 0], [0, 0, 1]]), np.array([[0.2, 0.9, 0.1], [0.2, 0.9, 0.8]])
    assert metrics.argmax_accuracy(scores, truth) == 0.5
    expected = -np.log([0.2, 0.9, 0.9, 0.8, 0.1, 0.8]).mean()
    assert metrics.cross_entropy(scores, truth) == pytest.approx(expected)
