"""Index of a directory of shards, `dataset.json`: its content, and whether it is complete.

Where clips may be of several classes, `labels.json` beside it has the classes of each clip by its
source. Programs that do not read it see the first class of each clip, which the shards hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.files import write_text
from preprocess.errors import PreprocessError, ShardError
from preprocess.shards.settings import FrameSettings, StoredSettings

FILE_NAME = "dataset.json"
LABELS_NAME = "labels.json"


@dataclass(frozen=True)
class DatasetIndex:
    """Data set, classes and settings of a directory of shards.

    Args:
        dataset: name of the data set.
        class_names: the classes, in label order.
        settings: settings of the frames.
        complete: True if the last extraction has finished.
        num_clips: number of clips in the shards, if complete.
        num_failed: number of clips that could not be read; `failures.csv` names them.
        command: command that makes, finishes or refreshes the directory.
    """

    dataset: str
    class_names: tuple[str, ...]
    settings: StoredSettings
    complete: bool
    num_clips: int
    num_failed: int
    command: str


def write_index(folder: Path, index: DatasetIndex) -> None:
    """Write `dataset.json` into the folder, in one step."""
    values = asdict(index) | {"settings": index.settings.to_json()}
    write_text(folder / FILE_NAME, json.dumps(values, indent=2) + "\n")


def read_index(
    folder: Path, settings_type: type[StoredSettings] = FrameSettings
) -> DatasetIndex | None:
    """Read `dataset.json` of a folder; None if there is none.

    Args:
        folder: the directory of shards.
        settings_type: class of its settings.

    Raises:
        ShardError: if it cannot be understood.
    """
    path = folder / FILE_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values["settings"] = settings_type.from_json(values["settings"])
        values["class_names"] = tuple(values["class_names"])
        index = DatasetIndex(**values)
        _check_index(index)
        return index
    except FileNotFoundError:
        return None
    # Everything that wrong JSON can raise on its way into the dataclasses; deep nesting makes
    # RecursionError.
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        PreprocessError,
    ) as error:
        raise ShardError(
            f"{path} is damaged ({error}). Extract the videos again with --overwrite."
        ) from error


def _check_index(index: DatasetIndex) -> None:
    """Raise ValueError unless all values have their types."""
    # By type() and not isinstance(): JSON's true is an int to Python, and would count as 1 clip.
    texts = [index.dataset, index.command, *index.class_names]
    counts = [index.num_clips, index.num_failed]
    if not all(type(text) is str for text in texts) or type(index.complete) is not bool:
        raise ValueError("a name is no text, or complete is neither true nor false")
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError(f"the clips must be counted. Received {counts}")
    if not all(index.class_names) or len(set(index.class_names)) < len(index.class_names):
        raise ValueError("two classes have one name, or one has none")


def write_labels(folder: Path, labels: Mapping[str, Sequence[str]]) -> None:
    """Write `labels.json` into the folder, in one step; remove it if no clip has several classes.

    Args:
        folder: the directory of shards.
        labels: all classes of each clip by its source; empty where each clip has one class.
    """
    path = folder / LABELS_NAME
    if not labels:
        path.unlink(missing_ok=True)
        return
    values = {source: list(labels[source]) for source in sorted(labels)}
    write_text(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def read_labels(
    folder: Path, class_names: Sequence[str], sources: Sequence[str]
) -> NDArray[np.uint8] | None:
    """Read the classes of clips that may have several.

    Args:
        folder: the directory of shards.
        class_names: the classes, in label order.
        sources: sources of the clips.

    Returns:
        1 where a clip is of a class and 0 elsewhere, (len(sources), len(class_names)); None where
        there is no `labels.json`: each clip has one class.

    Raises:
        ShardError: if the file cannot be understood, or lacks a clip or a class.
    """
    path = folder / LABELS_NAME
    position = {name: label for label, name in enumerate(class_names)}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        matrix = np.zeros((len(sources), len(class_names)), np.uint8)
        for row, source in enumerate(sources):
            matrix[row, [position[name] for name in values[source]]] = 1
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ShardError(
            f"{path} is damaged ({type(error).__name__}: {error}). Remove it, and extract the "
            "videos again."
        ) from error
    if not matrix.any(axis=1).all():
        raise ShardError(f"{path} is damaged (a clip has no class). Extract the videos again.")
    return matrix
