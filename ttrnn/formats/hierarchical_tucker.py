"""Hierarchical Tucker matrices: a balanced binary tree of small tensors over the modes.

The leaf of mode k is U_k (m_k, n_k, r_k); a node joins its two children by a transfer tensor
B (r_left, r_right, r), and the root has rank 1. Every node stands for the vectors

    U_t[modes of both children, r] = sum over l, s of B[l, s, r] U_left[.., l] U_right[.., s]

and W is that of the root.

Reference: Grasedyck, "Hierarchical Singular Value Decomposition of Tensors", SIAM J. Matrix Anal.
Appl. 31(4), 2010, definition 3.3 and theorem 3.11 (error bound); for kernels, Yin et al.,
"Compressing Recurrent Neural Networks Using Hierarchical Tucker Tensor Decomposition", 2020,
arXiv 2005.04366.
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

Node = tuple[int, int]
"""Modes [start, stop) of a node of the tree."""


@keras.saving.register_keras_serializable(package="ttrnn")
@dataclass(frozen=True, init=False)
class HierarchicalTucker(MatrixFormat):
    """Modes and ranks of a hierarchical Tucker matrix.

    Args:
        input_modes: m_1..m_d.
        output_modes: n_1..n_d.
        ranks: one integer, or the rank of every node but the root: of the leaves from left to
            right, then of the inner nodes, children before their parent, from left to right.

    Raises:
        ValueError: if modes and ranks do not fit each other.

    Example:
        >>> HierarchicalTucker((8, 20, 20, 18), (4, 4, 4, 4), 4).num_params
        1200
    """

    name: ClassVar[str] = "ht"

    def __init__(
        self, input_modes: Sequence[int], output_modes: Sequence[int], ranks: int | Sequence[int]
    ) -> None:
        self._set(input_modes, output_modes)
        self._require_pairs()
        number = len(self.input_modes)
        # A single mode is its own root.
        ranks = expanded_ranks(ranks, 2 * number - 2) if number > 1 else ()
        object.__setattr__(self, "ranks", ranks)

    @property
    def legs(self) -> tuple[tuple[str, ...], ...]:
        number = len(self.input_modes)
        leaves = [(f"i{k}", f"j{k}", _bond((k, k + 1))) for k in range(number)]
        inner = [
            (_bond(left), _bond(right), _bond((left[0], right[1])))
            for left, right in _pairs((0, number))
        ]
        return *leaves, *inner

    @property
    def bonds(self) -> dict[str, int]:
        number = len(self.input_modes)
        nodes = [(k, k + 1) for k in range(number)]
        nodes += [(left[0], right[1]) for left, right in _pairs((0, number))]
        # The root comes last in any order of children before parents.
        return {_bond(node): rank for node, rank in zip(nodes, (*self.ranks, 1), strict=True)}

    def chains(self, cores: Sequence) -> list[list]:
        number = len(self.input_modes)
        pairs = _pairs((0, number))
        transfers = {
            (left[0], right[1]): core
            for (left, right), core in zip(pairs, cores[number:], strict=True)
        }
        return [_right_open((0, number), cores, transfers)]

    @classmethod
    def _decompose(cls, matrix, modes, ranks, relative_error, options):
        number = len(modes[0])
        bound = cls(modes[0], modes[1], 1 if ranks is None else ranks)
        largest = {} if ranks is None else bound.bonds
        tensor = interleaved(matrix, *modes)
        # The two children of the root share one truncation.
        share = relative_error * float(np.linalg.norm(matrix)) / math.sqrt(max(1, 2 * number - 3))

        def vectors_of(node: Node) -> np.ndarray:
            start, stop = node
            if stop - start == number:
                return tensor.reshape(-1, 1)
            size = math.prod(tensor.shape[start:stop])
            rest = tensor.reshape(math.prod(tensor.shape[:start]), size, -1)
            return leading_vectors(rest, 1, largest.get(_bond(node)), share)

        leaves = [(k, k + 1) for k in range(number)]
        vectors = {node: vectors_of(node) for node in leaves}
        cores = [vectors[node].reshape(modes[0][node[0]], modes[1][node[0]], -1) for node in leaves]
        for left, right in _pairs((0, number)):
            node = (left[0], right[1])
            vectors[node] = vectors_of(node)
            spread = vectors[node].reshape(len(vectors[left]), len(vectors[right]), -1)
            cores.append(
                np.einsum(
                    "xl,ys,xyt->lst", vectors[left], vectors[right], spread, optimize="greedy"
                )
            )
        pairs = _pairs((0, number))
        found = [vectors[node].shape[1] for node in leaves]
        found += [vectors[left[0], right[1]].shape[1] for left, right in pairs]
        return cls(modes[0], modes[1], found[:-1]), cores


def _bond(node: Node) -> str:
    return f"t{node[0]}-{node[1]}"


def _pairs(node: Node) -> list[tuple[Node, Node]]:
    """Children of every inner node below and including `node`, children before their parent."""
    start, stop = node
    if stop - start == 1:
        return []
    # The larger half on the left, as in a complete tree.
    middle = (start + stop + 1) // 2
    left, right = (start, middle), (middle, stop)
    return [*_pairs(left), *_pairs(right), (left, right)]


def _right_open(node: Node, leaves: Sequence, transfers: dict) -> list:
    """Chain (1, ..) to (.., r) of a node whose rank r is still open, at the right end."""
    start, stop = node
    if stop - start == 1:
        return [ops.convert_to_tensor(leaves[start])[None]]
    left, right = _pairs(node)[-1]
    chain = _right_open(left, leaves, transfers)
    transfer = transfers[node]
    first, *rest = _left_open(right, leaves, transfers)  # (s, m, n, x) ..
    rank = transfer.shape[2]
    # The left child's rank is met, and the node's own waits behind all modes of the right child.
    joined = ops.einsum("lst,smnx->lmntx", transfer, first)
    size_in, m, n, _, x = joined.shape
    chain.append(ops.reshape(joined, (size_in, m, n, rank * x)))
    return chain + [carried(core, rank) for core in rest]


def _left_open(node: Node, leaves: Sequence, transfers: dict) -> list:
    """Chain (r, ..) to (.., 1) of a node whose rank r is still open, at the left end."""
    start, stop = node
    if stop - start == 1:
        leaf = ops.convert_to_tensor(leaves[start])
        return [ops.transpose(leaf, (2, 0, 1))[:, :, :, None]]
    left, right = _pairs(node)[-1]
    transfer = transfers[node]
    rank = transfer.shape[2]
    *rest, last = _right_open(left, leaves, transfers)  # .. (x, m, n, l)
    chain = [carried(core, rank) for core in rest]
    joined = ops.einsum("lst,xmnl->txmns", transfer, last)
    _, x, m, n, size_out = joined.shape
    chain.append(ops.reshape(joined, (rank * x, m, n, size_out)))
    return chain + _left_open(right, leaves, transfers)
