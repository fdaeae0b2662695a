"""Report of a trained scorer: a self-contained `report.html`, with its plots as PNG beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.highlights.training.batches import ImageBatches
from experiments.highlights.training.data import TrainingData, balance_of
from experiments.highlights.training.evaluation import (
    NUM_BINS,
    WINDOW_SECONDS,
    Calibration,
    Evaluation,
    Suggestion,
    TradeOff,
    worst,
)
from experiments.runs import plots
from experiments.runs.directory import read_history
from experiments.runs.html import draw_themes, write_page
from experiments.runs.plots import LIGHT, Theme, dress, new_figure, png_bytes
from experiments.runs.report import environment
from experiments.runs.strips import thumbnail
from preprocess.video.time_ranges import format_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUM_WORST = 12  # mistakes shown of each kind
IMAGE_HEIGHT = 320  # pixels


def write_report(
    run_dir: Path,
    *,
    result: dict[str, Any],
    config: dict[str, Any],
    data: TrainingData,
    evaluation: Evaluation,
    batches: ImageBatches,
    score_name: str,
) -> None:
    """Write report.html and its plots as PNG.

    Args:
        run_dir: folder that holds metrics.csv and gets report.html and the PNGs.
        result: contents of result.json.
        config: contents of config.json.
        data: pictures trained on and validated with.
        evaluation: evaluation of the validation pictures.
        batches: batches that give the validation pictures themselves.
        score_name: name of the score by which the best epoch was chosen.
    """
    history = read_history(run_dir / "metrics.csv")
    assert history is not None
    # The accuracy has a plot in any case.
    drawn_score = None if score_name == "accuracy" else score_name
    drawings: dict[str, Callable[[Theme], bytes]] = {
        "trade_off": lambda theme: trade_off_png(evaluation, theme=theme),
        "calibration": lambda theme: calibration_png(evaluation.calibration, theme=theme),
        "curves": lambda theme: plots.curves_png(history, score_name=drawn_score, theme=theme),
    }
    write_page(
        run_dir / "report.html",
        "highlights/training/templates/report.html.jinja",
        title=run_dir.resolve().name,
        result=result | {"commit": None},  # the page names it with the environment
        config=config,
        environment=environment(result),
        data=data,
        evaluation=evaluation,
        interval=_interval(evaluation),
        num_highlights=sum(len(clip.labels.highlights) for clip in data.validation.clips),
        subsets=[(name, subset, balance_of(subset)) for name, subset in data.subsets.items()],
        images={
            name: draw_themes(draw, run_dir / f"{name}.png") for name, draw in drawings.items()
        },
        num_epochs=len(history["epoch"]),
        best_epoch=plots.best_epoch(history),
        score_name=score_name,
        false_alarms=_mistakes(evaluation, batches, label=0),
        misses=_mistakes(evaluation, batches, label=1),
        window=f"{WINDOW_SECONDS:g}",
    )


def _interval(evaluation: Evaluation) -> str:
    interval = evaluation.interval
    # An interval of no width, of a perfect scorer, would promise too much.
    if interval is None or interval[0] >= interval[1]:
        return ""
    return f"; 95 % interval {interval[0]:.2f} to {interval[1]:.2f} over other clips"


def _mistakes(evaluation: Evaluation, batches: ImageBatches, *, label: int) -> list[dict[str, Any]]:
    """The worst pictures of a label, each with its clip and time."""
    examples = evaluation.examples
    return [
        {
            "uri": thumbnail(batches.image(int(place)), max_height=IMAGE_HEIGHT),
            "source": examples.clips[examples.clip[place]].source,
            "time": format_time(float(examples.time[place])),
            "probability": evaluation.probabilities[place],
        }
        for place in worst(
            evaluation, label=label, max_count=NUM_WORST, apart_seconds=WINDOW_SECONDS
        )
    ]


_LIMITS = (-0.02, 1.02)  # of axes from 0 to 1, so that lines at 0 and 1 are not cut
_SMOOTHED = f"mean over {WINDOW_SECONDS:g} s"


def trade_off_png(evaluation: Evaluation, *, theme: Theme = LIGHT) -> bytes:
    """Plot precision against recall, and both against the threshold; PNG of 1500 x 750 px."""
    figure = new_figure(10, 5, theme)
    curves, thresholds = figure.subplots(1, 2)
    _draw_precision_recall(curves, evaluation, theme)
    _draw_thresholds(thresholds, evaluation.smoothed_curve, evaluation.suggestion, theme)
    return png_bytes(figure)


def calibration_png(calibration: Calibration, *, theme: Theme = LIGHT) -> bytes:
    """Plot observed against predicted probabilities, and the counts; PNG of 1500 x 660 px."""
    figure = new_figure(10, 4.4, theme)
    reliability, counts = figure.subplots(1, 2)
    filled = calibration.counts > 0
    reliability.plot([0, 1], [0, 1], ":", color=theme.text, linewidth=1, label="perfect")
    reliability.plot(
        calibration.predicted[filled],
        calibration.true[filled],
        "o-",
        color=theme.train,
        linewidth=1.8,
        label=f"expected error {calibration.expected_error:.3f}",
    )
    _square(reliability, "Calibration", "predicted probability", "share that are highlights", theme)
    left = np.arange(NUM_BINS) / NUM_BINS
    bars = counts.bar(
        left, calibration.counts, 1 / NUM_BINS, align="edge", color=theme.train, zorder=2
    )
    for bar in bars:
        # Touching bars are told apart by an edge in the background's colour.
        bar.set_edgecolor(theme.background)
    # Heights of thousands and of one cannot be read off the same axis, so each bar has its number.
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
    _title(counts, "Pictures of each probability", "predicted probability", "pictures", theme)
    return png_bytes(figure)


def _draw_precision_recall(axes: Axes, evaluation: Evaluation, theme: Theme) -> None:
    share = float(np.mean(evaluation.examples.label))
    single, smoothed = evaluation.curve, evaluation.smoothed_curve
    mean_single, mean_smoothed = evaluation.average_precision, evaluation.smoothed_average_precision
    drawn = (
        (single, mean_single, "single pictures", theme.train, "--"),
        (smoothed, mean_smoothed, _SMOOTHED, theme.validation, "-"),
    )
    for curve, average, name, colour, dashes in drawn:
        label = f"{name}: AP {average:.3f}"
        # The curve ends at its highest threshold; it is drawn on to recall 0 at the same precision.
        recall = np.append(curve.recall, 0.0)
        precision = np.append(curve.precision, curve.precision[-1])
        axes.step(recall, precision, dashes, where="post", color=colour, linewidth=1.8, label=label)
    axes.axhline(share, color=theme.text, linestyle=":", linewidth=1, label=f"chance {share:.3f}")
    chosen = evaluation.suggestion
    # Not clipped, since a threshold of recall or precision 1 lies near the edge of the axes.
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
    # Below the panel: the curves run through every corner of it.
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=2,
        fontsize=9,
        frameon=False,
        labelcolor=theme.text,
    )


def _title(axes: Axes, title: str, x: str, y: str, theme: Theme) -> None:
    axes.set_title(title, fontsize=11, loc="left", fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    dress(axes, theme)
    axes.grid(color=theme.grid, linewidth=0.8)
