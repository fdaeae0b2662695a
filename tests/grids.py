"""Grids of parameters of which the quick tests take a part."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

import pytest


def pairwise(*axes: Sequence[Any]) -> list[Any]:
    """Every combination of the axes' values, as parameters of a test.

    The quick ones hold every pair of values of two axes; the others are marked slow. Most faults
    show with one value or with two together.
    """
    rows = list(product(*(range(len(axis)) for axis in axes)))
    pairs = {row: set(combinations(enumerate(row), 2)) for row in rows}
    missing, quick = set().union(*pairs.values()), set()
    while missing:
        row = max(rows, key=lambda row: len(pairs[row] & missing))  # the first of the best
        quick.add(row)
        missing -= pairs[row]
    return [
        pytest.param(
            *(axis[place] for axis, place in zip(axes, row, strict=True)),
            marks=[] if row in quick else [pytest.mark.slow],
        )
        for row in rows
    ]


def slow(*rows: Any) -> list[Any]:
    """Values of a parameter, or tuples of values of several, that only the slow tests take."""
    return [
        pytest.param(*(row if isinstance(row, tuple) else (row,)), marks=pytest.mark.slow)
        for row in rows
    ]
