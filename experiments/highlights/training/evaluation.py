"""What a trained scorer says of the validation clips, how good that is, and a threshold to suggest.

`reel` compares smoothed probabilities with its threshold, so the suggestion is made of smoothed
ones too: each clip's by itself, with the window that `reel` has by default.
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
from experiments.highlights.training import picture_metrics as metrics
from experiments.highlights.training.examples import Examples
from experiments.highlights.training.picture_metrics import Calibration, Floats, TradeOff

COLUMNS = ("clip", "group", "time_seconds", "label", "probability")


@dataclass(frozen=True)
class Evaluation:
    """Probabilities of pictures whose labels are known.

    Args:
        examples: the pictures.
        probabilities: of a highlight, (N,).
        precision: that the suggested threshold has to reach; None for the best F1.
    """

    examples: Examples
    probabilities: Floats
    precision: float | None = None

    @cached_property
    def smoothed(self) -> Floats:
        """(N,) as `reel` smooths them."""
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
        """The threshold for `reel`."""
        return suggest_threshold(self.smoothed_curve, precision=self.precision)

    @cached_property
    def calibration(self) -> Calibration:
        """Of single pictures."""
        return metrics.calibration(self.examples.label, self.probabilities)

    @cached_property
    def average_precision(self) -> float:
        """Of single pictures."""
        return metrics.average_precision(self.examples.label, self.probabilities)

    @cached_property
    def smoothed_average_precision(self) -> float:
        """Of smoothed probabilities."""
        return metrics.average_precision(self.examples.label, self.smoothed)

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """Of the average precision of single pictures, over other draws of clips; 95 %."""
        return metrics.average_precision_interval(
            self.examples.label, self.probabilities, self.examples.clip
        )

    @property
    def accuracy(self) -> float:
        """Of single pictures, at a probability of a half."""
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
    """One row a picture: clip, group, time_seconds, label (1 for a highlight), probability."""
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


def worst(evaluation: Evaluation, *, label: int, most: int, apart_seconds: float) -> list[np.int64]:
    """Places of the pictures of a label that are most confidently taken for the other.

    Args:
        evaluation: of the pictures.
        label: theirs: 0 for false alarms, 1 for misses.
        most: how many at most.
        apart_seconds: of two pictures of a clip so close, the worse one is taken alone.
    """
    examples = evaluation.examples
    doubt = np.abs(evaluation.probabilities - examples.label)
    wrong = np.flatnonzero((examples.label == label) & (doubt > 0.5))
    chosen: list[np.int64] = []
    for place in wrong[np.argsort(-doubt[wrong], kind="stable")]:
        near = [
            other
            for other in chosen
            if examples.clip[other] == examples.clip[place]
            and abs(examples.time[other] - examples.time[place]) < apart_seconds
        ]
        if not near:
            chosen.append(place)
        if len(chosen) == most:
            break
    return chosen


WINDOW_SECONDS = SelectionOptions.bin_size
_LOWEST = 1e-3  # a threshold that lets everything through, but is none


@dataclass(frozen=True)
class Suggestion:
    """A threshold and what it gives.

    Args:
        threshold: of smoothed probabilities.
        precision: at it.
        recall: at it.
        f1: at it.
        wanted: the precision that was asked for; None for the best F1.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    wanted: float | None

    @property
    def reached(self) -> bool:
        """Whether it has the precision that was asked for."""
        return self.wanted is None or self.precision >= self.wanted


def suggest_threshold(curve: TradeOff, *, precision: float | None = None) -> Suggestion:
    """The threshold of the best F1, or that of the best recall at a wanted precision.

    It lies halfway between the two probabilities that it parts. Of equally good ones, that is
    taken which parts the most distant two. A precision that is never reached is approached.

    Args:
        curve: precision and recall of smoothed probabilities.
        precision: to be reached; None for the best F1.
    """
    if precision is None:
        worth = curve.f1
    elif (curve.precision >= precision).any():
        worth = np.where(curve.precision >= precision, curve.recall, -1)
    else:
        worth = curve.precision
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
    """Probabilities (N,), each the mean over `width` seconds of its clip, as `reel` takes it."""
    smoothed = np.empty(len(examples))
    for number in np.unique(examples.clip):
        of_clip = examples.clip == number
        times = examples.time[of_clip]
        track = ScoreTrack(times, probabilities[of_clip], times[-1] + width, reach=width / 2)
        smoothed[of_clip] = track.smoothed(width)
    return smoothed
