"""Build a run's `report.html`: one self-contained page, with `curves.png` and the matrix beside it.

    python -m experiments.report runs/NAME [--shards SHARDS]

rebuilds it from what the run left. The page asks nothing of the network: styles are inline and
pictures are data URIs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from experiments.run_directory import Run, read_run, write_atomically

if TYPE_CHECKING:
    from experiments.report.clips import Shards
    from experiments.report.markup import Markup


@dataclass
class Arguments:
    """Rebuild the report of a run."""

    run_dir: Positional[Path]
    """The run's directory, runs/NAME."""
    shards: Path | None = None
    """Where its frames are; by default what the run's config.json says, if that still exists."""


def write_report(run_dir: Path, shards: Shards | None = None) -> Path:
    """Write report.html, curves.png and confusion_matrix.png into `run_dir`; return the page.

    Args:
        run_dir: holds config.json, metrics.csv, predictions.csv and result.json; a failed run may
            lack any of them, and the page says so.
        shards: `preprocess.open_shards(...)`, for strips of frames and the lengths of all clips.
    """
    from experiments import plots
    from experiments.metrics import confusion_matrix

    run = read_run(run_dir)
    if run.history is not None:
        curves = plots.curves_png(run.history, chance=run.result.get("chance"))
        write_atomically(run_dir / "curves.png", curves)
    if run.predictions is not None:
        names = run.predictions.class_names
        labels, predicted = run.predictions.labels, run.predictions.predicted
        counts = confusion_matrix(labels, predicted, num_classes=len(names))
        write_atomically(run_dir / "confusion_matrix.png", plots.confusion_png(counts, names))
    page = run_dir / "report.html"
    write_atomically(page, report_html(run, shards).encode())
    return page


def report_html(run: Run, shards: Shards | None = None) -> str:
    """The whole page."""
    from experiments.report import clips, sections
    from experiments.report.head import head

    flags = {**run.result, **run.config}
    sampling = clips.Sampling(
        stride=flags.get("stride") or 1,
        maxlen=flags.get("maxlen"),
        stored_stride=1 if shards is None else shards.stride,
    )
    parts: list[Markup] = [
        sections.curves(run.history, run.result.get("chance"), flags.get("selection"))
    ]
    if run.predictions is not None:
        parts.append(sections.confusion(run.predictions))
        parts.append(sections.classes(run.predictions))
        parts.append(clips.mistakes(run.predictions, shards, sampling))
    parts.append(clips.lengths(run.predictions, shards, sampling))
    parts.append(sections.settings("Configuration", run.config))
    parts.append(sections.settings("Environment", environment(run.result)))
    title, top = head(run)
    return page_html(title, [top, *parts])


def page_html(title: str, parts: Sequence[object]) -> str:
    """A page of the report's style."""
    from experiments.report.markup import join

    text = resources.files(__name__).joinpath("template.html").read_text(encoding="utf-8")
    return Template(text).substitute(title=join([title]), body=join(parts))


def main(argv: Sequence[str] | None = None) -> int:
    """Rebuild the report; the exit status."""
    import tyro

    prog = "python -m experiments.report"
    arguments = tyro.cli(Arguments, prog=prog, description=__doc__, args=argv)
    from preprocess.errors import PreprocessError

    try:
        page = _rebuild(arguments)
    except (OSError, ValueError, PreprocessError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"wrote {page}")
    return 0


def _rebuild(arguments: Arguments) -> Path:
    run = read_run(arguments.run_dir)
    folder = arguments.shards or _existing(run.config.get("shards"))
    if folder is None:
        return write_report(arguments.run_dir)
    from preprocess import open_shards

    return write_report(arguments.run_dir, open_shards(folder))


def environment(result: dict[str, Any]) -> dict[str, Any]:
    """Of a result: by what command it came about, and on which machine."""
    from experiments import formatting

    machine, versions = dict(result.get("machine") or {}), dict(result.get("versions") or {})
    if machine.get("memory_bytes"):
        machine["memory"] = formatting.size(machine.pop("memory_bytes"))
    named = {name: result.get(name) for name in ("command", "commit", "date")}
    return {**named, **machine, **versions} if machine or versions or any(named.values()) else {}


def _existing(folder: str | None) -> Path | None:
    return Path(folder) if folder and Path(folder).is_dir() else None
