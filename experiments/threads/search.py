"""Find the fastest of many settings by measuring few of them, in noise and drift.

If the budget allows, the whole grid is measured in rounds (A B C, A B C), so that a machine that
becomes slower does not decide. Otherwise a part of it is measured, chosen run by run
(`Exploration`). In both cases fresh runs in pairs then decide between the winner and the default.
Nothing is random: the same rates give the same search.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit  # not scipy.stats, which takes a second to import

from common.errors import InputError
from experiments.threads.measurement import MeasureError
from experiments.threads.space import Axis, Point

# Runs of the budget for each confirming pair, so that at most a third of it confirms.
_RUNS_A_PAIR = 6


@dataclass
class Trial:
    """Point of the grid with its runs.

    Args:
        point: one value for each axis.
        rates: rates of its runs in order; higher is better.
        rounds: round of each run. Runs of one round lie close together in time.
        failure: reason why it cannot be run; empty if it can.
    """

    point: Point
    rates: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    failure: str = ""

    @property
    def median(self) -> float | None:
        """Median rate; None without runs."""
        return statistics.median(self.rates) if self.rates else None

    @property
    def spread(self) -> float | None:
        """Relative spread of the rates, (largest - smallest) / median; None without runs."""
        if not self.rates:
            return None
        return (max(self.rates) - min(self.rates)) / statistics.median(self.rates)


@dataclass(frozen=True)
class Outcome:
    """Outcome of a search.

    Args:
        trials: measured points, in the order of their first run.
        default: the point that needs no setting.
        best: the recommended point: the default, unless another is better beyond the noise.
        fastest: the point of the highest median in a whole grid, or of the highest estimate in a
            part of it, which allows for drift and luck. The confirming runs do not count.
        comparison: comparison of `fastest` with the default; None if they are the same point, or
            were not compared.
        exhaustive: whether the whole grid was measured.
        stopped_early: whether the budget ended the search.
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
        axes: axes whose values span the grid.
        default: the point to compare with.
        measure: returns the rate of a point in one run; a `MeasureError` rules the point out.
        runs_left: returns how many runs are still affordable; asked before each.
        starts: points to begin from if the grid is too large. Those not allowed are left out.
        rounds: number of runs of each point of a whole grid, and of each finalist of a search.
        confirmations: pairs of runs that compare the fastest with the default; fewer in a part of
            the grid, if they would take more than a third of the budget.
        is_allowed: whether a point may be run.
        on_stage: called with a description of each stage.

    Raises:
        InputError: if the default is not an allowed point of the grid, or a start is not on it.
    """
    points = _allowed_points(axes, (default, *starts), is_allowed)
    machine = _Trials(points, measure, runs_left)
    pairs = confirmations
    if len(points) * rounds + 2 * pairs <= runs_left():
        on_stage(f"all {len(points)} settings, {rounds} times each")
        through = machine.run_all(rounds, kept=2 * pairs)
        ranking = machine.by_median()
    else:
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
    """List the allowed points of the grid; the default, first of `wanted`, must be among them."""
    grid = list(itertools.product(*(axis.values for axis in axes)))
    for point in wanted:
        if point not in grid:
            names = ", ".join(axis.name for axis in axes)
            raise InputError(f"A point has a value of each axis ({names}). Received {point}.")
    if not is_allowed(wanted[0]):
        raise InputError(f"The default must be allowed. Received {wanted[0]}, which is not.")
    return [point for point in grid if is_allowed(point)]


def _decide(
    machine: _Trials, ranking: list[int], base: int, pairs: int, exhaustive: bool, through: bool
) -> Outcome:
    """Compare the first of a ranking with the default, and recommend one of them."""
    fastest, comparison = next(iter(ranking), base), None
    # The runs that made a point the fastest flatter it: among many, the luckiest wins. Hence fresh
    # runs, of which only the sign and the size of the gain count.
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


class _Trials:
    """Runs points within the budget, and keeps their results.

    Args:
        points: those that may be run; known by their number.
        measure: the rate of a point in one run.
        runs_left: how many runs are still affordable.
    """

    def __init__(
        self,
        points: list[Point],
        measure: Callable[[Point], float],
        runs_left: Callable[[], int],
    ) -> None:
        self.trials: dict[int, Trial] = {}
        self.tried: list[int] = []  # the point of each run, in order
        self.log_rates: list[float | None] = []  # what each run gave; None if it failed
        self.points, self.runs_left, self._measure = points, runs_left, measure
        self._round = -1

    def new_round(self) -> None:
        """Begin a round; its runs are compared with each other."""
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
        """Rate of one more run; None if it fails."""
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
        """Run each point in each round; returns whether the budget sufficed."""
        for _ in range(rounds):
            self.new_round()
            for index in range(len(self.points)):
                if not self.run(index, kept=kept):
                    return False
        return True

    def by_median(self) -> list[int]:
        """Rank the points that work by their medians, the highest first."""
        works = [index for index in self.trials if not self.failed(index)]
        return sorted(works, key=lambda index: -(self.trials[index].median or 0.0))

    def compare(self, index: int, base: int, pairs: int) -> Comparison:
        """Compare two points by fresh runs in pairs; ends early if one of them cannot be run."""
        rates: list[float] = []
        base_rates: list[float] = []
        for number in range(pairs):
            self.new_round()
            # Each point goes first in every other pair, so that a steady drift cancels out.
            order = (base, index) if number % 2 == 0 else (index, base)
            if self.runs_left() < 2 or not all(self.run(point) for point in order):
                break
            if self.failed(index) or self.failed(base):
                break
            rates.append(self.trials[index].rates[-1])
            base_rates.append(self.trials[base].rates[-1])
        return compare(rates, base_rates)


# Comparison of two settings by runs made in pairs.


# A smaller gain is not worth a setting of its own.
_SMALLEST_GAIN = 0.01


@dataclass(frozen=True)
class Comparison:
    """Gain of one setting's rate over another's; 0.08 is 8 % more.

    Args:
        gain: estimate, by the geometric mean.
        low: lower end of the 95 % interval; -1 if there are too few pairs for one.
        high: upper end of the interval; infinite if there are too few pairs.
        num_pairs: number of pairs.
    """

    gain: float
    low: float
    high: float
    num_pairs: int

    @property
    def better(self) -> bool:
        """Whether the gain is beyond the noise, and worth having."""
        return self.low > 0 and self.gain >= _SMALLEST_GAIN

    def __str__(self) -> str:
        if self.num_pairs == 0:
            return "not compared"
        gain = f"{100 * self.gain:+.1f} %"
        if math.isinf(self.high):
            return f"{gain} (one pair, no interval)"
        return f"{gain} (95 % interval {100 * self.low:+.1f} to {100 * self.high:+.1f} %)"


def compare(rates: Sequence[float], base_rates: Sequence[float]) -> Comparison:
    """Estimate how far `rates` are above `base_rates`, with Student's interval.

    Args:
        rates: rates of one setting, all positive.
        base_rates: rates of the other; those at the same place were measured in a pair.

    Raises:
        InputError: if a rate has no partner.
    """
    if len(rates) != len(base_rates):
        raise InputError(
            f"Rates are compared in pairs. Received {len(rates)} and {len(base_rates)} of them; "
            "drop those without a partner."
        )
    # Logarithms, since noise is relative, and a gain and its inverse then weigh alike.
    ratios = [math.log(a / b) for a, b in zip(rates, base_rates, strict=True)]
    count = len(ratios)
    if count == 0:
        return Comparison(0.0, -1.0, math.inf, 0)
    mean = math.fsum(ratios) / count
    half = _half_width(ratios, mean)
    return Comparison(math.expm1(mean), math.expm1(mean - half), math.expm1(mean + half), count)


def _half_width(ratios: Sequence[float], mean: float) -> float:
    """Half the width of a mean's 95 % interval, its variance estimated from the same values."""
    count = len(ratios)
    if count < 2:
        return math.inf
    variance = math.fsum((ratio - mean) ** 2 for ratio in ratios) / (count - 1)
    return float(stdtrit(count - 1, 0.975)) * math.sqrt(variance / count)


# A search through part of a grid: run what promises most, then let the finalists race.


# Points between two runs of the best so far, which tell how the machine drifts.
_NEW_A_ROUND = 5
_NUM_FINALISTS = 3
# In log rate; the search is over if less is expected of every point.
_SMALL_GAIN = 0.003


class Exploration:
    """Search for the fastest point in a part of a grid.

    Args:
        places: index of each point's value on each axis, (N, number of axes).
        ordered: whether each axis has an order.
        machine: runs the points.
    """

    def __init__(
        self, places: Sequence[Sequence[int]], ordered: Sequence[bool], machine: _Trials
    ) -> None:
        self._surrogate = Surrogate(places, ordered)
        self._machine = machine

    def explore(self, starts: Sequence[int], *, race_rounds: int, kept: int) -> bool:
        """Search from some points on; returns whether the search came to its own end.

        Args:
            starts: numbers of the points to run first.
            race_rounds: number of runs of each finalist in the end.
            kept: runs that must be left for the confirming pairs.
        """
        budget = self._machine.runs_left() - kept
        self._machine.new_round()
        for index in starts:
            if not self._machine.run(index, kept=kept):
                return False
        # The search for new points must leave runs for the race, but no more than a quarter of all.
        race = min(race_rounds * _NUM_FINALISTS, max(budget, 0) // 4)
        through = self._seek(kept + race)
        return self._race(race_rounds, kept) and through

    def ranking(self) -> list[int]:
        """Rank the points that were run and never failed, the fastest by estimate first."""
        return self._ranking(self._estimate()[0]) if self._machine.tried else []

    def _seek(self, kept: int) -> bool:
        """Run new points, always the most promising one, and the best so far once a round."""
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
        """Find the new point of the highest expected gain; None if there is no gain to expect."""
        best = mean[works[0]] if works else mean.max()
        gain = expected_gain(mean, deviation, best)
        gain[self._machine.tried] = -np.inf
        index = int(gain.argmax())
        return index if gain[index] > (_SMALL_GAIN if works else -np.inf) else None

    def _race(self, rounds: int, kept: int) -> bool:
        """Run the finalists in turn; each round chooses them anew."""
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


# A Gaussian process over log rates: what the runs so far tell about a whole grid of settings.


Values = NDArray[np.float64]

# Standard deviations of the parts, in log rate; 0.1 is about 10 %.
_AXIS, _PAIR, _TOGETHER = 0.5, 0.3, 0.5
# From one run to the next, and of a single run.
_DRIFT = 0.008
_NOISE = 0.04
# Of the level of all rates.
_LEVEL = 1.0
# Places on an axis over which rates are alike, and the distance of two values without an order.
_LENGTH = 3.5
_OTHER = 4.0
# A rate further below the best counts as this: how slow the slow settings are does not matter.
_FLOOR = -1.0
# A failure counts as this, so that its neighbours, which may fail, too, are tried late.
_FAILED = -0.7


class Surrogate:
    """Gaussian process that estimates the log rate at every point of a grid.

    The covariance is a sum: a part for each axis, a part for the sum of each two ordered axes,
    and a part for the distance over all axes.

    Args:
        places: index of each point's value on each axis, (N, number of axes).
        ordered: whether each axis has an order.
    """

    def __init__(self, places: Sequence[Sequence[int]], ordered: Sequence[bool]) -> None:
        axes = np.array(places, dtype=np.float64).reshape(len(places), -1).T  # (axes, N)
        self._ordered = np.array(ordered, dtype=bool)[:, np.newaxis]
        self._axes = axes
        pairs = itertools.combinations(axes[self._ordered[:, 0]], 2)
        # On a scale of powers of two, a + b stands for the product of two numbers of threads:
        # settings with the same product, which keeps the cores equally busy, are alike.
        self._sums = np.array([a + b for a, b in pairs]).reshape(-1, len(places))
        self._weights = np.square([_AXIS] * len(axes) + [_PAIR] * len(self._sums) + [_TOGETHER])
        self._columns: dict[int, Values] = {}
        self._prior = self._weights.sum()
        # The runs' covariance is L L^T. A new run adds a row to L^-1, which costs runs x (runs + N)
        # instead of an inversion, and no product so large that BLAS wakes its threads for it.
        self._tried: list[int] = []
        self._inverse = np.zeros((0, 0))  # L^-1, (runs, runs)
        self._white = np.zeros((0, len(places)))  # L^-1 times the runs' covariance with each point
        self._variance = np.full(len(places), self._prior)

    def estimate(
        self, tried: Sequence[int], log_rates: Sequence[float | None]
    ) -> tuple[Values, Values]:
        """Estimate mean and standard deviation of each point's log rate, each (N,).

        Args:
            tried: number of each run's point in order of time; at least one run, those of the last
                call first.
            log_rates: logarithm of each run's rate, None if it failed.
        """
        for index in tried[len(self._tried) :]:
            self._add(index)
        best = max((rate for rate in log_rates if rate is not None), default=0.0)
        below = np.array(
            [_FAILED if rate is None else max(rate - best, _FLOOR) for rate in log_rates]
        )
        mean = (self._inverse @ below) @ self._white + best
        # Rounding may make a variance slightly negative where a point was run often.
        return mean, np.sqrt(np.maximum(self._variance, 1e-12))

    def _add(self, index: int) -> None:
        """Add a run of a point; its rate is given to `estimate`."""
        count = len(self._tried)
        column = self._column(index)
        # Covariance with runs up to this one: of a common level, and of a drift, which is a random
        # walk over time.
        later = _LEVEL**2 + _DRIFT**2 * np.arange(count + 1)
        row = self._inverse @ (column[self._tried] + later[:-1])
        # The noise of single runs keeps the root above 0 when a point is run again.
        scale = math.sqrt(self._prior + later[-1] + _NOISE**2 - row @ row)
        inverse = np.zeros((count + 1, count + 1))
        inverse[:-1, :-1] = self._inverse
        inverse[-1] = [*(-row @ self._inverse / scale), 1 / scale]
        self._inverse = inverse
        self._white = np.vstack([self._white, (column - row @ self._white) / scale])
        self._variance -= self._white[-1] ** 2
        self._tried.append(index)

    def _column(self, index: int) -> Values:
        """Covariance of each point with one point, (N,): parts for axes, pairs of axes, and all."""
        if index not in self._columns:
            far = np.abs(self._axes - self._axes[:, [index]])
            far = np.where(self._ordered, far, _OTHER * (far != 0))
            along = np.abs(self._sums - self._sums[:, [index]])
            together = np.sqrt(np.square(far).sum(axis=0))
            self._columns[index] = self._weights @ _alike(np.vstack([far, along, together]))
        return self._columns[index]


def _alike(distance: Values) -> Values:
    """Correlation at a distance: Matern 3/2, for functions with kinks."""
    scaled = np.sqrt(3) * distance / _LENGTH
    return (1 + scaled) * np.exp(-scaled)


def expected_gain(mean: Values, deviation: Values, best: float) -> Values:
    """Expected improvement over the best log rate at each point, (N,).

    Args:
        mean: estimated log rates, (N,).
        deviation: their standard deviations, (N,).
        best: log rate to exceed.
    """
    # E[max(x - best, 0)] of a normal x: deviation (score Phi(score) + phi(score)).
    score = (mean - best) / deviation
    density = np.exp(-(score**2) / 2) / np.sqrt(2 * np.pi)
    return deviation * (score * ndtr(score) + density)
