"""How good probabilities are, against scikit-learn and cases made by hand; the threshold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    precision_recall_curve,
)

from experiments.highlights.training import evaluation as metrics
from experiments.highlights.training.evaluation import smoothed_by_clip, suggest_threshold
from experiments.highlights.training.examples import Examples

LABELS = np.array([0, 0, 1, 0, 1, 1, 0, 1])
PREDICTED = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
EXAMPLES = Examples(
    [], np.arange(8) // 6, np.arange(8), np.arange(8.0), LABELS.astype(np.int32), LABELS > 1
)


@st.composite
def scored(draw):
    """Labels of both kinds, and probabilities of which some are alike."""
    number = draw(st.integers(2, 40))
    labels = draw(st.lists(st.integers(0, 1), min_size=number, max_size=number))
    labels[:2] = [0, 1]
    predicted = draw(st.lists(st.integers(0, 10), min_size=number, max_size=number))
    return np.array(labels), np.array(predicted) / 10


@settings(deadline=None)
@given(scored())
def test_the_curve_is_scikit_learns(case):
    """Red when equal probabilities are parted, or a threshold excludes what it should include."""
    labels, predicted = case
    curve = metrics.trade_off(labels, predicted)
    precision, recall, cuts = precision_recall_curve(labels, predicted)
    np.testing.assert_allclose(curve.precision, precision[:-1])
    np.testing.assert_allclose(curve.recall, recall[:-1])
    assert len(curve.thresholds) == len(cuts)
    for threshold, expected in zip(curve.thresholds[1:], recall[1:-1], strict=True):
        called = predicted >= threshold
        assert labels[called].sum() / labels.sum() == pytest.approx(expected)


def test_average_precision_by_hand():
    """Mean of the precision at each highlight from the top: 1/1, 2/3, 3/4, 4/6."""
    assert metrics.average_precision(LABELS, PREDICTED) == pytest.approx(
        (1 + 2 / 3 + 3 / 4 + 4 / 6) / 4
    )


@pytest.mark.parametrize(("wanted", "recall"), [(0.6, 1.0), (0.7, 0.75), (0.8, 0.25), (1.0, 0.25)])
def test_recall_at_a_precision_by_hand(wanted, recall):
    assert metrics.recall_at_precision(LABELS, PREDICTED, wanted) == recall


def test_a_precision_that_is_never_reached_has_no_recall():
    assert metrics.recall_at_precision(np.array([1, 0]), np.array([0.1, 0.9]), 0.9) == 0


def test_each_score_is_its_own():
    """Red when --select chooses by another score."""
    probabilities = np.stack([1 - PREDICTED, PREDICTED], axis=1)
    scores = {
        name: metrics.score_of(name, precision=0.7, examples=EXAMPLES)(probabilities, LABELS)
        for name in metrics.SCORE_NAMES
    }
    assert scores == pytest.approx(
        {
            "reel": average_precision_score(LABELS, smoothed_by_clip(EXAMPLES, PREDICTED)),
            "ap": 0.770833,
            "precision": 0.75,
            "recall-at-precision": 0.75,
            "accuracy": 0.75,
        },
        abs=1e-5,
    )
    uneven = PREDICTED[[7, 0, 6, 1, 5, 2, 4, 3]]
    reel = metrics.score_of("reel", precision=0.7, examples=EXAMPLES)
    expected = average_precision_score(LABELS, smoothed_by_clip(EXAMPLES, uneven))
    assert reel(np.stack([1 - uneven, uneven], axis=1), LABELS) == pytest.approx(expected)
    assert expected != pytest.approx(average_precision_score(LABELS, uneven))
    none_called = np.stack([np.ones(8), np.zeros(8)], axis=1)
    score = metrics.score_of("precision", precision=0.7, examples=EXAMPLES)
    assert score(none_called, LABELS) == 0


def test_a_reel_as_long_as_the_highlights():
    """Three of the four best are highlights; where all are equal, chance. Red when ties count."""
    assert metrics.precision_at_length(LABELS, PREDICTED) == 3 / 4
    assert metrics.precision_at_length(LABELS, np.full(8, 0.5)) == 0.5
    # One is above; of the next two, of which one is a highlight, one more fits.
    assert metrics.precision_at_length([1, 1, 0, 0], [0.9, 0.5, 0.5, 0.1]) == 3 / 4


def test_doubts_name_what_cannot_be_trusted():
    """Red when a threshold of one clip, or of scores that are all high, is taken as any other."""
    times = np.tile(np.arange(0, 20, 0.5), 4)
    number = np.repeat(np.arange(4), 40)
    label = ((times >= 5) & (times < 10)).astype(np.int32)
    good = np.where(label, 0.9, 0.1)

    def doubts(label, predicted):
        examples = Examples([], number, number, times, label, label > 1)
        return metrics.Evaluation(examples, predicted).doubts

    assert doubts(label, good) == []
    assert "one clip with highlights" in doubts(np.where(number == 2, label, 0), good)[0]
    chance, saturated, calibration = doubts(label, np.maximum(0.995, good))
    assert "may be chance" in chance
    assert "0.99 or more are common" in saturated
    assert "calibration error is 0.7" in calibration
    guessed = np.random.default_rng(0).permutation(good)
    assert "may be chance" in doubts(label, guessed)[0]


def test_calibration_by_hand():
    """Two pictures said 0.2 and 0.3 apart from two said 0.9; one of the latter is none."""
    labels, predicted = np.array([0, 1, 1, 0]), np.array([0.25, 0.25, 0.95, 1.0])
    found = metrics.calibration(labels, predicted)
    assert list(found.counts) == [0, 0, 2, 0, 0, 0, 0, 0, 0, 2]
    assert found.predicted[[2, 9]] == pytest.approx([0.25, 0.975])
    assert found.true[[2, 9]] == pytest.approx([0.5, 0.5])
    assert np.isnan(found.predicted[0])
    assert found.expected_error == pytest.approx(0.5 * 0.25 + 0.5 * 0.475)
    assert found.brier == pytest.approx(brier_score_loss(labels, predicted))


def test_the_interval_is_over_clips():
    """Red when pictures of a clip are drawn apart: the interval is then far too narrow.

    With k of 6 clips scored well the average precision is (k/6)^2 + (6 - k)/12; 1 to 5 are in 95 %
    of the draws.
    """
    clips = np.repeat(np.arange(6), 50)
    labels = (np.arange(300) % 50 < 25).astype(np.int32)
    good = clips < 3  # three clips are scored well, three wrongly
    predicted = np.where(good, labels, 1 - labels) * 0.8 + 0.1
    interval = metrics.interval_over_clips(labels, predicted, clips)
    assert interval == pytest.approx((4 / 9, 7 / 9))
    assert metrics.interval_over_clips(labels[:50], predicted[:50], clips[:50]) is None


def suggestion(labels, predicted, **options):
    return suggest_threshold(metrics.trade_off(np.array(labels), np.array(predicted)), **options)


def test_the_threshold_of_the_best_f1():
    """F1 is best with all highlights above: 4 of 6 are; halfway from 0.2 to 0.3."""
    found = suggestion(LABELS, PREDICTED)
    assert found.threshold == pytest.approx(0.25)
    assert (found.precision, found.recall) == pytest.approx((4 / 6, 1.0))
    assert found.f1 == pytest.approx(0.8)
    assert found.reached


def test_a_perfect_score_is_parted_in_the_middle():
    found = suggestion([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert found.threshold == pytest.approx(0.5)


def test_of_equal_thresholds_the_safest_is_taken():
    """F1 is 2/3 at 0.35 (1 of 2, all) ... and twice more; the widest gap wins."""
    found = suggestion([1, 0, 1, 0], [0.95, 0.9, 0.4, 0.05], precision=0.5)
    assert found.recall == 1
    assert found.threshold == pytest.approx(0.225)


def test_the_threshold_of_a_wanted_precision():
    """0.75 is reached from 0.6 on, with three of four highlights."""
    found = suggestion(LABELS, PREDICTED, precision=0.72)
    assert found.threshold == pytest.approx(0.5)
    assert (found.precision, found.recall) == (0.75, 0.75)
    assert found.reached


def test_a_precision_that_cannot_be_had_is_told():
    found = suggestion([1, 0, 0, 1, 0], [0.2, 0.3, 0.4, 0.8, 0.9], precision=0.95)
    assert not found.reached
    assert found.precision == 0.5
    assert found.threshold == pytest.approx(0.6)


def test_a_threshold_is_never_zero():
    """Red when a reel would refuse it."""
    found = suggestion([1, 0, 1], [0.0, 0.5, 0.9])
    assert 0 < found.threshold <= 1


def test_smoothing_stays_within_a_clip():
    """Red when one clip's last second pulls at the next clip's first."""
    times = np.tile(np.arange(0, 10, 0.5), 2)
    number = np.repeat([0, 1], 20)
    nothing = np.zeros(40)
    examples = Examples([], number, nothing.astype(int), times, nothing.astype(np.int32), nothing)
    predicted = np.where(number == 0, 1.0, 0.0)
    np.testing.assert_allclose(smoothed_by_clip(examples, predicted), predicted)
    step = np.where(times >= 5, 1.0, 0.0)
    smoothed = smoothed_by_clip(examples, step, width=5.0)
    inside = (times > 2.6) & (times < 7.4)
    expected = np.clip((times + 2.5 - 4.75) / 5, 0, 1)  # a step halfway between 4.5 and 5 s
    np.testing.assert_allclose(smoothed[inside], expected[inside], atol=1e-9)
