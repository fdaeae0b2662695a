"""The components of a Fourier transform to rows that are evenly spaced in log frequency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class LogBands:
    """Row r of R covers [low * (cutoff/low)^(r/R), low * (cutoff/low)^((r+1)/R)) Hz.

    High rows hold many components, low ones lie between two. A row is the strongest of the
    components inside it and of the spectrum at its middle, a straight line between its two
    neighbours. So a sine is as strong in any row, and no row is empty.

    Args:
        low_hz: lower edge of the first row.
        cutoff_hz: upper edge of the last row, at most the frequency of the last component.
        num_bins: rows.
        spacing_hz: from one component to the next; the first is at 0.
    """

    def __init__(
        self, low_hz: float, cutoff_hz: float, num_bins: int, *, spacing_hz: float
    ) -> None:
        ladder = low_hz * (cutoff_hz / low_hz) ** np.linspace(0, 1, 2 * num_bins + 1) / spacing_hz
        edges = np.ceil(ladder[::2] - 1e-9).astype(np.intp)  # first component at or above
        self._begins_ends = np.stack([edges[:-1], edges[1:]], axis=1).ravel()  # (2 * num_bins,)
        self._has_components = edges[:-1] < edges[1:]
        self._below = np.floor(ladder[1::2]).astype(np.intp)
        self._share = (ladder[1::2] - self._below).astype(np.float32)

    def strongest(self, power: NDArray[np.float32]) -> NDArray[np.float32]:
        """Power of components (columns, components) to rows (columns, num_bins)."""
        middles = power[:, self._below] * (1 - self._share)
        middles += power[:, self._below + 1] * self._share
        inside = np.maximum.reduceat(power, self._begins_ends, axis=1)[:, ::2]
        return np.where(self._has_components, np.maximum(inside, middles), middles)
