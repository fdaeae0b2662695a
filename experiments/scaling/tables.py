"""The cells as Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields

from common.errors import InputError
from experiments.runs.formatting import count, duration, markdown_table, percent
from experiments.scaling.cells import MACHINES, Cell, Change

_COST_MACHINES = (1, 10, 100, 1000)
_DAY = 86_400
_TWO_DAYS = 2 * _DAY
END = "<!-- end -->"


def blocks(cells: Sequence[Cell], changes: Sequence[Change]) -> dict[str, str]:
    """Tables by the name of their mark: one a job, the costs, the changes."""
    found = {job.split(",")[0].lower(): _job(_of(cells, job=job)) for job in _jobs(cells)}
    return {**found, "costs": _costs(cells), "changes": _changes(changes)}


def fill(page: str, made: dict[str, str]) -> str:
    """The page, with each table between `<!-- scaling: NAME -->` and `<!-- end -->`.

    Raises:
        InputError: if the page lacks a mark.
    """
    for name, content in made.items():
        mark = f"<!-- scaling: {name} -->\n"
        before, found, rest = page.partition(mark)
        _, end, after = rest.partition(END)
        if not (found and end):
            raise InputError(f"The page must have the marks {mark.strip()} and {END}; add them.")
        page = f"{before}{mark}{content}\n{END}{after}"
    return page


def cells_csv(cells: Sequence[Cell]) -> bytes:
    """A row a cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Cell)], lineterminator="\n")
    writer.writeheader()
    for cell in cells:
        rounded = {key: _rounded(value) for key, value in asdict(cell).items()}
        writer.writerow(rounded)
    return text.getvalue().encode()


def _rounded(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _jobs(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.job for cell in cells))


def _of(cells: Sequence[Cell], **wanted: object) -> list[Cell]:
    return [
        cell
        for cell in cells
        if all(getattr(cell, name) == value for name, value in wanted.items())
    ]


def _job(cells: Sequence[Cell]) -> str:
    """Seconds, what is saturated, efficiency: a row a number of machines, a column a curve."""
    curves = dict.fromkeys((cell.clips, cell.storage) for cell in cells)
    by_place = {(cell.clips, cell.storage, cell.machines): cell for cell in cells}
    body = [
        [count(machines), *(_place(by_place[(*curve, machines)]) for curve in curves)]
        for machines in MACHINES
    ]
    return markdown_table(["machines", *(f"{clips}: {storage}" for clips, storage in curves)], body)


def _place(cell: Cell) -> str:
    return f"{_time(cell.seconds)}, {cell.saturated}, {percent(cell.efficiency)}"


def _time(seconds: float) -> str:
    return f"{seconds / _DAY:.1f} days" if seconds > _TWO_DAYS else duration(seconds)


def _costs(cells: Sequence[Cell]) -> str:
    """Dollars of each job and set, with object storage."""
    body = []
    for job in _jobs(cells):
        for clips in dict.fromkeys(cell.clips for cell in cells):
            row = _of(cells, job=job, clips=clips, storage="object storage")
            shown = [cell for cell in row if cell.machines in _COST_MACHINES]
            gigabytes = f"{count(shown[0].gigabytes)} GB"
            body.append([job, clips, gigabytes, *(_dollars(cell.dollars) for cell in shown)])
            body[-1].append(_dollars(shown[0].dollars_a_month))
    machines = [f"{count(number)} machine{'s' * (number > 1)}" for number in _COST_MACHINES]
    return markdown_table(["job", "clips", "moved", *machines, "a month for the frames"], body)


def _dollars(value: float) -> str:
    return f"${value:,.0f}" if value >= 10 else f"${value:,.2f}"


def _changes(changes: Sequence[Change]) -> str:
    body = [
        [
            change.what,
            change.clips,
            count(change.machines),
            f"{_time(change.before.seconds)}, {change.before.saturated}",
            f"{_time(change.after.seconds)}, {change.after.saturated}",
        ]
        for change in changes
    ]
    return markdown_table(["change", "clips", "machines", "before", "after"], body)
