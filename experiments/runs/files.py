"""The JSON and CSV files of a run, read: a damaged one is named, with the line."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError

_REMEDY = "Take it from the run again, or remove it."


class RunFileError(InputError):
    """A file of a run is not what the run wrote; the message names it."""


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Args:
        path: of the table.
        line: its number, from 1.
        cells: by column.
    """

    path: Path
    line: int
    cells: dict[str, str]

    def number(self, column: str, *, low: float = -math.inf, high: float = math.inf) -> float:
        """A cell as a number in [low, high]; NaN where it is empty and there are no limits.

        Raises:
            RunFileError: if it is none.
        """
        text = self.cells[column]
        try:
            value = float(text or "nan")
        except ValueError:
            raise self._error(column, "a number") from None
        if (low, high) != (-math.inf, math.inf) and not low <= value <= high:
            raise self._error(column, f"a number from {low:g} to {high:g}")
        return value

    def whole(self, column: str) -> int:
        """A cell as a whole number from 0.

        Raises:
            RunFileError: if it is none.
        """
        text = self.cells[column]
        if not (text.isascii() and text.isdecimal() and len(text) < 16):
            raise self._error(column, "a whole number")
        return int(text)

    def _error(self, column: str, rule: str) -> RunFileError:
        return RunFileError(
            f"{self.path}, line {self.line}: {column} must be {rule}. Received "
            f"{self.cells[column][:80]!r}. {_REMEDY}"
        )


def read_object(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing without the file.

    Raises:
        RunFileError: if it is no JSON, or no object.
    """
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RunFileError(f"{path} is damaged: {error}. {_REMEDY}") from error
    if not isinstance(values, dict):
        raise RunFileError(f"{path} is damaged: it holds no object. {_REMEDY}")
    return values


def read_table(path: Path) -> list[TableRow]:
    """The rows below the header of a CSV file; none without the file.

    Raises:
        RunFileError: if it is no CSV in UTF-8, a row has more or fewer cells than the header, or a
            column is there twice.
    """
    if not path.exists():
        return []
    rows = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            names = next(reader, [])
            for cells in reader:
                if len(cells) != len(names) or len(set(names)) < len(names):
                    raise InputError(
                        f"line {reader.line_num} has {len(cells)} cells for the columns "
                        f"{','.join(names)[:200]}"
                    )
                rows.append(TableRow(path, reader.line_num, dict(zip(names, cells, strict=True))))
    except (ValueError, csv.Error) as error:
        raise RunFileError(f"{path} is damaged: {error}. {_REMEDY}") from error
    return rows
