"""Pictures of a trained scorer as PNG: precision against recall, the threshold, calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.highlights.training.picture_metrics import NUM_BINS, Calibration, TradeOff
from experiments.highlights.training.thresholds import WINDOW_SECONDS, Suggestion
from experiments.runs.plots import LIGHT, Theme, dress, new_figure, png_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from experiments.highlights.training.evaluation import Evaluation

_LIMITS = (-0.02, 1.02)
_SMOOTHED = f"mean over {WINDOW_SECONDS:g} s"


def trade_off_png(evaluation: Evaluation, *, theme: Theme = LIGHT) -> bytes:
    """Precision against recall, and both against the threshold; 1500 x 660 px."""
    figure = new_figure(10, 4.4, theme)
    curves, thresholds = figure.subplots(1, 2)
    _draw_precision_recall(curves, evaluation, theme)
    _draw_thresholds(thresholds, evaluation.smoothed_curve, evaluation.suggestion, theme)
    return png_bytes(figure)


def calibration_png(calibration: Calibration, *, theme: Theme = LIGHT) -> bytes:
    """True against said probabilities, and how many pictures there are of each; 1500 x 600 px."""
    figure = new_figure(10, 4, theme)
    reliability, counts = figure.subplots(1, 2)
    filled = calibration.counts > 0
    reliability.plot([0, 1], [0, 1], ":", color=theme.text, linewidth=1, label="perfect")
    reliability.plot(
        *(calibration.said[filled], calibration.true[filled], "o-"),
        color=theme.train,
        linewidth=1.8,
        label=f"expected error {calibration.expected_error:.3f}",
    )
    _square(reliability, "Calibration", "probability said", "share that are highlights", theme)
    left = np.arange(NUM_BINS) / NUM_BINS
    bars = counts.bar(
        left, calibration.counts, 1 / NUM_BINS, align="edge", color=theme.train, zorder=2
    )
    for bar in bars:
        bar.set_edgecolor(theme.background)
    for place, number in zip(left, calibration.counts, strict=True):
        middle = place + 0.5 / NUM_BINS
        counts.annotate(
            f"{number}",
            (middle, number),
            (0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=theme.text,
        )
    _title(counts, "Pictures of each probability", "probability said", "pictures", theme)
    return png_bytes(figure)


def _draw_precision_recall(axes: Axes, evaluation: Evaluation, theme: Theme) -> None:
    share = float(np.mean(evaluation.examples.label))
    drawn: tuple[tuple[TradeOff, float, str, str, str], ...] = (
        *((evaluation.curve, evaluation.average_precision, "single pictures", theme.train, "--"),),
        (
            *(evaluation.smoothed_curve, evaluation.smoothed_average_precision, _SMOOTHED),
            *(theme.validation, "-"),
        ),
    )
    for curve, average, name, colour, dashes in drawn:
        label = f"{name}: AP {average:.3f}"
        recall = np.append(curve.recall, 0.0)
        precision = np.append(curve.precision, curve.precision[-1])
        axes.step(recall, precision, dashes, where="post", color=colour, linewidth=1.8, label=label)
    axes.axhline(share, color=theme.text, linestyle=":", linewidth=1, label=f"chance {share:.3f}")
    chosen = evaluation.suggestion
    mark: dict[str, Any] = {"markersize": 13, "zorder": 5, "clip_on": False, "linestyle": ""}
    label = f"threshold {chosen.threshold:.2f}"
    axes.plot(
        [chosen.recall], [chosen.precision], marker="*", color=theme.accent, label=label, **mark
    )
    _square(axes, "Precision against recall", "recall", "precision", theme)


def _draw_thresholds(axes: Axes, curve: TradeOff, chosen: Suggestion, theme: Theme) -> None:
    lines = (
        ("precision", curve.precision, theme.train, "--"),
        ("recall", curve.recall, theme.validation, "-"),
        ("F1", curve.f1, theme.text, ":"),
    )
    for name, values, colour, dashes in lines:
        axes.plot(curve.thresholds, values, dashes, color=colour, linewidth=1.8, label=name)
    axes.axvline(
        chosen.threshold,
        color=theme.accent,
        linewidth=1.4,
        label=f"suggested {chosen.threshold:.2f}",
    )
    _square(axes, f"The {_SMOOTHED} against a threshold", "threshold", "", theme)


def _square(axes: Axes, title: str, x: str, y: str, theme: Theme) -> None:
    axes.set_xlim(*_LIMITS)
    axes.set_ylim(*_LIMITS)
    _title(axes, title, x, y, theme)
    axes.legend(loc="best", fontsize=9, frameon=False, labelcolor=theme.text)


def _title(axes: Axes, title: str, x: str, y: str, theme: Theme) -> None:
    axes.set_title(title, fontsize=11, loc="left", fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    dress(axes, theme)
    axes.grid(color=theme.grid, linewidth=0.8)
