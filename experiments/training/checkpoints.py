"""Checkpoints of a run: the files that each epoch leaves, and how a run resumes from them.

The checkpoint holds every variable, including the states of the random generators, so that a run
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
# Errors that NumPy and zipfile raise for a file that is cut short or is no archive, and those of
# values that do not fit the variables.
_DAMAGED = (ValueError, KeyError, EOFError, OSError, TypeError, zipfile.BadZipFile)


class CheckpointWriter:
    """Writes the files of an epoch: models, checkpoint and metrics.

    Args:
        model: the model in training.
        variables: all variables that training changes, in a fixed order.
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
        # A kill may leave best.keras of an epoch that the checkpoint does not know yet. The resumed
        # run repeats that epoch to the same numbers, and so writes the same file again.
        if history.best is history.epochs[-1]:
            self._save_model("best.keras")
        now = time.perf_counter()
        if is_last or now - self._written > _SECONDS_BETWEEN_CHECKPOINTS:
            self._save_model("last.keras")
            # After last.keras: a kill between the two leaves the older checkpoint, which repeats
            # the epoch.
            _write_checkpoint(self._variables, history, self._run_dir / _CHECKPOINT)
            self._written = now
        # After every epoch, also without a checkpoint: a person may watch it. A resumed run writes
        # it anew from the checkpoint's epochs.
        history.write(self._run_dir / "metrics.csv")

    def _save_model(self, name: str) -> None:
        # Written beside its place and then renamed: a killed run keeps the previous model whole.
        with replacing(self._run_dir / name) as partial, saved_alone(self._model):
            self._model.save(partial)


def _write_checkpoint(variables: Sequence[keras.Variable], history: History, path: Path) -> None:
    """Write the epochs and all variables to one .npz file."""
    # float64 (num_epochs, columns): epoch numbers are exact in it, too.
    rows = np.array([[getattr(row, f.name) for f in fields(Epoch)] for row in history.epochs])
    with replacing(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        _add_array(archive, "epochs", rows)
        for i, variable in enumerate(variables):
            # One array at a time, where `np.savez` would hold copies of all, which may be
            # gigabytes. The name is the place in the list, for names of Keras's variables need not
            # be unique.
            _add_array(archive, f"variable_{i}", variable.numpy())


def _add_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def restore(variables: Sequence[keras.Variable], run_dir: Path) -> History:
    """Load the checkpoint of a run into variables.

    Returns:
        The epochs so far; an empty history if there is no checkpoint.

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
                # Checked here, for the message names the variable. The half-restored model is not
                # used: every failure ends the run.
                if value.shape != variable.shape:
                    raise InputError(f"{variable.path} is {variable.shape}, and not {value.shape}")
                variable.assign(value)
            return History([Epoch(int(row[0]), *map(float, row[1:])) for row in saved["epochs"]])
    except _DAMAGED as error:
        raise RunError(
            f"{path} is damaged, or of another model ({error}). Remove it, and the run begins anew."
        ) from error
