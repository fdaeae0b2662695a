"""Tensor-ring matrices: a tensor train whose ends meet, so that no core is special.

With matrix cores, W[(i), (j)] = trace(G_1[i_1, j_1] .. G_d[i_d, j_d]). With separate nodes the ring
has one node for each input mode, followed by one for each output mode:
W[(i), (j)] = trace(U_1[i_1] .. U_d[i_d] V_1[j_1] .. V_e[j_e]).

Reference: Zhao et al., "Tensor Ring Decomposition", arXiv 1606.05535, algorithm 1 (TR-SVD);
Pan et al., "Compressing Recurrent Neural Networks with Tensor Ring for Action Recognition", AAAI
2019, arXiv 1811.07503 (separate nodes).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from ttrnn.formats.base import (
    MatrixFormat,
    expanded_ranks,
    fit_by_least_squares,
    interleaved,
    smallest_rank,
)


@keras.saving.register_keras_serializable(package="ttrnn")
@dataclass(frozen=True, init=False)
class TensorRing(MatrixFormat):
    """Modes and ranks of a tensor-ring matrix.

    Args:
        input_modes: m_1..m_d.
        output_modes: n_1..n_e; with matrix cores as many as input modes.
        ranks: one integer, or the rank before each node: r_0..r_{d-1}, and with separate nodes
            r_0..r_{d+e-1}. The rank after the last node is r_0.
        separate: a node for each mode, of shape (r_k, mode, r_{k+1}), in place of matrix cores
            (r_k, m_k, n_k, r_{k+1}).

    Raises:
        ValueError: if modes and ranks do not fit each other.

    Example:
        >>> TensorRing((64, 32), (128, 64), (40, 60, 48, 48), separate=True).num_params
        663552
    """

    separate: bool
    name: ClassVar[str] = "tr"

    def __init__(
        self,
        input_modes: Sequence[int],
        output_modes: Sequence[int],
        ranks: int | Sequence[int],
        separate: bool = False,
    ) -> None:
        self._set(input_modes, output_modes, separate=separate)
        if not separate:
            self._require_pairs()
        number = len(self.input_modes) + (len(self.output_modes) if separate else 0)
        object.__setattr__(self, "ranks", expanded_ranks(ranks, number))

    @property
    def legs(self) -> tuple[tuple[str, ...], ...]:
        number = len(self.ranks)
        digits: list[tuple[str, ...]] = [(f"i{k}", f"j{k}") for k in range(number)]
        if self.separate:
            digits = [(digit,) for digit in (*self._digits("i"), *self._digits("j"))]
        return tuple((f"r{k}", *digits[k], f"r{(k + 1) % number}") for k in range(number))

    @property
    def bonds(self) -> dict[str, int]:
        return {f"r{k}": rank for k, rank in enumerate(self.ranks)}

    def chains(self, cores: Sequence) -> list[list]:
        if not self.separate:
            return [list(cores)]
        # A node of an input mode is a matrix core with one column, one of an output mode with one
        # row: the digits stay in their order.
        num_inputs = len(self.input_modes)
        return [[ops.expand_dims(core, 2 if k < num_inputs else 1) for k, core in enumerate(cores)]]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"separate": self.separate}

    @classmethod
    def _decompose(cls, matrix, modes, ranks, relative_error, options):
        separate = options.get("separate", False)
        bound = cls(modes[0], modes[1], 1 if ranks is None else ranks, separate)
        tensor = matrix.reshape(*modes[0], *modes[1]) if separate else interleaved(matrix, *modes)
        largest = bound.ranks if ranks is not None else None
        cores = _ring_svd(tensor, largest, relative_error)
        found = tuple(core.shape[0] for core in cores)
        cores = [
            core.reshape(core.shape[0], *shape[1:-1], core.shape[-1])
            for core, shape in zip(cores, bound.core_shapes, strict=True)
        ]
        chosen = cls(modes[0], modes[1], found, separate)
        if ranks is None or relative_error or found == bound.ranks:
            return chosen, cores
        # The first SVD cannot give its two bonds more than one mode's size, which is less than many
        # rings have. Least squares take the ranks as they are.
        fitted, error = fit_by_least_squares(bound, matrix)
        by_svd = float(np.linalg.norm(chosen.matrix(cores) - matrix))
        is_better = error * float(np.linalg.norm(matrix)) < by_svd
        return (bound, fitted) if is_better else (chosen, cores)


def _ring_svd(
    tensor: np.ndarray, largest: tuple[int, ...] | None, relative_error: float
) -> list[np.ndarray]:
    """Decompose a tensor into ring cores (r_k, size, r_{k+1}) by successive SVDs."""
    number = tensor.ndim
    if number == 1:
        # One core alone: any rank holds the vector; 1 does so with the fewest weights.
        return [tensor.reshape(1, -1, 1)]
    # The first split is of two bonds at once, hence the larger share of the error.
    share = relative_error * float(np.linalg.norm(tensor)) / math.sqrt(number)
    left, singular, right = np.linalg.svd(tensor.reshape(tensor.shape[0], -1), full_matrices=False)
    rank = smallest_rank(singular, math.sqrt(2) * share)
    first, second = _split_rank(rank, None if largest is None else (largest[0], largest[1]))
    rank = first * second
    cores = [left[:, :rank].reshape(-1, first, second).transpose(1, 0, 2)]
    # (r_0 r_1, rest) becomes (r_1, rest, r_0): the ring's index waits at the end for the last core.
    rest = (singular[:rank, None] * right[:rank]).reshape(first, second, -1).transpose(1, 2, 0)
    rank = second
    for k in range(1, number - 1):
        left, singular, right = np.linalg.svd(
            rest.reshape(rank * tensor.shape[k], -1), full_matrices=False
        )
        new_rank = smallest_rank(singular, share)
        new_rank = min(new_rank, largest[k + 1]) if largest is not None else new_rank
        cores.append(left[:, :new_rank].reshape(rank, tensor.shape[k], new_rank))
        rest = singular[:new_rank, None] * right[:new_rank]
        rank = new_rank
    cores.append(rest.reshape(rank, tensor.shape[-1], first))
    return cores


def _split_rank(rank: int, largest: tuple[int, int] | None) -> tuple[int, int]:
    """Split a rank into two of similar size whose product does not exceed it."""
    if largest is None:
        # All of it, for the error asked for: a divisor next to the root.
        first = next(d for d in range(math.isqrt(rank), 0, -1) if rank % d == 0)
        return first, rank // first
    pairs = [
        (first, min(rank // first, largest[1])) for first in range(1, min(largest[0], rank) + 1)
    ]
    return max(pairs, key=lambda pair: (pair[0] * pair[1], -abs(pair[0] - pair[1])))
