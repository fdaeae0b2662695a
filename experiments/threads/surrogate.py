"""What the runs so far tell about a whole grid of settings: a Gaussian process over log rates.

A log rate is taken as a sum of smooth functions: one of each axis, one of the sum of the places on
each two ordered axes (with values in geometric progression that is their product: threads in all),
one of all axes together, and a slow drift of the machine; plus the noise of a run. The weights are
fixed. Fitted ones did no better on simulated machines: some 30 runs do not tell them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

# Standard deviations of the parts, in log rate; 0.1 is about 10 %.
_AXIS, _PAIR, _TOGETHER = 0.5, 0.3, 0.5
_DRIFT = 0.008  # from one run to the next
_NOISE = 0.04
_LEVEL = 1.0  # of all rates
_LENGTH = 3.5  # places on an axis over which rates are alike
_OTHER = 4.0  # distance of two values that have no order
_FLOOR = -1.0  # how far below the best makes no difference
_FAILED = -0.7  # what a failure counts as: its neighbours may fail too


class Surrogate:
    """Estimates the log rate at every place of a grid.

    Args:
        places: (N, number of axes) the index of each point's value on each axis.
        ordered: which axes have an order.
    """

    def __init__(self, places: Sequence[Sequence[int]], ordered: Sequence[bool]) -> None:
        self._places = np.asarray(places, dtype=np.float64).reshape(len(places), -1)
        self._ordered = list(ordered)
        self._columns: dict[int, Values] = {}
        pairs = sum(ordered) * (sum(ordered) - 1) // 2
        self._variance = len(self._ordered) * _AXIS**2 + pairs * _PAIR**2 + _TOGETHER**2

    def estimate(
        self, tried: Sequence[int], log_rates: Sequence[float | None]
    ) -> tuple[Values, Values]:
        """(mean, standard deviation) of each point's log rate, from runs in order of time.

        Args:
            tried: the number of each run's point; at least one.
            log_rates: what each run gave, None if it failed.
        """
        best = max((rate for rate in log_rates if rate is not None), default=0.0)
        below = np.array(
            [_FAILED if rate is None else max(rate - best, _FLOOR) for rate in log_rates]
        )
        columns = np.stack([self._column(index) for index in tried], axis=1)  # (N, runs)
        times = np.arange(len(tried), dtype=np.float64)
        shared = columns[list(tried)] + _LEVEL**2 + _DRIFT**2 * np.minimum.outer(times, times)
        inverse = np.linalg.inv(shared + _NOISE**2 * np.eye(len(tried)))
        weights = columns @ inverse  # (N, runs)
        variance = self._variance - (weights * columns).sum(axis=1)
        return weights @ below + best, np.sqrt(np.maximum(variance, 1e-12))

    def _column(self, index: int) -> Values:
        """(N,) the covariance of each point with one."""
        if index not in self._columns:
            self._columns[index] = sum(
                (weight**2 * _alike(distance) for weight, distance in self._distances(index)),
                start=np.zeros(len(self._places)),
            )
        return self._columns[index]

    def _distances(self, index: int) -> Iterator[tuple[float, Values]]:
        """(weight, (N,) distance of each point to one) of each part of the sum."""
        steps = self._places - self._places[index]
        far = [
            np.abs(step) if ordered else _OTHER * (step != 0)
            for step, ordered in zip(steps.T, self._ordered, strict=True)
        ]
        yield from ((_AXIS, distance) for distance in far)
        columns = [step for step, ordered in zip(steps.T, self._ordered, strict=True) if ordered]
        yield from ((_PAIR, np.abs(a + b)) for a, b in itertools.combinations(columns, 2))
        yield _TOGETHER, np.sqrt(sum(distance**2 for distance in far))


def _alike(distance: Values) -> Values:
    """Correlation at a distance: Matern 3/2, of functions that have kinks."""
    scaled = np.sqrt(3) * distance / _LENGTH
    return (1 + scaled) * np.exp(-scaled)


def expected_gain(mean: Values, deviation: Values, best: float) -> Values:
    """By how much each point is expected to exceed the best, counting nothing where it does not."""
    from scipy.special import ndtr

    score = (mean - best) / deviation
    density = np.exp(-(score**2) / 2) / np.sqrt(2 * np.pi)
    return deviation * (score * ndtr(score) + density)
