"""A run's result.json, and the pages made from all recorded results.

python -m experiments.results           # docs/results.md and README.md's block, from the CSV
python -m experiments.results --check   # exit 1 if either is stale
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.command_line import parse_arguments
from experiments.process.command import run_command
from experiments.runs.directory import write_atomically
from experiments.runs.environment import describe_environment, git_commit, peak_rss_bytes
from experiments.runs.records import FIELDS, append_record, plain, read_records, refuse_unknown

__all__ = [
    "append_record",
    "describe_environment",
    "git_commit",
    "peak_rss_bytes",
    "read_records",
    "write_result",
]


@dataclass
class Arguments:
    """Regenerate the results pages from the recorded rows."""

    check: bool = False
    """Write nothing; exit 1 if a page differs from what the rows give."""
    records: Path = Path("experiments/results.csv")
    """The recorded rows."""
    page: Path = Path("docs/results.md")
    """The page to write."""
    readme: Path = Path("README.md")
    """Its block between <!-- results:begin --> and <!-- results:end --> is filled, if it exists."""


def write_result(run_dir: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Write `run_dir/result.json` with every field, missing ones as null; return what was written.

    Args:
        run_dir: an existing run directory.
        result: values by field name (see `FIELDS`); `accuracy_interval` is {"low", "high"}. Date,
            commit, machine, versions, peak_rss_bytes and the status "ok" are filled in where
            they are not given.

    Raises:
        InputError: for a field that the records do not have.
    """
    refuse_unknown(result, FIELDS)
    result = {**_circumstances(), **result}
    complete = {field: plain(result.get(field)) for field in FIELDS}
    text = json.dumps(complete, indent=2) + "\n"
    write_atomically(run_dir / "result.json", text.encode())
    return complete


def main(argv: Sequence[str] | None = None) -> int:
    """Write the pages, or check them; the exit status."""
    import tyro

    flags = (tyro.conf.FlagCreatePairsOff,)
    prog = "python -m experiments.results"
    arguments = parse_arguments(Arguments, prog=prog, description=__doc__, args=argv, config=flags)
    return run_command(
        lambda: _write_pages(arguments),
        going_on=lambda: "The same command writes the pages anew.",
    )


def _write_pages(arguments: Arguments) -> int:
    from experiments.results.page import fill_block, results_page, results_table_markdown

    rows = read_records(arguments.records)
    pages = {arguments.page: results_page(rows)}
    if arguments.readme.exists():
        readme = arguments.readme.read_text(encoding="utf-8")
        pages[arguments.readme] = fill_block(readme, results_table_markdown(rows))
    stale = [page for page, text in pages.items() if not _holds(page, text)]
    for page in stale:
        if arguments.check:
            print(f"{page} is stale: run python -m experiments.results", file=sys.stderr)
        else:
            write_atomically(page, pages[page].encode())
            print(f"wrote {page} from {len(rows)} rows")
    return 1 if arguments.check and stale else 0


def _circumstances() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "peak_rss_bytes": peak_rss_bytes(),
        "status": "ok",
        **describe_environment(),
    }


def _holds(page: Path, text: str) -> bool:
    return page.exists() and page.read_text(encoding="utf-8") == text
