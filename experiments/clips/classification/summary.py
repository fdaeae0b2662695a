"""Summarize a whole video: its best classes as JSON, and as curves over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter

from experiments.clips.classification.results import Row
from experiments.runs.plots import LIGHT, Theme, dress, new_figure, png_bytes
from preprocess.video.decode import VideoInfo

# Number of classes in the summary, of curves in the plot, and of points in a curve.
NUM_CLASSES = 10
_MAX_CURVES = 6
_MAX_POINTS = 600
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def summarize(rows: Iterable[Row], source: str, info: VideoInfo, *, failure: str) -> dict[str, Any]:
    """Summarize a video: its classes by their probabilities, averaged over its rows.

    A class that is not among the ten best of a row counts as 0 there.

    Args:
        rows: rows of the video, read once.
        source: name of the video.
        info: properties of its file.
        failure: reason why it could not be read to its end; empty if it could.
    """
    total: Counter[str] = Counter()
    best: Counter[str] = Counter()
    times: list[float] = []
    num_rows = 0
    for row in rows:
        num_rows += 1
        best[row.labels[0]] += 1
        # The first and the last time; the rows themselves may be too many for the memory.
        times = [*times[:1], row.time_seconds]
        for label, probability in zip(row.labels, row.probabilities, strict=True):
            total[label] += probability  # type: ignore[assignment]
    ranked = sorted(total.items(), key=lambda item: (-item[1], item[0]))[:NUM_CLASSES]
    return {
        "video": source,
        "failure": failure,
        "num_rows": num_rows,
        "first_time_seconds": times[0],
        "last_time_seconds": times[-1],
        "fps": info.fps,
        "width": info.width,
        "height": info.height,
        "top_classes": [
            {
                "label": label,
                "mean_probability": round(probability / num_rows, 6),
                "rows_on_top": best[label],
            }
            for label, probability in ranked
        ],
    }


def timeline_png(
    rows: Callable[[], Iterable[Row]], num_rows: int, *, title: str, theme: Theme = LIGHT
) -> bytes:
    """Plot the probabilities of the six most telling classes over time; 1500 x 600 px.

    Rows are averaged over at most 600 equal spans. A class that is not among the ten best of a row
    counts as 0 there.

    Args:
        rows: returns the rows each time it is called.
        num_rows: number of rows.
        title: title of the plot.
        theme: colours.
    """
    total: Counter[str] = Counter()
    for row in rows():
        total.update(dict(zip(row.labels, row.probabilities, strict=True)))  # type: ignore[arg-type]
    labels = sorted(total, key=lambda label: (-total[label], label))
    # The rows are read twice, because the first pass has to find the classes. Averages keep the
    # memory bounded for videos of any length.
    times, curves = _averages(rows(), num_rows, labels)
    chosen = most_telling(curves, _MAX_CURVES)
    labels, curves = [labels[number] for number in chosen], curves[chosen]
    figure = new_figure(10, 4, theme)
    axes = figure.subplots()
    marker = "o" if len(times) < 40 else ""
    for label, curve, colour in zip(labels, curves, _COLOURS, strict=False):
        # Matplotlib would take the text between two dollar signs for a formula.
        name = f"{label}  {total[label] / num_rows:.2f}".replace("$", r"\\$")
        axes.plot(
            times, curve, color=colour, linewidth=1.6, marker=marker, markersize=3, label=name
        )
    axes.set_ylim(0, min(1.15 * max(float(curves.max()), 0.05), 1.02))
    axes.margins(x=0.01)
    axes.xaxis.set_major_formatter(FuncFormatter(_clock))
    axes.set_xlabel("time (min:s)")
    axes.set_ylabel("probability")
    axes.set_title(title, fontsize=11, loc="left", fontweight="bold").set_parse_math(False)
    legend = axes.legend(
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        title="class, mean",
        fontsize=9,
        frameon=False,
        labelcolor=theme.text,
        alignment="left",
    )
    legend.get_title().set_color(theme.text)
    for text in legend.get_texts():
        text.set_parse_math(False)
    dress(axes, theme)
    axes.grid(axis="y", color=theme.grid, linewidth=0.8)
    return png_bytes(figure)


def _averages(
    rows: Iterable[Row], num_rows: int, labels: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Average the rows over spans: times (points,) and probabilities (labels, points)."""
    points = min(num_rows, _MAX_POINTS)
    count, times = np.zeros(points), np.zeros(points)
    sums = np.zeros((len(labels), points))
    place = {label: number for number, label in enumerate(labels)}
    for number, row in enumerate(rows):
        point = number * points // num_rows
        count[point] += 1
        times[point] += row.time_seconds
        for label, probability in zip(row.labels, row.probabilities, strict=True):
            if label in place:
                sums[place[label], point] += probability
    return times / count, sums / count


def most_telling(curves: np.ndarray, number: int) -> list[int]:
    """Choose the curves (curves, points) to draw; returns their indices in order.

    They are chosen one after the other, each the one that lies most above those chosen before, so
    that no part of the video in which something is probable stays empty. Among equals the first.
    """
    highest = np.zeros(curves.shape[1])
    chosen: list[int] = []
    for _ in range(min(number, len(curves))):
        gains = np.maximum(curves - highest, 0).sum(axis=1)
        # Below any other gain, so that no curve is chosen twice.
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        highest = np.maximum(highest, curves[chosen[-1]])
    return sorted(chosen)


def _clock(seconds: float, _position: object = None) -> str:
    """Format a time: 75.5 -> '1:15.5'; whole seconds without the fraction."""
    minutes, rest = divmod(round(seconds, 2), 60)
    text = f"{rest:05.2f}".rstrip("0").rstrip(".") if rest % 1 else f"{rest:02.0f}"
    return f"{minutes:.0f}:{text}"
