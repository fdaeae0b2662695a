"""The epochs of a training run: one row each, and which of them was the best."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np

from experiments.runs.directory import write_atomically


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
