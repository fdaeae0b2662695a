"""The scores of a recording as CSV: time_seconds,probability."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from common.errors import InputError
from experiments.highlights.selection.scores import Floats

COLUMNS = ("time_seconds", "probability")
_PAST_END_SECONDS = 1.0


def read_scores(
    path: Path, *, duration: float = math.inf, say: Callable[[str], None] = print
) -> tuple[Floats, Floats]:
    """Times in seconds and probabilities, (N,) each; other columns are passed over.

    Programs disagree by a little on how long a recording lasts, as where sound goes on after the
    last picture. So scores up to a second past its end are left out, and that is said.

    Args:
        path: the file, CSV.
        duration: of the recording, in seconds, after which there must be no times.
        say: is given a line about scores that were left out.

    Raises:
        InputError: if the columns are not there, or a line holds no such numbers; it is named.
        OSError: if the file cannot be read.
    """
    rows: list[list[float]] = []
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be text in UTF-8: {error.reason}.") from error
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if not set(COLUMNS) <= set(reader.fieldnames or ()):
            raise InputError(
                f"{path} must have the columns {' and '.join(COLUMNS)}. It has "
                f"{', '.join(reader.fieldnames or ['none'])}."
            )
        for row in reader:
            cells = ", ".join(repr(row[name]) for name in COLUMNS)
            try:
                time, probability = (float(row[name]) for name in COLUMNS)
            except (TypeError, ValueError):
                raise InputError(
                    f"{path}, line {reader.line_num}: a time and a probability must be numbers. "
                    f"Received {cells}."
                ) from None
            after = rows[-1][0] if rows else -math.inf
            if not (after < time < math.inf and 0 <= probability <= 1):
                raise InputError(
                    f"{path}, line {reader.line_num}: times must ascend, and probabilities lie in "
                    f"[0, 1]. Received {cells}, after a time of {after:g}."
                )
            if not 0 <= time <= duration + _PAST_END_SECONDS:
                raise InputError(
                    f"{path}, line {reader.line_num}: a time must lie in the recording, which has "
                    f"{duration:g} s. Received {time:g}; these are the scores of another one."
                )
            rows.append([time, probability])
    except csv.Error as error:
        raise InputError(
            f"{path} cannot be parted into cells: {error}. Mend its quotes."
        ) from error
    table = np.array(rows, np.float64).reshape(-1, 2)
    inside = table[:, 0] <= duration
    if rows and not inside.any():
        raise InputError(
            f"{path}: scores must lie in the recording, which has {duration:g} s. The first is at "
            f"{rows[0][0]:g} s; these are the scores of another one."
        )
    if not inside.all():
        num_past, farthest = int((~inside).sum()), table[-1, 0] - duration
        say(
            f"{path}: {num_past} score{'s' * (num_past != 1)} up to {farthest:.3f} s past the end "
            f"of the recording, at {duration:.3f} s, left out."
        )
        table = table[inside]
    return table[:, 0], table[:, 1]
