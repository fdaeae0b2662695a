"""Report the measurements for people: tables, sentences, and a plot for each kind of work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from common.formatting import plural
from experiments.runs.plots import LIGHT, Theme, dress, new_figure, png_bytes
from experiments.threads.search import Axis, Comparison, Outcome, Point
from experiments.threads.space import Space, Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Student's interval of two pairs is too wide to say anything.
_PAIRS_FOR_AN_INTERVAL = 3

NAMES = {
    "intra_op": "intra-op",
    "inter_op": "inter-op",
    "jobs": "jobs",
    "opencv_threads": "OpenCV threads",
    "cpus": "CPUs",
}


def table(space: Space, outcome: Outcome) -> str:
    """Markdown table of all settings that ran, the fastest first, and of those that failed."""
    names = [NAMES[axis.name] for axis in space.axes]
    lines = [
        f"| {' | '.join(names)} | frames/s | spread | to default | runs | |",
        "|" + "--:|" * (len(names) + 4) + "---|",
    ]
    # None if the default failed: then there is nothing to compare with.
    base = _median_of(outcome, outcome.default)
    for trial in sorted(outcome.trials, key=lambda trial: -(trial.median or 0)):
        remark = _remark(space, outcome, trial.point)
        if trial.median is None:
            if trial.failure:
                remark = "; ".join(filter(None, [f"failed: {trial.failure}", remark]))
                lines.append(f"| {_cells(trial.point)} | | | | | {remark} |")
            continue
        ratio = f"{trial.median / base:.2f}" if base else ""
        spread = f"{trial.spread:.0%}" if len(trial.rates) > 1 else ""
        cells = f"{trial.median:,.0f} | {spread} | {ratio} | {len(trial.rates)}"
        lines.append(f"| {_cells(trial.point)} | {cells} | {remark} |")
    return "\n".join(lines)


def variants_table(rows: Sequence[tuple[Variant, Comparison | None, str]]) -> str:
    """Markdown table of the gain of each variant over the recommended setting."""
    lines = ["| change | speed | 95 % interval | beyond the noise | how |", "|---|--:|--:|---|---|"]
    for variant, comparison, failure in rows:
        note = f"`{variant.how}`" + ("; other results" if variant.alters_results else "")
        if comparison is None:
            lines.append(f"| {variant.name} | | | failed: {failure} | {note} |")
            continue
        interval, verdict = "", "too few runs"
        if comparison.num_pairs >= _PAIRS_FOR_AN_INTERVAL:
            interval = f"{comparison.low:+.0%} to {comparison.high:+.0%}"
            # Unless the interval lies on one side of zero, it may be noise.
            sure = comparison.low > 0 or comparison.high < 0
            verdict = ("faster" if comparison.gain > 0 else "slower") if sure else "no"
        lines.append(
            f"| {variant.name} | {comparison.gain:+.0%} | {interval} | {verdict} | {note} |"
        )
    return "\n".join(lines)


def verdict(space: Space, outcome: Outcome) -> str:
    """Say in a sentence or two which setting to take."""
    ran = sum(trial.median is not None for trial in outcome.trials)
    if not says_something(outcome):
        return "There was no time to compare settings; give more --budget-minutes."
    default, best = in_words(space, outcome.default), in_words(space, outcome.best)
    pairs = ""
    if outcome.comparison is not None:
        count = outcome.comparison.num_pairs
        pairs = f"{outcome.comparison} in {plural(count, 'fresh pair')} of runs"
    if outcome.best != outcome.default:
        found = f"Take {best}" + (f": {pairs} with the default, {default}." if pairs else ".")
    elif outcome.fastest == outcome.default:
        found = f"The default, {default}, is the fastest."
    else:
        found = f"Nothing is better than the default, {default}, beyond the noise."
        if pairs:
            found += f" The fastest, {in_words(space, outcome.fastest)}: {pairs} with it."
    extent = "all" if outcome.exhaustive else "the most promising"
    early = " The budget ended the search early." if outcome.stopped_early else ""
    return f"{found} Measured: {extent} {ran} settings.{early}"


def says_something(outcome: Outcome) -> bool:
    """Whether at least two settings were measured, or all there are."""
    return sum(trial.median is not None for trial in outcome.trials) > 1 or outcome.exhaustive


def in_words(space: Space, point: Point) -> str:
    """Format a point, such as `intra-op 1, inter-op 2`."""
    return ", ".join(
        f"{NAMES[name]} {value}"
        for name, value in space.setting(point).items()
        if (name, value) != ("cpus", "all")
    )


def heat_map_png(space: Space, outcome: Outcome, *, theme: Theme = LIGHT) -> bytes:
    """Plot the speed over the first two axes, with default and recommendation marked."""
    columns, rows = space.axes[:2]
    base = _median_of(outcome, outcome.default)
    rates = _grid(outcome, columns, rows)
    figure = new_figure(
        max(5.2, 0.78 * len(columns.values) + 2.4), max(3.6, 0.5 * len(rows.values) + 1.8), theme
    )
    axes = figure.subplots()
    axes.imshow(rates, cmap=_colours(theme), vmin=0, vmax=np.nanmax(rates), origin="lower")
    for (row, column), rate in np.ndenumerate(rates):
        if not np.isnan(rate):
            # Text on a dark cell takes the colour of the background.
            dark = rate > 0.6 * np.nanmax(rates)
            text = f"{rate:,.0f}" + (f"\n{rate / base:.2f}x" if base else "")
            colour = theme.background if dark else theme.text
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    _mark(axes, columns, rows, outcome.default, "default", theme.validation, "--")
    if outcome.best != outcome.default:
        _mark(axes, columns, rows, outcome.best, "recommended", theme.accent, "-")
    axes.set_xticks(range(len(columns.values)), columns.values)
    axes.set_yticks(range(len(rows.values)), rows.values)
    axes.set_xlabel(NAMES[columns.name])
    axes.set_ylabel(NAMES[rows.name])
    grey = "; grey: not measured" if np.isnan(rates).any() else ""
    title = f"{space.workload}: frames/s, and beside the default{grey}"
    axes.set_title(title, fontsize=10, loc="left")
    dress(axes, theme)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return png_bytes(figure)


def _grid(outcome: Outcome, columns: Axis, rows: Axis) -> np.ndarray:
    """Highest medians over the other axes, (rows, columns); NaN where nothing was measured."""
    rates = np.full((len(rows.values), len(columns.values)), np.nan)
    for trial in outcome.trials:
        if trial.median is not None:
            at = rows.values.index(trial.point[1]), columns.values.index(trial.point[0])
            rates[at] = np.nanmax([rates[at], trial.median])
    return rates


def _mark(
    axes: Axes, columns: Axis, rows: Axis, point: Point, label: str, colour: str, line: str
) -> None:
    """Draw a frame around the cell of a point."""
    # So that both frames are seen if they mark one cell.
    inset = 0.06 if line == "-" else 0.02
    left, low = columns.values.index(point[0]) - 0.5, rows.values.index(point[1]) - 0.5
    frame = Rectangle(
        (left + inset, low + inset),
        width=1 - 2 * inset,
        height=1 - 2 * inset,
        fill=False,
        edgecolor=colour,
        linestyle=line,
        linewidth=2.2,
        label=label,
    )
    axes.add_patch(frame)


def _colours(theme: Theme) -> Any:
    colours = LinearSegmentedColormap.from_list("speed", list(theme.heat))
    return colours.with_extremes(bad=theme.grid)


def _median_of(outcome: Outcome, point: Point) -> float | None:
    return next((trial.median for trial in outcome.trials if trial.point == point), None)


def _remark(space: Space, outcome: Outcome, point: Point) -> str:
    marks = {
        "recommended": point == outcome.best,
        "default": point == outcome.default,
        "TensorFlow's own": point == space.stock,
    }
    return ", ".join(name for name, holds in marks.items() if holds)


def _cells(point: Point) -> str:
    return " | ".join(str(value) for value in point)
