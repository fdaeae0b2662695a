"""Figures of the long tests: their rows, and the tables of them in docs/log.md.

python -m tests.robustness    # writes the tables again
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from common.formatting import markdown_table, text
from experiments.process.environment import describe_environment, git_commit

DOCS = Path(__file__).parents[1] / "docs"
FIELDS = ("date", "commit", "machine", "command", "kind", "subject", "seconds", "figures", "note")


def record(
    kind: str,
    subject: str,
    figures: Mapping[str, int | float | str],
    *,
    command: str,
    seconds: float,
    note: str = "",
    rows: Path = DOCS / "robustness.csv",
) -> None:
    """Append a row of figures.

    Args:
        kind: long test, which has a table of its own: "fuzz", "kill" or "endurance".
        subject: subject of the test: "extraction", "shards", ...
        figures: results by the headers of their columns; the same headers for all of a kind.
        command: command that repeats the test.
        seconds: duration of the test.
        note: remark for the reader.
        rows: CSV file of all rows.
    """
    machine = describe_environment()["machine"]
    row = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": git_commit() or "",
        "machine": f"{machine['cores']} logical CPUs, {machine['cpu']}",
        "command": command,
        "kind": kind,
        "subject": subject,
        "seconds": round(seconds),
        "figures": json.dumps(figures),
        "note": note,
    }
    is_new = not rows.exists()
    with rows.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def tables(rows: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Make a table for each kind, with the newest row of each subject and command only."""
    newest = {(row["kind"], row["subject"], row["command"]): row for row in rows}
    ordered = sorted(newest.values(), key=itemgetter("kind"))
    return {kind: _table(list(group)) for kind, group in groupby(ordered, itemgetter("kind"))}


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    figures = [json.loads(row["figures"]) for row in rows]
    heads = list(dict.fromkeys(head for found in figures for head in found))
    body = [
        [
            row["subject"],
            *(text(found.get(head)) for head in heads),
            f"{int(row['seconds']):,} s",
            f"`{row['command']}`",
            row["commit"],
            row["note"],
        ]
        for row, found in zip(rows, figures, strict=True)
    ]
    return markdown_table(["", *heads, "took", "command", "commit", "note"], body)


def main() -> int:
    """Fill docs/log.md between the marks `<!-- robustness: KIND -->` and `<!-- end -->`."""
    with (DOCS / "robustness.csv").open(newline="", encoding="utf-8") as file:
        made = tables(list(csv.DictReader(file)))
    page = DOCS / "log.md"
    page_text = page.read_text(encoding="utf-8")
    for kind, content in made.items():
        before, mark, rest = page_text.partition(f"<!-- robustness: {kind} -->\n")
        if not mark:
            print(f"docs/log.md has no mark <!-- robustness: {kind} -->.", file=sys.stderr)
            return 2
        page_text = f"{before}{mark}{content}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    page.write_text(page_text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
