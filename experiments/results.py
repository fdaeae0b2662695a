"""Results as rows: result.json for a run, experiments/results.csv for all, pages made from them.

    python -m experiments.results           # docs/results.md and README.md's block, from the CSV
    python -m experiments.results --check   # exit 1 if either is stale

Rows are only ever appended; a failed attempt is a row too.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.environment import describe_environment, git_commit, peak_rss_bytes
from experiments.run_directory import write_atomically

__all__ = [
    "append_record",
    "describe_environment",
    "git_commit",
    "peak_rss_bytes",
    "read_records",
    "write_result",
]

FIELDS: dict[str, tuple[str, ...]] = dict.fromkeys(  # field of result.json -> its parts in the CSV
    (
        *("date", "commit", "command", "experiment", "dataset", "num_clips", "num_classes"),
        *("chance", "split", "num_test_clips", "num_test_clips_with_sibling", "fold", "num_folds"),
        *("seed", "recipe", "model", "maxlen", "stride", "policy", "epochs", "batch_size"),
        *("params", "tt_params", "compression_kernel", "compression_layer"),
        *("accuracy", "accuracy_interval", "accuracy_last", "accuracy_best"),
        *("validation_accuracy", "train_accuracy", "frames_per_second", "wall_seconds"),
        *("peak_rss_bytes", "machine", "versions", "status"),
    ),
    (),
)
FIELDS["accuracy_interval"] = ("low", "high")
FIELDS["machine"] = ("cpu", "cores", "memory_bytes", "os")
FIELDS["versions"] = ("python", "tensorflow", "keras", "numpy", "opencv", "h5py")

COLUMNS = tuple(
    column
    for field, parts in FIELDS.items()
    for column in ([f"{field}.{part}" for part in parts] or [field])
)
TEXT_COLUMNS = {
    *("date", "commit", "command", "experiment", "dataset", "split", "recipe", "model", "policy"),
    *("machine.cpu", "machine.os", "status"),
    *(column for column in COLUMNS if column.startswith("versions.")),
}

Record = dict[str, Any]  # column -> text, number or None


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
        result: values by field name (see `FIELDS`). `accuracy_interval` is (low, high);
            `machine` and `versions` come from `describe_environment`.

    Raises:
        ValueError: for a field that the records do not have.
    """
    _refuse_unknown(result, FIELDS)
    complete = {field: result.get(field) for field in FIELDS}
    text = json.dumps(complete, indent=2, default=_plain, allow_nan=False) + "\n"
    write_atomically(run_dir / "result.json", text.encode())
    return json.loads(text)


def append_record(result: dict[str, Any], records: Path) -> None:
    """Append a result as one row; the header is written once.

    Several processes may append at once: the file is locked, and a row is one write that is
    taken back if it does not fit on the disk.

    Raises:
        ValueError: if the file has other columns, or the result other fields.
    """
    row = _csv_line([_cell(value) for value in flatten(result).values()])
    with records.open("a+b") as file:  # closing the file releases the lock
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        content = file.read()
        if content:
            _require_columns(content.decode().splitlines()[0], records)
        else:
            row = _csv_line(COLUMNS) + row
        if content and not content.endswith(b"\n"):
            row = "\n" + row
        _append_or_take_back(file.fileno(), row.encode(), length=len(content))


def read_records(records: Path) -> list[Record]:
    """The rows in the order in which they were recorded; empty cells are None."""
    if not records.exists():
        raise FileNotFoundError(
            f"no {records} here: run this from the repository's root, or name it with --records."
        )
    with records.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        _require_columns(_csv_line(reader.fieldnames or ()).strip(), records)
        return [{name: _value(name, row[name]) for name in COLUMNS} for row in reader]


def flatten(result: dict[str, Any]) -> Record:
    """A result by column: `{"machine": {"cpu": ...}}` becomes `{"machine.cpu": ...}`."""
    _refuse_unknown(result, FIELDS)
    flat: Record = {}
    for field, parts in FIELDS.items():
        value = result.get(field)
        if not parts:
            flat[field] = value
            continue
        named = value if isinstance(value, dict) else dict(zip(parts, value or (), strict=False))
        _refuse_unknown(named, dict.fromkeys(parts, ()), inside=f"{field}.")
        flat.update({f"{field}.{part}": named.get(part) for part in parts})
    return flat


def main(argv: Sequence[str] | None = None) -> int:
    """Write the pages, or check them; the exit status."""
    import tyro

    flags = (tyro.conf.FlagCreatePairsOff,)
    prog = "python -m experiments.results"
    arguments = tyro.cli(Arguments, prog=prog, description=__doc__, args=argv, config=flags)
    try:
        return _write_pages(arguments)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2


def _write_pages(arguments: Arguments) -> int:
    from experiments.results_page import fill_block, results_page, results_table_markdown

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


def _append_or_take_back(descriptor: int, row: bytes, *, length: int) -> None:
    try:
        written = os.write(descriptor, row)
    except OSError:
        os.ftruncate(descriptor, length)
        raise
    if written != len(row):
        os.ftruncate(descriptor, length)
        raise OSError(f"only {written} of a row's {len(row)} bytes fitted; nothing was appended.")


def _require_columns(header: str, records: Path) -> None:
    found = next(csv.reader([header]), [])
    if tuple(found) == COLUMNS:
        return
    missing = [name for name in COLUMNS if name not in found]
    other = [name for name in found if name not in COLUMNS]
    raise ValueError(
        f"{records} must have the columns of experiments.results.COLUMNS, in their order. "
        f"Missing: {missing or 'none'}; not known: {other or 'none'}. "
        "Record to another file, or rewrite this one's header and rows."
    )


def _refuse_unknown(given: Any, known: dict[str, Any], *, inside: str = "") -> None:
    unknown = [inside + name for name in given if name not in known]
    if unknown:
        raise ValueError(
            f"a result holds the fields of experiments.results.FIELDS. Received also {unknown}."
        )


def _csv_line(cells: Any) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _cell(value: Any) -> str:
    """One line of text; a number in its shortest exact form; nothing for None."""
    if value is None:
        return ""
    value = _plain(value)
    return " ".join(value.split()) if isinstance(value, str) else repr(value)


def _value(column: str, cell: str | None) -> Any:
    if not cell:
        return None
    return cell if column in TEXT_COLUMNS else json.loads(cell)


def _plain(value: Any) -> Any:
    """NumPy scalars and paths as what JSON knows."""
    if hasattr(value, "item"):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def _holds(page: Path, text: str) -> bool:
    return page.exists() and page.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
