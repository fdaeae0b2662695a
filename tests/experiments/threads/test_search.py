"""The search for the fastest setting, on simulated machines and under arbitrary failures.

The surfaces' parameters differ by seed. A search succeeds if the true rate of what it calls the
fastest is within 5 % of the best true rate of the whole grid.
"""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from experiments.threads import search as search_module
from experiments.threads.measurement import MeasureError
from experiments.threads.search import Surrogate, search
from experiments.threads.space import Axis, starting_pairs

VALUES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


def amdahl(rng, cores):
    """Serial work, shared work, synchronisation that grows with intra, a few branches."""
    peak, branches, power = cores * rng.uniform(0.1, 0.9), rng.uniform(1, cores), rng.uniform(1, 2)
    serial, shared, side = rng.uniform(0, 0.03), rng.uniform(1, 4), rng.uniform(0.1, 0.6)
    cost, sync = rng.uniform(0.05, 0.5) / cores, shared / (power * peak ** (power + 1))

    def rate(intra, inter):
        seconds = serial + shared / intra + sync * intra**power
        return 1 / (seconds * (1 - side + side / min(inter, branches)) * (1 + cost * inter))

    return rate


def ridge(rng, cores):
    """Best where intra * inter is about the cores; the place along the ridge matters less."""
    level, place = math.log2(cores * rng.uniform(0.4, 1.2)), rng.uniform(0.1, 0.9)
    under, over, along = rng.uniform(0.1, 0.5), rng.uniform(0.2, 0.8), rng.uniform(0.01, 0.08)

    def rate(intra, inter):
        across, aside = math.log2(intra * inter) - level, math.log2(intra) - place * level
        return math.exp(-(over if across > 0 else under) * abs(across) ** 1.5 - along * aside**2)

    return rate


def numa(rng, cores):
    """A step down beyond one node's cores."""
    base, node = amdahl(rng, cores), cores // rng.choice((2, 4, 8))
    loss, pools = rng.uniform(0.1, 0.5), rng.choice((1, 2))

    def rate(intra, inter):
        return base(intra, inter) * (1 - loss if intra * min(inter, pools) > node else 1)

    rate.node = node  # /sys tells it
    return rate


def plateau(rng, cores):
    """Level from a few threads on."""
    knee, slope = rng.uniform(2, cores / 4), rng.uniform(0.02, 0.2)
    return lambda intra, inter: min(intra, knee) ** 0.7 * (1 + slope * (1 - 1 / inter))


def hyper_threads(rng, cores):
    """Better with each thread up to the physical cores, then down a cliff."""
    physical, cliff, power = cores / 2, rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.9)
    weight, width, gain = rng.uniform(0, 0.3), rng.uniform(0.05, 0.3), rng.uniform(0, 0.1)

    def rate(intra, inter):
        load = (intra + weight * (inter - 1)) / physical
        fall = cliff * min(max(load - 1, 0) / width, 1)
        return min(load, 1) ** power * (1 - fall) * (1 + gain * math.log2(min(inter, 8)))

    return rate


def bandwidth(rng, cores):
    """Bound by memory: a few threads fill the bus, more fight over it."""
    peak, fall, rise = rng.uniform(1.5, 10), rng.uniform(0.1, 0.6), rng.uniform(0.5, 1)
    weight = rng.uniform(0.2, 1)

    def rate(intra, inter):
        load = intra * inter**weight / peak
        return load**rise if load < 1 else load**-fall

    return rate


def product(rng, cores):
    """Another surface, times an axis without order, times a third with one."""
    base, bend = rng.choice((amdahl, ridge, numa))(rng, cores), rng.uniform(0.05, 0.3)
    best, spread, local = rng.uniform(0, 2), rng.uniform(0.9, 1.3), rng.uniform(1, 1.4)

    def rate(intra, inter, cpus, jobs):
        place = {"all": 1, "cores": spread, "node": local if intra <= cores // 2 else 0.6}[cpus]
        return base(intra, inter) * place * math.exp(-bend * (math.log2(jobs) - best) ** 2)

    return rate


def flat(rng, cores):
    return lambda intra, inter: 1.0


def _near(wanted, values):
    return min(values, key=lambda value: (abs(value - wanted), value))


class SimulatedMachine:
    """A true rate, seen through noise and a drift of 15 % over the budget."""

    def __init__(self, surface, cores, noise, seed, budget):
        rng = self.rng = random.Random(f"{surface.__name__} {cores} {seed}")
        self.rate, self.noise, self.budget = surface(rng, cores), noise, budget
        self.measured, self.drift = [], rng.choice((-0.15, 0.15))
        values = tuple(value for value in VALUES if value <= cores)
        self.axes = [Axis("intra", values), Axis("inter", values)]
        physical = cores // 2 if surface is hyper_threads else cores
        pairs = starting_pairs(cores, physical, getattr(self.rate, "node", physical))
        others = ()
        if surface is product:
            self.axes += [Axis("cpus", ("all", "cores", "node"), False), Axis("jobs", (1, 2, 4))]
            others = ("all", 1)
        self.starts = [(_near(a, values), _near(b, values), *others) for a, b in pairs]
        self.default = (*rng.choice([(cores, 2), (1, cores), (cores, cores)]), *others)

    def measure(self, point):
        self.measured.append(point)
        drift = self.drift * len(self.measured) / self.budget
        return self.rate(*point) * math.exp(self.rng.gauss(0, self.noise) + drift)

    def search(self):
        return search(
            self.axes,
            self.default,
            self.measure,
            starts=self.starts,
            runs_left=lambda: self.budget - len(self.measured),
        )

    def quality(self, point):
        """True rate, as a share of the best one of the grid."""
        grid = itertools.product(*(axis.values for axis in self.axes))
        return self.rate(*point) / max(self.rate(*each) for each in grid)


SURFACES = (amdahl, ridge, numa, plateau, hyper_threads, bandwidth)
# Of 100 seeds; reached are up to 6 more. Beside a cliff, two or three points of 144 are good.
WANTED = {(hyper_threads, 64): 0.88, (bandwidth, 64): 0.91, (ridge, 256): 0.93}
CONFIRMING = 10  # runs


def success_rate(surface, cores, noise, budget, seeds):
    machines = [SimulatedMachine(surface, cores, noise, seed, budget) for seed in range(seeds)]
    outcomes = [machine.search() for machine in machines]
    assert all(len(machine.measured) <= budget for machine in machines)
    qualities = [m.quality(outcome.fastest) for m, outcome in zip(machines, outcomes, strict=True)]
    return sum(quality >= 0.95 for quality in qualities) / seeds


@pytest.mark.parametrize("noise", [pytest.param(0.03, marks=pytest.mark.slow), 0.05])
@pytest.mark.parametrize(("cores", "budget"), [(64, 43), (256, 76)])
@pytest.mark.parametrize("surface", SURFACES)
def test_a_tenth_of_the_grids_runs_finds_the_fastest(surface, cores, budget, noise):
    """Red when the ridge, the race, or the allowance for drift is lost. The grid: 432, 768 runs.

    What is known of the machine, its cores and nodes, is known to the search. The runs that then
    compare the fastest with the default come on top.
    """
    wanted = WANTED.get((surface, cores), 0.95)
    assert success_rate(surface, cores, noise, budget + CONFIRMING, seeds=100) >= wanted


def test_four_axes_are_searched_with_few_runs():
    """Red when an axis without order, or a third one with it, is left as it was."""
    assert success_rate(product, 64, noise=0.03, budget=80, seeds=10) >= 0.9


def test_the_estimate_is_that_of_scikit_learn(monkeypatch):
    """Red when a run is taken in wrongly, or a part of the covariance; without drift and level,
    which scikit-learn's kernels do not have as ours does."""
    monkeypatch.setattr(search_module, "_DRIFT", 0.0)
    monkeypatch.setattr(search_module, "_LEVEL", 0.0)
    random = np.random.default_rng(0)
    places = np.array(list(itertools.product(range(7), range(5), range(3))), float)
    intra, inter, cpus = places.T
    apart = [4 / np.sqrt(2) * (cpus == value) for value in range(3)]  # each 4 from the others
    columns = np.stack([intra, inter, intra + inter, *apart], axis=1)

    def part(deviation, *used):
        lengths = [3.5 if column in used else np.inf for column in range(columns.shape[1])]
        return deviation**2 * Matern(lengths, nu=1.5)

    kernel = part(0.5, 0) + part(0.5, 1) + part(0.5, 3, 4, 5) + part(0.3, 2)
    kernel += part(0.5, 0, 1, 3, 4, 5)
    process = GaussianProcessRegressor(kernel, alpha=0.04**2, optimizer=None)
    surrogate = Surrogate(places.tolist(), [True, True, False])
    tried = [*random.integers(0, len(places), 12), 5, 5, 60]
    rates = [None, *random.normal(3.0, 0.3, len(tried) - 1)]
    for count in (1, 4, 5, len(tried)):  # run by run, and several at a time
        best = max(rates[1:count], default=0.0)
        known = [-0.7 if rate is None else max(rate - best, -1.0) for rate in rates[:count]]
        process.fit(columns[tried[:count]], known)
        wanted_mean, wanted_deviation = process.predict(columns, return_std=True)
        mean, deviation = surrogate.estimate(tried[:count], rates[:count])
        np.testing.assert_allclose(mean, wanted_mean + best, atol=1e-8)
        np.testing.assert_allclose(deviation, wanted_deviation, atol=1e-6)


def test_a_flat_surface_seldom_gives_a_winner():
    """Red when the runs that selected a point also confirm it."""
    outcomes = [SimulatedMachine(flat, 64, 0.05, seed, 43).search() for seed in range(100)]
    assert sum(outcome.best != outcome.default for outcome in outcomes) <= 5
    assert all(outcome.comparison for outcome in outcomes if outcome.fastest != outcome.default)


def test_a_clear_winner_is_recommended():
    """Red when the confirmation is given too few runs, or its sign is turned."""
    machines = [SimulatedMachine(ridge, 64, 0.05, seed, 43) for seed in range(30)]
    for machine in machines:
        outcome = machine.search()
        if machine.quality(outcome.default) < 0.8 * machine.quality(outcome.fastest):
            assert outcome.best == outcome.fastest != outcome.default


def test_an_affordable_grid_is_measured_in_rounds_whatever_the_drift():
    """Red when a point's runs follow each other: the machine slows by 40 %, b is 10 % faster."""
    measured = []

    def measure(point):
        measured.append(point)
        return (1.1 if point == ("b", 1) else 1.0) * math.exp(-0.5 * len(measured) / 28)

    axes = [Axis("letter", ("a", "b", "c"), ordered=False), Axis("number", (0, 1))]
    outcome = search(axes, ("a", 0), measure, runs_left=lambda: 28 - len(measured))
    grid = list(itertools.product("abc", (0, 1)))
    pair = [("a", 0), ("b", 1)]
    assert measured == [*grid * 3, *(pair + pair[::-1]) * 2, *pair]
    assert outcome.best == outcome.fastest == ("b", 1)
    assert outcome.exhaustive
    assert not outcome.stopped_early
    assert [trial.rounds for trial in outcome.trials if trial.point == ("c", 1)] == [[0, 1, 2]]


def test_the_confirming_runs_are_fresh():
    """Red when the runs that selected the winner count for it: they were lucky."""
    measured = []

    def measure(point):
        measured.append(point)
        return 2.0 if point == (2,) and len(measured) <= 6 else 1.0

    axes = [Axis("threads", (1, 2))]
    outcome = search(axes, (1,), measure, runs_left=lambda: 16 - len(measured))
    assert (outcome.fastest, outcome.best) == ((2,), (1,))
    assert outcome.comparison.num_pairs == 5
    assert outcome.comparison.gain == 0


def test_a_default_that_fails_gives_way():
    """Red when a default without runs is recommended."""

    def measure(point):
        if point == (4,):
            raise MeasureError("out of memory")
        return float(point[0])

    outcome = search([Axis("threads", (1, 2, 4))], (4,), measure, runs_left=lambda: 100)
    assert (outcome.best, outcome.fastest, outcome.comparison) == ((2,), (2,), None)
    assert [trial.failure for trial in outcome.trials] == ["", "", "out of memory"]


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_is_none_is_a_failure(rate):
    """Red when a run that reports nonsense wins, or ends the search."""
    axes = [Axis("threads", (1, 2))]
    outcome = search(axes, (1,), lambda p: rate if p == (2,) else 1.0, runs_left=lambda: 50)
    assert outcome.best == outcome.fastest == (1,)
    assert outcome.trials[1].failure.startswith("A rate must be a positive number")


def test_points_off_the_grid_are_refused():
    """Red when a mistyped start is run, or silently dropped."""
    axes = [Axis("threads", (1, 2))]
    with pytest.raises(ValueError, match="value of each axis"):
        search(axes, (3,), lambda point: 1.0, runs_left=lambda: 9)
    with pytest.raises(ValueError, match="value of each axis"):
        search(axes, (1,), lambda point: 1.0, starts=[(3,)], runs_left=lambda: 9)
    with pytest.raises(ValueError, match="default must be allowed"):
        search(axes, (1,), lambda point: 1.0, runs_left=lambda: 9, is_allowed=lambda point: False)


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    budget=st.integers(0, 60),
    failing=st.sampled_from([0.0, 0.3, 1.0]),
    wobble=st.integers(0, 5),
    seed=st.integers(0, 10**6),
)
def test_whatever_happens_the_rules_are_kept(sizes, budget, failing, wobble, seed):
    """Red on a run beyond the budget, of a forbidden point, or of one that failed before."""
    rng = random.Random(seed)
    axes = [Axis(str(i), tuple(range(size)), rng.random() < 0.7) for i, size in enumerate(sizes)]
    grid = list(itertools.product(*(axis.values for axis in axes)))
    default, starts = rng.choice(grid), rng.choices(grid, k=3)
    allowed = {default, *rng.sample(grid, len(grid) * 3 // 4)}
    measured, failed, left = [], set(), [0]

    def runs_left():
        left[0] = budget - len(measured) + rng.randint(-wobble, wobble)
        return left[0]

    def measure(point):
        assert left[0] > 0
        assert point in allowed - failed
        measured.append(point)
        if rng.random() < failing:
            failed.add(point)
            raise MeasureError
        return rng.lognormvariate(0, 0.1)

    outcome = search(
        axes, default, measure, starts=starts, runs_left=runs_left, is_allowed=allowed.__contains__
    )
    works = set(measured) - failed
    assert outcome.best == default or outcome.best in works
    assert outcome.best in works or not works
    assert outcome.fastest in works or not works
    assert {trial.point for trial in outcome.trials if trial.failure} == failed
    assert sum(len(trial.rates) for trial in outcome.trials) == len(measured) - len(failed)
    assert outcome.exhaustive == (set(measured) == allowed)
