"""Base class of the tensor formats of a matrix, and what they share.

A kernel W of shape (M, N), with M = prod(m) and N = prod(n), is kept as a network of small cores.
Every axis of a core is a leg with a name: i0, i1, ... are the digits of the row, j0, j1, ... those
of the column (C order, the last digit fastest), and any other name is a bond. An entry of W is the
sum over all bonds of the product of the cores' entries:

    W[(i0, i1, ...), (j0, j1, ...)] = sum over bonds of prod_k core_k[legs of core k]

A format only has to name its legs. Shapes, number of weights, initial variance, full matrix and
alternating least squares follow here. For products a format also gives its chains: tensor trains,
open or closed to a ring, that sum to W. `ttrnn.engine` plans and multiplies those.
"""

from __future__ import annotations

import functools
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_letters
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from keras import ops
from threadpoolctl import threadpool_limits

__all__ = ["Compression", "MatrixFormat", "factorize"]

# Alternating least squares: sweeps at most, least fall of the relative error by a sweep, starts,
# and the error that needs no further start.
_MAX_SWEEPS = 100
_SMALLEST_GAIN = 1e-6
_NUM_STARTS = 3
_EXACT = 1e-5
# Of matrices with more entries than this a sweep may take seconds: one start, and an end at a
# larger gain, or after fewer sweeps where there is no shortcut.
SMALL = 20_000
_SMALLEST_GAIN_OF_LARGE = 1e-4
_FEW_SWEEPS = 10


class Compression(NamedTuple):
    """Ratios of a dense layer's number of weights to that of its compressed layer.

    Example:
        >>> TTGRU((8, 20, 20, 18), (4, 4, 4, 4), 4).compression
        Compression(kernel=13687.128712871287, layer=221.4975275163503)
    """

    kernel: float
    """Weights of the dense input kernel over those of the compressed one."""
    layer: float
    """All weights of the dense layer over all of this one, recurrent kernel and bias included."""


@dataclass(frozen=True, init=False)
class MatrixFormat(ABC):
    """Modes and ranks of a matrix that is kept as a network of cores, checked on construction."""

    input_modes: tuple[int, ...]
    output_modes: tuple[int, ...]
    ranks: tuple[int, ...]

    name: ClassVar[str]
    """Short name, as flags and tables use it."""
    # Names of the arguments, for messages.
    _input_name: ClassVar[str] = "input_modes"
    _output_name: ClassVar[str] = "output_modes"
    _ranks_name: ClassVar[str] = "ranks"

    @property
    @abstractmethod
    def legs(self) -> tuple[tuple[str, ...], ...]:
        """Names of each core's axes: i0.. of the row, j0.. of the column, others of bonds."""

    @property
    @abstractmethod
    def bonds(self) -> dict[str, int]:
        """Size of each bond."""

    @abstractmethod
    def chains(self, cores: Sequence) -> list[list]:
        """Rewrite the cores as tensor trains that sum to the matrix, for products.

        Args:
            cores: tensors of `core_shapes`.

        Returns:
            Chains of cores (r_k, m_k, n_k, r_{k+1}), in the order of the digits. The first and the
            last rank of a chain are equal: 1, or that of a ring.
        """

    @classmethod
    @abstractmethod
    def _decompose(
        cls,
        matrix: np.ndarray,
        modes: tuple[tuple[int, ...], tuple[int, ...]],
        ranks: int | Sequence[int] | None,
        relative_error: float,
        options: Mapping[str, Any],
    ) -> tuple[Self, list[np.ndarray]]:
        """Decompose a checked float64 matrix; see `decompose`."""

    def _set(self, input_modes: Sequence[int], output_modes: Sequence[int], **others) -> None:
        """Check and set the modes and further fields, which frozen dataclasses do not assign."""
        values = {
            "input_modes": positive_integers(input_modes, self._input_name),
            "output_modes": positive_integers(output_modes, self._output_name),
            **others,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _require_pairs(self) -> None:
        """Raise ValueError unless there are as many output modes as input modes."""
        inputs, outputs = self.input_modes, self.output_modes
        if len(inputs) != len(outputs):
            raise ValueError(
                f"{self._input_name} and {self._output_name} must have the same number of modes. "
                f"Received {inputs} ({len(inputs)}) and {outputs} ({len(outputs)}); "
                "append modes of 1 to the shorter one."
            )

    @property
    def input_size(self) -> int:
        """Number of inputs M, the product of the input modes."""
        return math.prod(self.input_modes)

    @property
    def output_size(self) -> int:
        """Number of outputs N, the product of the output modes."""
        return math.prod(self.output_modes)

    @property
    def core_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of each core."""
        sizes = self._leg_sizes()
        return tuple(tuple(sizes[leg] for leg in core) for core in self.legs)

    def _leg_sizes(self) -> dict[str, int]:
        """Size of every leg by its name."""
        sizes = dict(self.bonds)
        sizes |= {f"i{k}": size for k, size in enumerate(self.input_modes)}
        sizes |= {f"j{k}": size for k, size in enumerate(self.output_modes)}
        return sizes

    @property
    def num_params(self) -> int:
        """Number of weights in all cores."""
        return sum(math.prod(shape) for shape in self.core_shapes)

    @property
    def num_paths(self) -> int:
        """Number of terms that an entry of the matrix sums, the product of all bonds.

        With independent entries of mean zero, Var(W) = num_paths * prod_k Var(core_k).
        """
        return math.prod(self.bonds.values())

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

    def with_gates(self, num_gates: int) -> Self:
        """Multiply the FIRST output mode by the gates, so that each gate is a contiguous slice."""
        first, *rest = self.output_modes
        return self.from_config({**self.get_config(), "output_modes": (num_gates * first, *rest)})

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
            f"prod({self._input_name}) must equal the feature size {size}. "
            f"Received {self.input_modes} = {self.input_size}; {hint}."
        )

    def matrix(self, cores: Sequence[np.ndarray]) -> np.ndarray:
        """Compute the full (M, N) matrix that NumPy cores stand for."""
        modes = [*self._digits("i"), *self._digits("j")]
        tensor = _einsum(zip(self.legs, cores, strict=True), modes)
        return tensor.reshape(self.input_size, self.output_size)

    def _digits(self, kind: str) -> list[str]:
        modes = self.input_modes if kind == "i" else self.output_modes
        return [f"{kind}{k}" for k in range(len(modes))]

    @classmethod
    def decompose(
        cls,
        matrix: np.ndarray,
        input_modes: Sequence[int],
        output_modes: Sequence[int],
        *,
        ranks: int | Sequence[int] | None = None,
        relative_error: float | None = None,
        **options: Any,
    ) -> tuple[Self, list[np.ndarray]]:
        """Approximate a dense matrix.

        Args:
            matrix: real and finite, of shape (prod(input_modes), prod(output_modes)).
            input_modes, output_modes: as in the constructor.
            ranks: largest ranks, as in the constructor.
            relative_error: choose small ranks for which the Frobenius error is at most this
                fraction of the matrix's norm. If ranks are given too, no rank exceeds them.
            **options: further arguments of the constructor, such as `blocks`.

        Returns:
            The format with the ranks found, and its cores in the dtype of `matrix`; float64 for
            integers. The cores have norms alike.

        Raises:
            ValueError: if the matrix does not hold finite real numbers or is of another shape, or
                neither ranks nor an error are given.
        """
        if ranks is None and relative_error is None:
            raise ValueError("Give ranks or relative_error: how far is the matrix to shrink?")
        modes = (
            positive_integers(input_modes, cls._input_name),
            positive_integers(output_modes, cls._output_name),
        )
        found = checked_matrix(matrix, math.prod(modes[0]), math.prod(modes[1]))
        check_relative_error(relative_error)
        # Scaled to a magnitude of 1, for squares of very large or small numbers would overflow or
        # vanish. In float64, for rounding in float32 alone can exceed the error asked for.
        scale = float(np.abs(found).max()) or 1.0
        chosen, cores = cls._decompose(
            found.astype(np.float64) / scale, modes, ranks, relative_error or 0.0, options
        )
        norms = [float(np.linalg.norm(core)) for core in cores]
        if all(norms):
            # One step of gradient descent then changes all cores alike.
            goal = (math.prod(norms) * scale) ** (1 / len(cores))
            cores = [core * (goal / norm) for core, norm in zip(cores, norms, strict=True)]
        return chosen, [core.astype(found.dtype) for core in cores]

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {
            "input_modes": self.input_modes,
            "output_modes": self.output_modes,
            "ranks": self.ranks,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(**config)


def fit_by_least_squares(
    shape: MatrixFormat, matrix: np.ndarray, sweeps: Any = None
) -> tuple[list[np.ndarray], float]:
    """Fit the cores of any format to a matrix by alternating least squares.

    The matrix is linear in each core, so that the best core given all others solves a linear
    system. Both its sides are contractions of the network without that core. It is started anew a
    few times, for it may end in a local minimum.

    Args:
        shape: modes and ranks.
        matrix: float64 (M, N).
        sweeps: generator function of format, matrix and initial cores that yields the cores and
            the relative error after each sweep; None for `any_sweeps`, which knows no shortcut.

    Returns:
        The cores, and the relative Frobenius error.

    Reference: Kolda, Bader, "Tensor Decompositions and Applications", SIAM Review 51(3), 2009,
    section 3.4 (CP); De Lathauwer, Nion, SIAM J. Matrix Anal. Appl. 30(3), 2008 (block terms).
    """
    best: tuple[list[np.ndarray], float] = ([], math.inf)
    is_small = matrix.size <= SMALL
    # Thousands of systems of some dozen unknowns: handing each to several threads takes ten times
    # as long as solving it, and a hundred times where another process has the processors.
    with threadpool_limits(1 if is_small else None, user_api="blas"):
        for seed in range(_NUM_STARTS if is_small else 1):
            found = _alternate(shape, matrix, np.random.default_rng(seed), sweeps or any_sweeps)
            best = min(best, found, key=lambda pair: pair[1])
            if best[1] < _EXACT:
                break
    return best


def _alternate(
    shape: MatrixFormat, matrix: np.ndarray, rng: np.random.Generator, sweeps: Any
) -> tuple[list[np.ndarray], float]:
    """Alternate from random cores; returns the cores and the relative error."""
    cores = [rng.standard_normal(core) / math.sqrt(math.prod(core)) for core in shape.core_shapes]
    error = math.inf
    # With a shortcut a sweep over a large matrix is quick, too.
    is_small = matrix.size <= SMALL
    is_quick = is_small or sweeps is not any_sweeps
    found = sweeps(shape, matrix, cores)
    for swept, reached in itertools.islice(found, _MAX_SWEEPS if is_quick else _FEW_SWEEPS):
        cores, previous, error = swept, error, reached
        if previous - error < (_SMALLEST_GAIN if is_small else _SMALLEST_GAIN_OF_LARGE):
            break
    return cores, error


def any_sweeps(
    shape: MatrixFormat, matrix: np.ndarray, cores: list[np.ndarray]
) -> Iterator[tuple[list[np.ndarray], float]]:
    """Sweeps of alternating least squares for any network of cores.

    Args:
        shape: modes and ranks.
        matrix: float64 (M, N).
        cores: initial cores; the list is altered.

    Yields:
        The cores and the relative error, after each sweep.
    """
    square = float(np.vdot(matrix, matrix))
    digits = [*shape._digits("i"), *shape._digits("j")]
    sizes = shape._leg_sizes()
    tensor = matrix.reshape([sizes[digit] for digit in digits])
    while True:
        for k, legs in enumerate(shape.legs):
            others: list[Any] = list(zip(shape.legs, cores, strict=True))
            del others[k]
            outer = [leg for leg in legs if leg in digits]
            inner = [leg for leg in legs if leg not in digits]
            # A bond that no other core has is summed over, as by a core of ones.
            alone = [leg for leg in inner if all(leg not in names for names, _ in others)]
            others += [([leg], np.ones(sizes[leg])) for leg in alone]
            right = _einsum([(digits, tensor), *others], outer + inner)
            # The second copy has bonds of its own; both share the digits, which are summed.
            twin = [([leg if leg in digits else leg + "'" for leg in n], c) for n, c in others]
            gram = _einsum([*others, *twin], [*inner, *(leg + "'" for leg in inner)])
            size = math.prod(right.shape[len(outer) :])
            right = right.reshape(-1, size)
            # By least squares, for collinear factors make the system singular.
            solved = np.linalg.lstsq(gram.reshape(size, size), right.T, rcond=1e-12)[0].T
            core = solved.reshape([sizes[leg] for leg in outer + inner])
            cores[k] = core.transpose([(outer + inner).index(leg) for leg in legs])
        # At the solution the matrix's part in the span of the last core's terms is <right, core>.
        rest = max(0.0, square - float(np.vdot(right, solved)))
        yield cores, math.sqrt(rest / (square or 1.0))


def product_sweeps(
    factors: list[np.ndarray], tensor: np.ndarray
) -> Iterator[tuple[list[np.ndarray], float]]:
    """Sweeps of alternating least squares for a sum of outer products, one vector for each axis.

    What all factors of one half of the axes need, the tensor times the factors of the other half,
    is one matrix product. Taken one by one, the factors would be multiplied with a tensor that is
    the rank times larger.

    Args:
        factors: initial factors (size of the axis, R); the list is altered.
        tensor: the tensor.

    Yields:
        The factors and the relative error, after each sweep.

    Reference: Phan, Tichavsky, Cichocki, IEEE Trans. Signal Processing 61(19), 2013, section III.
    """
    square = float(np.vdot(tensor, tensor))
    number, rank = len(factors), factors[0].shape[1]
    # Halves of as many entries as can be.
    sizes = [math.prod(tensor.shape[:cut]) for cut in range(1, number + 1)]
    half = min(range(number), key=lambda k: max(sizes[k], tensor.size // sizes[k])) + 1
    unfolded = tensor.reshape(sizes[half - 1], -1)
    while True:
        for members, matrix in ((range(half), unfolded), (range(half, number), unfolded.T)):
            others = [factors[k] for k in range(number) if k not in members]
            part = matrix @ _khatri_rao(others, rank)  # (product of the half's sizes, R)
            part = part.reshape(*(tensor.shape[k] for k in members), rank)
            for position, k in enumerate(members):
                right = part
                # Axes after this one first, so that its own place does not change.
                for behind in reversed(members[position + 1 :]):
                    right = np.einsum("...xr,xr->...r", right, factors[behind])
                for before in members[:position]:
                    right = np.einsum("x...r,xr->...r", right, factors[before])
                gram = np.ones((rank, rank))
                for other in range(number):
                    if other != k:
                        gram *= factors[other].T @ factors[other]
                factors[k] = _solved(gram, right.T).T
        # Of the last factor that was solved, as above.
        rest = max(0.0, square - float(np.vdot(right, factors[k])))
        yield factors, math.sqrt(rest / (square or 1.0))


def _solved(gram: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve a system of inner products, by least squares where it is nearly singular."""
    try:
        pivots = np.diagonal(np.linalg.cholesky(gram))
    except np.linalg.LinAlgError:
        pivots = np.zeros(1)
    # The squares of the pivots' ratio bound the condition from below.
    if pivots.min() > 1e-5 * pivots.max():
        return np.linalg.solve(gram, right)
    return np.linalg.lstsq(gram, right, rcond=1e-12)[0]


def _khatri_rao(factors: Sequence[np.ndarray], rank: int) -> np.ndarray:
    """Column-wise Kronecker product of factors (m_k, R), (prod m_k, R)."""
    product = np.ones((1, rank))
    for factor in factors:
        product = (product[:, None] * factor).reshape(-1, rank)
    return product


def smallest_fit(
    make: Any,
    matrix: np.ndarray,
    largest: int | None,
    relative_error: float,
    sweeps: Any = None,
) -> tuple[Any, list[np.ndarray]]:
    """Fit by alternating least squares at the smallest rank that holds the error.

    Args:
        make: function of a rank to a format.
        matrix: float64 (M, N).
        largest: largest rank; None for the one at which a matrix is met exactly.
        relative_error: bound on the error; 0 takes the largest rank.
        sweeps: see `fit_by_least_squares`.

    Raises:
        ValueError: if the error is not reached at any rank.
    """
    # One term for every entry but those along the longest factor.
    shape = make(1)
    sizes = shape._leg_sizes()
    bonds = set(shape.bonds)
    longest = max(math.prod(sizes[leg] for leg in set(legs) - bonds) for legs in shape.legs)
    bound = largest or max(1, matrix.size // longest)
    if relative_error == 0 and largest is not None:
        shape = make(bound)
        return shape, fit_by_least_squares(shape, matrix, sweeps)[0]
    # Doubled until the error holds, then halved between the last two.
    fits: dict[int, tuple[Any, list[np.ndarray], float]] = {}

    def error_of(rank: int) -> float:
        if rank not in fits:
            shape = make(rank)
            fits[rank] = (shape, *fit_by_least_squares(shape, matrix, sweeps))
        return fits[rank][2]

    low, high = 0, 1
    while error_of(high) > relative_error and high < bound:
        low, high = high, min(2 * high, bound)
    while high - low > 1 and error_of(high) <= relative_error:
        middle = (low + high) // 2
        low, high = (low, middle) if error_of(middle) <= relative_error else (middle, high)
    shape, cores, error = fits[high]
    if error > relative_error and largest is None:
        raise ValueError(
            f"relative_error={relative_error} was not reached: alternating least squares ended at "
            f"{error:.3g} with rank {high}. Give ranks instead, or another format."
        )
    return shape, cores


def _einsum(nodes, wanted: Sequence[str]) -> np.ndarray:
    """Contract arrays whose axes have names to the axes that are wanted."""
    nodes = list(nodes)
    letters: dict[str, str] = {}
    for leg in [leg for legs, _ in nodes for leg in legs] + list(wanted):
        letters.setdefault(leg, ascii_letters[len(letters)])
    terms = ",".join("".join(letters[leg] for leg in legs) for legs, _ in nodes)
    target = "".join(letters[leg] for leg in wanted)
    arrays = [array for _, array in nodes]
    subscripts = f"{terms}->{target}"
    order = _order(subscripts, tuple(array.shape for array in arrays))
    return np.einsum(subscripts, *arrays, optimize=order)


@functools.lru_cache(maxsize=256)
def _order(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> list:
    """Order of contractions of `np.einsum`. Small arrays are contracted sooner than it is found."""
    arrays = [np.broadcast_to(0.0, shape) for shape in shapes]
    return np.einsum_path(subscripts, *arrays, optimize="greedy")[0]


def carried(core, size: int):
    """Let an index of `size` pass a core: (r, m, n, s) to (size * r, m, n, size * s)."""
    if size == 1:
        return core
    core = ops.convert_to_tensor(core)
    rank, m, n, next_rank = core.shape
    unit = ops.eye(size, dtype=core.dtype)
    wide = ops.einsum("ab,rmns->armnbs", unit, core)
    return ops.reshape(wide, (size * rank, m, n, size * next_rank))


def interleaved(matrix: np.ndarray, input_modes: Sequence[int], output_modes: Sequence[int]):
    """Reorder a matrix (M, N) to a tensor (m_1 n_1, ..., m_d n_d)."""
    num_modes = len(input_modes)
    axes = [axis for k in range(num_modes) for axis in (k, num_modes + k)]
    tensor = matrix.reshape(*input_modes, *output_modes).transpose(axes)
    return tensor.reshape([m * n for m, n in zip(input_modes, output_modes, strict=True)])


def leading_vectors(
    tensor: np.ndarray, axis: int, largest: int | None, tolerance: float
) -> np.ndarray:
    """Left singular vectors of an unfolding, (size of the axis, rank), for a truncation.

    Args:
        tensor: any tensor; `axis` becomes the rows of its unfolding.
        axis: the axis.
        largest: largest rank, or None.
        tolerance: largest norm of what is cut off.
    """
    unfolded = np.moveaxis(tensor, axis, 0).reshape(tensor.shape[axis], -1)
    left, singular, _ = np.linalg.svd(unfolded, full_matrices=False)
    rank = smallest_rank(singular, tolerance)
    return left[:, : min(rank, largest or rank)]


def smallest_rank(singular: np.ndarray, tolerance: float) -> int:
    """Smallest rank whose neglected singular values have a norm of at most `tolerance`."""
    tail = np.sqrt(np.cumsum(singular[::-1] ** 2))[::-1]  # tail[r]: norm of singular[r:]
    # Singular values below this are rounding errors of the SVD itself, not rank of the matrix.
    rounding = singular[0] * singular.size * np.finfo(singular.dtype).eps
    return max(1, int(np.count_nonzero(tail > max(tolerance, rounding))))


def expanded_ranks(ranks: int | Sequence[int], number: int, name: str = "ranks") -> tuple[int, ...]:
    """Expand ranks to `number` of them, from one integer or from all.

    Raises:
        ValueError: if there are more or fewer of them.
    """
    if isinstance(ranks, (int, np.integer)):
        return positive_integers([ranks], name) * number
    checked = positive_integers(ranks, name)
    if len(checked) != number:
        raise ValueError(
            f"{name} must be one integer or {number} integers. Received {checked} "
            f"({len(checked)}); try {(4,) * number}."
        )
    return checked


def checked_matrix(matrix: np.ndarray, input_size: int, output_size: int) -> np.ndarray:
    """Return a matrix of NumPy's floats.

    Raises:
        ValueError: if it does not hold finite real numbers, or is of another shape.
    """
    found = real_array(matrix, "matrix")
    if found.shape != (input_size, output_size):
        raise ValueError(
            f"The modes multiply to {(input_size, output_size)}, "
            f"but the matrix has shape {found.shape}; choose modes for that shape."
        )
    if not np.isfinite(found).all():
        bad = int(np.count_nonzero(~np.isfinite(found)))
        raise ValueError(
            f"matrix must hold finite numbers. Received {bad} of {found.size} that are NaN or "
            "infinity; take weights from before the training went wrong."
        )
    return found


def check_relative_error(relative_error: float | None) -> None:
    """Raise ValueError for an error bound that is negative or not finite."""
    if relative_error is not None and not 0 <= relative_error < math.inf:
        raise ValueError(
            f"relative_error must be a finite number and not negative. Received {relative_error}; "
            "0.1 keeps 99 % of the matrix's square sum."
        )


def real_array(array: np.ndarray, name: str) -> np.ndarray:
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
    (size,) = positive_integers([size], "size")
    (num_modes,) = positive_integers([num_modes], "num_modes")
    return _most_balanced(size, num_modes, smallest=1)


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


def positive_integers(values: Sequence[int], name: str) -> tuple[int, ...]:
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


def chain_legs(num_modes: int) -> tuple[tuple[str, str, str, str], ...]:
    """Legs of a chain of matrix cores, (r_k, i_k, j_k, r_{k+1})."""
    return tuple((f"r{k}", f"i{k}", f"j{k}", f"r{k + 1}") for k in range(num_modes))
