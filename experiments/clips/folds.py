"""A job on each fold of its split in turn, with mean and spread."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.runs.directory import write_atomically
from experiments.runs.metrics import mean_and_spread

FIELDS = ("validation_accuracy", "accuracy")


def fold_arguments(arguments: Any, out: Path, num_folds: int) -> list[Any]:
    """A job's flags for each fold, which is kept in a directory of its own.

    Args:
        arguments: the job's flags, with `fold` and `out`.
        out: takes fold-0 and so on.
        num_folds: how many.
    """
    return [replace(arguments, fold=fold, out=out / f"fold-{fold}") for fold in range(num_folds)]


def run_folds(
    run: Callable[[Any], dict[str, Any] | None], arguments: Sequence[Any], out: Path
) -> None:
    """Run a job on every fold, and print what they gave.

    Args:
        run: the job; gives a run's result.
        arguments: its flags for each fold, from `fold_arguments`.
        out: takes folds.json.

    Raises:
        What the job raises, and RunError if a fold was run before and nothing says to resume.
    """
    results = []
    num_folds = len(arguments)
    for number, of_fold in enumerate(arguments, 1):
        print(f"\nfold {number} of {num_folds}")
        result = run(of_fold)
        assert result is not None
        results.append(result)
        _forget_models()
    told = {name: [result[name] for result in results] for name in FIELDS}
    write_atomically(out / "folds.json", (json.dumps(told, indent=1) + "\n").encode())
    print(f"\n{num_folds} folds in {out}:")
    for name, values in told.items():
        spread = mean_and_spread(values)
        each = ", ".join(f"{value:.3f}" for value in values)
        print(f"{name.replace('_', ' ')}: {spread.mean:.3f} ± {spread.deviation:.3f} ({each})")


def _forget_models() -> None:
    """Let the next fold's layers have the names, and the memory, of this one's."""
    import keras

    keras.backend.clear_session()
