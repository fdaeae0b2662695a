"""Build a run's `report.html`, and `predictions.html` with every test clip.

    python -m experiments.report runs/NAME [--shards SHARDS]

rebuilds them from what the run left. The pages ask nothing of the network: styles are inline, and
pictures are data URIs or, of the predictions, files in `strips/` beside the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from common.command_line import parse_arguments
from common.errors import InputError
from common.files import write_atomically
from experiments.process.command import run_command
from experiments.runs.directory import Run, read_run
from experiments.runs.files import RunFileError

if TYPE_CHECKING:
    from experiments.runs.report.clips import Sampling, Shards
    from experiments.runs.report.markup import Markup


PAGE = "report.html"
"""Name of the report in a run's directory; it is written last."""


@dataclass
class Arguments:
    """Rebuild the report of a run."""

    run_dir: Positional[Path]
    """The run's directory, runs/NAME."""
    shards: Path | None = None
    """Where its frames are; by default what the run's config.json says, if that still exists."""


def write_report(run_dir: Path, shards: Shards | None = None) -> Path:
    """Write report.html with its pictures, and predictions.html with its strips; return the first.

    Args:
        run_dir: holds config.json, metrics.csv, predictions.csv and result.json; a failed run may
            lack any of them, and the page says so.
        shards: `preprocess.open_shards(...)`, for strips of frames and the lengths of all clips.
    """
    from experiments.runs import plots
    from experiments.runs.metrics import confusion_matrix
    from experiments.runs.report.predictions import write_predictions_page
    from experiments.runs.report.result_kinds import check_result
    from experiments.runs.report.sections import MATRIX

    run = read_run(run_dir)
    check_result(run.result, run_dir / "result.json")
    sampling = _sampling(run, shards)
    if run.history is not None:
        curves = plots.curves_png(run.history, chance=run.result.get("chance"))
        write_atomically(run_dir / "curves.png", curves)
    if run.predictions is not None:
        names = run.predictions.class_names
        labels, predicted = run.predictions.labels, run.predictions.predicted
        counts = confusion_matrix(labels, predicted, num_classes=len(names))
        write_atomically(run_dir / MATRIX, plots.confusion_png(counts, names))
        write_predictions_page(run_dir, run.predictions, shards, sampling)
    page = run_dir / PAGE
    write_atomically(page, _report_html(run, shards, sampling).encode())
    return page


def _report_html(run: Run, shards: Shards | None, sampling: Sampling) -> str:
    from experiments.runs.report import clips, sections
    from experiments.runs.report.head import head

    selection = {**run.result, **run.config}.get("selection")
    parts: list[Markup] = [sections.curves(run.history, run.result.get("chance"), selection)]
    if run.predictions is not None:
        parts.append(sections.confusion(run.predictions))
        parts.append(sections.confused_pairs(run.predictions))
        parts.append(sections.classes(run.predictions))
        parts.append(clips.mistakes(run.predictions, shards, sampling))
    parts.append(clips.lengths(run.predictions, shards, sampling))
    parts.append(sections.settings("Configuration", run.config))
    parts.append(sections.settings("Environment", environment(run.result)))
    title, top = head(run)
    return page_html(title, [top, *parts])


def _sampling(run: Run, shards: Shards | None) -> Sampling:
    from experiments.runs.report.clips import Sampling
    from preprocess.batches.views import FrameChoice, Views
    from preprocess.errors import PreprocessError

    flags, choice = {**run.result, **run.config}, run.model.get("choice")
    try:
        return Sampling(
            stride=_count(flags.get("stride") or 1),
            maxlen=None if flags.get("maxlen") is None else _count(flags["maxlen"]),
            stored_stride=1 if shards is None else shards.stride,
            choice=FrameChoice(**choice) if choice else None,
            places=Views.parse(flags.get("views") or "1x1").temporal,
        )
    except (TypeError, ValueError, AttributeError, PreprocessError) as error:
        raise RunFileError(
            f"config.json, result.json or model.json of {run.path} is damaged: {error}. Take them "
            "from the run again."
        ) from error


def _count(value: object) -> int:
    """A number of frames. ValueError if it is none."""
    if type(value) is not int or not 1 <= value < 2**31:
        raise InputError(f"stride and maxlen must be whole numbers from 1. Received {value!r:.80}")
    return value


def page_html(title: str, parts: Sequence[object]) -> str:
    """A page of the report's style."""
    from experiments.runs.report.markup import join

    text = resources.files(__name__).joinpath("template.html").read_text(encoding="utf-8")
    return Template(text).substitute(title=join([title]), body=join(parts))


def main(argv: Sequence[str] | None = None) -> int:
    """Rebuild the report; the exit status."""
    prog = "python -m experiments.report"
    arguments = parse_arguments(Arguments, prog=prog, description=__doc__, args=argv)

    def rebuild() -> int:
        print(f"wrote {rebuild_report(arguments.run_dir, arguments.shards)}")
        return 0

    return run_command(rebuild, going_on=lambda: "The same command writes the report anew.")


def rebuild_report(run_dir: Path, shards: Path | None = None) -> Path:
    """Write a run's report anew; return its page.

    Args:
        run_dir: the run's directory.
        shards: where its frames are; None for what its config.json says, if that still exists.
    """
    folder = shards or _existing(read_run(run_dir).config.get("shards"))
    if folder is None:
        return write_report(run_dir)
    from preprocess import open_shards

    return write_report(run_dir, open_shards(folder))


def environment(result: dict[str, Any]) -> dict[str, Any]:
    """Of a result: by what command it came about, and on which machine."""
    from experiments.runs import formatting

    machine, versions = dict(result.get("machine") or {}), dict(result.get("versions") or {})
    if machine.get("memory_bytes"):
        machine["memory"] = formatting.size(machine.pop("memory_bytes"))
    named = {name: result.get(name) for name in ("command", "commit", "date")}
    return {**named, **machine, **versions} if machine or versions or any(named.values()) else {}


def _existing(folder: object) -> Path | None:
    """A folder that config.json names, if it is a folder's name and there is one."""
    is_name = isinstance(folder, str) and folder and "\0" not in folder
    return Path(str(folder)) if is_name and Path(str(folder)).is_dir() else None
