"""`lengths.png`: how long the clips are, all together and a class at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.extraction.statistics import MAXLENS, LengthStatistics
from preprocess.shards.reader import Shards

_INK, _BLUE, _SOFT = "#22303c", "#2a6f97", "#a9cbe0"
_NUM_BINS = 40


def plot_lengths(
    shards: Shards, statistics: LengthStatistics, folder: str | os.PathLike[str]
) -> Path:
    """Draw the histogram, and under it each class's range; returns the path of the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    num_classes = len(statistics.by_class)
    heights = (3.2, 0.6 + 0.26 * num_classes)
    figure = Figure(figsize=(8, sum(heights) + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    _draw_histogram(top, shards)
    _draw_classes(bottom, statistics)
    for axes in (top, bottom):
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(colors=_INK, length=0)
    width, height = statistics.frame_size
    top.set_title(
        f"{statistics.dataset}: {statistics.overall.num_clips} clips, "
        f"{int(shards.num_frames.sum()):,} frames of {width}x{height}, stride {statistics.stride}",
        loc="left",
        color=_INK,
    )
    path = Path(folder) / "lengths.png"
    figure.savefig(path, dpi=130)
    return path


def _draw_histogram(axes: Any, shards: Shards) -> None:
    longest = int(shards.num_frames.max())
    axes.hist(shards.num_frames, np.linspace(0, longest, _NUM_BINS + 1), color=_SOFT, ec="white")
    axes.set_ylabel("clips", color=_INK)
    axes.margins(y=0.3)  # room for the words above the bars
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    median = float(np.median(shards.num_frames))
    marks = [(f"median {median:.0f}", median, _BLUE)]
    marks += [(f"maxlen {n}", float(n), _INK) for n in MAXLENS if n < longest]
    for text, position, colour in marks:
        axes.axvline(position, color=colour, lw=1, ls="--" if colour == _INK else "-")
        axes.annotate(
            text,
            (position, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -2),
            textcoords="offset points",
            va="top",
            rotation=90,
            fontsize=8,
            color=colour,
        )


def _draw_classes(axes: Any, statistics: LengthStatistics) -> None:
    names = list(statistics.by_class)
    for place, row in enumerate(statistics.by_class.values()):
        axes.plot([row.min, row.max], [place, place], color=_SOFT, lw=2, solid_capstyle="round")
        axes.plot([row.p25, row.p75], [place, place], color=_BLUE, lw=6, solid_capstyle="butt")
        axes.plot(row.median, place, "o", color="white", mec=_BLUE, ms=6)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("frames (line: all clips, bar: middle half, dot: median)", color=_INK)
