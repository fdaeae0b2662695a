"""Paired comparison of two settings' rates."""

import math
import random

import numpy as np
import pytest
from scipy import stats

from experiments.threads.search import compare


@pytest.mark.parametrize("count", [2, 3, 5, 20])
def test_the_interval_is_that_of_scipys_paired_t_test(count):
    """Red with the normal's 1.96, a variance over n, or an interval of the rates themselves."""
    random_rates = np.random.default_rng(count)
    rates, base = random_rates.lognormal(0.1, 0.05, (2, count))
    wanted = stats.ttest_rel(np.log(rates), np.log(base)).confidence_interval(0.95)
    comparison = compare(rates, base)
    assert comparison.gain == pytest.approx(stats.gmean(rates / base) - 1)
    assert comparison.low == pytest.approx(math.exp(wanted.low) - 1)
    assert comparison.high == pytest.approx(math.exp(wanted.high) - 1)


def test_a_drift_that_both_share_takes_nothing_from_certainty():
    """Red when the rates are compared unpaired: they vary by a factor of 4, the ratio by 1 %."""
    base = [100.0, 200.0, 400.0, 150.0, 120.0]
    rates = [rate * factor for rate, factor in zip(base, [1.1, 1.11, 1.1, 1.09, 1.1], strict=True)]
    assert compare(rates, base).better
    assert not compare(base, rates).better


@pytest.mark.parametrize(("gain", "better"), [(0.0, False), (0.009, False), (0.011, True)])
def test_rates_without_noise_need_a_gain_of_one_percent(gain, better):
    """Red when identical runs divide by zero, or when a gain nobody feels is recommended."""
    comparison = compare([100 * (1 + gain)] * 4, [100.0] * 4)
    assert comparison.better is better
    assert comparison.low == pytest.approx(gain)
    assert comparison.high == pytest.approx(gain)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_pairs_prove_nothing(count):
    """Red when one lucky pair recommends a setting."""
    comparison = compare([200.0] * count, [100.0] * count)
    assert not comparison.better
    assert (comparison.num_pairs, comparison.low, comparison.high) == (count, -1.0, math.inf)


def test_equal_settings_are_seldom_declared_better():
    """Red when the interval is too narrow for few pairs: 1.96 would give 6 % instead of 2.5 %."""
    noise = random.Random(1)
    pairs = [[[noise.lognormvariate(0, 0.05) for _ in range(5)] for _ in "ab"] for _ in range(2000)]
    assert 0.015 < sum(compare(*pair).better for pair in pairs) / len(pairs) < 0.035


def test_the_text():
    """Red when the interval's ends change places, or the percents are shares."""
    assert str(compare([110.0, 108.0, 112.0], [100.0] * 3)) == (
        "+10.0 % (95 % interval +5.1 to +15.1 %)"
    )
    assert str(compare([90.0], [100.0])) == "-10.0 % (one pair, no interval)"
    assert str(compare([], [])) == "not compared"


def test_a_rate_without_partner_is_refused():
    """Red when the runs of a pair that failed half-way shift all later pairs."""
    with pytest.raises(ValueError, match=r"in pairs. Received 2 and 1"):
        compare([1.0, 2.0], [1.0])
