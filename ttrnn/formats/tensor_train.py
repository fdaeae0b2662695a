"""Tensor-train matrices: shapes, parameter counts, conversions and the TT-SVD.

A kernel W of shape (M, N) with M = prod(m) and N = prod(n) is kept as d cores.
Core k has shape (r_k, m_k, n_k, r_{k+1}) with r_0 = r_d = 1, and

    W[(i_1..i_d), (j_1..j_d)] = sum over ranks of prod_k core_k[r_k, i_k, j_k, r_{k+1}]

where both multi-indices count in C order (the last mode fastest).

Reference: Oseledets, "Tensor-Train Decomposition", SIAM J. Sci. Comput. 33(5), 2011;
Novikov et al., "Tensorizing Neural Networks", arXiv 1509.06569, equation 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np

from ttrnn.formats.base import (
    Compression,
    MatrixFormat,
    chain_legs,
    check_relative_error,
    checked_matrix,
    factorize,
    interleaved,
    positive_integers,
    real_array,
    smallest_rank,
)

__all__ = [
    "Compression",
    "TTShape",
    "TensorTrain",
    "cores_to_matrix",
    "factorize",
    "normalize_ranks",
    "num_tt_params",
    "tt_svd",
]


@keras.saving.register_keras_serializable(package="ttrnn")
@dataclass(frozen=True, init=False)
class TensorTrain(MatrixFormat):
    """Modes and ranks of a tensor-train matrix, checked on construction.

    Args:
        input_modes: m_1..m_d, whose product is the input size M.
        output_modes: n_1..n_d, whose product is the output size N.
        ranks: r_0..r_d with ones at both ends, or one integer for every inner rank.

    Raises:
        ValueError: if the lengths differ or an entry is not a positive integer.

    Example:
        >>> TensorTrain((8, 20, 20, 18), (4, 4, 4, 4), 4).num_params
        2976

    Reference: Oseledets 2011; Novikov et al., arXiv 1509.06569, equation 5.
    """

    name: ClassVar[str] = "tt"

    def __init__(
        self, input_modes: Sequence[int], output_modes: Sequence[int], ranks: int | Sequence[int]
    ) -> None:
        self._set(input_modes, output_modes)
        self._require_pairs()
        self._set(input_modes, output_modes, ranks=normalize_ranks(ranks, len(self.input_modes)))

    @property
    def legs(self) -> tuple[tuple[str, ...], ...]:
        return chain_legs(len(self.input_modes))

    @property
    def bonds(self) -> dict[str, int]:
        return {f"r{k}": rank for k, rank in enumerate(self.ranks)}

    def chains(self, cores: Sequence) -> list[list]:
        return [list(cores)]

    @classmethod
    def _decompose(cls, matrix, modes, ranks, relative_error, options):
        cores = tt_svd(matrix, modes[0], modes[1], tt_ranks=ranks, relative_error=relative_error)
        return cls(modes[0], modes[1], (1, *(core.shape[3] for core in cores))), cores


class TTShape(TensorTrain):
    """Tensor train of the layers whose arguments have the published names.

    Args:
        input_modes, output_modes, ranks: `tt_input_shape`, `tt_output_shape` and `tt_ranks` of the
            layer.

    Raises:
        ValueError: as `TensorTrain`, in the words of the layers.

    Example:
        >>> TTShape((8, 20, 20, 18), (4, 4, 4, 4), 4).num_params
        2976
    """

    _input_name: ClassVar[str] = "tt_input_shape"
    _output_name: ClassVar[str] = "tt_output_shape"


def normalize_ranks(ranks: int | Sequence[int], num_modes: int) -> tuple[int, ...]:
    """Expand ranks to r_0..r_d, from one integer (every inner rank) or from all d + 1 of them.

    Raises:
        ValueError: if the number of ranks is not d + 1 or either end is not 1.
    """
    if isinstance(ranks, (int, np.integer)):
        inner = positive_integers([ranks], "tt_ranks")
        return (1, *inner * (num_modes - 1), 1)
    checked = positive_integers(ranks, "tt_ranks")
    if len(checked) != num_modes + 1 or checked[0] != 1 or checked[-1] != 1:
        raise ValueError(
            f"tt_ranks must be one integer or {num_modes + 1} integers with 1 at both ends, for "
            f"{num_modes} modes. Received {checked}; try {(1, *[4] * (num_modes - 1), 1)}."
        )
    return checked


def num_tt_params(
    input_modes: Sequence[int], output_modes: Sequence[int], ranks: int | Sequence[int]
) -> int:
    """Count the weights of a tensor-train kernel: sum of m_k n_k r_k r_{k+1}.

    Args:
        input_modes: m_1..m_d.
        output_modes: n_1..n_d.
        ranks: r_0..r_d with ones at both ends, or one integer for every inner rank.

    Raises:
        ValueError: if modes and ranks do not fit each other.

    Example:
        >>> num_tt_params((8, 20, 20, 18), (4, 4, 4, 4), 4)
        2976
    """
    return TTShape(input_modes, output_modes, ranks).num_params


def cores_to_matrix(cores: Sequence[np.ndarray]) -> np.ndarray:
    """Compute the full matrix that the cores stand for.

    W[(i_1..i_d), (j_1..j_d)] = sum over ranks of prod_k core_k[r_k, i_k, j_k, r_{k+1}].

    Args:
        cores: arrays of shape (r_k, m_k, n_k, r_{k+1}), with r_0 = r_d = 1.

    Returns:
        Array (M, N) in the dtype of the cores; float64 for cores of integers, whose products could
        overflow.

    Raises:
        ValueError: if the cores do not hold real numbers, or their shapes do not fit each other.

    Example:
        >>> cores = tt_svd(np.eye(16), (4, 4), (4, 4))
        >>> np.allclose(cores_to_matrix(cores), np.eye(16))
        True

    Reference: Novikov et al., arXiv 1509.06569, equation 5.
    """
    arrays = [real_array(core, f"core {k}") for k, core in enumerate(cores)]
    shapes = [array.shape for array in arrays]
    ends = [1, *(shape[-1] if shape else 0 for shape in shapes)]
    is_chain = all(
        len(shape) == 4 and shape[0] == end for shape, end in zip(shapes, ends[:-1], strict=True)
    )
    if not (arrays and is_chain and ends[-1] == 1):
        raise ValueError(
            "cores must have shapes (r_k, m_k, n_k, r_{k+1}), where each begins with the rank that "
            f"the one before ends with, and the first and last rank are 1. Received {shapes}."
        )
    matrix = np.ones((1, 1, 1), dtype=np.result_type(*arrays))  # (M, N, r)
    for core in arrays:
        # One more mode for both indices; C order puts the new, faster one behind.
        matrix = np.einsum("MNr,rmns->MmNns", matrix, core)
        num_inputs, m, num_outputs, n, rank = matrix.shape
        matrix = matrix.reshape(num_inputs * m, num_outputs * n, rank)
    return matrix[:, :, 0]


def tt_svd(
    matrix: np.ndarray,
    tt_input_shape: Sequence[int],
    tt_output_shape: Sequence[int],
    *,
    tt_ranks: int | Sequence[int] | None = None,
    max_rank: int | None = None,
    relative_error: float | None = None,
) -> list[np.ndarray]:
    """Decompose a dense (M, N) kernel into tensor-train cores by successive truncated SVDs.

    Args:
        matrix: the dense kernel, real and finite, of shape (prod(tt_input_shape),
            prod(tt_output_shape)).
        tt_input_shape: input modes m_1..m_d.
        tt_output_shape: output modes n_1..n_d.
        tt_ranks: largest rank at each place (d + 1 integers, ones at both ends) or everywhere.
        max_rank: largest rank anywhere; an alternative to `tt_ranks`.
        relative_error: choose the smallest ranks for which the Frobenius error is at most this
            fraction of the Frobenius norm. If ranks are given too, no rank exceeds them.

    Returns:
        Cores of shape (r_k, m_k, n_k, r_{k+1}), in the dtype of `matrix`; float64 for integers. A
        rank never exceeds that of the matrix, so ranks can be smaller than those asked for.

    Raises:
        ValueError: if the matrix does not hold finite real numbers, the shapes do not multiply to
            the matrix's, or both kinds of rank are given.

    Example:
        >>> [core.shape for core in tt_svd(np.ones((16, 16)), (4, 4), (4, 4))]
        [(1, 4, 4, 1), (1, 4, 4, 1)]

    Reference: Oseledets 2011, algorithm 1; the error bound is its theorem 2.2.
    """
    if tt_ranks is not None and max_rank is not None:
        raise ValueError("Give tt_ranks or max_rank, not both.")
    bound = tt_ranks if tt_ranks is not None else max_rank
    shape = TTShape(tt_input_shape, tt_output_shape, 1 if bound is None else bound)
    matrix = checked_matrix(matrix, shape.input_size, shape.output_size)
    check_relative_error(relative_error)
    num_modes = len(shape.input_modes)
    largest = shape.ranks if bound is not None else (max(matrix.shape) ** 2,) * (num_modes + 1)
    # In float64, for rounding in float32 alone can exceed the error asked for. Scaled to a
    # magnitude of 1, for squares of very large or small numbers would overflow or vanish.
    scale = float(np.abs(matrix).max()) or 1.0
    scaled = matrix.astype(np.float64) / scale
    norm = float(np.linalg.norm(scaled))
    # Theorem 2.2 of Oseledets 2011: the errors of the d - 1 truncations add up in squares.
    tolerance = (relative_error or 0.0) * norm / math.sqrt(max(1, num_modes - 1))
    tensor = interleaved(scaled, shape.input_modes, shape.output_modes)
    cores = _successive_svds(tensor, shape, largest, tolerance)
    with np.errstate(over="ignore"):  # reported below as ValueError
        cores[-1] = cores[-1] * scale
        cores = [core.astype(matrix.dtype) for core in cores]
    if not np.isfinite(cores[-1]).all():
        raise ValueError(
            f"The last core holds the matrix's norm, which must fit in {matrix.dtype}. Received a "
            f"norm of {norm:.3g} x {scale:.3g}; give the matrix in a wider type, or scaled."
        )
    return cores


def _successive_svds(
    tensor: np.ndarray, shape: TTShape, largest_ranks: Sequence[int], tolerance: float
) -> list[np.ndarray]:
    """Split off one core after another by truncated SVDs (Oseledets 2011, algorithm 1)."""
    cores = []
    rank = 1
    modes = list(zip(shape.input_modes, shape.output_modes, strict=True))
    rest = tensor  # (r_k, m_k n_k, ..., m_d n_d) as it shrinks from the left
    for k, (m, n) in enumerate(modes[:-1]):
        left, singular, right = np.linalg.svd(rest.reshape(rank * m * n, -1), full_matrices=False)
        new_rank = min(smallest_rank(singular, tolerance), largest_ranks[k + 1])
        # The left factor is orthonormal, so later truncations do not amplify this one's error.
        cores.append(left[:, :new_rank].reshape(rank, m, n, new_rank))
        rest = singular[:new_rank, None] * right[:new_rank]
        rank = new_rank
    cores.append(rest.reshape(rank, *modes[-1], 1))
    return cores
