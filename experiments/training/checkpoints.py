"""What an epoch leaves on the disk, and going on from there.

The checkpoint holds every variable, the states of the random generators among them, so that a run
which is killed and resumed ends with the same numbers as one that was not.
"""

from __future__ import annotations

import math
import time
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import InputError
from experiments.runs.directory import replacing
from experiments.runs.history import Epoch, History
from experiments.runs.run import RunError
from experiments.training.distribution import saved_alone

if TYPE_CHECKING:
    from experiments.training.step import Classifier

_CHECKPOINT = "checkpoint.npz"
# An epoch that ends sooner after the last checkpoint leaves none: a resumed run repeats it, to the
# same numbers. The dense baseline's checkpoint is 0.5 GB.
_SECONDS_BETWEEN_CHECKPOINTS = 20
_DAMAGED = (ValueError, KeyError, EOFError, OSError, TypeError, zipfile.BadZipFile)


class Keeper:
    """Writes what an epoch leaves: models, checkpoint and metrics.

    Args:
        classifier: what is trained.
        run_dir: takes metrics.csv, best.keras, last.keras and checkpoint.npz.
    """

    def __init__(self, classifier: Classifier, run_dir: Path) -> None:
        self._classifier = classifier
        self._run_dir = run_dir
        self._written = -math.inf

    def keep(self, history: History, *, is_last: bool) -> None:
        """After each epoch."""
        if history.best is history.epochs[-1]:
            self._save_model("best.keras")
        now = time.perf_counter()
        if is_last or now - self._written > _SECONDS_BETWEEN_CHECKPOINTS:
            self._save_model("last.keras")
            _write_checkpoint(self._classifier, history, self._run_dir / _CHECKPOINT)
            self._written = now
        history.write(self._run_dir / "metrics.csv")

    def _save_model(self, name: str) -> None:
        model = self._classifier.model
        with replacing(self._run_dir / name) as partial, saved_alone(model):
            model.save(partial)


def _write_checkpoint(classifier: Classifier, history: History, path: Path) -> None:
    """Array by array, for all together may be gigabytes; under its name when it is complete."""
    rows = np.array([[getattr(row, f.name) for f in fields(Epoch)] for row in history.epochs])
    with replacing(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        _add_array(archive, "epochs", rows)
        for i, variable in enumerate(classifier.variables):
            _add_array(archive, f"variable_{i}", variable.numpy())


def _add_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def restore(classifier: Classifier, run_dir: Path) -> History:
    """Load the checkpoint's variables; an empty history where there is none.

    Raises:
        RunError: if it is damaged, or of another model.
    """
    path = run_dir / _CHECKPOINT
    if not path.exists():
        return History()
    try:
        with np.load(path, allow_pickle=False) as saved:
            for i, variable in enumerate(classifier.variables):
                value = saved[f"variable_{i}"]
                if value.shape != variable.shape:
                    raise InputError(f"{variable.path} is {variable.shape}, and not {value.shape}")
                variable.assign(value)
            return History([Epoch(int(row[0]), *map(float, row[1:])) for row in saved["epochs"]])
    except _DAMAGED as error:
        raise RunError(
            f"{path} is damaged, or of another model ({error}). Remove it, and the run begins anew."
        ) from error
