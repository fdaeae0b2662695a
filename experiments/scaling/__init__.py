"""Extraction and training on 1 to 1,000 machines: how long, what for, and what is in the way.

    python -m experiments.scaling
    python -m experiments.scaling --network-gigabits 25 --storage-gigabytes-per-second 3.1

A simulation from rates that were measured on one machine and assumptions about a cluster, each of
which is a flag. In words, and with its tables: docs/scaling.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from common.command_line import parse_arguments
from experiments.process.command import run_command
from experiments.scaling.assumptions import Assumptions


@dataclass(frozen=True)
class Arguments(Assumptions):
    """Simulate extraction and training on 1 to 1,000 machines."""

    out: Annotated[Path, arg(metavar="DIR")] = Path("runs/scaling")
    """Folder for cells.csv, tables.md and a picture a job."""
    page: Annotated[Path | None, arg(metavar="FILE")] = None
    """A page whose tables are filled in, such as docs/scaling.md; its pictures go to images/."""


def main(args: list[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.scaling", args=args)
    return run_command(
        lambda: _run(arguments),
        going_on=lambda: "Nothing is kept; the same command simulates anew.",
    )


def _run(arguments: Arguments) -> int:
    from experiments.runs.directory import write_atomically
    from experiments.runs.run import require_place
    from experiments.scaling.cells import all_cells, all_changes
    from experiments.scaling.pictures import job_png
    from experiments.scaling.tables import blocks, cells_csv, fill

    arguments.check()
    require_place(arguments.out)
    page = arguments.page.read_text(encoding="utf-8") if arguments.page else None
    cells = all_cells(arguments)
    made = blocks(cells, all_changes(arguments))
    text = "\n\n".join(f"## {name}\n\n{content}" for name, content in made.items())
    written = {arguments.out / "cells.csv": cells_csv(cells)}
    written[arguments.out / "tables.md"] = f"{text}\n".encode()
    images = arguments.out
    if arguments.page and page is not None:
        written[arguments.page] = fill(page, made).encode()
        images = arguments.page.parent / "images"
    for job in dict.fromkeys(cell.job for cell in cells):
        name = f"scaling_{job.split(',')[0].lower().replace('-', '_')}.png"
        written[images / name] = job_png([cell for cell in cells if cell.job == job])
    for path, content in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        print(f"wrote {path}")
    return 0
