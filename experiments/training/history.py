"""The epochs of a training run, one row each, and the rules that read them.

The rules tell the best epoch, the learning rate of the next one, and whether training ends early.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Protocol

import numpy as np

from common.files import write_atomically

# torch's defaults of ReduceLROnPlateau, but for the patience, which is the published script's.
_PLATEAU_EPOCHS, _PLATEAU_FACTOR, _PLATEAU_SHARE = 15, 0.1, 1e-4


@dataclass(frozen=True)
class Epoch:
    """One row of metrics.csv."""

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    validation_score: float
    """Score that chooses the best epoch: the accuracy, unless the experiment has another one."""
    seconds: float
    """Duration of the training part, without validation."""
    frames_per_second: float
    """Training speed, padding not counted."""
    data_wait_share: float
    """Fraction of the training time spent waiting for a batch."""
    elapsed_seconds: float
    """Seconds since the run began, the parts before a resumption included."""


@dataclass
class History:
    """The finished epochs of a run, in order."""

    epochs: list[Epoch] = field(default_factory=list)

    @property
    def best(self) -> Epoch:
        """Epoch with the highest validation score; among equals, the one with the lowest loss."""
        # `max` returns the first of equals, so that a later epoch must be better to replace it.
        return max(self.epochs, key=lambda row: (row.validation_score, -row.validation_loss))

    @property
    def elapsed_seconds(self) -> float:
        """Seconds from the beginning of the run to the end of its last epoch."""
        return self.epochs[-1].elapsed_seconds if self.epochs else 0.0

    @property
    def frames_per_second(self) -> float:
        """Median training speed, without the first epoch, which also compiles."""
        return float(np.median([row.frames_per_second for row in self.epochs[1:] or self.epochs]))

    def rows(self) -> list[dict[str, float]]:
        """Values of all epochs by their columns."""
        return [asdict(row) for row in self.epochs]

    def write(self, path: Path) -> None:
        """Write all rows as CSV."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
        writer.writeheader()
        for row in self.rows():
            # Nine significant digits tell any two float32 values apart.
            writer.writerow({k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()})
        write_atomically(path, text.getvalue().encode())


Stop = Callable[[History], bool]
"""Rule that tells whether training ends after the epochs so far."""
NextRate = Callable[[History], float]
"""Rule that computes the learning rate of the next epoch."""


class EpochRules(Protocol):
    """Fields of a recipe that the rules about the next epoch read."""

    @property
    def learning_rate(self) -> float:
        """Learning rate of the first epoch."""

    @property
    def schedule(self) -> str:
        """Name of the schedule; only `plateau` depends on the epochs so far."""

    @property
    def patience(self) -> int | None:
        """Number of epochs without improvement after which training ends; None for never."""


def next_rate(recipe: EpochRules) -> NextRate | None:
    """Rule of the plateau schedule for the next learning rate; None for any other schedule.

    It is torch's ReduceLROnPlateau as a function of the epochs so far.
    """
    if recipe.schedule != "plateau":
        return None

    def rate(history: History) -> float:
        # Replayed from the first epoch on, so that a resumed run needs no state of a scheduler.
        lowest, waited, found = math.inf, 0, recipe.learning_rate
        for row in history.epochs:
            # torch's relative threshold: a smaller fall of the loss does not count as progress.
            if row.validation_loss < lowest * (1 - _PLATEAU_SHARE):
                lowest, waited = row.validation_loss, 0
            else:
                waited += 1
            if waited > _PLATEAU_EPOCHS:
                # `lowest` stays: after a drop the loss must still beat the best so far.
                found, waited = found * _PLATEAU_FACTOR, 0
        return found

    return rate


def stop(recipe: EpochRules) -> Stop | None:
    """Rule that ends training after `patience` epochs without improvement; None for no rule."""
    if recipe.patience is None:
        return None
    patience = recipe.patience
    return lambda history: len(history.epochs) - history.best.epoch >= patience
