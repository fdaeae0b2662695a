"""Options that a reel's or a set of pictures' folder remembers, so that none is typed twice.

`run` writes `NAME.options.json` beside `NAME.mp4`, and `review` adds to it. Both take from it what
their command line leaves out. `extract` takes the settings of the pictures that are there. A light
file, which imports nothing of what does the work.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typeguard import TypeCheckError, check_type

from common.errors import InputError
from common.files import write_text
from experiments.highlights.commands.arguments import Extract, Review, Run
from experiments.highlights.selection.selection import GOALS

VERSION = 1
_SUFFIX = ".options.json"
_SCORES_SUFFIX = ".scores.csv"
# What belongs to one call of a command and not to its reel.
_OF_ONE_CALL = {"overwrite", "overwrite_scores", "dry_run", "annotate", "allow_failures"}
_OF_ONE_CALL |= {"threads", "batch_size", "scheduler", "port", "open"}
_CUT = "cut"  # thresholds of the reel, where `threshold` is that of the command line
# Of each of these, one takes the place of the others.
_ALTERNATIVES = (("threshold", *GOALS), ("fps", "every"))
_LABELS_BOX = "labels_box"  # of new labels, where `box` is that of the scoring
_SHARDS_INDEX = "dataset.json"


def options_file(path: Path) -> Path:
    """File of the options of a reel, from the path of the reel or of its scores."""
    name = path.name.removesuffix(_SCORES_SUFFIX)
    return path.with_name((path.stem if name == path.name else name) + _SUFFIX)


def remember(command: Run | Review, *, cut: Run | None = None) -> None:
    """Write the options of a command beside its reel.

    Args:
        command: the options as they were typed.
        cut: options with the threshold with which `run` cut the reel.

    Raises:
        WriteError: if the file cannot be written.
    """
    path = _file_of(command)
    kept = {name: _plain(value) for name, value in asdict(command).items()}
    if isinstance(command, Review):
        before = _read(path)
        if not before:
            return  # no `run` made the scores
        # The rest is of the `run`, which a review must not change.
        mine = {name: kept[name] for name in ("labels", "group")}
        kept = before | mine | {_LABELS_BOX: kept["box"]}
    else:
        assert command.model is not None
        kept["labels"] = _labels_of(command.model)
        if cut is not None:
            kept[_CUT] = {"threshold": cut.threshold, "low_threshold": cut.low_threshold}
    kept = {name: value for name, value in kept.items() if name not in _OF_ONE_CALL}
    write_text(path, json.dumps({"version": VERSION, "options": kept}, indent=2) + "\n")


def remembered(command: Run | Review) -> tuple[Any, list[str]]:
    """Return the defaults of a command that its reel's folder remembers, and their names.

    Args:
        command: the command as its line alone says it.

    Raises:
        InputError: if the file is damaged.
    """
    values = _read(_file_of(command))
    if not values:
        return command, []
    there = [Path(one) for one in values.get("recording", ())]
    # Another recording is another reel, whose options are its own.
    if command.recording and [one.absolute() for one in command.recording] != there:
        return command, []
    if isinstance(command, Review) and isinstance(cut := values.get(_CUT), dict):
        # The page begins with the threshold of the reel, whatever rule it came from.
        values |= cut | dict.fromkeys(GOALS)
        values["box"] = values.get(_LABELS_BOX) or values.get("box")
    hints = get_type_hints(type(command))
    blank = type(command)()
    given = {}
    for field in fields(command):
        if field.name not in values or field.name in _OF_ONE_CALL:
            continue
        value = _typed(values[field.name], hints[field.name])
        try:
            check_type(value, hints[field.name])
        except TypeCheckError as error:
            raise InputError(
                f"{_file_of(command)} is damaged: {field.name} cannot be "
                f"{values[field.name]!r}. Remove the file, and give the options again."
            ) from error
        given[field.name] = value
    for name in _replaced(command, blank):
        given.pop(name, None)
    names = [name for name, value in given.items() if value != getattr(blank, name)]
    first = ("recording", "model")
    names = sorted(
        set(names) - {"out"}, key=lambda name: (name not in first, name != first[0], name)
    )
    return replace(blank, **given), names


def remembered_model(command: Run | Review) -> Path | None:
    """Return the model that scored a reel's recording; None if that is not known."""
    model = _read(_file_of(command)).get("model")
    return Path(model) if isinstance(model, str) else None


def extracted(command: Extract) -> tuple[Extract, list[str]]:
    """Return the defaults of an `extract` whose folder holds pictures already, and their names."""
    try:
        settings = json.loads((command.shards / _SHARDS_INDEX).read_bytes())["settings"]
        names = {field.name for field in fields(Extract)} & settings.keys()
        given = {name: _typed(settings[name], Any) for name in names}
        defaults = Extract(command.labels, command.shards)
        for name in _replaced(command, defaults):
            given.pop(name, None)
        usual = {name: getattr(defaults, name) for name in given} | {"fps": 2.0}
        different = sorted(name for name in given if given[name] != usual[name])
        return replace(defaults, **given), different
    # What is wrong with the folder is reported by the extraction.
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return command, []


def _replaced(command: Any, blank: Any) -> Iterator[str]:
    """Options that must not be remembered, because what was typed takes their place."""
    for group in _ALTERNATIVES:
        names = [name for name in group if hasattr(command, name)]
        if any(getattr(command, name) != getattr(blank, name) for name in names):
            yield from names
            if "threshold" in names:
                yield "low_threshold"  # it is measured by the threshold


def _labels_of(model: Path) -> str | None:
    """Label file that a model was trained on; None if it is not where it was."""
    try:
        labels = Path(json.loads((model / "config.json").read_bytes())["labels"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return os.path.abspath(labels) if labels.is_file() else None


def _file_of(command: Run | Review) -> Path:
    if isinstance(command, Review) and command.scores:
        return options_file(command.scores[0])
    return options_file(command.out)


def _read(path: Path) -> dict[str, Any]:
    """Read the options of a file; none if it does not exist."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes())
        if content["version"] != VERSION:
            raise InputError(f"its version is {content['version']!r} and not {VERSION}")
        return dict(content["options"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged ({error}). Remove it, and give the options again."
        ) from error


def _plain(value: Any) -> Any:
    """Value as JSON holds it; paths are absolute, so that they count in every folder."""
    if isinstance(value, Path):
        return os.path.abspath(value)
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _typed(value: Any, hint: Any) -> Any:
    """Value as an option holds it: a path of a text, and a tuple of a list."""
    if isinstance(value, list):
        return tuple(_typed(one, hint) for one in value)
    return Path(value) if isinstance(value, str) and Path in _parts(hint) else value


def _parts(hint: Any) -> Iterator[Any]:
    yield hint
    for part in get_args(hint):
        yield from _parts(part)
