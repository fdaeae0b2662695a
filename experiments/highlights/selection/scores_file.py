"""The scores of a recording as CSV: time_seconds,probability."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from experiments.highlights.selection.scores import Floats

COLUMNS = ("time_seconds", "probability")


def read_scores(path: Path) -> tuple[Floats, Floats]:
    """Times in seconds and probabilities, (N,) each; other columns are passed over.

    Raises:
        ValueError: if the columns are not there, or a line holds no such numbers; it is named.
        OSError: if the file cannot be read.
    """
    rows = []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if not set(COLUMNS) <= set(reader.fieldnames or ()):
            raise ValueError(
                f"{path} must have the columns {' and '.join(COLUMNS)}. It has "
                f"{', '.join(reader.fieldnames or ['none'])}."
            )
        for row in reader:
            try:
                rows.append([float(row[name]) for name in COLUMNS])
            except (TypeError, ValueError):
                cells = ", ".join(repr(row[name]) for name in COLUMNS)
                raise ValueError(
                    f"{path}, line {reader.line_num}: a time and a probability must be numbers. "
                    f"Received {cells}."
                ) from None
    table = np.array(rows, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]
