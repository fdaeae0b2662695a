"""How those who work at once share what they have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fair_rates(limits: NDArray[np.float64], capacity: float) -> NDArray[np.float64]:
    """Rates (n,) of a shared server: equal, but for those who cannot take as much.

    Args:
        limits: what each can take, (n,).
        capacity: what there is for all.

    Returns:
        min(limit, level), with the level at which they take all of the capacity.
    """
    if limits.sum() <= capacity:
        return limits
    ordered = np.sort(limits)
    before = np.concatenate([[0.0], np.cumsum(ordered)[:-1]])  # what those below take
    levels = (capacity - before) / np.arange(len(ordered), 0, -1)
    level = levels[np.argmax(levels <= ordered)]
    return np.minimum(limits, level)


def speeds(num_machines: int, slow_share: float, slow_factor: float) -> NDArray[np.float64]:
    """How fast each machine is, (num_machines,): 1, and for the slow ones less.

    As many as the share says, to the next whole number, so that no lottery decides.
    """
    found = np.ones(num_machines)
    found[: round(slow_share * num_machines)] /= slow_factor
    return found[::-1]


def ring_seconds(
    num_bytes: float, num_machines: int, *, bytes_per_second: float, latency_seconds: float
) -> float:
    """A ring all-reduce: each part goes round twice, less the last step.

    Args:
        num_bytes: of all gradients.
        num_machines: in the ring.
        bytes_per_second: of a machine's link, in each direction.
        latency_seconds: of a message.
    """
    rounds = 2 * (num_machines - 1)
    return rounds * (num_bytes / num_machines / bytes_per_second + latency_seconds)
