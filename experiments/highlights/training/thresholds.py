"""A threshold to suggest: the one that does best on the validation clips, as `reel` applies it.

`reel` compares smoothed probabilities with its threshold, so the suggestion is made of smoothed
ones too: each clip's by itself, with the window that `reel` has by default.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.highlights.selection.scores import ScoreTrack
from experiments.highlights.selection.segments import SelectionOptions
from experiments.highlights.training.examples import Examples
from experiments.highlights.training.picture_metrics import Floats, TradeOff

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
