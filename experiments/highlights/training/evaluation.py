"""Evaluation of a trained scorer on validation clips, with a suggested threshold.

`reel` compares smoothed probabilities with its threshold, so the suggestion is computed from
smoothed ones too: those of each clip alone, with the window that `reel` has by default.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from common.files import write_atomically
from experiments.highlights.selection.scores import ScoreTrack
from experiments.highlights.selection.segments import SelectionOptions
from experiments.highlights.training import image_metrics as metrics
from experiments.highlights.training.examples import Examples
from experiments.highlights.training.image_metrics import Calibration, Floats, TradeOff

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
        return metrics.trade_off(self.examples.label, self.probabilities)

    @cached_property
    def smoothed_curve(self) -> TradeOff:
        """Precision and recall of smoothed probabilities."""
        return metrics.trade_off(self.examples.label, self.smoothed)

    @cached_property
    def suggestion(self) -> Suggestion:
        """Suggested threshold for `reel`."""
        return suggest_threshold(self.smoothed_curve, precision=self.precision)

    @cached_property
    def calibration(self) -> Calibration:
        """Calibration of single pictures."""
        return metrics.calibration(self.examples.label, self.probabilities)

    @cached_property
    def average_precision(self) -> float:
        """Average precision of single pictures."""
        return metrics.average_precision(self.examples.label, self.probabilities)

    @cached_property
    def smoothed_average_precision(self) -> float:
        """Average precision of smoothed probabilities."""
        return metrics.average_precision(self.examples.label, self.smoothed)

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the average precision of single pictures, over other draws of clips."""
        return metrics.average_precision_interval(
            self.examples.label, self.probabilities, self.examples.clip
        )

    @property
    def accuracy(self) -> float:
        """Accuracy of single pictures, at a probability of 0.5."""
        return float(((self.probabilities > 0.5) == self.examples.label).mean())

    def figures(self) -> dict[str, Any]:
        """Fields of result.json."""
        suggestion = self.suggestion
        return {
            "average_precision": self.average_precision,
            "average_precision_interval": self.interval,
            "average_precision_smoothed": self.smoothed_average_precision,
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
