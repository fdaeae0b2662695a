"""Clips to training, validation and test parts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from preprocess.errors import PreprocessError

Strategy = Literal["group", "random"]
Indices = NDArray[np.int64]
_SEEDS_TRIED = 20


@dataclass(frozen=True)
class Split:
    """Positions of clips, each part sorted; as `make_split` gives it, together
    they are all clips, each once.

    Args:
        train: what the model learns from.
        validation: what chooses among models.
        test: what the result is measured on, once.
    """

    train: Indices
    validation: Indices
    test: Indices

    def validated_by_test(self) -> Split:
        """The same fold as the Tensor-Train RNN paper used it: the test part validates too.

        Training then has the clips that would have been held out. Choosing a model by such a
        validation is choosing by the test.
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
    """One fold of a cross-validation, with a validation part taken from its training part.

    Over the folds of one seed every clip is in the test part exactly once. The validation part
    is a fold of the rest, made in the same way, so that no choice ever sees the test part.

    Args:
        labels: class of each clip, (num_clips,).
        groups: scene of each clip, (num_clips,).
        strategy: "group" keeps the clips of a scene together and the classes in proportion;
            "random" deals out single clips, as the Tensor-Train RNN paper does, whatever
            their scenes.
        fold: which fold is the test part, in [0, num_folds).
        num_folds: into how many parts the clips are dealt.
        seed: of the dealing.

    Raises:
        PreprocessError: if an argument is out of its range, there are too few clips or groups
            for the folds, or any of the folds, not only the one asked for, would be empty.
    """
    labels = np.asarray(labels)
    keys = np.asarray(groups, dtype=object)
    _check(labels, keys, strategy, fold, num_folds)
    folds = _deal(labels, keys, strategy, num_folds, seed)
    _refuse_empty_folds(folds, labels, keys, strategy, seed)
    rest, test = folds[fold]
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
    """Parts that somebody else made, with a validation part taken from the training part.

    Clips in neither part are left out.

    Args:
        labels: class of each clip, (num_clips,).
        groups: scene of each clip, (num_clips,).
        train: positions of the clips to train on, ascending.
        test: positions of the clips to test, ascending.
        num_folds: one of so many parts of the training clips is the validation part; the clips
            of a scene stay together, and the classes in proportion.
        seed: of the dealing.

    Raises:
        PreprocessError: if there are too few training clips or groups to part.
    """
    keys = np.asarray(groups, dtype=object)
    labels = np.asarray(labels)
    kept, validation = _hold_out(labels, keys, train, "group", num_folds, seed)
    return Split(train=kept, validation=validation, test=test)


def num_with_sibling(split: Split, groups: Sequence[str]) -> int:
    """How many test clips have a clip of the same group in the training part."""
    seen = {groups[position] for position in split.train}
    return sum(groups[position] in seen for position in split.test)


def _check(
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
    if _most_folds(labels, groups, strategy) < num_folds:
        raise PreprocessError(
            f"{num_folds} folds need a class of at least {num_folds} clips. The largest has "
            f"{np.unique(labels, return_counts=True)[1].max()}; add clips or ask for fewer folds."
        )


def _most_folds(labels: NDArray[np.int64], groups: NDArray[np.object_], strategy: str) -> int:
    """Into how many folds scikit-learn can deal the clips."""
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
    """Few and unequal groups can all be dealt to some of the folds.

    Raises:
        PreprocessError: if a fold has no clip; the message names a seed that deals better.
    """
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
    """Part the clips that are not tested: those to train on, and those to validate.

    Raises:
        PreprocessError: if either part would be empty.
    """
    inner_folds = min(num_folds, _most_folds(labels[rest], groups[rest], strategy))
    parts = []
    if inner_folds >= 2:
        parts = _deal(labels[rest], groups[rest], strategy, inner_folds, seed)
    for train, validation in parts:  # the first one, unless few groups left it empty
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
    """Positions outside and inside each fold. A fold of few and unequal groups may be empty."""
    from sklearn.model_selection import KFold, StratifiedGroupKFold

    if strategy == "random":
        return list(KFold(num_folds, shuffle=True, random_state=seed).split(labels))
    dealer = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # of classes with fewer clips than folds; callers say it
        warnings.simplefilter("ignore", UserWarning)
        return list(dealer.split(labels, labels, groups))


def untrained_classes(split: Split, labels: ArrayLike) -> list[int]:
    """Classes that have a clip to validate or to test, and none to train on; ascending."""
    labels = np.asarray(labels)
    asked = np.concatenate([labels[split.validation], labels[split.test]])
    return sorted(set(asked.tolist()) - set(labels[split.train].tolist()))
