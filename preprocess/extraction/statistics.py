"""Statistics of the clips' lengths, and the effect of cutting clips to `maxlen` frames."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from common.files import write_text
from preprocess.shards.reader import Shards, open_shards

# Lengths of experiments on UCF11: 200, 450 and 900 of a reproduction, 1492 of the paper's code.
MAXLENS = (200, 450, 900, 1492)
_GIB = 2**30
_INK, _BLUE, _SOFT = "#22303c", "#2a6f97", "#a9cbe0"
_NUM_BINS = 40


@dataclass(frozen=True)
class LengthSummary:
    """Lengths of some clips, in frames as stored; `p5` is the 5th percentile."""

    num_clips: int
    min: int
    mean: float
    median: float
    p5: float
    p25: float
    p75: float
    p95: float
    max: int


@dataclass(frozen=True)
class Truncation:
    """Effect of cutting or padding each clip to `maxlen` frames.

    Args:
        maxlen: number of frames of a clip afterwards.
        num_truncated: clips that lose frames.
        frames_kept: fraction of all frames that is kept.
        padding: fraction of the dense array that is padding.
        float32_bytes: size of the dense array (num_clips, maxlen, H, W, 3) as float32.
        uint8_bytes: its size as uint8.
    """

    maxlen: int
    num_truncated: int
    frames_kept: float
    padding: float
    float32_bytes: int
    uint8_bytes: int


@dataclass(frozen=True)
class LengthStatistics:
    """Lengths of all clips and of each class, and the effect of truncation."""

    dataset: str
    frame_size: tuple[int, int]
    stride: int
    overall: LengthSummary
    by_class: Mapping[str, LengthSummary]
    truncations: Sequence[Truncation]


def summarize(lengths: ArrayLike) -> LengthSummary:
    """Summarize the lengths of at least one clip, in frames."""
    lengths = np.asarray(lengths)
    p5, p25, median, p75, p95 = map(float, np.percentile(lengths, [5, 25, 50, 75, 95]))
    return LengthSummary(
        num_clips=len(lengths),
        min=int(np.min(lengths)),
        mean=float(np.mean(lengths)),
        median=median,
        p5=p5,
        p25=p25,
        p75=p75,
        p95=p95,
        max=int(np.max(lengths)),
    )


def truncate(lengths: ArrayLike, maxlen: int, *, frame_size: tuple[int, int]) -> Truncation:
    """Compute the effect of cutting clips of these lengths to `maxlen` frames."""
    lengths = np.asarray(lengths)
    kept = int(np.minimum(lengths, maxlen).sum())
    # The size of an array that holds all clips, padded: what loading the whole set would take.
    num_values = len(lengths) * maxlen * frame_size[0] * frame_size[1] * 3
    return Truncation(
        maxlen=maxlen,
        num_truncated=int(np.sum(lengths > maxlen)),
        frames_kept=kept / int(np.sum(lengths)),
        padding=1 - kept / (len(lengths) * maxlen),
        float32_bytes=4 * num_values,
        uint8_bytes=num_values,
    )


def length_statistics(shards: Shards, *, maxlens: Sequence[int] = MAXLENS) -> LengthStatistics:
    """Compute the statistics of a directory of shards without reading any frame.

    Args:
        shards: shards from `open_shards`.
        maxlens: numbers of frames to truncate to.
    """
    lengths = shards.num_frames
    # A class may have no clip left, all of its videos being unreadable.
    present = sorted(set(shards.labels.tolist()))
    return LengthStatistics(
        dataset=shards.dataset,
        frame_size=shards.frame_size,
        stride=shards.stride,
        overall=summarize(lengths),
        by_class={
            shards.class_names[label]: summarize(lengths[shards.labels == label])
            for label in present
        },
        truncations=[truncate(lengths, n, frame_size=shards.frame_size) for n in maxlens],
    )


def report_lengths(folder: Path) -> None:
    """Write and print the statistics of the clips in a directory of shards."""
    with open_shards(folder) as shards:
        statistics = length_statistics(shards)
        image = plot_lengths(shards, statistics, folder)
    print(format_statistics(statistics))
    print(f"\nSaved: {write_statistics(statistics, folder)}, {image}")


def write_statistics(statistics: LengthStatistics, folder: str | os.PathLike[str]) -> Path:
    """Save statistics as `statistics.json` in a folder; return the path."""
    path = Path(folder) / "statistics.json"
    write_text(path, json.dumps(asdict(statistics), indent=2) + "\n")
    return path


def format_statistics(statistics: LengthStatistics) -> str:
    """Format statistics as two tables for a terminal."""
    return f"{_length_table(statistics)}\n\n{_truncation_table(statistics)}"


def _length_table(statistics: LengthStatistics) -> str:
    columns = ("clips", "min", "5 %", "25 %", "median", "mean", "75 %", "95 %", "max")
    rows = {**statistics.by_class, "all": statistics.overall}
    width = max(len(name) for name in ("frames a clip", *rows))
    lines = [f"{'frames a clip':<{width}}" + "".join(f"{column:>8}" for column in columns)]
    for name, row in rows.items():
        values = [row.num_clips, row.min, row.p5, row.p25, row.median]
        values += [row.mean, row.p75, row.p95, row.max]
        lines.append(f"{name:<{width}}" + "".join(f"{value:>8.0f}" for value in values))
    return "\n".join(lines)


def _truncation_table(statistics: LengthStatistics) -> str:
    lines = ["maxlen  clips cut  frames kept  padding  float32 GiB  uint8 GiB"]
    lines += [
        f"{row.maxlen:>6}{row.num_truncated:>11}{row.frames_kept:>13.1%}{row.padding:>9.1%}"
        f"{row.float32_bytes / _GIB:>13.2f}{row.uint8_bytes / _GIB:>11.2f}"
        for row in statistics.truncations
    ]
    return "\n".join(lines)


def plot_lengths(
    shards: Shards, statistics: LengthStatistics, folder: str | os.PathLike[str]
) -> Path:
    """Draw the lengths' histogram and each class's range; return the path of the picture."""
    num_classes = len(statistics.by_class)
    heights = (3.2, 0.6 + 0.26 * num_classes)  # in inches; 101 classes make a tall picture
    # Without pyplot, which would choose a backend for the whole process and keep figures alive.
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
    """Draw the histogram of the lengths, with the median and `MAXLENS`."""
    longest = int(shards.num_frames.max())
    axes.hist(shards.num_frames, np.linspace(0, longest, _NUM_BINS + 1), color=_SOFT, ec="white")
    axes.set_ylabel("clips", color=_INK)
    axes.margins(y=0.3)  # room for the labels above the bars
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    median = float(np.median(shards.num_frames))
    marks = [(f"median {median:.0f}", median, _BLUE)]
    marks += [(f"maxlen {n}", float(n), _INK) for n in MAXLENS if n < longest]
    for text, position, colour in marks:
        axes.axvline(position, color=colour, lw=1, ls="--" if colour == _INK else "-")
        # Beside the line, at the top of the axes whatever the counts are.
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
    """Draw each class's range, middle half and median, a line per class."""
    names = list(statistics.by_class)
    for place, row in enumerate(statistics.by_class.values()):
        axes.plot([row.min, row.max], [place, place], color=_SOFT, lw=2, solid_capstyle="round")
        axes.plot([row.p25, row.p75], [place, place], color=_BLUE, lw=6, solid_capstyle="butt")
        axes.plot(row.median, place, "o", color="white", mec=_BLUE, ms=6)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("frames (line: all clips, bar: middle half, dot: median)", color=_INK)
