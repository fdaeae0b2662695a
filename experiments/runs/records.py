"""Results as rows: the fields of result.json, and experiments/results.csv, which collects them.

Rows are only appended, never changed; a failed attempt is a row, too.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import InputError
from common.files import write_atomically
from experiments.process.environment import describe_environment, git_commit, peak_rss_bytes
from experiments.runs.files import RunFileError

# Parts of each field of result.json, which are columns of the CSV; none for a plain value.
FIELDS: dict[str, tuple[str, ...]] = dict.fromkeys(
    (
        *("date", "commit", "command", "experiment", "dataset", "num_clips", "num_classes"),
        *("chance", "split", "num_test_clips", "num_test_clips_with_sibling", "fold", "num_folds"),
        *("seed", "recipe", "model", "maxlen", "stride", "policy", "epochs", "epochs_run"),
        *("recipe_epochs", "batch_size"),
        *("params", "tt_params", "compression_kernel", "compression_layer"),
        *("accuracy", "accuracy_interval", "accuracy_top5", "accuracy_last", "accuracy_best"),
        "mean_average_precision",
        *("validation_accuracy", "train_accuracy", "frames_per_second", "wall_seconds"),
        *("peak_rss_bytes", "machine", "versions", "status"),
    ),
    (),
)
FIELDS["accuracy_interval"] = ("low", "high")
FIELDS["machine"] = ("cpu", "cores", "memory_bytes", "os")
FIELDS["versions"] = ("python", "tensorflow", "keras", "numpy", "opencv", "h5py", "av")

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

# Columns that older files do not have; their rows have None there.
ADDED_COLUMNS = ("epochs_run", "recipe_epochs", "mean_average_precision", "versions.av")

# Text, number or None by column.
Record = dict[str, Any]


def write_result(run_dir: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Write `run_dir/result.json` with every field, missing ones as null; returns its content.

    Args:
        run_dir: an existing run directory.
        result: values by field name (see `FIELDS`); `accuracy_interval` is {"low", "high"}. Date,
            commit, machine, versions, peak_rss_bytes and the status "ok" are filled in where
            they are missing.

    Raises:
        InputError: for a field that the records do not have.
    """
    refuse_unknown(result, FIELDS)
    result = {**_circumstances(), **result}
    complete = {field: plain(result.get(field)) for field in FIELDS}
    text = json.dumps(complete, indent=2) + "\n"
    write_atomically(run_dir / "result.json", text.encode())
    return complete


def _circumstances() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "peak_rss_bytes": peak_rss_bytes(),
        "status": "ok",
        **describe_environment(),
    }


def append_record(result: dict[str, Any], records: Path) -> None:
    """Append a result as one row; the first row of a file is preceded by the header.

    Several processes may append at once. A file that lacks columns added later gets them first.

    Raises:
        InputError: if the file has other columns, or the result other fields.
    """
    row = _csv_line([_cell(value) for value in flatten(result).values()])
    records.parent.mkdir(parents=True, exist_ok=True)
    with _locked(records) as file:
        content = file.read()
        if not content:
            row = _csv_line(COLUMNS) + row
        elif _columns(next(csv.reader([content.decode().splitlines()[0]])), records) != COLUMNS:
            rows = [_csv_line(map(_cell, each.values())) for each in read_records(records)]
            row = "".join([_csv_line(COLUMNS), *rows, row])
            write_atomically(records, row.encode())
            return
        # An editor may have saved the file without its last line break.
        if content and not content.endswith(b"\n"):
            row = "\n" + row
        _append_or_take_back(file.fileno(), row.encode(), length=len(content))


def read_records(records: Path) -> list[Record]:
    """Read the rows in the order in which they were recorded; empty cells become None."""
    if not records.exists():
        raise FileNotFoundError(
            f"no {records} here: run this from the repository's root, or name it with --records."
        )
    try:
        with records.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            columns = _columns(next(reader, []), records)
            return [
                _record(columns, cells, f"{records}, line {reader.line_num}") for cells in reader
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{records} is damaged: {error}. Take it from git again.") from error


def flatten(result: dict[str, Any]) -> Record:
    """Flatten a result to columns: `{"machine": {"cpu": ...}}` becomes `{"machine.cpu": ...}`."""
    refuse_unknown(result, FIELDS)
    flat: Record = {}
    for field, parts in FIELDS.items():
        value = plain(result.get(field))
        if not parts:
            flat[field] = value
            continue
        named = value or {}
        refuse_unknown(named, parts, inside=f"{field}.")
        flat.update({f"{field}.{part}": named.get(part) for part in parts})
    return flat


@contextmanager
def _locked(records: Path) -> Iterator[Any]:
    """Open the file to read and to append, locked for this process, at its beginning."""
    while True:
        # Closing the file releases the lock.
        with records.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not os.path.samestat(os.fstat(file.fileno()), records.stat()):
                # Another process has put a file with more columns in its place, so that the lock is
                # one of a file without a name.
                continue
            file.seek(0)
            yield file
            return


def _append_or_take_back(descriptor: int, row: bytes, *, length: int) -> None:
    try:
        # One write, and cut off again if it does not fit on the disk: no reader sees half a row.
        written = os.write(descriptor, row)
    except OSError:
        os.ftruncate(descriptor, length)
        raise
    if written != len(row):
        os.ftruncate(descriptor, length)
        raise OSError(f"only {written} of a row's {len(row)} bytes fitted; nothing was appended.")


def _columns(found: Sequence[str], records: Path) -> tuple[str, ...]:
    """Check the columns of a file, which may lack those added later; InputError for any others."""
    if tuple(found) == tuple(
        name for name in COLUMNS if name in found or name not in ADDED_COLUMNS
    ):
        return tuple(found)
    missing = [name for name in COLUMNS if name not in found]
    other = [name for name in found if name not in COLUMNS]
    raise InputError(
        f"{records} must have the columns of experiments.runs.records.COLUMNS, in their order. "
        f"Missing: {missing or 'none'}; not known: {str(other)[:200] if other else 'none'}. "
        "Record to another file, or rewrite this one's header and rows."
    )


def refuse_unknown(given: Iterable[str], known: Iterable[str], *, inside: str = "") -> None:
    """Raise InputError for a field that the records do not have."""
    unknown = [inside + name for name in given if name not in known]
    if unknown:
        raise InputError(
            "a result holds the fields of experiments.runs.records.FIELDS. "
            f"Received also {unknown}."
        )


def _csv_line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _cell(value: Any) -> str:
    """Format a cell: text in one line, a number in its shortest exact form, nothing for None."""
    if value is None:
        return ""
    return " ".join(value.split()) if isinstance(value, str) else json.dumps(value)


def _record(columns: Sequence[str], cells: Sequence[str], where: str) -> Record:
    if len(cells) != len(columns):
        raise InputError(
            f"a row needs {len(columns)} cells. Received {len(cells)} in {where}; "
            "mend or remove it."
        )
    named = dict(zip(columns, cells, strict=True))
    try:
        return {name: _value(name, named.get(name, "")) for name in COLUMNS}
    except ValueError as error:
        raise InputError(f"a number was expected in {where}: {error}") from error


def _value(column: str, cell: str) -> Any:
    if not cell:
        return None
    if column in TEXT_COLUMNS:
        return cell
    value = json.loads(cell)
    # JSON's reader also takes true, NaN and integers of a thousand digits.
    if type(value) not in (int, float) or not abs(value) < 2**63:
        raise InputError(f"{cell[:80]} for {column}")
    return value


def plain(value: Any) -> Any:
    """Convert a value to JSON's types: NumPy values and paths; NaN and infinity become None."""
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def check_result(result: Mapping[str, Any], path: Path) -> None:
    """Check that each field has a value of its kind; a missing one, or null, always passes.

    Args:
        result: content of the file; further fields may hold anything.
        path: path of the file, for messages.

    Raises:
        RunFileError: if a field has another kind of value.
    """
    for field, parts in FIELDS.items():
        value = result.get(field)
        if parts and not isinstance(value, dict | None):
            raise _kind_error(path, field, "an object", value)
        named = {f"{field}.{part}": (value or {}).get(part) for part in parts} or {field: value}
        for column, inner in named.items():
            if inner is not None and column in TEXT_COLUMNS and not isinstance(inner, str):
                raise _kind_error(path, column, "a text", inner)
            if inner is not None and column not in TEXT_COLUMNS and not _is_shown_number(inner):
                raise _kind_error(path, column, "a number", inner)


def _is_shown_number(value: object) -> bool:
    """Whether a value is a number of a size that can be shown, neither NaN nor infinite."""
    return isinstance(value, int | float) and type(value) is not bool and abs(value) < 2**63


def _kind_error(path: Path, column: str, rule: str, value: object) -> RunFileError:
    return RunFileError(
        f"{path} is damaged: {column} must be {rule}. Received {str(value)[:80]!r}. Take it from "
        "the run again, or remove it."
    )


class Spread(NamedTuple):
    """Mean and sample standard deviation of `num_values` values; no deviation for one value."""

    mean: float
    deviation: float | None
    num_values: int


def mean_and_spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation (n - 1) over folds."""
    if not len(values):
        raise InputError("a figure of merit needs at least one clip. Received none.")
    # One fold says nothing about the spread.
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), deviation, len(values))
