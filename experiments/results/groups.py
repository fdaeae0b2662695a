"""Group the rows of results.csv by configuration, with folds and seeds put together."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from common import formatting
from common.formatting import text
from experiments.runs.records import Spread, mean_and_spread
from experiments.training.recipes import RECIPES
from preprocess.sources.catalog import DATASETS

# A row of results.csv by column.
Record = dict[str, Any]

# Rows of one configuration are equal in all of these; fold and seed are left out.
SETTING_COLUMNS = (
    *("experiment", "dataset", "num_clips", "num_classes", "split", "num_folds", "model"),
    *("recipe", "maxlen", "stride", "policy", "epochs", "batch_size"),
)
# Columns in which rows that look alike may differ, and the words for a difference.
_DIFFERENCES = {
    "policy": "{}",
    "maxlen": "maxlen {}",
    "stride": "stride {}",
    "batch_size": "batches of {}",
    "num_folds": "{} folds",
    "num_clips": "{} clips",
    "num_classes": "{} classes",
    "epochs": "{} epochs",
    "experiment": "experiments.{}",
}
# Flags that a column repeats, or that do not change what is learnt.
_OMITTED_FLAGS = {
    *("--format", "--recurrent-format", "--joint-format"),
    *("--tt", "--no-tt", "--cell", "--maxlen", "--stride", "--videos", "--shards", "--split"),
    *("--fold", "--epochs", "--batch-size", "--recipe", "--seed", "--threads", "--policy"),
    *(
        "--jobs",
        "--set",
        "--allow-failures",
        "--no-allow-failures",
        "--resume",
        "--no-resume",
        "--record",
        "--no-record",
        "--out",
        "--dataset",
        # In the columns of the model and of the frames.
        "--features",
        "--frames",
        "--classes",
        # In the columns of the split and of the fold.
        "--list",
        "--lists",
        "--name",
    ),
}
# Flags in which the runs of one setting differ.
_RUN_FLAGS = {
    *("--fold", "--list", "--seed", "--out", "--record", "--no-record", "--resume", "--no-resume"),
}


@dataclass(frozen=True)
class Group:
    """Rows of one configuration."""

    # The latest row of each fold and seed, and the numbers of all rows in results.csv, from 1.
    rows: tuple[Record, ...]
    numbers: tuple[int, ...]
    other_flags: str

    def __getitem__(self, column: str) -> Any:
        return self.rows[-1][column]

    @property
    def failed(self) -> bool:
        """Whether these are failed attempts, without an accuracy."""
        return not _succeeded(self.rows[-1])

    @property
    def is_plain(self) -> bool:
        """Whether the recipe was run without changed settings."""
        return not self.other_flags and " " not in (self["recipe"] or "")

    @property
    def recipe_epochs(self) -> int | None:
        """Number of epochs of the unchanged recipe; None if it is not known."""
        return _recipe_epochs(self.rows[-1])

    @property
    def has_whole_data(self) -> bool:
        """Whether the data set is in the catalogue, and all of its clips were used."""
        known = DATASETS.get(self["dataset"] or "")
        if known is None:
            return False
        return (self["num_clips"], self["num_classes"]) == (
            known.num_clips,
            known.num_classes,
        )

    @property
    def is_whole(self) -> bool:
        """Whether the unchanged recipe was run, with its own epochs, on a whole data set."""
        return (
            self.is_plain
            and not self.failed
            and self.has_whole_data
            and self.recipe_epochs is not None
            and self["epochs"] == self.recipe_epochs
        )

    def spread(self, column: str) -> Spread | None:
        """Mean and deviation of a column over folds; None if no row has the column."""
        # Folds of several seeds count as separate values: each seed makes folds of its own.
        values = [row[column] for row in self.rows if row[column] is not None]
        return mean_and_spread(values) if values else None

    def mean(self, column: str) -> float | None:
        """Mean of a column over folds; None if no row has the column."""
        spread = self.spread(column)
        return None if spread is None else spread.mean


def group_rows(rows: Iterable[Record]) -> list[Group]:
    """Group rows by configuration, in order of first appearance, with failed attempts apart."""
    members: dict[tuple[Any, ...], list[tuple[int, Record]]] = {}
    for number, row in enumerate(rows, start=1):
        flags = other_flags(row["command"] or "")
        outcome = "ok" if _succeeded(row) else row["status"]
        key = (*(row[column] for column in SETTING_COLUMNS), _recipe_epochs(row), flags, outcome)
        members.setdefault(key, []).append((number, row))
    return [_group(found) for found in members.values()]


def other_flags(command: str) -> str:
    """Find the flags that no column repeats: "... --fold 1 --lr 3e-4" gives "--lr 3e-4"."""
    _, flags = _split_command(command, without=_OMITTED_FLAGS)
    return flags


def shared_command(command: str) -> str:
    """Return the command that folds and seeds of a setting share, without the flags of one run."""
    name, flags = _split_command(command, without=_RUN_FLAGS)
    return f"{name} {flags}".strip()


def _split_command(command: str, *, without: Collection[str]) -> tuple[str, str]:
    """Split a command into the words before its flags, and its flags without some of them."""
    try:
        args = shlex.split(command)
    except ValueError:
        # An unbalanced quote: keep the command as it is.
        return "", command
    first = next((i for i, arg in enumerate(args) if arg.startswith("--")), len(args))
    kept: list[str] = []
    keeping = True
    for arg in args[first:]:
        if arg.startswith("--"):
            keeping = arg.partition("=")[0].replace("_", "-") not in without
        # Values belong to the flag before them.
        if keeping:
            kept.append(arg)
    return shlex.join(args[:first]), shlex.join(kept)


def epochs_cell(group: Group) -> str:
    """Format the epochs that were run, of those of the recipe: "15 of 100", "12 to 17 of 40"."""
    counts = {row["epochs_run"] or row["epochs"] for row in group.rows} - {None}
    if not counts:
        return formatting.ABSENT
    run = " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
    return run if group.recipe_epochs is None else f"{run} of {group.recipe_epochs}"


def describe_differences(
    groups: Sequence[Group],
    look: Callable[[Group], Any],
    *,
    usual: Mapping[str, Any] = MappingProxyType({}),
) -> list[str]:
    """Describe how each group differs from those that look like it; "" if it does not.

    Args:
        groups: groups of one table.
        look: returns what the table shows of a group besides its figures.
        usual: values by column; any other value is stated even if no group looks alike.
    """
    # Once a group: a look formats all figures, and every pair is compared.
    looks = [look(group) for group in groups]
    described = []
    for group, shown in zip(groups, looks, strict=True):
        alike = [other for other, its in zip(groups, looks, strict=True) if its == shown]
        phrases = [
            form.format(text(group[column]))
            for column, form in _DIFFERENCES.items()
            if len({other[column] for other in alike}) > 1
            or group[column] != usual.get(column, group[column])
        ]
        if len({other.other_flags for other in alike}) > 1:
            phrases.append(group.other_flags or "no other flags")
        described.append(", ".join(phrases))
    return described


def accuracy_cell(group: Group) -> str:
    """Format an accuracy: "0.930 ± 0.021 (5 folds)", or "0.930 (0.870 to 0.960)" for one fold."""
    if group.failed:
        return group["status"] or "failed: no reason recorded"
    spread = group.spread("accuracy")
    if spread is None:
        return formatting.ABSENT
    mean = formatting.share(spread.mean)
    if spread.deviation is not None:
        return f"{mean} ± {formatting.share(spread.deviation)} ({_folds(group, spread)})"
    low, high = group["accuracy_interval.low"], group["accuracy_interval.high"]
    interval = (
        "" if None in (low, high) else f" ({formatting.share(low)} to {formatting.share(high)})"
    )
    return f"{mean}{interval}"


def _folds(group: Group, spread: Spread) -> str:
    """Format the number of folds: "5 folds", "3 of 5 folds", "10 folds of 2 seeds"."""
    num_seeds = len({row["seed"] for row in group.rows})
    wanted = (group["num_folds"] or 0) * num_seeds
    missing = f" of {wanted}" if wanted and spread.num_values != wanted else ""
    seeds = f" of {num_seeds} seeds" if num_seeds > 1 else ""
    return f"{spread.num_values}{missing} folds{seeds}"


def _recipe_epochs(row: Record) -> int | None:
    """Number of epochs of a row's recipe; None if it is neither recorded nor known."""
    if row["recipe_epochs"] is not None:
        return row["recipe_epochs"]
    # Rows that are older than the column; only the recipes of the UCF11 job are known here.
    name = (row["recipe"] or "").partition(" ")[0]
    return RECIPES[name].epochs if row["experiment"] == "ucf11" and name in RECIPES else None


def _group(found: list[tuple[int, Record]]) -> Group:
    # A later row of the same fold and seed replaces an earlier one.
    latest = {(row["fold"], row["seed"]): row for _, row in found}
    numbers = tuple(number for number, _ in found)
    return Group(tuple(latest.values()), numbers, other_flags(found[-1][1]["command"] or ""))


def _succeeded(row: Record) -> bool:
    return row["status"] in (None, "ok")
