"""Metrics of probabilities of a highlight: average precision, precision and recall, calibration.

Labels are 0 or 1 and probabilities those of label 1, (N,) each. Both labels must occur.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score

from experiments.highlights.training.recipes import Select
from experiments.runs.metrics import argmax_accuracy

Floats = NDArray[np.float64]
NUM_BINS = 10
SCORE_NAMES: dict[Select, str] = {
    "ap": "AP",
    "precision": "precision",
    "recall-at-precision": "recall at precision",
    "accuracy": "accuracy",
}
_NUM_DRAWS = 500  # bootstrap draws of an interval


@dataclass(frozen=True)
class TradeOff:
    """Precision and recall at every threshold that makes a difference, (T,) each, ascending.

    Args:
        thresholds: thresholds halfway between two probabilities; the first is below all of them.
        margins: distance by which a threshold could be moved either way without effect.
        precision: fraction of highlights among the pictures at or above the threshold.
        recall: fraction of the highlights that are at or above the threshold.
    """

    thresholds: Floats
    margins: Floats
    precision: Floats
    recall: Floats

    @property
    def f1(self) -> Floats:
        """Harmonic mean of precision and recall, (T,)."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / np.where(total > 0, total, 1)


@dataclass(frozen=True)
class Calibration:
    """Predicted against observed frequency of highlights, in ten equal bins of probability.

    Args:
        counts: number of pictures in each bin, (10,).
        predicted: mean predicted probability in each bin, NaN where it is empty, (10,).
        true: fraction of highlights in each bin, NaN where it is empty, (10,).
        expected_error: mean of |predicted - true|, weighted by the counts.
        brier: mean squared difference of probability and label.
    """

    counts: NDArray[np.int64]
    predicted: Floats
    true: Floats
    expected_error: float
    brier: float


def average_precision(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Average precision: mean of the precision over the recall, without interpolation."""
    return float(average_precision_score(np.asarray(labels), np.asarray(probabilities)))


def average_precision_interval(
    labels: NDArray[np.int32], probabilities: Floats, clips: NDArray[np.int64], *, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval (low, high) of the average precision over other draws of clips.

    Whole clips are drawn with replacement, because pictures of one clip are alike. None if fewer
    than 2 clips have highlights.
    """
    numbers = np.unique(clips)
    if len({number for number in numbers if labels[clips == number].any()}) < 2:
        return None
    rng = np.random.default_rng(seed)
    places = [np.flatnonzero(clips == number) for number in numbers]
    values = []
    for _ in range(_NUM_DRAWS):
        drawn = np.concatenate([places[i] for i in rng.integers(len(places), size=len(places))])
        # A draw of clips of one label alone has no average precision.
        if 0 < labels[drawn].sum() < len(drawn):
            values.append(average_precision(labels[drawn], probabilities[drawn]))
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def trade_off(labels: ArrayLike, probabilities: ArrayLike) -> TradeOff:
    """Compute precision and recall at every threshold that makes a difference."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    values, place = np.unique(probabilities, return_inverse=True)  # ascending
    # Sums from the highest probability down: what is called a highlight, and what of it is one.
    positive = np.bincount(place, weights=labels, minlength=len(values))
    above = np.cumsum(np.bincount(place, minlength=len(values))[::-1])[::-1]
    right = np.cumsum(positive[::-1])[::-1]
    below = np.concatenate([[0.0], values[:-1]])
    return TradeOff(
        thresholds=(below + values) / 2,
        margins=(values - below) / 2,
        precision=right / above,
        recall=right / positive.sum(),
    )


def recall_at_precision(labels: ArrayLike, probabilities: ArrayLike, precision: float) -> float:
    """Highest recall at which a precision is reached; 0 if it is never reached."""
    curve = trade_off(labels, probabilities)
    return float(np.max(curve.recall, where=curve.precision >= precision, initial=0.0))


def precision_at_half(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Precision at a probability of 0.5; 0 if no picture is called a highlight."""
    called = probabilities.argmax(axis=1) == 1
    return float(labels[called].mean()) if called.any() else 0.0


def score_of(select: Select, *, precision: float) -> Callable[[NDArray, NDArray], float]:
    """Function of probabilities (N, 2) and labels (N,) that scores an epoch; higher is better.

    Args:
        select: name of the score.
        precision: precision that has to be reached, for "recall-at-precision".
    """
    scores: dict[Select, Callable[[NDArray, NDArray], float]] = {
        "ap": lambda p, labels: average_precision(labels, p[:, 1]),
        "precision": precision_at_half,
        "recall-at-precision": lambda p, labels: recall_at_precision(labels, p[:, 1], precision),
        "accuracy": argmax_accuracy,
    }
    return scores[select]


def calibration(labels: ArrayLike, probabilities: ArrayLike) -> Calibration:
    """Compare predicted probabilities with observed frequencies, bin by bin."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    step = np.minimum((probabilities * NUM_BINS).astype(int), NUM_BINS - 1)  # 1.0 is in the last
    counts = np.bincount(step, minlength=NUM_BINS)
    filled = np.where(counts > 0, counts, np.nan)
    predicted = np.bincount(step, weights=probabilities, minlength=NUM_BINS) / filled
    true = np.bincount(step, weights=labels, minlength=NUM_BINS) / filled
    return Calibration(
        counts,
        predicted,
        true,
        expected_error=float(np.nansum(counts * np.abs(predicted - true)) / len(labels)),
        brier=float(np.mean((probabilities - labels) ** 2)),
    )
