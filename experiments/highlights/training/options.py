"""What the flags of `train` come to: a recipe, a name, and the settings that a run keeps."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from common.errors import InputError
from experiments.highlights.training.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from experiments.highlights.commands.train import Train
    from experiments.highlights.training.data import TrainingData


def check_options(options: Train) -> None:
    """See to all flags that can be seen to by themselves.

    Raises:
        InputError: for one that is out of its range; it is named.
    """
    for name in ("precision", "validation_share"):
        value = getattr(options, name)
        if value is not None and not 0 < value < 1:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} must be between 0 and 1. Received {value}.")
    if options.seed < 0:
        raise InputError(f"--seed must be 0 or more. Received {options.seed}.")
    if options.weights is not None and not options.weights.is_file():
        raise InputError(f"--weights must be a file. There is none at {options.weights}.")


def recipe_of(options: Train) -> Recipe:
    """The recipe with the flags that override it.

    Raises:
        InputError: for a value that no recipe can have.
    """
    flags = {
        "select": options.select,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": options.lr,
    }
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    return replace(RECIPES[options.recipe].override(options.set), **given)


def run_name(options: Train) -> str:
    """Of the run's directory, where none is given."""
    network = f"resnet{options.depth}-{options.layout}"
    recipe = "-".join([options.recipe, *options.set])
    return f"highlights-{options.labels.stem}-{network}-{recipe}-seed{options.seed}"


def config_of(options: Train, recipe: Recipe, data: TrainingData) -> dict[str, Any]:
    """All settings, and what pictures, labels and weights were."""
    files = {"labels": options.labels, "weights": options.weights}
    hashes = {
        f"{name}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in files.items()
        if path is not None
    }
    # In full: what to_json leaves out would not be compared with the run that is resumed.
    settings = data.settings
    later = {"interpolation": settings.interpolation, "sound_track": settings.sound_track}
    stored = settings.to_json() | later
    pictures = {f"pictures_{name}": value for name, value in stored.items()}
    return {**asdict(options), **asdict(recipe), **hashes, **pictures}
