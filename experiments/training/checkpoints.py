"""Checkpoints of a run: what each epoch leaves on the disk, and how a run resumes from it.

The checkpoint holds every variable, the states of the random generators among them, so that a run
which is killed and resumed ends with the same numbers as one that was not.
"""

from __future__ import annotations

import math
import time
import zipfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import InputError
from common.files import replacing
from experiments.runs.run import RunError
from experiments.training.distribution import saved_alone
from experiments.training.history import Epoch, History

if TYPE_CHECKING:
    import keras

_CHECKPOINT = "checkpoint.npz"
# An epoch that ends sooner after the last checkpoint leaves none: a resumed run repeats it, to the
# same numbers. The dense baseline's checkpoint is 0.5 GB.
_SECONDS_BETWEEN_CHECKPOINTS = 20
_DAMAGED = (ValueError, KeyError, EOFError, OSError, TypeError, zipfile.BadZipFile)


class CheckpointWriter:
    """Writes what an epoch leaves: models, checkpoint and metrics.

    Args:
        model: the model in training.
        variables: everything that training changes, in a fixed order.
        run_dir: takes metrics.csv, best.keras, last.keras and checkpoint.npz.
    """

    def __init__(
        self, model: keras.Model, variables: Sequence[keras.Variable], run_dir: Path
    ) -> None:
        self._model = model
        self._variables = variables
        self._run_dir = run_dir
        self._written = -math.inf

    def write(self, history: History, *, is_last: bool) -> None:
        """Write the files of the epoch that has just ended."""
        if history.best is history.epochs[-1]:
            self._save_model("best.keras")
        now = time.perf_counter()
        if is_last or now - self._written > _SECONDS_BETWEEN_CHECKPOINTS:
            self._save_model("last.keras")
            _write_checkpoint(self._variables, history, self._run_dir / _CHECKPOINT)
            self._written = now
        history.write(self._run_dir / "metrics.csv")

    def _save_model(self, name: str) -> None:
        with replacing(self._run_dir / name) as partial, saved_alone(self._model):
            self._model.save(partial)


def _write_checkpoint(variables: Sequence[keras.Variable], history: History, path: Path) -> None:
    """Write array by array: all together may be gigabytes."""
    rows = np.array([[getattr(row, f.name) for f in fields(Epoch)] for row in history.epochs])
    with replacing(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        _add_array(archive, "epochs", rows)
        for i, variable in enumerate(variables):
            _add_array(archive, f"variable_{i}", variable.numpy())


def _add_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def restore(variables: Sequence[keras.Variable], run_dir: Path) -> History:
    """Load the checkpoint into variables; an empty history where there is none.

    Raises:
        RunError: if it is damaged, or of another model.
    """
    path = run_dir / _CHECKPOINT
    if not path.exists():
        return History()
    try:
        with np.load(path, allow_pickle=False) as saved:
            for i, variable in enumerate(variables):
                value = saved[f"variable_{i}"]
                if value.shape != variable.shape:
                    raise InputError(f"{variable.path} is {variable.shape}, and not {value.shape}")
                variable.assign(value)
            return History([Epoch(int(row[0]), *map(float, row[1:])) for row in saved["epochs"]])
    except _DAMAGED as error:
        raise RunError(
            f"{path} is damaged, or of another model ({error}). Remove it, and the run begins anew."
        ) from error
