"""Splits of clips into training, validation and test parts.

It imports scikit-learn, for which an extraction need not wait.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import KFold, StratifiedGroupKFold

from preprocess.errors import PreprocessError
from preprocess.sources.listed_clips import SUBSETS

Strategy = Literal["group", "random"]
Indices = NDArray[np.int64]
_SEEDS_TRIED = 20  # in search of a seed to suggest in a message


@dataclass(frozen=True)
class Split:
    """Positions of the clips of each part, sorted.

    The parts of `make_split` contain all clips, each once.

    Args:
        train: clips that the model is trained on.
        validation: clips that the model is chosen by.
        test: clips that the result is measured on, once.

    Example:
        >>> split = make_split(shards.labels, shards.groups, fold=0)
        >>> len(split.train) + len(split.validation) + len(split.test) == len(shards)
        True
    """

    train: Indices
    validation: Indices
    test: Indices

    def validated_by_test(self) -> Split:
        """Use the test part for validation too, as the Tensor-Train RNN paper does.

        Training gets the clips that would have been held out. A model that is chosen by such a
        validation is chosen by the test.
        """
        train = np.sort(np.concatenate([self.train, self.validation]))
        return Split(train=train, validation=self.test, test=self.test)


def make_split(
    labels: ArrayLike,
    groups: Sequence[str],
    *,
    strategy: Strategy = "group",
    fold: int,
    num_folds: int = 5,
    seed: int = 0,
) -> Split:
    """Make one fold of a cross-validation, with a validation part from its training part.

    Over the folds of one seed every clip is in the test part exactly once. The validation part
    is a fold of the rest, made in the same way, so that no choice ever uses the test part.

    Args:
        labels: class of each clip, (num_clips,).
        groups: scene of each clip, (num_clips,).
        strategy: "group" keeps the clips of a scene together and the classes in proportion;
            "random" assigns single clips, as the Tensor-Train RNN paper does, whatever their
            scenes.
        fold: number of the fold that is the test part, in [0, num_folds).
        num_folds: number of folds.
        seed: seed of the assignment.

    Returns:
        Positions of the clips of each part.

    Raises:
        PreprocessError: if an argument is out of its range, there are too few clips or groups
            for the folds, or any of the folds, not only the one asked for, would be empty.

    Example:
        >>> split = make_split([0, 0, 0, 1, 1, 1], ["a", "b", "c", "d", "e", "f"], fold=0,
        ...                    num_folds=3)
        >>> len(split.test)
        2
    """
    labels = np.asarray(labels)
    keys = np.asarray(groups, dtype=object)
    _check_folds(labels, keys, strategy, fold, num_folds)
    folds = _deal(labels, keys, strategy, num_folds, seed)
    _refuse_empty_folds(folds, labels, keys, strategy, seed)
    rest, test = folds[fold]
    # With the same strategy: a random validation part beside a test part of other scenes would
    # choose the model that knows the training scenes best.
    train, validation = _hold_out(labels, keys, rest, strategy, num_folds, seed)
    return Split(train=train, validation=validation, test=test)


def split_as_listed(
    labels: ArrayLike,
    groups: Sequence[str],
    *,
    train: Indices,
    test: Indices,
    num_folds: int = 5,
    seed: int = 0,
) -> Split:
    """Complete given training and test parts by a validation part from the training part.

    Clips in neither part are left out.

    Args:
        labels: class of each clip, (num_clips,).
        groups: scene of each clip, (num_clips,).
        train: positions of the training clips, ascending.
        test: positions of the test clips, ascending.
        num_folds: the validation part is one of this many folds of the training clips; the clips
            of a scene stay together, and the classes in proportion.
        seed: seed of the assignment.

    Raises:
        PreprocessError: if there are too few training clips or groups.
    """
    keys = np.asarray(groups, dtype=object)
    labels = np.asarray(labels)
    kept, validation = _hold_out(labels, keys, train, "group", num_folds, seed)
    return Split(train=kept, validation=validation, test=test)


def split_by_subsets(subsets: Mapping[str, str], sources: Sequence[str]) -> Split:
    """Split clips into the parts of a list; a part that the list does not have is empty.

    Args:
        subsets: parts from `read_subsets`; clips that could not be extracted are left out.
        sources: sources of the clips to split.

    Raises:
        PreprocessError: if a clip is not listed, or none is for training.
    """
    # The reverse, a listed clip that is not here, is no error: its video may be unreadable.
    strange = [source for source in sources if source not in subsets]
    if strange:
        raise PreprocessError(
            f"The list must name all clips at hand. It lacks {len(strange)} of {len(sources)}, "
            f"{strange[0]} for instance; extract the list again."
        )
    places = {
        name: np.array([n for n, one in enumerate(sources) if subsets[one] == name], np.int64)
        for name in SUBSETS
    }
    if not len(places["train"]):
        raise PreprocessError(
            f"A list must have clips of the part train. Received {len(sources)} clips, none of it."
        )
    return Split(**places)


def num_with_sibling(split: Split, groups: Sequence[str]) -> int:
    """Count the test clips with a clip of the same group in the training part."""
    seen = {groups[position] for position in split.train}
    return sum(groups[position] in seen for position in split.test)


def _check_folds(
    labels: NDArray[np.int64], groups: NDArray[np.object_], strategy: str, fold: int, num_folds: int
) -> None:
    if strategy not in get_args(Strategy):
        raise PreprocessError(f"strategy must be 'group' or 'random'. Received {strategy!r}.")
    if len(labels) != len(groups):
        raise PreprocessError(
            "labels and groups must have one entry a clip. "
            f"Received {len(labels)} labels and {len(groups)} groups."
        )
    if num_folds < 2 or not 0 <= fold < num_folds:
        raise PreprocessError(
            "fold must be in [0, num_folds), and num_folds at least 2. "
            f"Received fold {fold} of {num_folds}."
        )
    kind = "groups" if strategy == "group" else "clips"
    units = len(set(groups)) if strategy == "group" else len(groups)
    fewest = max(num_folds, 3)  # one each for training, validation and test
    if units < fewest:
        raise PreprocessError(
            f"{num_folds} folds need at least {fewest} {kind}. Received {units}; "
            "add clips or ask for fewer folds."
        )
    # StratifiedGroupKFold refuses more folds than its largest class has clips.
    if _max_folds(labels, groups, strategy) < num_folds:
        raise PreprocessError(
            f"{num_folds} folds need a class of at least {num_folds} clips. The largest has "
            f"{np.unique(labels, return_counts=True)[1].max()}; add clips or ask for fewer folds."
        )


def _max_folds(labels: NDArray[np.int64], groups: NDArray[np.object_], strategy: str) -> int:
    """Largest number of folds that scikit-learn can make of the clips."""
    if not len(labels):
        return 0
    if strategy == "random":
        return len(labels)
    return int(min(len(set(groups)), np.unique(labels, return_counts=True)[1].max()))


def _refuse_empty_folds(
    folds: Sequence[tuple[Indices, Indices]],
    labels: NDArray[np.int64],
    groups: NDArray[np.object_],
    strategy: str,
    seed: int,
) -> None:
    """Refuse folds without clips, which few and unequal groups can lead to.

    Raises:
        PreprocessError: if a fold has no clip; the message names a seed without empty folds.
    """
    # All folds are checked, so that a cross-validation fails at its start and not at fold 4.
    empty = [f"fold {number}" for number, (_, test) in enumerate(folds) if not len(test)]
    if not empty:
        return
    better = (
        other
        for other in range(_SEEDS_TRIED)
        if all(len(test) for _, test in _deal(labels, groups, strategy, len(folds), other))
    )
    seed_found = next(better, None)
    remedy = (
        f"no seed below {_SEEDS_TRIED} does better, so add groups, or split at random over clips"
        if seed_found is None
        else f"add groups, or take seed {seed_found}, which leaves none empty"
    )
    raise PreprocessError(
        f"Each of the {len(folds)} folds needs clips, and the clips of a group stay together. "
        f"With seed {seed} the {len(groups)} clips, in {len(set(groups))} groups, leave "
        f"{' and '.join(empty)} empty; {remedy}."
    )


def _hold_out(
    labels: NDArray[np.int64],
    groups: NDArray[np.object_],
    rest: Indices,
    strategy: str,
    num_folds: int,
    seed: int,
) -> tuple[Indices, Indices]:
    """Split the clips that are not tested into training and validation clips.

    Raises:
        PreprocessError: if either part would be empty.
    """
    inner_folds = min(num_folds, _max_folds(labels[rest], groups[rest], strategy))
    inner_splits = []
    # The rest may have too few groups for as many folds as all clips were dealt into.
    if inner_folds >= 2:
        inner_splits = _deal(labels[rest], groups[rest], strategy, inner_folds, seed)
    for train, validation in inner_splits:  # the first fold, unless few groups left it empty
        if len(train) and len(validation):
            return rest[train], rest[validation]
    needed = "2 clips"
    if strategy == "group":
        needed = "clips of 2 groups, 2 of them in one class,"
    raise PreprocessError(
        f"A validation part needs training clips of its own: at least {needed} beside those that "
        f"are tested, and at least 2 folds. Received {len(rest)} clips in {len(set(groups[rest]))} "
        f"groups, and {num_folds} folds; add clips."
    )


def _deal(
    labels: NDArray[np.int64],
    groups: NDArray[np.object_],
    strategy: str,
    num_folds: int,
    seed: int,
) -> list[tuple[Indices, Indices]]:
    """Positions outside and inside each fold; with few and unequal groups a fold may be empty."""
    if strategy == "random":
        return list(KFold(num_folds, shuffle=True, random_state=seed).split(labels))
    dealer = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    # scikit-learn warns of classes with fewer clips than folds; callers report that themselves.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return list(dealer.split(labels, labels, groups))


def untrained_classes(split: Split, labels: ArrayLike) -> list[int]:
    """Classes with validation or test clips, but without training clips; ascending.

    Args:
        split: subsets of the clips.
        labels: class of each clip, (num_clips,), or whether it is of each, (num_clips, classes).
    """
    labels = np.asarray(labels)
    if labels.ndim == 2:
        asked = labels[np.concatenate([split.validation, split.test])].any(axis=0)
        return np.flatnonzero(asked & ~labels[split.train].any(axis=0)).tolist()
    asked = np.concatenate([labels[split.validation], labels[split.test]])
    return sorted(set(asked.tolist()) - set(labels[split.train].tolist()))
