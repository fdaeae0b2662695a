"""The fastest of many settings, found by measuring few of them in noise and drift.

Where the whole grid is affordable it is measured, in rounds: A B C, A B C, so that a machine that
becomes slower does not decide. Elsewhere a part of it is, chosen run by run (`exploration.py`).
Either way, fresh runs in pairs then decide between the winner and the default: those that chose it
flatter it. Nothing is random, so the same rates give the same search.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.errors import InputError
from experiments.threads.comparison import Comparison, compare

Point = tuple[Any, ...]
"""One value for each axis."""

_RUNS_A_PAIR = 6  # of a budget; so at most a third of it confirms


@dataclass(frozen=True)
class Axis:
    """A quantity that is set, and its values: in order, neighbours alike, where `ordered`."""

    name: str
    values: tuple[Any, ...]
    ordered: bool = True


class MeasureError(Exception):
    """A setting cannot be run: it crashes, or wants more memory than there is."""


@dataclass
class Trial:
    """One point and its runs.

    Args:
        point: one value for each axis.
        rates: of its runs in order; higher is better.
        rounds: which round each run belongs to. Runs of one round lie close together in time.
        failure: why it cannot be run, if so.
    """

    point: Point
    rates: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    failure: str = ""

    @property
    def median(self) -> float | None:
        """None without runs."""
        return statistics.median(self.rates) if self.rates else None

    @property
    def spread(self) -> float | None:
        """(largest - smallest) / median; None without runs."""
        if not self.rates:
            return None
        return (max(self.rates) - min(self.rates)) / statistics.median(self.rates)


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    Args:
        trials: in the order in which they were first measured.
        default: the point that needs no setting.
        best: the point recommended: the default, unless another is better beyond the noise.
        fastest: the highest median of a whole grid; elsewhere the highest estimate of those
            measured, which allows for drift and for luck. The confirming runs do not count.
        comparison: of `fastest` with the default; None if it is the default, or was not compared.
        exhaustive: whether the whole grid was measured.
        stopped_early: whether the budget ended it before the search was through.
    """

    trials: list[Trial]
    default: Point
    best: Point
    fastest: Point
    comparison: Comparison | None
    exhaustive: bool
    stopped_early: bool


def search(
    axes: Sequence[Axis],
    default: Point,
    measure: Callable[[Point], float],
    *,
    runs_left: Callable[[], int],
    starts: Sequence[Point] = (),
    rounds: int = 3,
    confirmations: int = 5,
    is_allowed: Callable[[Point], bool] = lambda point: True,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Outcome:
    """Find the fastest point of a grid.

    Args:
        axes: whose values span the grid.
        default: the point to compare with.
        measure: the rate of a point in one run. A `MeasureError` rules the point out.
        runs_left: how many runs are still affordable; asked before each.
        starts: points to begin from, where the grid is too large. Those not allowed are left out.
        rounds: how often each point of a whole grid is run, and each finalist of a search.
        confirmations: pairs of runs that compare the fastest with the default; of a part of the
            grid fewer, where they would take more than a third of the budget.
        is_allowed: whether a point may be run.
        on_stage: told what begins.

    Raises:
        InputError: if the default is not an allowed point of the grid, or a start is not on it.
    """
    points = _allowed_points(axes, (default, *starts), is_allowed)
    machine = _Machine(points, measure, runs_left)
    pairs = confirmations
    if len(points) * rounds + 2 * pairs <= runs_left():
        on_stage(f"all {len(points)} settings, {rounds} times each")
        through = machine.run_all(rounds, kept=2 * pairs)
        ranking = machine.by_median()
    else:
        from experiments.threads.exploration import Exploration

        on_stage(f"a part of {len(points)} settings")
        pairs = max(0, min(pairs, runs_left() // _RUNS_A_PAIR))
        places = [[a.values.index(v) for a, v in zip(axes, p, strict=True)] for p in points]
        exploration = Exploration(places, [axis.ordered for axis in axes], machine)
        first = [points.index(p) for p in dict.fromkeys((default, *starts)) if p in points]
        through = exploration.explore(first, race_rounds=rounds - 1, kept=2 * pairs)
        ranking = exploration.ranking()
    exhaustive = len(machine.trials) == len(points)
    on_stage("the fastest in pairs with the default")
    return _decide(machine, ranking, points.index(default), pairs, exhaustive, through)


def _allowed_points(
    axes: Sequence[Axis], wanted: Sequence[Point], is_allowed: Callable[[Point], bool]
) -> list[Point]:
    """Of the grid; the first of those wanted, the default, must be among them."""
    grid = list(itertools.product(*(axis.values for axis in axes)))
    for point in wanted:
        if point not in grid:
            names = ", ".join(axis.name for axis in axes)
            raise InputError(f"A point has a value of each axis ({names}). Received {point}.")
    if not is_allowed(wanted[0]):
        raise InputError(f"The default must be allowed. Received {wanted[0]}, which is not.")
    return [point for point in grid if is_allowed(point)]


def _decide(
    machine: _Machine, ranking: list[int], base: int, pairs: int, exhaustive: bool, through: bool
) -> Outcome:
    """Compare the first of a ranking with the default, and recommend one of them."""
    fastest, comparison = next(iter(ranking), base), None
    if fastest != base and not machine.failed(base):
        comparison = machine.compare(fastest, base, pairs)
        through = through and comparison.num_pairs == pairs
        if machine.failed(fastest):
            works = (index for index in ranking if not machine.failed(index))
            fastest, comparison = next(works, base), None
    sure = machine.failed(base) or (comparison is not None and comparison.better)
    return Outcome(
        trials=list(machine.trials.values()),
        default=machine.points[base],
        best=machine.points[fastest if sure else base],
        fastest=machine.points[fastest],
        comparison=comparison if comparison is not None and comparison.num_pairs else None,
        exhaustive=exhaustive,
        stopped_early=not through,
    )


class _Machine:
    """Runs points within the budget, and keeps what they gave."""

    def __init__(
        self,
        points: list[Point],
        measure: Callable[[Point], float],
        runs_left: Callable[[], int],
    ) -> None:
        self.trials: dict[int, Trial] = {}
        self.tried: list[int] = []
        self.log_rates: list[float | None] = []
        self.points, self.runs_left, self._measure = points, runs_left, measure
        self._round = -1

    def new_round(self) -> None:
        """What follows belongs together."""
        self._round += 1

    def run(self, index: int, *, kept: int = 0) -> bool:
        """Run a point, unless it has failed; False if that would leave less than `kept` runs."""
        if self.failed(index):
            return True
        if self.runs_left() <= kept:
            return False
        trial = self.trials.setdefault(index, Trial(self.points[index]))
        rate = self._rate(trial)
        if rate is not None:
            trial.rates.append(rate)
            trial.rounds.append(self._round)
        self.tried.append(index)
        self.log_rates.append(None if rate is None else math.log(rate))
        return True

    def _rate(self, trial: Trial) -> float | None:
        """Of one more run; None if it fails."""
        try:
            rate = self._measure(trial.point)
        except MeasureError as error:
            trial.failure = str(error) or "failed"
            return None
        if not 0 < rate < math.inf:
            trial.failure = f"A rate must be a positive number. Received {rate}."
            return None
        return rate

    def failed(self, index: int) -> bool:
        """Whether a point cannot be run."""
        return index in self.trials and bool(self.trials[index].failure)

    def run_all(self, rounds: int, *, kept: int) -> bool:
        """Each point in each round; returns whether the budget sufficed."""
        for _ in range(rounds):
            self.new_round()
            for index in range(len(self.points)):
                if not self.run(index, kept=kept):
                    return False
        return True

    def by_median(self) -> list[int]:
        """The points that work, the one of the highest median first."""
        works = [index for index in self.trials if not self.failed(index)]
        return sorted(works, key=lambda index: -(self.trials[index].median or 0.0))

    def compare(self, index: int, base: int, pairs: int) -> Comparison:
        """Of fresh runs in pairs, each point first in every other; ends where one cannot be run."""
        rates: list[float] = []
        base_rates: list[float] = []
        for number in range(pairs):
            self.new_round()
            order = (base, index) if number % 2 == 0 else (index, base)
            if self.runs_left() < 2 or not all(self.run(point) for point in order):
                break
            if self.failed(index) or self.failed(base):
                break
            rates.append(self.trials[index].rates[-1])
            base_rates.append(self.trials[base].rates[-1])
        return compare(rates, base_rates)
