"""A search through part of a grid: run what promises most, then let the finalists race."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from experiments.threads.surrogate import Surrogate, Values, expected_gain

_NEW_A_ROUND = 5  # points between two runs of the best so far
_NUM_FINALISTS = 3
_SMALL_GAIN = 0.003  # in log rate; where less is expected of any point, the search is over


class Machine(Protocol):
    """What runs points, and knows what may still be spent."""

    tried: list[int]
    """The number of the point of each run, in order."""
    log_rates: list[float | None]
    """What each run gave; None if it failed."""

    def run(self, index: int, *, kept: int = 0) -> bool:
        """Run a point; False if that would leave less than `kept` runs."""

    def runs_left(self) -> int:
        """How many runs are still affordable."""

    def new_round(self) -> None:
        """What follows is to be compared with each other rather than with what came before."""


class Exploration:
    """Looks for the fastest point of a grid.

    Args:
        places: (N, number of axes) the index of each point's value on each axis.
        ordered: which axes have an order.
        machine: to run points.
    """

    def __init__(
        self, places: Sequence[Sequence[int]], ordered: Sequence[bool], machine: Machine
    ) -> None:
        self._surrogate = Surrogate(places, ordered)
        self._machine = machine

    def explore(self, starts: Sequence[int], *, race_rounds: int, kept: int) -> bool:
        """From some points on; returns whether the search came to its own end.

        Args:
            starts: numbers of the points to run first.
            race_rounds: how often each finalist is run in the end.
            kept: runs that the race must leave.
        """
        budget = self._machine.runs_left() - kept
        self._machine.new_round()
        for index in starts:
            if not self._machine.run(index, kept=kept):
                return False
        race = min(race_rounds * _NUM_FINALISTS, max(budget, 0) // 4)
        through = self._seek(kept + race)
        return self._race(race_rounds, kept) and through

    def ranking(self) -> list[int]:
        """The points that were run and never failed, the fastest by estimate first."""
        return self._ranking(self._estimate()[0]) if self._machine.tried else []

    def _seek(self, kept: int) -> bool:
        """Run ever the most promising new point, and the best so far once a round."""
        while True:
            self._machine.new_round()
            for number in range(_NEW_A_ROUND + 1):
                mean, deviation = self._estimate()
                works = self._ranking(mean)
                new = self._most_promising(mean, deviation, works)
                if new is None:
                    return True
                index = works[0] if number == 0 and works else new
                if not self._machine.run(index, kept=kept):
                    return False

    def _most_promising(self, mean: Values, deviation: Values, works: Sequence[int]) -> int | None:
        """The new point of the highest expected gain; None if there is no gain to expect."""
        best = mean[works[0]] if works else mean.max()
        gain = expected_gain(mean, deviation, best)
        gain[self._machine.tried] = -np.inf
        index = int(gain.argmax())
        return index if gain[index] > (_SMALL_GAIN if works else -np.inf) else None

    def _race(self, rounds: int, kept: int) -> bool:
        """Run the finalists in turn; in each round they are chosen anew."""
        for _ in range(rounds):
            self._machine.new_round()
            for index in self.ranking()[:_NUM_FINALISTS]:
                if not self._machine.run(index, kept=kept):
                    return False
        return True

    def _estimate(self) -> tuple[Values, Values]:
        return self._surrogate.estimate(self._machine.tried, self._machine.log_rates)

    def _ranking(self, mean: Values) -> list[int]:
        rates = zip(self._machine.tried, self._machine.log_rates, strict=True)
        failed = {index for index, rate in rates if rate is None}
        works = sorted(set(self._machine.tried) - failed)
        return sorted(works, key=lambda index: -mean[index])
