"""Rows of a CSV file with a header, each with its line number for messages."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError

_DELIMITERS = ",;\t"  # spreadsheets write semicolons in countries with decimal commas


@dataclass(frozen=True)
class Row:
    """One row of a CSV file, by column name.

    Args:
        file: the file.
        line: number of its line, from 1, or of the first of several lines.
        cells: cells by column name, without spaces around them.
    """

    file: Path
    line: int
    cells: dict[str, str]

    def error(self, message: object) -> InputError:
        """Create an error that names the file and line of this row."""
        return InputError(f"{self.file}, line {self.line}: {message}")


def read_rows(
    file: Path, *, required: Sequence[str], optional: Collection[str] | None = None
) -> list[Row]:
    """Read all rows that are not blank.

    Columns are separated by commas, semicolons or tabs, whichever the header has most of, and
    found by name; capital letters and spaces around names do not matter.

    Args:
        file: CSV in UTF-8.
        required: columns that must exist.
        optional: columns that may exist; None for any.

    Raises:
        InputError: if the file cannot be read, has no row, or has other columns; the message names
            the line.
    """
    records = _records(file, _read_text(file))
    header = next(records, Row(file, 1, {}))
    names = [name.lower() for name in header.cells.values()]
    _check_header(header, names, required, optional)
    rows = []
    for record in records:
        if len(record.cells) != len(names):
            raise record.error(
                f"A row must have the header's {len(names)} columns. Received "
                f"{len(record.cells)}; put a cell that holds a comma in quotes."
            )
        cells = dict(zip(names, record.cells.values(), strict=True))
        rows.append(Row(file, record.line, cells))
    if not rows:
        raise header.error("A list must have a row below its header. Received none; add some.")
    return rows


def _read_text(file: Path) -> str:
    """Read the file as UTF-8, with the line of a wrong byte in the error."""
    try:
        # utf-8-sig: spreadsheets put a byte order mark at the beginning.
        return file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"Cannot read the list {file}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise Row(file, line, {}).error(
            f"A list must be text in UTF-8. Received the byte 0x{error.object[error.start]:02x}; "
            "save it as CSV in UTF-8."
        ) from error


def _records(file: Path, text: str) -> Iterator[Row]:
    """Yield rows that are not blank, header included, with column numbers for names."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    line = 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield Row(file, line, {str(n): cell for n, cell in enumerate(stripped)})
            # A quoted cell may span lines, so lines are counted by the reader and not by rows.
            line = reader.line_num + 1
    except csv.Error as error:
        raise Row(file, line, {}).error(
            f"A row must be parted into cells as CSV is: {error}. Mend its quotes."
        ) from error


def _check_header(
    header: Row, names: Sequence[str], required: Sequence[str], optional: Collection[str] | None
) -> None:
    """Refuse a header that lacks a column, has one twice, or has unknown ones."""
    allowed = ",".join(required) + "".join(f"[,{name}]" for name in optional or ())
    # In this order, so that the first message is about the fault to mend first.
    for fault, wrong in [
        ("lacks", [name for name in required if name not in names]),
        ("has twice", [name for name in names if names.count(name) > 1]),
        ("has besides", [name for name in names if not _is_known(name, required, optional)]),
    ]:
        if wrong:
            raise header.error(
                f"The first line must name the columns {allowed}. It {fault} {wrong[0]!r}; "
                f"it reads {','.join(header.cells.values())!r}."
            )


def _is_known(name: str, required: Sequence[str], optional: Collection[str] | None) -> bool:
    """Return True if a column may exist."""
    return optional is None or name in required or name in optional
