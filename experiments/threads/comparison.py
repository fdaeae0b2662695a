"""Whether one setting is faster than another, from runs made in pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from common.errors import InputError

_SMALLEST_GAIN = 0.01  # a smaller one is not worth a setting of its own


@dataclass(frozen=True)
class Comparison:
    """By how much one setting's rate is above another's; 0.08 is 8 % more.

    Args:
        gain: the estimate, of the geometric mean.
        low: lower end of the 95 % interval; -1 where too few pairs give one.
        high: its upper end; infinite where too few pairs give one.
        num_pairs: on which it rests.
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
    """How far `rates` are above `base_rates`, with Student's interval over the log ratios.

    Args:
        rates: of one setting, all positive.
        base_rates: of the other; those at the same place were measured one after the other.

    Raises:
        InputError: if a rate has no partner.
    """
    if len(rates) != len(base_rates):
        raise InputError(
            f"Rates are compared in pairs. Received {len(rates)} and {len(base_rates)} of them; "
            "drop those without a partner."
        )
    ratios = [math.log(a / b) for a, b in zip(rates, base_rates, strict=True)]
    count = len(ratios)
    if count == 0:
        return Comparison(0.0, -1.0, math.inf, 0)
    mean = math.fsum(ratios) / count
    half = _half_width(ratios, mean)
    return Comparison(math.expm1(mean), math.expm1(mean - half), math.expm1(mean + half), count)


def _half_width(ratios: Sequence[float], mean: float) -> float:
    """Of the 95 % interval of a mean whose variance is estimated from the same few values."""
    count = len(ratios)
    if count < 2:
        return math.inf
    from scipy.special import stdtrit  # not scipy.stats, which takes a second to import

    variance = math.fsum((ratio - mean) ** 2 for ratio in ratios) / (count - 1)
    return float(stdtrit(count - 1, 0.975)) * math.sqrt(variance / count)
