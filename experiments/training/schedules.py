"""What a recipe says of an epoch by those before it: its learning rate, and whether it comes."""

from __future__ import annotations

import math

from experiments.clips.recipe import ClipRecipe
from experiments.runs.history import History
from experiments.training.loop import NextRate, Stop

_PLATEAU_EPOCHS, _PLATEAU_FACTOR, _PLATEAU_SHARE = 15, 0.1, 1e-4


def next_rate(recipe: ClipRecipe) -> NextRate | None:
    """Of the plateau schedule: torch's ReduceLROnPlateau, as a function of the epochs so far."""
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


def stop(recipe: ClipRecipe) -> Stop | None:
    """Whether there was no better epoch for as long as the recipe's patience."""
    if recipe.patience is None:
        return None
    patience = recipe.patience
    return lambda history: len(history.epochs) - history.best.epoch >= patience
