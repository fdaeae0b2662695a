"""What is shared, against closed forms and a slow way to the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.scaling.sharing import fair_rates, ring_seconds, speeds

rates = st.lists(st.floats(0.1, 100), min_size=1, max_size=12)


def poured(limits, capacity, steps=20_000):
    """The same by pouring a drop at a time into those who are least full and can take it."""
    found = np.zeros(len(limits))
    drop = min(capacity, sum(limits)) / steps
    for _ in range(steps):
        room = np.flatnonzero(found < np.asarray(limits) - 1e-12)
        if len(room):
            found[room[np.argmin(found[room])]] += drop
    return found


@given(limits=rates, capacity=st.floats(0.1, 500))
def test_all_is_given_and_nobody_gets_too_much(limits, capacity):
    """Red when capacity is left where somebody could take it, or more is given than there is."""
    found = fair_rates(np.array(limits), capacity)
    assert (found <= np.array(limits) * (1 + 1e-9)).all()
    assert found.sum() == pytest.approx(min(capacity, sum(limits)))
    held_back = found[found < np.array(limits) * (1 - 1e-6)]
    assert held_back.size == 0 or np.ptp(held_back) < 1e-6 * held_back.max()


@pytest.mark.parametrize(
    ("limits", "capacity"), [([5, 1, 9, 9], 12), ([3, 3, 3], 4), ([1, 50], 20), ([2, 4], 6)]
)
def test_shares_are_those_of_pouring(limits, capacity):
    """Red when a weak one's rest is not dealt out among the others."""
    found = fair_rates(np.array(limits, float), float(capacity))
    np.testing.assert_allclose(found, poured(limits, capacity), atol=2e-3)


def test_a_ring_of_four_by_hand():
    """8 bytes in four parts of 2: each machine sends 3 parts to be summed, 3 that are: 6 times
    2 bytes at 4 bytes/s, and 6 messages. Red when a factor 2 or (n - 1)/n is lost."""
    found = ring_seconds(8, 4, bytes_per_second=4, latency_seconds=0.1)
    assert found == pytest.approx(6 * 0.5 + 6 * 0.1)
    assert ring_seconds(8, 1, bytes_per_second=4, latency_seconds=0.1) == 0


def test_so_many_machines_are_slow_as_the_share_says():
    assert sorted(speeds(100, 0.03, 2.0)) == [0.5] * 3 + [1.0] * 97
    assert list(speeds(1, 0.03, 2.0)) == [1.0]
