"""What a video showed as a whole: its best classes as JSON, and as curves over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter

from experiments.classify.results import Row
from experiments.runs.plots import LIGHT, Theme, dress, new_figure, png_bytes
from preprocess.video.decode import VideoInfo

NUM_CLASSES = 10  # named in the summary
_MAX_CURVES = 6  # in the picture
_MAX_POINTS = 600  # of a curve
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def summarize(rows: Iterable[Row], source: str, info: VideoInfo, *, failure: str) -> dict[str, Any]:
    """Summarize a video: its classes by their probability averaged over its rows.

    A class that is not among the ten best of a row counts as 0 there.

    Args:
        rows: of the video, gone through once.
        source: the video.
        info: of its file.
        failure: why it could not be read to its end; empty if it could.
    """
    total: Counter[str] = Counter()
    best: Counter[str] = Counter()
    times: list[float] = []
    num_rows = 0
    for row in rows:
        num_rows += 1
        best[row.labels[0]] += 1
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
    """Probabilities of the six classes that tell most of a video over time; 1500 x 600 px.

    A long video's rows are averaged over equal spans, 600 at most, so that memory does not grow
    with it. A class that is not among the ten best of a row counts as 0 there.

    Args:
        rows: gives the rows anew each time it is called.
        num_rows: how many there are.
        title: of the picture.
        theme: colours.
    """
    total: Counter[str] = Counter()
    for row in rows():
        total.update(dict(zip(row.labels, row.probabilities, strict=True)))  # type: ignore[arg-type]
    labels = sorted(total, key=lambda label: (-total[label], label))
    times, curves = _averages(rows(), num_rows, labels)
    chosen = most_telling(curves, _MAX_CURVES)
    labels, curves = [labels[number] for number in chosen], curves[chosen]
    figure = new_figure(10, 4, theme)
    axes = figure.subplots()
    marker = "o" if len(times) < 40 else ""
    for label, curve, colour in zip(labels, curves, _COLOURS, strict=False):
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
    """Mean times (points,) and probabilities (labels, points)."""
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
    """Which curves (curves, points) to draw, lowest number first.

    One after the other that which lies most above those chosen, so that no stretch of the video
    in which something is probable stays empty. Of equals the first.
    """
    highest = np.zeros(curves.shape[1])
    chosen: list[int] = []
    for _ in range(min(number, len(curves))):
        gains = np.maximum(curves - highest, 0).sum(axis=1)
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        highest = np.maximum(highest, curves[chosen[-1]])
    return sorted(chosen)


def _clock(seconds: float, _position: object = None) -> str:
    """75.5 -> '1:15.5'; whole seconds without the fraction."""
    minutes, rest = divmod(round(seconds, 2), 60)
    text = f"{rest:05.2f}".rstrip("0").rstrip(".") if rest % 1 else f"{rest:02.0f}"
    return f"{minutes:.0f}:{text}"
