"""Seconds against machines, coloured by what is saturated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.runs.formatting import percent
from experiments.runs.plots import LIGHT, dress, new_figure, png_bytes
from experiments.scaling.cells import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, each with a mark of its own.
_LOOKS = {
    "cpu": ("#009e73", "o"),
    "storage": ("#d55e00", "s"),
    "network": ("#0072b2", "^"),
    "scheduler": ("#cc79a7", "D"),
    "publishing": ("#e69f00", "v"),
    "client": ("#56b4e9", "P"),
    "units": ("#7a7a7a", "X"),
    "stragglers": ("#1f2933", "*"),
    "batch": ("#b8a800", "h"),
}


def job_png(cells: Sequence[Cell]) -> bytes:
    """A job's curves: a column a set of clips, a row a kind of storage; 1950 x 1050 px.

    The dotted line is what machines without anything in common would take; beside the marks stands
    the efficiency.
    """
    figure = new_figure(13, 7, LIGHT)
    sets = list(dict.fromkeys(cell.clips for cell in cells))
    storages = list(dict.fromkeys(cell.storage for cell in cells))
    panels = figure.subplots(len(storages), len(sets), sharex=True, sharey="col", squeeze=False)
    for row, storage in zip(panels, storages, strict=True):
        for axes, clips in zip(row, sets, strict=True):
            curve = [cell for cell in cells if (cell.clips, cell.storage) == (clips, storage)]
            _draw(axes, curve)
            axes.set_title(f"{clips}: {storage}", fontsize=11, loc="left", fontweight="bold")
            dress(axes, LIGHT)
    for axes in panels[-1]:
        axes.set_xlabel("machines")
    for axes in panels[:, 0]:
        axes.set_ylabel("seconds")
    _legend(figure, cells)
    return png_bytes(figure)


def _draw(axes: Axes, curve: Sequence[Cell]) -> None:
    machines = [cell.machines for cell in curve]
    seconds = [cell.seconds for cell in curve]
    axes.plot(machines, [seconds[0] / number for number in machines], ":", color=LIGHT.text)
    axes.plot(machines, seconds, color=LIGHT.grid, linewidth=2)
    for cell in curve:
        colour, mark = _LOOKS[cell.saturated]
        axes.plot([cell.machines], [cell.seconds], mark, color=colour, markersize=8)
        axes.annotate(
            f"{100 * cell.efficiency:.0f} %" if cell.efficiency > 0.1 else percent(cell.efficiency),
            (cell.machines, cell.seconds),
            textcoords="offset points",
            xytext=(0, 9),
            ha="center",
            fontsize=7,
            color=LIGHT.text,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(color=LIGHT.grid, linewidth=0.6)
    axes.margins(y=0.12)


def _legend(figure, cells: Sequence[Cell]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=mark, linestyle="", markersize=8, label=name)
        for name, (colour, mark) in _LOOKS.items()
        if any(cell.saturated == name for cell in cells)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
