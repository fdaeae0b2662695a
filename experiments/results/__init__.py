"""The pages made from all recorded results.

python -m experiments.results           # docs/results.md and README.md's block, from the CSV

python -m experiments.results --check   # exit 1 if either is stale
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from common.command_line import parse_arguments
from common.files import write_atomically
from experiments.results.page import fill_block, results_page, results_table_markdown
from experiments.runs.records import read_records
from preprocess.system.command import run_command


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


def main(argv: Sequence[str] | None = None) -> int:
    """Write the pages, or check them, and return the exit code."""
    # Without a --no-check, which would say nothing.
    flags = (tyro.conf.FlagCreatePairsOff,)
    prog = "python -m experiments.results"
    arguments = parse_arguments(Arguments, prog=prog, description=__doc__, args=argv, config=flags)
    return run_command(
        lambda: _write_pages(arguments),
        resume_hint=lambda: "The same command writes the pages anew.",
    )


def _write_pages(arguments: Arguments) -> int:
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


def _holds(page: Path, text: str) -> bool:
    return page.exists() and page.read_text(encoding="utf-8") == text
