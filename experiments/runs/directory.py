"""Read the files of a run: config.json, metrics.csv, predictions.csv and result.json.

A run that failed or was killed lacks some of them; missing parts are None.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from common.files import write_atomically
from experiments.runs.files import RunFileError, read_object, read_table
from preprocess.sources.listed_clips import BETWEEN_LABELS

# Columns before those of the probabilities, with their Arrow types.
_FIXED_COLUMNS = {
    "clip": "string",
    "group": "string",
    "num_frames": "int64",
    "label": "string",
    "predicted": "string",
    "correct": "bool",
    "confidence": "double",
}
# After those, of clips that may be of several classes: all classes at least this probable.
_CONFIDENT = "above_threshold"
_PROBABILITY = "p_"
THRESHOLD = 0.5
_RUN_FILES = ("config.json", "metrics.csv", "predictions.csv", "result.json")

# Columns of metrics.csv by name, each (epochs,).
MetricColumns = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Predictions:
    """Test clips with the model's predictions: one entry a clip, N in all."""

    class_names: list[str]  # C
    clips: list[str]  # source paths
    groups: list[str]
    num_frames: npt.NDArray[np.int64]  # (N,)
    labels: npt.NDArray[np.int64]  # (N,)
    probabilities: npt.NDArray[np.float64]  # (N, C)
    truth: npt.NDArray[np.bool_] | None = None
    """Classes of each clip, (N, C), where it may be of several; `labels` then holds the most
    probable of a clip's own."""

    @classmethod
    def of_several(cls, *, truth: npt.NDArray[np.bool_], **others: Any) -> Predictions:
        """Predictions of clips that may be of several classes.

        Args:
            truth: classes of each clip, (N, C).
            **others: the other fields, without `labels`.
        """
        labels = np.where(truth, others["probabilities"], -1.0).argmax(axis=1)
        return cls(**others, labels=labels, truth=truth)

    def own_labels(self, clip: int) -> list[int]:
        """Classes that a clip is of."""
        if self.truth is None:
            return [int(self.labels[clip])]
        return np.flatnonzero(self.truth[clip]).tolist()

    @cached_property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Most probable class of each clip, (N,)."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def confidence(self) -> npt.NDArray[np.float64]:
        """Probability of the predicted class, (N,)."""
        return self.probabilities.max(axis=1)

    @cached_property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the predicted class is the true one, (N,)."""
        return self.predicted == self.labels

    @cached_property
    def worst_mistakes(self) -> npt.NDArray[np.int64]:
        """Positions of the wrong predictions, the most confident first."""
        by_confidence = np.argsort(-self.confidence, kind="stable")
        return by_confidence[~self.correct[by_confidence]]

    @cached_property
    def true_probability(self) -> npt.NDArray[np.float64]:
        """Probability of the true class, (N,)."""
        return np.take_along_axis(self.probabilities, self.labels[:, None], axis=1)[:, 0]

    @cached_property
    def true_rank(self) -> npt.NDArray[np.int64]:
        """Rank of the true class by probability, (N,); 1 is the predicted class."""
        ranked = np.argsort(-self.probabilities, axis=1, kind="stable")  # (N, C)
        return (ranked == self.labels[:, None]).argmax(axis=1) + 1


def joined_labels(class_names: Sequence[str], chosen: Iterable[int]) -> str:
    """Names of the classes of some indices, in one text."""
    return BETWEEN_LABELS.join(class_names[index] for index in chosen)


@dataclass(frozen=True)
class Run:
    """Content of a run directory."""

    path: Path
    config: dict[str, Any]
    result: dict[str, Any]
    # Content of model.json: the description of the model's input.
    model: dict[str, Any]
    history: MetricColumns | None
    predictions: Predictions | None


def read_run(run_dir: Path) -> Run:
    """Read all files of a run directory that exist.

    Raises:
        FileNotFoundError: if there is none.
        RunFileError: if one is damaged.
    """
    if not run_dir.is_dir():
        raise FileNotFoundError(f"a run directory is needed. Received {run_dir}, which is not one.")
    if not any((run_dir / name).exists() for name in _RUN_FILES):
        raise FileNotFoundError(
            f"a run directory holds one of {', '.join(_RUN_FILES)}. {run_dir} has none; name the "
            "directory of a run, such as runs/NAME."
        )
    return Run(
        path=run_dir,
        config=read_object(run_dir / "config.json"),
        result=read_object(run_dir / "result.json"),
        model=read_object(run_dir / "model.json"),
        history=read_history(run_dir / "metrics.csv"),
        predictions=read_predictions(run_dir / "predictions.csv"),
    )


def read_history(path: Path) -> MetricColumns | None:
    """Read metrics.csv as columns; an empty cell is NaN. None without the file or an epoch."""
    rows = read_table(path)
    if not rows:
        return None
    columns = list(rows[0].cells)
    if "epoch" not in columns:
        raise RunFileError(
            f"{path} must have the column epoch. It has {','.join(columns)[:200]}. Take it from "
            "the run again, or remove it."
        )
    return {name: np.array([row.number(name) for row in rows]) for name in columns}


def read_predictions(path: Path) -> Predictions | None:
    """Read predictions.csv; None without the file or a row.

    The classes are in the order of its `p_` columns.
    """
    rows = read_table(path)
    if not rows:
        return None
    columns = list(rows[0].cells)
    fixed, named = columns[: len(_FIXED_COLUMNS)], columns[len(_FIXED_COLUMNS) :]
    has_several = named[:1] == [_CONFIDENT]
    named = named[has_several:]
    if fixed != [*_FIXED_COLUMNS] or not all(name.startswith(_PROBABILITY) for name in named):
        raise RunFileError(
            f"{path} must have the columns {','.join(_FIXED_COLUMNS)}, then {_PROBABILITY}CLASS "
            f"for each class. It has {','.join(columns)[:200]}."
        )
    names = [column.removeprefix(_PROBABILITY) for column in named]
    common: dict[str, Any] = {
        "class_names": names,
        "clips": [row.cells["clip"] for row in rows],
        "groups": [row.cells["group"] for row in rows],
        "num_frames": np.array([row.whole("num_frames") for row in rows]),
        "probabilities": np.array(
            [[row.number(column, low=0, high=1) for column in named] for row in rows]
        ),
    }
    if has_several:
        truth = np.zeros((len(rows), len(names)), bool)
        for number, row in enumerate(rows):
            own = row.cells["label"].split(BETWEEN_LABELS)
            truth[number, [_class_index(name, names, path) for name in own]] = True
        return Predictions.of_several(truth=truth, **common)
    labels = np.array([_class_index(row.cells["label"], names, path) for row in rows])
    return Predictions(labels=labels, **common)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as CSV, and as a Parquet file beside it, typed and with all digits.

    It is the inverse of `read_predictions`; labels and predictions are written as class names. Of
    clips that may be of several classes, `label` has all of a clip's, `predicted` the most probable
    one, and `above_threshold` all that are at least as probable as not.

    Args:
        path: path of the CSV.
        predictions: predictions of the test clips, one row each.
    """
    columns = _columns(predictions)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(map(_csv_cell, column) for column in columns.values()), strict=True))
    write_atomically(path, text.getvalue().encode())
    write_atomically(path.with_suffix(".parquet"), _parquet(columns))


def _columns(predictions: Predictions) -> dict[str, Sequence[Any] | npt.NDArray[Any]]:
    """Columns of either file, each (N,)."""
    # Objects, not NumPy strings, so that an index array makes a column of Python texts.
    names = np.array(predictions.class_names, object)
    own = [
        joined_labels(predictions.class_names, predictions.own_labels(clip))
        for clip in range(len(predictions.clips))
    ]
    fixed = (
        *(predictions.clips, predictions.groups, predictions.num_frames),
        *(own, names[predictions.predicted]),
        *(predictions.correct, predictions.confidence),
    )
    probabilities = dict(zip(names, predictions.probabilities.T, strict=True))
    confident = {}
    if predictions.truth is not None:
        chosen = predictions.probabilities >= THRESHOLD
        confident[_CONFIDENT] = [
            joined_labels(predictions.class_names, np.flatnonzero(row)) for row in chosen
        ]
    return {
        **dict(zip(_FIXED_COLUMNS, fixed, strict=True)),
        **confident,
        **{_PROBABILITY + name: column for name, column in probabilities.items()},
    }


def _csv_cell(value: Any) -> Any:
    if isinstance(value, np.bool_):
        return int(value)
    return f"{value:.6g}" if isinstance(value, np.floating) else value


def _parquet(columns: dict[str, Sequence[Any] | npt.NDArray[Any]]) -> bytes:
    known = _FIXED_COLUMNS | {_CONFIDENT: "string"}
    types = {name: pa.type_for_alias(known.get(name, "double")) for name in columns}
    content = io.BytesIO()
    pq.write_table(pa.table(columns, schema=pa.schema(types)), content)
    return content.getvalue()


def _class_index(text: str, names: Sequence[str], path: Path) -> int:
    """Find a class by its name or, if no class has that name, by its index."""
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    raise RunFileError(
        f"label must be one of the {len(names)} classes of the p_ columns, by name or index. "
        f"Received {text!r} in {path}."
    )
