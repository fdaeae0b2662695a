"""Tensor-train matrices: shapes, parameter counts, conversions and the TT-SVD.

A kernel W of shape (M, N) with M = prod(m) and N = prod(n) is kept as d cores.
Core k has shape (r_k, m_k, n_k, r_{k+1}) with r_0 = r_d = 1, and

    W[(i_1..i_d), (j_1..j_d)] = sum over ranks of prod_k core_k[r_k, i_k, j_k, r_{k+1}]

where both multi-indices count in C order (the last mode fastest). Everything here is NumPy;
the layers contract their cores in `ttrnn.engine.contraction`.

Reference: Oseledets, "Tensor-Train Decomposition", SIAM J. Sci. Comput. 33(5), 2011;
Novikov et al., "Tensorizing Neural Networks", arXiv 1509.06569, equation 5.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = [
    "Compression",
    "TTShape",
    "cores_to_matrix",
    "factorize",
    "normalize_ranks",
    "num_tt_params",
    "tt_svd",
]


class Compression(NamedTuple):
    """Ratios of a dense layer's number of weights to that of its tensor-train layer.

    Example:
        >>> TTGRU((8, 20, 20, 18), (4, 4, 4, 4), 4).compression
        Compression(kernel=13687.128712871287, layer=221.4975275163503)
    """

    kernel: float
    """Weights of the dense input kernel over those of the tensor train."""
    layer: float
    """All weights of the dense layer over all of this one, recurrent kernel and bias included."""


@dataclass(frozen=True)
class TTShape:
    """Modes and ranks of a tensor-train matrix, checked on construction.

    Args:
        input_modes: m_1..m_d, whose product is the input size M.
        output_modes: n_1..n_d, whose product is the output size N.
        ranks: r_0..r_d with ones at both ends, or one integer for every inner rank.

    Raises:
        ValueError: if the lengths differ or an entry is not a positive integer.

    Example:
        >>> TTShape((8, 20, 20, 18), (4, 4, 4, 4), 4).num_params
        2976
    """

    input_modes: tuple[int, ...]
    output_modes: tuple[int, ...]
    ranks: tuple[int, ...]

    def __init__(
        self, input_modes: Sequence[int], output_modes: Sequence[int], ranks: int | Sequence[int]
    ) -> None:
        inputs = _positive_integers(input_modes, "tt_input_shape")
        outputs = _positive_integers(output_modes, "tt_output_shape")
        if len(inputs) != len(outputs):
            raise ValueError(
                "tt_input_shape and tt_output_shape must have the same number of modes. "
                f"Received {inputs} ({len(inputs)}) and {outputs} ({len(outputs)}); "
                "append modes of 1 to the shorter one."
            )
        # The dataclass is frozen, so its own __init__ has to set the fields this way.
        object.__setattr__(self, "input_modes", inputs)
        object.__setattr__(self, "output_modes", outputs)
        object.__setattr__(self, "ranks", normalize_ranks(ranks, len(inputs)))

    @property
    def input_size(self) -> int:
        """Number of inputs M, the product of the input modes."""
        return math.prod(self.input_modes)

    @property
    def output_size(self) -> int:
        """Number of outputs N, the product of the output modes."""
        return math.prod(self.output_modes)

    @property
    def core_shapes(self) -> tuple[tuple[int, int, int, int], ...]:
        """Shape (r_k, m_k, n_k, r_{k+1}) of each core."""
        return tuple(
            zip(self.ranks[:-1], self.input_modes, self.output_modes, self.ranks[1:], strict=True)
        )

    @property
    def num_params(self) -> int:
        """Number of weights in all cores: sum of m_k n_k r_k r_{k+1}."""
        return sum(math.prod(shape) for shape in self.core_shapes)

    def compression(self, num_other_params: int) -> Compression:
        """Compression against the dense layer.

        Args:
            num_other_params: weights outside the input kernel, which both layers have.
        """
        dense = self.input_size * self.output_size
        return Compression(
            kernel=dense / self.num_params,
            layer=(dense + num_other_params) / (self.num_params + num_other_params),
        )

    def with_gates(self, num_gates: int) -> TTShape:
        """Multiply the FIRST output mode by the gates, so that each gate is a contiguous slice."""
        first, *rest = self.output_modes
        return TTShape(self.input_modes, (num_gates * first, *rest), self.ranks)

    def check_input_size(self, size: int | None) -> None:
        """Raise ValueError unless the input modes multiply to `size` features."""
        if size == self.input_size:
            return
        if size is None:
            raise ValueError(
                "The feature size, the last axis of the input, must be known when the layer is "
                f"built. Received None; give it, e.g. keras.Input((None, {self.input_size}))."
            )
        hint = (
            f"choose {len(self.input_modes)} modes, e.g. {factorize(size, len(self.input_modes))}"
        )
        if size % self.input_size == 0:
            hint = f"append a mode of {size // self.input_size}, or {hint}"
        raise ValueError(
            f"prod(tt_input_shape) must equal the feature size {size}. "
            f"Received {self.input_modes} = {self.input_size}; {hint}."
        )


def normalize_ranks(ranks: int | Sequence[int], num_modes: int) -> tuple[int, ...]:
    """Expand ranks to r_0..r_d, from one integer (every inner rank) or from all d + 1 of them.

    Raises:
        ValueError: if the number of ranks is not d + 1 or either end is not 1.
    """
    if isinstance(ranks, (int, np.integer)):
        inner = _positive_integers([ranks], "tt_ranks")
        return (1, *inner * (num_modes - 1), 1)
    checked = _positive_integers(ranks, "tt_ranks")
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


def factorize(size: int, num_modes: int) -> tuple[int, ...]:
    """Split `size` into `num_modes` ascending factors of the smallest sum, the most balanced.

    Args:
        size: number to factor, such as the number of features.
        num_modes: number of factors. Factors of 1 occur where `size` has too few of its own.

    Returns:
        The factors, in ascending order.

    Raises:
        ValueError: if either argument is not a positive integer.

    Example:
        >>> factorize(57600, 4)
        (15, 15, 16, 16)
    """
    (size,) = _positive_integers([size], "size")
    (num_modes,) = _positive_integers([num_modes], "num_modes")
    return _most_balanced(size, num_modes, smallest=1)


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
    arrays = [_real(core, f"core {k}") for k, core in enumerate(cores)]
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
    matrix = _real(matrix, "matrix")
    if matrix.shape != (shape.input_size, shape.output_size):
        raise ValueError(
            f"The modes multiply to {(shape.input_size, shape.output_size)}, "
            f"but the matrix has shape {matrix.shape}; choose modes for that shape."
        )
    if not np.isfinite(matrix).all():
        bad = int(np.count_nonzero(~np.isfinite(matrix)))
        raise ValueError(
            f"matrix must hold finite numbers. Received {bad} of {matrix.size} that are NaN or "
            "infinity; take weights from before the training went wrong."
        )
    if relative_error is not None and not 0 <= relative_error < math.inf:
        raise ValueError(
            f"relative_error must be a finite number and not negative. Received {relative_error}; "
            "0.1 keeps 99 % of the matrix's square sum."
        )
    num_modes = len(shape.input_modes)
    largest = shape.ranks if bound is not None else (max(matrix.shape) ** 2,) * (num_modes + 1)
    # In float64, for rounding in float32 alone can exceed the error asked for. Scaled to a
    # magnitude of 1, for squares of very large or small numbers would overflow or vanish.
    scale = float(np.abs(matrix).max()) or 1.0
    scaled = matrix.astype(np.float64) / scale
    norm = float(np.linalg.norm(scaled))
    # Theorem 2.2 of Oseledets 2011: the errors of the d - 1 truncations add up in squares.
    tolerance = (relative_error or 0.0) * norm / math.sqrt(max(1, num_modes - 1))
    cores = _successive_svds(_interleave(scaled, shape), shape, largest, tolerance)
    with np.errstate(over="ignore"):  # reported below as ValueError
        cores[-1] = cores[-1] * scale
        cores = [core.astype(matrix.dtype) for core in cores]
    if not np.isfinite(cores[-1]).all():
        raise ValueError(
            f"The last core holds the matrix's norm, which must fit in {matrix.dtype}. Received a "
            f"norm of {norm:.3g} x {scale:.3g}; give the matrix in a wider type, or scaled."
        )
    return cores


def _real(array: np.ndarray, name: str) -> np.ndarray:
    """Convert to an array of NumPy's floats; integers become float64.

    Raises:
        ValueError: if it does not hold real numbers.
    """
    found = np.asarray(array)
    if found.dtype.kind in "biu":
        return found.astype(np.float64)
    if found.dtype.name == "bfloat16":  # no type of NumPy's own: einsum and linalg refuse it
        return found.astype(np.float32)
    if found.dtype.kind == "f":
        return found
    hint = (
        "decompose its real and imaginary parts one by one"
        if found.dtype.kind == "c"
        else "convert it to float32"
    )
    raise ValueError(f"{name} must hold real numbers. Received {found.dtype}; {hint}.")


def _interleave(matrix: np.ndarray, shape: TTShape) -> np.ndarray:
    """Reorder a matrix (M, N) to a tensor (m_1 n_1, ..., m_d n_d)."""
    num_modes = len(shape.input_modes)
    axes = [axis for k in range(num_modes) for axis in (k, num_modes + k)]
    tensor = matrix.reshape(*shape.input_modes, *shape.output_modes).transpose(axes)
    return tensor.reshape(
        [m * n for m, n in zip(shape.input_modes, shape.output_modes, strict=True)]
    )


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
        new_rank = min(_smallest_rank(singular, tolerance), largest_ranks[k + 1])
        # The left factor is orthonormal, so later truncations do not amplify this one's error.
        cores.append(left[:, :new_rank].reshape(rank, m, n, new_rank))
        rest = singular[:new_rank, None] * right[:new_rank]
        rank = new_rank
    cores.append(rest.reshape(rank, *modes[-1], 1))
    return cores


def _smallest_rank(singular: np.ndarray, tolerance: float) -> int:
    """Smallest rank whose neglected singular values have a norm of at most `tolerance`."""
    tail = np.sqrt(np.cumsum(singular[::-1] ** 2))[::-1]  # tail[r]: norm of singular[r:]
    # Singular values below this are rounding errors of the SVD itself, not rank of the matrix.
    rounding = singular[0] * singular.size * np.finfo(singular.dtype).eps
    return max(1, int(np.count_nonzero(tail > max(tolerance, rounding))))


@functools.lru_cache(maxsize=4096)
def _most_balanced(size: int, num_modes: int, smallest: int) -> tuple[int, ...]:
    """Find ascending factors of the smallest sum, none below `smallest`; empty if none exist."""
    if num_modes == 1:
        return (size,) if size >= smallest else ()
    best: tuple[int, ...] = ()
    # In ascending order the first factor is at most the num_modes-th root.
    for divisor in range(smallest, round(size ** (1 / num_modes)) + 1):
        if size % divisor == 0:
            rest = _most_balanced(size // divisor, num_modes - 1, divisor)
            if rest and (not best or divisor + sum(rest) < sum(best)):
                best = (divisor, *rest)
    return best


def _positive_integers(values: Sequence[int], name: str) -> tuple[int, ...]:
    """Check for positive integers, at least one; `name` is the argument's, for the message."""
    try:
        checked = tuple(values)
    except TypeError:
        raise ValueError(f"{name} must be a sequence of integers. Received {values!r}.") from None
    for value in checked:
        # bool is a subclass of int, yet True as a mode is a slip.
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} must hold positive integers. Received {checked}.")
    if not checked:
        raise ValueError(f"{name} must hold at least one integer. Received {checked}.")
    return tuple(int(value) for value in checked)
