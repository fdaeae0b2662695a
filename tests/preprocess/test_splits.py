"""Promises of the splits, over many made-up data sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess import PreprocessError, Split, make_split
from preprocess.splits import num_with_sibling

NUM_FOLDS = 5


@st.composite
def datasets(draw: st.DrawFn) -> tuple[np.ndarray, list[str]]:
    """Labels and groups of 6 to 60 clips; every group is of one class, as scenes are."""
    labels, groups = [], []
    for label in range(draw(st.integers(1, 4))):
        for group in range(draw(st.integers(6, 8))):
            num_clips = draw(st.integers(1, 4))
            labels += [label] * num_clips
            groups += [f"{label}/{group}"] * num_clips
    return np.array(labels), groups


def folds(labels: np.ndarray, groups: list[str], strategy: str, seed: int = 0) -> list[Split]:
    return [
        make_split(labels, groups, strategy=strategy, fold=fold, num_folds=NUM_FOLDS, seed=seed)
        for fold in range(NUM_FOLDS)
    ]


@pytest.mark.parametrize("strategy", ["group", "random"])
@given(data=datasets(), seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_parts_and_folds_are_partitions(
    strategy: str, data: tuple[np.ndarray, list[str]], seed: int
) -> None:
    everything = list(range(len(data[0])))
    splits = folds(*data, strategy, seed)
    for split in splits:
        assert sorted([*split.train, *split.validation, *split.test]) == everything
        assert min(map(len, (split.train, split.validation, split.test))) > 0
    assert sorted(np.concatenate([split.test for split in splits])) == everything


@given(data=datasets(), seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_no_group_is_on_two_sides(data: tuple[np.ndarray, list[str]], seed: int) -> None:
    groups = np.array(data[1])
    for split in folds(*data, "group", seed):
        parts = [set(groups[part]) for part in (split.train, split.validation, split.test)]
        assert sum(map(len, parts)) == len(set.union(*parts))
        assert num_with_sibling(split, data[1]) == 0


def test_group_folds_hold_every_class() -> None:
    labels = np.repeat(np.arange(11), 25)
    groups = [f"{label}/{index % 25}" for index, label in enumerate(labels)]
    for split in folds(labels, groups, "group"):
        for part in (split.train, split.validation, split.test):
            assert set(labels[part]) == set(range(11))


def test_siblings_are_counted() -> None:
    split = Split(train=np.array([0, 1]), validation=np.array([2]), test=np.array([3, 4, 5]))
    assert num_with_sibling(split, ["a", "b", "c", "a", "b", "c"]) == 2


def test_random_folds_separate_siblings() -> None:
    labels, groups = np.zeros(50, int), [f"g{index // 2}" for index in range(50)]
    assert num_with_sibling(make_split(labels, groups, strategy="random", fold=0), groups) > 0


@pytest.mark.parametrize("strategy", ["group", "random"])
def test_the_seed_decides(strategy: str) -> None:
    labels, groups = np.arange(60) % 3, [f"g{index // 2}" for index in range(60)]
    first, again = folds(labels, groups, strategy, 1), folds(labels, groups, strategy, 1)
    other = folds(labels, groups, strategy, 2)
    assert all(np.array_equal(a.train, b.train) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a.test, b.test) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fold": 5}, r"\[0, num_folds\).*Received fold 5 of 5"),
        ({"fold": -1}, "Received fold -1"),
        ({"num_folds": 1}, "at least 2"),
        ({"groups": ["a"] * 10 + ["b"] * 10}, "5 folds need at least 5 groups. Received 2"),
        ({"groups": ["a"]}, "20 labels and 1 groups"),
        ({"strategy": "best"}, "must be 'group' or 'random'"),
        ({"labels": np.arange(20) % 10}, "a class of at least 5 clips. The largest has 2"),
        ({"strategy": "random", "num_folds": 21}, "at least 21 clips"),
    ],
)
def test_errors(change: dict, message: str) -> None:
    arguments = {"labels": np.arange(20) % 2, "groups": [f"g{i}" for i in range(20)], "fold": 0}
    with pytest.raises(PreprocessError, match=message):
        make_split(**(arguments | change))
