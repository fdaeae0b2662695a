"""Evaluation of a trained scorer on validation clips, with a suggested threshold.

`reel` compares smoothed probabilities with its threshold, so the suggestion is computed from
smoothed ones too: those of each clip alone, with the window that `reel` has by default.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score

from common.files import write_atomically
from experiments.highlights.selection.scores import ScoreTrack
from experiments.highlights.selection.selection import ROUNDING, SelectionOptions
from experiments.highlights.training.examples import Examples
from experiments.highlights.training.recipes import Select
from experiments.runs.metrics import argmax_accuracy

# Metrics. Labels are 0 or 1 and probabilities those of label 1, (N,) each; both labels must occur.


Floats = NDArray[np.float64]
NUM_BINS = 10
SCORE_NAMES: dict[Select, str] = {
    "reel": "reel AP",
    "ap": "AP",
    "precision": "precision",
    "recall-at-precision": "recall at precision",
    "accuracy": "accuracy",
}
_NUM_DRAWS = 500  # bootstrap draws of an interval
_SATURATED = 0.99  # from this smoothed score on, moments can hardly be told apart
_SATURATED_SHARE = 0.05  # of what is no highlight
_POOR_CALIBRATION = 0.2  # expected calibration error above which no threshold carries over


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


def precision_at_length(labels: ArrayLike, scores: ArrayLike) -> float:
    """Precision of the best pictures, as many as there are highlights: a reel of their length.

    Pictures of the same score count by the mean of their labels.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    number = int(labels.sum())
    last = np.sort(scores)[-number]
    above, equal = scores > last, scores == last
    rest = (number - above.sum()) * labels[equal].mean()
    return float((labels[above].sum() + rest) / number)


def interval_over_clips(
    labels: NDArray[np.int32],
    probabilities: Floats,
    clips: NDArray[np.int64],
    *,
    score: Callable[[ArrayLike, ArrayLike], float] = average_precision,
    seed: int = 0,
) -> tuple[float, float] | None:
    """95 % interval (low, high) of a score over other draws of clips.

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
            values.append(score(labels[drawn], probabilities[drawn]))
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


def score_of(
    select: Select, *, precision: float, examples: Examples
) -> Callable[[NDArray, NDArray], float]:
    """Function of probabilities (N, 2) and labels (N,) that scores an epoch; higher is better.

    Args:
        select: name of the score.
        precision: precision that has to be reached, for "recall-at-precision".
        examples: the pictures, clip by clip, for "reel", which smooths as a reel does.
    """
    scores: dict[Select, Callable[[NDArray, NDArray], float]] = {
        "reel": lambda p, labels: average_precision(
            labels, smoothed_by_clip(examples, p[:, 1].astype(float))
        ),
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


COLUMNS = ("clip", "group", "time_seconds", "label", "probability")


@dataclass(frozen=True)
class Evaluation:
    """Probabilities of labelled pictures, and the figures that follow from them.

    Args:
        examples: the pictures.
        probabilities: probabilities of a highlight, (N,).
        precision: precision that the suggested threshold has to reach; None for the best F1.
    """

    examples: Examples
    probabilities: Floats
    precision: float | None = None

    # Computed once, when asked for. `cached_property` works in a frozen dataclass, since it writes
    # into the instance's `__dict__` directly.
    @cached_property
    def smoothed(self) -> Floats:
        """Probabilities as `reel` smooths them, (N,)."""
        return smoothed_by_clip(self.examples, self.probabilities)

    @cached_property
    def curve(self) -> TradeOff:
        """Precision and recall of single pictures."""
        return trade_off(self.examples.label, self.probabilities)

    @cached_property
    def smoothed_curve(self) -> TradeOff:
        """Precision and recall of smoothed probabilities."""
        return trade_off(self.examples.label, self.smoothed)

    @cached_property
    def suggestion(self) -> Suggestion:
        """Suggested threshold for `reel`."""
        return suggest_threshold(self.smoothed_curve, precision=self.precision)

    @cached_property
    def calibration(self) -> Calibration:
        """Calibration of single pictures."""
        return calibration(self.examples.label, self.probabilities)

    @cached_property
    def average_precision(self) -> float:
        """Average precision of single pictures."""
        return average_precision(self.examples.label, self.probabilities)

    @cached_property
    def smoothed_average_precision(self) -> float:
        """Average precision of smoothed probabilities."""
        return average_precision(self.examples.label, self.smoothed)

    @cached_property
    def precision_at_length(self) -> float:
        """Precision of a reel of the clips that is as long as their highlights."""
        return precision_at_length(self.examples.label, self.smoothed)

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the smoothed average precision, over other draws of clips."""
        return interval_over_clips(self.examples.label, self.smoothed, self.examples.clip)

    @cached_property
    def precision_interval(self) -> tuple[float, float] | None:
        """95 % interval of the precision at the reel's length, over other draws of clips."""
        return interval_over_clips(
            self.examples.label, self.smoothed, self.examples.clip, score=precision_at_length
        )

    @property
    def chance(self) -> float:
        """Average precision, and precision at any length, of a scorer that guesses."""
        return float(self.examples.label.mean())

    @cached_property
    def doubts(self) -> list[str]:
        """Reasons not to trust the suggested threshold on another recording; none if all is well.

        Each completes "because".
        """
        labels = self.examples.label
        with_highlights = len(np.unique(self.examples.clip[labels == 1]))
        found = []
        if with_highlights < 2:
            found.append("it was validated on one clip with highlights")
        elif self.interval is not None and self.interval[0] < self.chance + ROUNDING:
            found.append("its score on the validation clips may be chance")
        if (self.smoothed[labels == 0] >= _SATURATED).mean() > _SATURATED_SHARE:
            found.append(f"scores of {_SATURATED:g} or more are common where no highlight is")
        if self.calibration.expected_error > _POOR_CALIBRATION:
            found.append(f"its calibration error is {self.calibration.expected_error:.2f}")
        return found

    @property
    def accuracy(self) -> float:
        """Accuracy of single pictures, at a probability of 0.5."""
        return float(((self.probabilities > 0.5) == self.examples.label).mean())

    def figures(self) -> dict[str, Any]:
        """Fields of result.json."""
        suggestion = self.suggestion
        return {
            "average_precision": self.average_precision,
            "average_precision_smoothed": self.smoothed_average_precision,
            "average_precision_smoothed_interval": self.interval,
            "precision_at_length": self.precision_at_length,
            "precision_at_length_interval": self.precision_interval,
            "chance": self.chance,
            "doubts": self.doubts,
            "accuracy": self.accuracy,
            "threshold": suggestion.threshold,
            "precision": suggestion.precision,
            "recall": suggestion.recall,
            "f1": suggestion.f1,
            "wanted_precision": suggestion.wanted,
            "wanted_precision_reached": suggestion.reached,
            "expected_calibration_error": self.calibration.expected_error,
            "brier_score": self.calibration.brier,
        }


def write_predictions(path: Path, evaluation: Evaluation) -> None:
    """Write a CSV of one row per picture, with the columns `COLUMNS`; label 1 is a highlight."""
    examples = evaluation.examples
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, time, label, probability in zip(
        examples.clip, examples.time, examples.label, evaluation.probabilities, strict=True
    ):
        clip = examples.clips[number]
        writer.writerow([clip.source, clip.group, f"{time:.6g}", label, f"{probability:.6g}"])
    write_atomically(path, text.getvalue().encode())


def worst(
    evaluation: Evaluation, *, label: int, max_count: int, apart_seconds: float
) -> list[np.int64]:
    """Indices of the pictures of one label that are most confidently taken for the other.

    Args:
        evaluation: the evaluation of the pictures.
        label: 0 for false alarms, 1 for misses.
        max_count: largest number of indices.
        apart_seconds: of two pictures of a clip that are closer, only the worse one is taken.
    """
    examples = evaluation.examples
    doubt = np.abs(evaluation.probabilities - examples.label)
    wrong = np.flatnonzero((examples.label == label) & (doubt > 0.5))
    chosen: list[np.int64] = []
    for place in wrong[np.argsort(-doubt[wrong], kind="stable")]:
        # Pictures next to each other look alike; one of them is enough for the page.
        near = [
            other
            for other in chosen
            if examples.clip[other] == examples.clip[place]
            and abs(examples.time[other] - examples.time[place]) < apart_seconds
        ]
        if not near:
            chosen.append(place)
        if len(chosen) == max_count:
            break
    return chosen


WINDOW_SECONDS = SelectionOptions.bin_size
_LOWEST = 1e-3  # a threshold above 0 that lets nearly everything through


@dataclass(frozen=True)
class Suggestion:
    """A suggested threshold with its precision and recall on the validation clips.

    Args:
        threshold: threshold of smoothed probabilities.
        precision: precision at the threshold.
        recall: recall at the threshold.
        f1: F1 at the threshold.
        wanted: precision that was asked for; None for the best F1.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    wanted: float | None

    @property
    def reached(self) -> bool:
        """Whether the threshold has the precision that was asked for."""
        return self.wanted is None or self.precision >= self.wanted


def suggest_threshold(curve: TradeOff, *, precision: float | None = None) -> Suggestion:
    """Choose the threshold of the best F1, or of the best recall at a wanted precision.

    It lies halfway between the two probabilities that it separates. Of equally good ones, the one
    that separates the most distant two is taken. If no threshold reaches the wanted precision,
    the one of the highest precision is taken.

    Args:
        curve: precision and recall of smoothed probabilities.
        precision: precision to be reached; None for the best F1.
    """
    if precision is None:
        worth = curve.f1
    elif (curve.precision >= precision).any():
        # Below the wanted precision nothing counts.
        worth = np.where(curve.precision >= precision, curve.recall, -1)
    else:
        worth = curve.precision
    # Rounded, so that values that differ by an error of arithmetic alone count as equally good.
    best = int(np.lexsort((curve.margins, np.round(worth, 12)))[-1])
    return Suggestion(
        threshold=max(float(curve.thresholds[best]), _LOWEST),
        precision=float(curve.precision[best]),
        recall=float(curve.recall[best]),
        f1=float(curve.f1[best]),
        wanted=precision,
    )


def smoothed_by_clip(
    examples: Examples, probabilities: Floats, *, width: float = WINDOW_SECONDS
) -> Floats:
    """Smooth probabilities (N,) over `width` seconds, each clip alone, as `reel` does."""
    smoothed = np.empty(len(examples))
    for number in np.unique(examples.clip):
        of_clip = examples.clip == number
        times = examples.time[of_clip]
        # The clip ends behind its last window, so that no mean is cut short by the end of the file.
        track = ScoreTrack(times, probabilities[of_clip], times[-1] + width, reach=width / 2)
        smoothed[of_clip] = track.smoothed(width)
    return smoothed
