"""Plots of a run as PNG: training curves, the confusion matrix, clip lengths.

Each function returns the bytes of the PNG. Only Matplotlib's object API is used: no pyplot and no
global state, so that threads may draw at the same time. Colours are those of Okabe and Ito, which
colour-blind people tell apart; line styles and numbers repeat what they say.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.runs.directory import MetricColumns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_CLASSES_WITH_COUNTS = 25
MAX_NAME_LENGTH = 28
DOTS_PER_INCH = 150
# Shares at the colours of a heat map. The first step is steep, to show a single mistake.
HEAT_STOPS = (0, 0.1, 0.4, 0.7, 1)


@dataclass(frozen=True)
class Theme:
    """Colours of a plot for a light or a dark page."""

    background: str
    text: str
    grid: str
    train: str
    validation: str
    accent: str
    # Colours of a heat map, from no clip to all clips of the class.
    heat: tuple[str, ...]


LIGHT = Theme(
    background="#ffffff",
    text="#1f2933",
    grid="#dfe3e8",
    train="#0072b2",
    validation="#d55e00",
    accent="#009e73",
    heat=("#ffffff", "#d6e6f4", "#86bcdc", "#2f7fbc", "#08306b"),
)
DARK = Theme(
    background="#1b2027",
    text="#e4e7eb",
    grid="#3a434d",
    train="#56b4e9",
    validation="#e69f00",
    accent="#2fc79b",
    heat=("#1b2027", "#17395a", "#1f6aa5", "#56b4e9", "#e3f4ff"),
)


def curves_png(
    history: MetricColumns,
    *,
    chance: float | None = None,
    score_name: str | None = None,
    theme: Theme = LIGHT,
) -> bytes:
    """Plot loss and accuracy of training and validation over the epochs; 1500 x 600 px.

    Args:
        history: columns of metrics.csv, each (epochs,); NaN where there was no value.
        chance: accuracy of guessing, drawn as a dotted line.
        score_name: name of the score that chose the best epoch, which is drawn beside the
            accuracy; None if it is the accuracy.
        theme: colours.
    """
    figure = new_figure(10, 4, theme)
    loss, score = figure.subplots(1, 2)
    _draw_pair(loss, history, "loss", theme)
    _draw_pair(score, history, "accuracy", theme)
    score.set_ylim(0, 1.02)
    if chance is not None:
        score.axhline(chance, color=theme.text, linestyle=":", linewidth=1, label="chance")
    if score_name is not None:
        values = history["validation_score"]
        score.plot(history["epoch"], values, "-.", color=theme.accent, label=score_name)
        score.set_title(f"Accuracy and {score_name}", fontsize=11, loc="left", fontweight="bold")
        dress(score, theme)
    marked = "validation_accuracy" if score_name is None else "validation_score"
    _mark_best(loss, score, history, theme, marked)
    score.legend(loc="best", fontsize=9, frameon=False, labelcolor=theme.text)
    return png_bytes(figure)


def best_epoch(history: MetricColumns) -> int | None:
    """Find the epoch, from 1, of the highest validation score; among equals the lowest loss.

    None without validation. The score is the accuracy unless the history has one of its own.
    """
    score = history.get("validation_score", history.get("validation_accuracy"))
    if score is None or np.all(np.isnan(score)):
        return None
    loss = np.nan_to_num(history["validation_loss"], nan=np.inf)
    # The last key of `lexsort` counts first. Negated, for it sorts upwards.
    ranked = np.lexsort((loss, -np.nan_to_num(score, nan=-np.inf)))
    return int(history["epoch"][ranked[0]])


def confusion_png(
    confusion: npt.NDArray[np.int64], class_names: Sequence[str], *, theme: Theme = LIGHT
) -> bytes:
    """Plot the confusion matrix (C, C): colours are shares of the true class, numbers are clips.

    Counts are printed up to 25 classes; zeros are left blank. The plot grows with C so that class
    names stay readable.
    """
    num_classes = len(class_names)
    side = max(4.2, 0.42 * num_classes) if num_classes <= MAX_CLASSES_WITH_COUNTS else 10.5
    side = max(side, 0.145 * num_classes)
    figure = new_figure(side + 2.6, side + 1.6, theme)
    axes = figure.subplots()
    # At least 1, for a class without clips.
    totals = np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    share = confusion / totals  # (C, C), rows sum to one
    heat = list(zip(HEAT_STOPS, theme.heat, strict=True))
    colours = LinearSegmentedColormap.from_list("share", heat)
    image = axes.imshow(share, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    _label_classes(axes, class_names, theme)
    if num_classes <= MAX_CLASSES_WITH_COUNTS:
        _write_counts(axes, confusion, share, theme)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02)
    bar.set_label("share of the true class", color=theme.text)
    bar.ax.tick_params(colors=theme.text, labelsize=8)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return png_bytes(figure)


def lengths_png(
    num_frames: npt.NDArray[np.int64], *, maxlen: int | None = None, theme: Theme = LIGHT
) -> bytes:
    """Plot a histogram of clip lengths in frames, with `maxlen` marked; 1500 x 525 px."""
    figure = new_figure(10, 3.5, theme)
    axes = figure.subplots()
    axes.hist(num_frames, bins="auto", color=theme.train, edgecolor=theme.background)
    # A limit far beyond all clips would press the histogram flat.
    if maxlen is not None and maxlen <= 1.5 * int(np.max(num_frames)):
        label = f"maxlen {maxlen}"
        axes.axvline(maxlen, color=theme.validation, linestyle="--", linewidth=1.6, label=label)
        axes.legend(fontsize=9, frameon=False, labelcolor=theme.text)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(left=0)
    axes.set_xlabel("frames in the clip")
    axes.set_ylabel("clips")
    dress(axes, theme)
    return png_bytes(figure)


def _draw_pair(axes: Axes, history: MetricColumns, name: str, theme: Theme) -> None:
    style: dict[str, Any] = {"linewidth": 1.8, "markersize": 3.5}
    if len(history["epoch"]) <= 40:
        style["marker"] = "o"
    lines = (("train", theme.train, "--"), ("validation", theme.validation, "-"))
    for part, colour, dashes in lines:
        values = history.get(f"{part}_{name}")
        if values is not None and not np.all(np.isnan(values)):
            axes.plot(history["epoch"], values, dashes, color=colour, label=part, **style)
    axes.set_xlabel("epoch")
    axes.set_title(name.capitalize(), fontsize=11, loc="left", fontweight="bold")
    # One tick is enough: of a few epochs, two would fall between whole numbers.
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    dress(axes, theme)
    axes.grid(axis="y", color=theme.grid, linewidth=0.8)


def _mark_best(loss: Axes, score: Axes, history: MetricColumns, theme: Theme, marked: str) -> None:
    epoch = best_epoch(history)
    if epoch is None:
        return
    value = float(history[marked][history["epoch"] == epoch][0])
    for axes in (loss, score):
        axes.axvline(epoch, color=theme.accent, linewidth=1.4)
    label = f"best epoch {epoch}: {value:.3f}"
    mark = {"color": theme.accent, "markersize": 13, "zorder": 5, "clip_on": False}
    score.plot([epoch], [value], "*", label=label, **mark)  # type: ignore[arg-type]


def _label_classes(axes: Axes, class_names: Sequence[str], theme: Theme) -> None:
    num_classes = len(class_names)
    size = 9 if num_classes <= MAX_CLASSES_WITH_COUNTS else 7
    short = [_shorten(name) for name in class_names]
    axes.set_xticks(
        range(num_classes), short, rotation=90 if num_classes > 15 else 45, fontsize=size
    )
    axes.set_yticks(range(num_classes), short, fontsize=size)
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        # A class may be called $x_1, which Matplotlib would take for a formula.
        text.set_parse_math(False)
    if num_classes <= 15:
        for text in axes.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_xticks(np.arange(num_classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(num_classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=theme.grid, linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    dress(axes, theme)


def _write_counts(
    axes: Axes, confusion: npt.NDArray[np.int64], share: npt.NDArray[np.float64], theme: Theme
) -> None:
    # Beyond it the cell is nearer to the far end of the colours.
    dark_cell = 0.5
    for row, column in np.argwhere(confusion > 0):
        colour = theme.background if share[row, column] > dark_cell else theme.text
        count = f"{confusion[row, column]}"
        axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=9)


def new_figure(width_inches: float, height_inches: float, theme: Theme) -> Figure:
    size = (width_inches, height_inches)
    return Figure(size, dpi=DOTS_PER_INCH, facecolor=theme.background, layout="constrained")


def dress(axes: Axes, theme: Theme) -> None:
    axes.set_facecolor(theme.background)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.text)
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title):  # type: ignore[attr-defined]
        label.set_color(theme.text)
    for side, spine in axes.spines.items():
        spine.set_color(theme.grid)
        spine.set_visible(side in ("left", "bottom"))


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 1] + "…"


def png_bytes(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without the version in its metadata, the same plot is the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
