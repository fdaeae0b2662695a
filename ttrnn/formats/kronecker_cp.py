"""Kronecker CP matrices: a sum of Kronecker products of small matrices.

W[(i), (j)] = sum over r of prod_k A_k[r, i_k, j_k].

Reference: Wang et al., "Kronecker CP Decomposition With Fast Multiplication for Compressing RNNs",
IEEE TNNLS 34(5), 2023, arXiv 2008.09342, equation 7; for two modes the best one follows from an
SVD: Van Loan, Pitsianis, "Approximation with Kronecker Products", 1993.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
from keras import ops

from ttrnn.formats.base import (
    MatrixFormat,
    expanded_ranks,
    interleaved,
    product_sweeps,
    smallest_fit,
)
from ttrnn.formats.tensor_train import tt_svd


@keras.saving.register_keras_serializable(package="ttrnn")
@dataclass(frozen=True, init=False)
class KroneckerCP(MatrixFormat):
    """Modes and rank of a Kronecker CP matrix: factors (R, m_k, n_k).

    Args:
        input_modes: m_1..m_d.
        output_modes: n_1..n_d.
        ranks: the rank R.

    Raises:
        ValueError: if modes and rank do not fit each other.

    Example:
        >>> KroneckerCP((8, 20, 20, 18), (4, 4, 4, 4), 4).num_params
        1056
    """

    name: ClassVar[str] = "kcp"

    def __init__(
        self, input_modes: Sequence[int], output_modes: Sequence[int], ranks: int | Sequence[int]
    ) -> None:
        self._set(input_modes, output_modes, ranks=expanded_ranks(ranks, 1))
        self._require_pairs()

    @property
    def legs(self) -> tuple[tuple[str, ...], ...]:
        return tuple(("r", f"i{k}", f"j{k}") for k in range(len(self.input_modes)))

    @property
    def bonds(self) -> dict[str, int]:
        return {"r": self.ranks[0]}

    def chains(self, cores: Sequence) -> list[list]:
        if len(cores) == 1:
            return [[ops.sum(cores[0], axis=0)[None, :, :, None]]]
        # A tensor train whose inner cores are diagonal in their ranks.
        first, *inner, last = cores
        unit = ops.eye(self.ranks[0], dtype=first.dtype)
        diagonal = [ops.einsum("rmn,rs->rmns", core, unit) for core in inner]
        return [[ops.transpose(first, (1, 2, 0))[None], *diagonal, last[:, :, :, None]]]

    @classmethod
    def _decompose(cls, matrix, modes, ranks, relative_error, options):
        largest = None if ranks is None else cls(modes[0], modes[1], ranks).ranks[0]
        if len(modes[0]) == 2:
            # Then it is a tensor train, whose SVD is the best approximation.
            first, last = tt_svd(
                matrix, modes[0], modes[1], max_rank=largest, relative_error=relative_error
            )
            factors = [np.moveaxis(first[0], 2, 0), last[:, :, :, 0]]
            return cls(modes[0], modes[1], first.shape[3]), factors
        return smallest_fit(
            lambda rank: cls(modes[0], modes[1], rank), matrix, largest, relative_error, _sweeps
        )


def _sweeps(
    shape: KroneckerCP, matrix: np.ndarray, cores: list[np.ndarray]
) -> Iterator[tuple[list[np.ndarray], float]]:
    """Sweeps of a sum of outer products: the pairs of modes are the axes."""
    rank = shape.ranks[0]
    tensor = interleaved(matrix, shape.input_modes, shape.output_modes)
    for factors, error in product_sweeps([core.reshape(rank, -1).T for core in cores], tensor):
        pairs = zip(factors, shape.core_shapes, strict=True)
        yield [factor.T.reshape(size) for factor, size in pairs], error
