"""What is named on the command line, as something to export."""

from __future__ import annotations

from pathlib import Path

from common.errors import InputError
from experiments.clips import scorer
from experiments.clips.model import read_model
from experiments.clips.pictures import PictureSettings
from experiments.export.about import About
from experiments.export.subjects import ClipSubject, PictureSubject, Subject
from experiments.models.keras_files import load_keras_model
from experiments.runs.run import MODEL, MODEL_SETTINGS

_SCORER_CLASSES = ("no highlight", "highlight")


def load_subject(path: Path) -> Subject:
    """A finished run's model, or a .keras file's.

    Args:
        path: directory of a run on clips or of a scorer, or a Keras file of a model of pictures.

    Raises:
        ValueError, OSError: if there is no model that can be exported.
    """
    if path.is_dir():
        if (path / scorer.FILE).is_file():
            return _scorer(path)
        return ClipSubject(*read_model(path))
    if path.suffix != ".keras" or not path.is_file():
        raise InputError(
            f"A finished run's directory, or a .keras file, is needed. Received {path}."
        )
    if path.name == MODEL and path.with_name(MODEL_SETTINGS).is_file():
        return ClipSubject(*read_model(path.parent))
    return PictureSubject(load_keras_model(path), About("pictures"))


def _scorer(path: Path) -> PictureSubject:
    found = scorer.load_scorer(path)
    settings = found.settings.to_json() | {"threshold": found.threshold}
    return PictureSubject(found.model, About("scorer", _SCORER_CLASSES, settings), PictureSettings)
