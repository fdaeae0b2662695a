"""The product of a batch of vectors with a tensor-train matrix.

Cores are contracted from the last to the first, as in the published code, but neighbouring cores
are first merged where that is cheaper: a matmul with a small inner size or a transposition of a
large intermediate costs more than the extra multiplications of a merged core.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

from keras import ops

# Rates of one step, measured with TensorFlow 2.21 on 2 Zen 5 cores: only their ratios matter here.
_FLOPS_PER_SECOND = 180e9
_BYTES_PER_SECOND = 8e9
# An inner size at which a matmul reaches half of its peak.
_HALF_SPEED_INNER_SIZE = 16

Core = tuple[int, int, int, int]


def tt_matmul(inputs, cores: Sequence):
    """Multiply (..., M) by the (M, N) matrix that the cores stand for.

    Args:
        inputs: tensor of shape (..., prod(m)).
        cores: tensors of shape (r_k, m_k, n_k, r_{k+1}), in the dtype of `inputs`.

    Returns:
        Tensor of shape (..., prod(n)).
    """
    shapes = tuple(tuple(int(size) for size in core.shape) for core in cores)
    lead = ops.shape(inputs)[:-1]
    rows = math.prod(lead) if all(isinstance(size, int) for size in lead) else None
    state = inputs
    after = 1  # product of the output modes contracted so far
    for start, stop in reversed(plan_groups(shapes, rows)):
        core = merge_cores(cores[start:stop])
        state = _contract(state, core, after)
        after *= math.prod(shape[2] for shape in shapes[start:stop])
    return ops.reshape(state, (*lead, after))


def merge_cores(cores: Sequence):
    """One core (r, m_a m_b.., n_a n_b.., s) that stands for several neighbours."""
    merged = ops.convert_to_tensor(cores[0])
    for core in cores[1:]:
        rank, m, n, _ = merged.shape
        _, m_next, n_next, rank_next = core.shape
        merged = ops.einsum("amnr,rpqb->ampnqb", merged, core)
        merged = ops.reshape(merged, (rank, m * m_next, n * n_next, rank_next))
    return merged


def _contract(state, core, after: int):
    """Contract the last input mode (and the rank behind it) of the running tensor.

    state: (P * m * s * after) elements, in the order (P, m, s, after) -> (P, r, n, after).
    """
    rank, m, n, rank_next = core.shape
    kernel = ops.reshape(ops.transpose(core, (1, 3, 0, 2)), (m * rank_next, rank * n))
    if after == 1:
        return ops.matmul(ops.reshape(state, (-1, m * rank_next)), kernel)
    state = ops.reshape(state, (-1, m * rank_next, after))
    state = ops.reshape(ops.transpose(state, (0, 2, 1)), (-1, m * rank_next))
    state = ops.reshape(ops.matmul(state, kernel), (-1, after, rank * n))
    return ops.transpose(state, (0, 2, 1))


@functools.lru_cache(maxsize=256)
def plan_groups(core_shapes: tuple[Core, ...], rows: int | None) -> tuple[tuple[int, int], ...]:
    """Which neighbouring cores to merge: the cheapest of the 2^(d-1) groupings.

    Args:
        core_shapes: (r_k, m_k, n_k, r_{k+1}) of each core.
        rows: number of vectors in the batch; None when it is only known at run time (many).

    Returns:
        Groups [start, stop) of cores, in order.
    """
    num_cores = len(core_shapes)
    groupings = []
    for cuts in itertools.product((False, True), repeat=num_cores - 1):
        edges = [0, *(k + 1 for k, cut in enumerate(cuts) if cut), num_cores]
        groupings.append(tuple(itertools.pairwise(edges)))
    return min(groupings, key=lambda groups: _seconds(core_shapes, groups, rows or 1024))


def _seconds(
    core_shapes: tuple[Core, ...], groups: tuple[tuple[int, int], ...], rows: int
) -> float:
    """Estimated time of one product, the merging of the cores included."""
    seconds = 0.0
    before = rows * math.prod(shape[1] for shape in core_shapes)
    after = 1
    for start, stop in reversed(groups):
        group = core_shapes[start:stop]
        m, n = (math.prod(shape[axis] for shape in group) for axis in (1, 2))
        rank, rank_next = group[0][0], group[-1][3]
        before //= m
        inner, outer = m * rank_next, rank * n
        seconds += _matmul_seconds(before * after, inner, outer)
        if after > 1:  # transposed before and after
            seconds += 8 * before * after * (inner + outer) / _BYTES_PER_SECOND
        if stop - start > 1:
            seconds += _matmul_seconds(inner, group[-1][0], outer)
        after *= n
    return seconds


def _matmul_seconds(rows: int, inner: int, outer: int) -> float:
    efficiency = inner / (inner + _HALF_SPEED_INNER_SIZE)
    flops = 2 * rows * inner * outer / (_FLOPS_PER_SECOND * efficiency)
    moved = 4 * (rows * (inner + outer) + inner * outer)
    return flops + moved / _BYTES_PER_SECOND
