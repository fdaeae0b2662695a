"""Block-term matrices: a sum of Tucker matrices.

W[(i), (j)] = sum over c, a_1..a_d of G[c, a_1..a_d] prod_k A_k[c, i_k, j_k, a_k].

Reference: De Lathauwer, "Decompositions of a Higher-Order Tensor in Block Terms", SIAM J. Matrix
Anal. Appl. 30(3), 2008; Ye et al., "Learning Compact Recurrent Neural Networks with Block-Term
Tensor Decomposition", CVPR 2018, arXiv 1712.05134, equations 5 to 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from ttrnn.formats.base import (
    SMALL,
    MatrixFormat,
    expanded_ranks,
    fit_by_least_squares,
    interleaved,
    positive_integers,
    smallest_fit,
)
from ttrnn.formats.tucker import tucker_chain


@keras.saving.register_keras_serializable(package="ttrnn")
@dataclass(frozen=True, init=False)
class BlockTerm(MatrixFormat):
    """Modes, ranks and blocks of a block-term matrix: G (C, a_1..a_d) and A_k (C, m_k, n_k, a_k).

    Args:
        input_modes: m_1..m_d.
        output_modes: n_1..n_d.
        ranks: a_1..a_d of every block, or one integer for all.
        blocks: number C of blocks.

    Raises:
        ValueError: if modes and ranks do not fit each other.

    Example:
        >>> BlockTerm((8, 20, 20, 18), (4, 4, 4, 4), 4, blocks=2).with_gates(4).num_params
        3392
    """

    blocks: int
    name: ClassVar[str] = "bt"

    def __init__(
        self,
        input_modes: Sequence[int],
        output_modes: Sequence[int],
        ranks: int | Sequence[int],
        blocks: int = 2,
    ) -> None:
        self._set(input_modes, output_modes, blocks=positive_integers([blocks], "blocks")[0])
        self._require_pairs()
        object.__setattr__(self, "ranks", expanded_ranks(ranks, len(self.input_modes)))

    @property
    def legs(self) -> tuple[tuple[str, ...], ...]:
        number = len(self.ranks)
        core = ("c", *(f"a{k}" for k in range(number)))
        return (core, *(("c", f"i{k}", f"j{k}", f"a{k}") for k in range(number)))

    @property
    def bonds(self) -> dict[str, int]:
        return {"c": self.blocks} | {f"a{k}": rank for k, rank in enumerate(self.ranks)}

    def chains(self, cores: Sequence) -> list[list]:
        chains = [
            tucker_chain(*(ops.convert_to_tensor(core)[c] for core in cores))
            for c in range(self.blocks)
        ]
        if len(self.ranks) != 2:
            # In the middle of a common chain the blocks would stand beside each other between
            # zeros, which cost as many operations as weights.
            return chains
        # Of two cores each: side by side on their one bond, the sum is one chain without zeros.
        first, second = zip(*chains, strict=True)
        return [[ops.concatenate(first, axis=3), ops.concatenate(second, axis=0)]]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"blocks": self.blocks}

    @classmethod
    def _decompose(cls, matrix, modes, ranks, relative_error, options):
        # All blocks' core tensors at once are a system of C a_1..a_d unknowns, too many for large
        # matrices: there one block after the other is fitted.
        sweeps = _block_sweeps if matrix.size > SMALL else None
        if ranks is None or isinstance(ranks, int):
            return smallest_fit(
                lambda rank: cls(modes[0], modes[1], rank, **options),
                matrix,
                ranks,
                relative_error,
                sweeps,
            )
        shape = cls(modes[0], modes[1], ranks, **options)
        return shape, fit_by_least_squares(shape, matrix, sweeps)[0]


def _block_sweeps(
    shape: BlockTerm, matrix: np.ndarray, cores: list[np.ndarray]
) -> Iterator[tuple[list[np.ndarray], float]]:
    """Sweeps that fit one block after the other to what all others leave of the matrix.

    A block is a Tucker tensor, of which a sweep makes one factor after the other optimal for the
    others, as in higher-order orthogonal iteration. No step raises the error. It begins without
    blocks: the random cores are not used.

    Reference: De Lathauwer, De Moor, Vandewalle, SIAM J. Matrix Anal. Appl. 21(4), 2000,
    algorithm 4.2.
    """
    tensor = interleaved(matrix, shape.input_modes, shape.output_modes)
    norm = float(np.linalg.norm(tensor)) or 1.0
    number = len(shape.ranks)
    blocks = [np.zeros_like(tensor) for _ in range(shape.blocks)]
    factors: list[list[np.ndarray]] = [[] for _ in blocks]
    small = [np.zeros(0) for _ in blocks]
    while True:
        for c in range(shape.blocks):
            rest = tensor - sum(block for k, block in enumerate(blocks) if k != c)
            if not factors[c]:
                factors[c] = [_leading(rest, k, rank) for k, rank in enumerate(shape.ranks)]
            for k, rank in enumerate(shape.ranks):
                others = {j: factor.T for j, factor in enumerate(factors[c]) if j != k}
                factors[c][k] = _leading(_multiplied(rest, others), k, rank)
            by_axis = dict(enumerate(factors[c]))
            small[c] = _multiplied(rest, {k: factor.T for k, factor in by_axis.items()})
            blocks[c] = _multiplied(small[c], by_axis)
        found = [np.stack(small)]
        for k in range(number):
            stacked = np.stack([block[k] for block in factors])
            found.append(stacked.reshape(shape.core_shapes[1 + k]))
        yield found, float(np.linalg.norm(tensor - sum(blocks))) / norm


def _leading(tensor: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """First `rank` left singular vectors of an unfolding; zeros where it has fewer."""
    unfolded = np.moveaxis(tensor, axis, 0).reshape(tensor.shape[axis], -1)
    vectors = np.linalg.svd(unfolded, full_matrices=False)[0][:, :rank]
    return np.pad(vectors, [(0, 0), (0, rank - vectors.shape[1])])


def _multiplied(tensor: np.ndarray, matrices: Mapping[int, np.ndarray]) -> np.ndarray:
    """Multiply axes of a tensor by matrices (new size, old size)."""
    for axis, factor in matrices.items():
        tensor = np.moveaxis(np.tensordot(factor, tensor, (1, axis)), 0, axis)
    return tensor
