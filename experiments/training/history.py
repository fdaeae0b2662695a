"""The epochs of a training run, one row each, and what follows from them.

Which was the best, the learning rate of the next epoch, and whether training ends early.
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
    """What the best epoch is chosen by: the accuracy, unless the experiment has another score."""
    seconds: float
    """Of the training part alone."""
    frames_per_second: float
    """Frames trained on, padding not counted."""
    data_wait_share: float
    """Share of the training time spent waiting for a batch."""
    elapsed_seconds: float
    """Since the run began, the parts before a resumption included."""


@dataclass
class History:
    """The epochs so far."""

    epochs: list[Epoch] = field(default_factory=list)

    @property
    def best(self) -> Epoch:
        """The epoch of the highest validation score; of equals, that of the lowest loss."""
        return max(self.epochs, key=lambda row: (row.validation_score, -row.validation_loss))

    @property
    def elapsed_seconds(self) -> float:
        """From the beginning of the run to the end of its last epoch."""
        return self.epochs[-1].elapsed_seconds if self.epochs else 0.0

    @property
    def frames_per_second(self) -> float:
        """Median over the epochs but the first, which also compiles."""
        return float(np.median([row.frames_per_second for row in self.epochs[1:] or self.epochs]))

    def write(self, path: Path) -> None:
        """All rows, as CSV."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
        writer.writeheader()
        for row in self.epochs:
            writer.writerow(
                {k: f"{v:.9g}" if isinstance(v, float) else v for k, v in asdict(row).items()}
            )
        write_atomically(path, text.getvalue().encode())


Stop = Callable[[History], bool]
"""Whether training ends after the epochs so far."""
NextRate = Callable[[History], float]
"""The learning rate of the next epoch."""


class EpochRules(Protocol):
    """Fields of a recipe that decide about the next epoch by those before it."""

    @property
    def learning_rate(self) -> float:
        """Learning rate of the first epoch."""

    @property
    def schedule(self) -> str:
        """Name of the schedule; only `plateau` goes by the epochs so far."""

    @property
    def patience(self) -> int | None:
        """Epochs without a better one after which training ends; None for never."""


def next_rate(recipe: EpochRules) -> NextRate | None:
    """Learning rate of the next epoch by the plateau schedule; None for any other schedule.

    torch's ReduceLROnPlateau, as a function of the epochs so far: a resumed run needs no state.
    """
    if recipe.schedule != "plateau":
        return None

    def rate(history: History) -> float:
        lowest, waited, found = math.inf, 0, recipe.learning_rate
        for row in history.epochs:
            if row.validation_loss < lowest * (1 - _PLATEAU_SHARE):
                lowest, waited = row.validation_loss, 0
            else:
                waited += 1
            if waited > _PLATEAU_EPOCHS:
                found, waited = found * _PLATEAU_FACTOR, 0
        return found

    return rate


def stop(recipe: EpochRules) -> Stop | None:
    """Rule that ends training after `patience` epochs without a better one; None for no end."""
    if recipe.patience is None:
        return None
    patience = recipe.patience
    return lambda history: len(history.epochs) - history.best.epoch >= patience
