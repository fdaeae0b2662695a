"""Tucker matrices: a small core tensor with a factor for each pair of modes; and Tucker-2.

W[(i), (j)] = sum over a_1..a_d of G[a_1..a_d] prod_k A_k[i_k, j_k, a_k].

Reference: Tucker, Psychometrika 31, 1966; De Lathauwer et al., SIAM J. Matrix Anal. Appl. 21(4),
2000 (HOSVD); Vannieuwenhoven et al., SIAM J. Sci. Comput. 34(2), 2012 (sequential truncation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
from keras import ops

from ttrnn.formats.base import (
    MatrixFormat,
    carried,
    expanded_ranks,
    interleaved,
    leading_vectors,
)
from ttrnn.formats.tensor_train import tt_svd


@keras.saving.register_keras_serializable(package="ttrnn")
@dataclass(frozen=True, init=False)
class Tucker(MatrixFormat):
    """Modes and ranks of a Tucker matrix: cores G (a_1..a_d) and A_k (m_k, n_k, a_k).

    Args:
        input_modes: m_1..m_d.
        output_modes: n_1..n_d.
        ranks: a_1..a_d, or one integer for all.

    Raises:
        ValueError: if modes and ranks do not fit each other.

    Example:
        >>> Tucker((8, 20, 20, 18), (4, 4, 4, 4), 4).num_params
        1312
    """

    name: ClassVar[str] = "tucker"

    def __init__(
        self, input_modes: Sequence[int], output_modes: Sequence[int], ranks: int | Sequence[int]
    ) -> None:
        self._set(input_modes, output_modes)
        self._require_pairs()
        object.__setattr__(self, "ranks", expanded_ranks(ranks, len(self.input_modes)))

    @property
    def legs(self) -> tuple[tuple[str, ...], ...]:
        number = len(self.ranks)
        core = tuple(f"a{k}" for k in range(number))
        return (core, *((f"i{k}", f"j{k}", f"a{k}") for k in range(number)))

    @property
    def bonds(self) -> dict[str, int]:
        return {f"a{k}": rank for k, rank in enumerate(self.ranks)}

    def chains(self, cores: Sequence) -> list[list]:
        return [tucker_chain(*cores)]

    @classmethod
    def _decompose(cls, matrix, modes, ranks, relative_error, options):
        number = len(modes[0])
        largest = [None] * number if ranks is None else cls(modes[0], modes[1], ranks).ranks
        core = interleaved(matrix, *modes)
        # The squares of the d truncations' errors add up.
        tolerance = relative_error * float(np.linalg.norm(matrix)) / math.sqrt(number)
        factors = []
        for k in range(number):
            # Of the core as it shrinks: the same bound, and smaller SVDs.
            vectors = leading_vectors(core, k, largest[k], tolerance)
            core = np.moveaxis(np.tensordot(vectors, core, (0, k)), 0, k)
            factors.append(vectors.reshape(modes[0][k], modes[1][k], -1))
        return cls(modes[0], modes[1], core.shape), [core, *factors]


def tucker_chain(core, *factors) -> list:
    """Rewrite a Tucker matrix as a tensor train.

    The bond after mode k holds a_1..a_k in the first half and a_{k+1}..a_d in the second; the
    factor between them takes in the core tensor.

    Args:
        core: (a_1..a_d).
        factors: (m_k, n_k, a_k) each.
    """
    number = len(factors)
    ranks = core.shape
    middle = (number - 1) // 2
    chain = []
    for k, factor in enumerate(factors):
        before, after = math.prod(ranks[:k]), math.prod(ranks[k + 1 :])
        m, n, rank = factor.shape
        if k < middle:  # (a_1..a_{k-1}) passes, and a_k joins it
            chain.append(carried(ops.reshape(factor, (1, m, n, rank)), before))
        elif k == middle:
            cut = ops.reshape(core, (before, rank, after))
            chain.append(ops.einsum("bra,mnr->bmna", cut, factor))
        else:  # a_k leaves (a_k..a_d): the slowest digit of the bond, so the others pass behind it
            unit = ops.eye(after, dtype=factor.dtype)
            wide = ops.einsum("mnr,ab->ramnb", factor, unit)
            chain.append(ops.reshape(wide, (rank * after, m, n, after)))
    return chain


@keras.saving.register_keras_serializable(package="ttrnn")
@dataclass(frozen=True, init=False)
class Tucker2(MatrixFormat):
    """Tucker-2 matrix: factors of the first input mode and of all outputs alone are compressed.

    W[(i), j] = sum over a, b of A[i_1, a] G[a, i_2..i_d, b] B[b, j].

    Args:
        input_modes: m_1..m_d, at least two.
        output_modes: modes whose product is N; they are not told apart.
        ranks: (a, b), or one integer for both.

    Raises:
        ValueError: if there is one input mode alone, or the ranks are not two.

    Example:
        >>> Tucker2((16, 16, 8), (8192,), 10).num_params
        94880

    Reference: Pan et al., "TedNet", Neurocomputing 469, 2022, arXiv 2104.05018.
    """

    name: ClassVar[str] = "tucker2"

    def __init__(
        self, input_modes: Sequence[int], output_modes: Sequence[int], ranks: int | Sequence[int]
    ) -> None:
        self._set(input_modes, output_modes, ranks=expanded_ranks(ranks, 2))
        if len(self.input_modes) < 2:
            raise ValueError(
                "Tucker-2 splits the inputs: input_modes must be at least two. Received "
                f"{self.input_modes}; factor it."
            )

    @property
    def legs(self) -> tuple[tuple[str, ...], ...]:
        return ("i0", "a"), ("a", *self._digits("i")[1:], "b"), ("b", "j")

    @property
    def bonds(self) -> dict[str, int]:
        return dict(zip("ab", self.ranks, strict=True))

    def _leg_sizes(self) -> dict[str, int]:
        return super()._leg_sizes() | {"j": self.output_size}

    def _digits(self, kind: str) -> list[str]:
        return ["j"] if kind == "j" else super()._digits(kind)

    def chains(self, cores: Sequence) -> list[list]:
        first, middle, last = cores
        m, (a, b) = self.input_modes[0], self.ranks
        return [
            [
                ops.reshape(first, (1, m, 1, a)),
                ops.reshape(middle, (a, self.input_size // m, 1, b)),
                ops.reshape(last, (b, 1, self.output_size, 1)),
            ]
        ]

    @classmethod
    def _decompose(cls, matrix, modes, ranks, relative_error, options):
        bound = cls(modes[0], modes[1], 1 if ranks is None else ranks)
        first, rest = bound.input_modes[0], bound.input_size // bound.input_modes[0]
        cores = tt_svd(
            matrix,
            (first, rest, 1),
            (1, 1, bound.output_size),
            tt_ranks=None if ranks is None else (1, *bound.ranks, 1),
            relative_error=relative_error,
        )
        found = cls(modes[0], modes[1], (cores[0].shape[3], cores[1].shape[3]))
        pairs = zip(cores, found.core_shapes, strict=True)
        return found, [core.reshape(shape) for core, shape in pairs]
