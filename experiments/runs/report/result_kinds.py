"""Whether a result.json holds texts where there are texts, and numbers where there are numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.runs.files import RunFileError
from experiments.runs.records import FIELDS, TEXT_COLUMNS


def check_result(result: Mapping[str, Any], path: Path) -> None:
    """See that each field can be what its name says; a missing one, or null, always can.

    Args:
        result: what the file holds; fields besides the usual may hold anything.
        path: of the file, for messages.

    Raises:
        RunFileError: if one cannot.
    """
    for field, parts in FIELDS.items():
        value = result.get(field)
        if parts and not isinstance(value, dict | None):
            raise _error(path, field, "an object", value)
        named = {f"{field}.{part}": (value or {}).get(part) for part in parts} or {field: value}
        for column, inner in named.items():
            if inner is not None and column in TEXT_COLUMNS and not isinstance(inner, str):
                raise _error(path, column, "a text", inner)
            if inner is not None and column not in TEXT_COLUMNS and not _is_number(inner):
                raise _error(path, column, "a number", inner)


def _is_number(value: object) -> bool:
    """Of a size that can be shown; neither NaN nor infinite."""
    return isinstance(value, int | float) and type(value) is not bool and abs(value) < 2**63


def _error(path: Path, column: str, rule: str, value: object) -> RunFileError:
    return RunFileError(
        f"{path} is damaged: {column} must be {rule}. Received {str(value)[:80]!r}. Take it from "
        "the run again, or remove it."
    )
