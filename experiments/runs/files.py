"""Read the JSON and CSV files of a run; errors name the damaged file and the line."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError

PAGE = "report.html"
"""Name of the report in a run's directory; it is written last."""
CLIP_MODEL = "model.json"
"""Name of the description beside a trained model; a run that has it is finished."""
_REMEDY = "Take it from the run again, or remove it."


class RunFileError(InputError):
    """Error for a file that is not as the run wrote it; the message names the file."""


@dataclass(frozen=True)
class TableRow:
    """Row of a CSV table, with its place for messages.

    Args:
        path: path of the table.
        line: line number, from 1.
        cells: cells by column.
    """

    path: Path
    line: int
    cells: dict[str, str]

    def number(self, column: str, *, low: float = -math.inf, high: float = math.inf) -> float:
        """Read a cell as a number in [low, high]; NaN if it is empty and there are no limits.

        Raises:
            RunFileError: if it is no such number.
        """
        text = self.cells[column]
        try:
            value = float(text or "nan")
        except ValueError:
            raise self._error(column, "a number") from None
        # NaN compares as outside: an empty cell is only allowed where there are no limits.
        if (low, high) != (-math.inf, math.inf) and not low <= value <= high:
            raise self._error(column, f"a number from {low:g} to {high:g}")
        return value

    def whole(self, column: str) -> int:
        """Read a cell as a whole number from 0.

        Raises:
            RunFileError: if it is no such number.
        """
        text = self.cells[column]
        # `int` would also take other scripts' digits, and refuse thousands of them by another
        # error.
        if not (text.isascii() and text.isdecimal() and len(text) < 16):
            raise self._error(column, "a whole number")
        return int(text)

    def _error(self, column: str, rule: str) -> RunFileError:
        return RunFileError(
            f"{self.path}, line {self.line}: {column} must be {rule}. Received "
            f"{self.cells[column][:80]!r}. {_REMEDY}"
        )


def read_object(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file; empty if there is no file.

    Raises:
        RunFileError: if it is not JSON, or not an object.
    """
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    # A hostile file may nest its lists deeper than the reader's recursion.
    except (ValueError, RecursionError) as error:
        raise RunFileError(f"{path} is damaged: {error}. {_REMEDY}") from error
    if not isinstance(values, dict):
        raise RunFileError(f"{path} is damaged: it holds no object. {_REMEDY}")
    return values


def read_table(path: Path) -> list[TableRow]:
    """Read the rows below the header of a CSV file; none if there is no file.

    Raises:
        RunFileError: if it is not CSV in UTF-8, a row has more or fewer cells than the header, or a
            column occurs twice.
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
