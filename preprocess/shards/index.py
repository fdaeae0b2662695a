"""Index of a directory of shards, `dataset.json`: its content, and whether it is complete."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from common.files import write_text
from preprocess.errors import PreprocessError, ShardError
from preprocess.shards.settings import FrameSettings, StoredSettings

FILE_NAME = "dataset.json"


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
