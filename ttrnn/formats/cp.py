"""CP matrices: a sum of outer products of one vector for each input and output mode.

W[(i), (j)] = sum over r of prod_k A_k[i_k, r] prod_l B_l[j_l, r].

Reference: Kolda, Bader, "Tensor Decompositions and Applications", SIAM Review 51(3), 2009,
sections 3 and 3.4; for kernels, Pan et al., "TedNet", Neurocomputing 469, 2022, arXiv 2104.05018.
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
    product_sweeps,
    smallest_fit,
    smallest_rank,
)


@keras.saving.register_keras_serializable(package="ttrnn")
@dataclass(frozen=True, init=False)
class CP(MatrixFormat):
    """Modes and rank of a CP matrix: factors (m_k, R) and (n_l, R).

    Args:
        input_modes: m_1..m_d.
        output_modes: n_1..n_e; their number may differ from that of the input modes.
        ranks: the rank R.

    Raises:
        ValueError: if modes and rank are not positive integers.

    Example:
        >>> CP((64, 32), (128, 64), 400).num_params
        115200
    """

    name: ClassVar[str] = "cp"

    def __init__(
        self, input_modes: Sequence[int], output_modes: Sequence[int], ranks: int | Sequence[int]
    ) -> None:
        self._set(input_modes, output_modes, ranks=expanded_ranks(ranks, 1))

    @property
    def legs(self) -> tuple[tuple[str, ...], ...]:
        return tuple((digit, "r") for digit in (*self._digits("i"), *self._digits("j")))

    @property
    def bonds(self) -> dict[str, int]:
        return {"r": self.ranks[0]}

    def chains(self, cores: Sequence) -> list[list]:
        # Two matrices: that of the inputs takes 2 M R operations a vector. No order of the single
        # factors takes fewer, for the first one alone is met by all M values.
        number = len(self.input_modes)
        first, second = _khatri_rao(cores[:number]), _khatri_rao(cores[number:])
        return [[first[None, :, None, :], ops.transpose(second)[:, None, :, None]]]

    @classmethod
    def _decompose(cls, matrix, modes, ranks, relative_error, options):
        largest = None if ranks is None else cls(modes[0], modes[1], ranks).ranks[0]
        if len(modes[0]) == len(modes[1]) == 1:
            # A product of two matrices, whose best approximation is that by singular values.
            left, singular, right = np.linalg.svd(matrix, full_matrices=False)
            tolerance = relative_error * float(np.linalg.norm(matrix))
            rank = min(smallest_rank(singular, tolerance), largest or len(singular))
            factors = [left[:, :rank] * singular[:rank], right[:rank].T]
            return cls(modes[0], modes[1], rank), factors
        return smallest_fit(
            lambda rank: cls(modes[0], modes[1], rank), matrix, largest, relative_error, _sweeps
        )


def _sweeps(
    shape: CP, matrix: np.ndarray, cores: list[np.ndarray]
) -> Iterator[tuple[list[np.ndarray], float]]:
    """Sweeps of a sum of outer products: the modes are the axes."""
    return product_sweeps(cores, matrix.reshape(*shape.input_modes, *shape.output_modes))


def _khatri_rao(factors: Sequence):
    """Column-wise Kronecker product of factors (m_k, R), (prod m_k, R)."""
    product = ops.convert_to_tensor(factors[0])
    for factor in factors[1:]:
        product = ops.einsum("xr,yr->xyr", product, factor)
        product = ops.reshape(product, (-1, product.shape[2]))
    return product
