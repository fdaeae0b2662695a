"""Plans for multiplying a batch of vectors by a chain of cores step by step.

A chain is a tensor train, or a ring: the first and the last rank are equal, 1 or more, and summed
over. Every format of `ttrnn.formats` is one chain or a sum of chains.

A vector of M values is a tensor with axes m_1..m_d. A step takes a group of neighbouring cores
from the left or the right end of those not yet contracted, merges them into one matrix and
contracts it. At either end the running tensor has the shape (before, inner, after), and the step
is `kernel^T (outer, inner) @ state (inner, after)` for each of the `before` blocks: no order of
steps needs a transposition. One group of all cores is the product with the full matrix. The index
of a ring is carried along with the rank at either end until the last step sums over it.

The cheapest plan follows by dynamic programming over the intervals of cores not yet contracted;
the cost is an estimate of time from operations, bytes moved and number of steps.

Reference: Novikov et al., "Tensorizing Neural Networks", NIPS 2015, arXiv 1509.06569, section 3;
merging and order are ours.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
from keras import ops

from ttrnn.engine.exporting import check_onnx_dtype
from ttrnn.formats.base import carried

Core = tuple[int, int, int, int]
"""Shape (r_k, m_k, n_k, r_{k+1}) of a core."""

DEFAULT_MAX_ACTIVATION_BYTES = 256 * 2**20
"""Default bound on the memory that a product keeps for its backward pass."""

# Rates of 2 Zen 5 cores with TensorFlow 2.21 (`python -m experiments.bench_tt`). Only their ratios
# decide between plans. float64 is planned at float32's rate.
_FLOPS_PER_SECOND = {"float32": 3.5e11, "bfloat16": 6e11, "float16": 6e11}
_BYTES_PER_SECOND = 5e10
_SECONDS_PER_TRANSPOSED_ELEMENT = 4e-10
_SECONDS_PER_OPERATION = 5e-6
# A small product of its own for each block of each vector takes about a microsecond of one core,
# whatever its size; the rates above are those of two.
_SECONDS_PER_BLOCK = 5e-7
# Size of a chunk's vectors: large enough to outweigh the start of each operation, small enough for
# the caches that it passes through.
_CHUNK_BYTES = 8 * 2**20
# Every chunk reads the kernels again, so its rows take at least this many times their bytes.
_ROWS_TO_KERNELS = 16


@dataclass(frozen=True)
class Step:
    """Contraction of the cores [start, stop): (before, inner, after) -> (before, outer, after)."""

    start: int
    stop: int
    side: str
    """End of the remaining cores that the step takes: "left", "right", or "all" (last step)."""
    before: int
    """Number of blocks per vector."""
    inner: int
    """Rows of the merged kernel: input modes times the ranks that are already contracted."""
    outer: int
    """Columns of the merged kernel: output modes times the ranks that are still to come."""
    after: int
    """Number of columns of a block."""

    @property
    def flops(self) -> int:
        """Forward operations per vector."""
        return 2 * self.before * self.inner * self.outer * self.after

    @property
    def size_in(self) -> int:
        """Elements per vector of the running tensor before this step."""
        return self.before * self.inner * self.after

    @property
    def size_out(self) -> int:
        """Elements per vector of the running tensor after this step."""
        return self.before * self.outer * self.after


@dataclass(frozen=True)
class Plan:
    """Steps of a product, with their estimated cost."""

    core_shapes: tuple[Core, ...]
    steps: tuple[Step, ...]
    rows: int
    """Number of vectors that the plan was made for."""
    dtype: str
    seconds: float
    """Estimated time of forward and core gradients for all vectors."""

    @property
    def flops(self) -> int:
        """Forward operations per vector."""
        return sum(step.flops for step in self.steps)

    @property
    def training_flops(self) -> int:
        """Operations per vector, forward and gradients of all cores, without the input's."""
        # Forward, kernel gradients and state gradients cost the same; the first step's state is
        # the input, whose gradient is left out.
        return 3 * self.flops - self.steps[0].flops

    @property
    def kept_size(self) -> int:
        """Elements per vector that the backward pass needs besides the input."""
        return sum(step.size_in for step in self.steps[1:])

    @property
    def chunk_rows(self) -> int:
        """Number of vectors per chunk.

        A chunk stays in a CPU core's cache, yet is large enough to outweigh reading the kernels.
        """
        row = self.steps[0].size_in * _itemsize(self.dtype)
        kernels = sum(step.inner * step.outer for step in self.steps) * _itemsize(self.dtype)
        rows = max(_CHUNK_BYTES // row, _ROWS_TO_KERNELS * kernels // row)
        # Rounded down to a power of two, at least 16.
        return 1 << (max(rows, 16).bit_length() - 1)

    def describe(self) -> str:
        """Format the steps with their shapes, operations and bytes as a table."""
        size_in, size_out = self.steps[0].size_in, self.steps[-1].size_out
        last_rank = self.core_shapes[-1][3]
        ranks = "-".join(map(str, [*(shape[0] for shape in self.core_shapes), last_rank]))
        dense = 2 * size_in * size_out
        itemsize = _itemsize(self.dtype)
        lines = [
            f"{size_in:,} x {size_out:,} in {len(self.core_shapes)} cores of ranks {ranks}, "
            f"{self.dtype}: {self.flops:,} FLOPs a vector, {dense / self.flops:.1f} times fewer "
            f"than the full matrix; {self.chunk_rows:,} vectors at a time, "
            f"{self.kept_size * itemsize:,} bytes a vector kept for the backward pass",
            f"{'step':>4}  {'cores':>5}  {'from':>5}  {'matrix':>13}  {'state':>37}  "
            f"{'FLOPs':>12}  {'bytes':>9}",
        ]
        for number, step in enumerate(self.steps, start=1):
            cores = f"{step.start}-{step.stop - 1}" if step.stop - step.start > 1 else step.start
            before, after = (
                f"({step.before}, {size}, {step.after})" for size in (step.inner, step.outer)
            )
            moved = itemsize * (step.size_in + step.size_out)
            lines.append(
                f"{number:>4}  {cores!s:>5}  {step.side:>5}  {step.inner:>6}x{step.outer:<6}  "
                f"{before + ' -> ' + after:>37}  {step.flops:>12,}  {moved:>9,}"
            )
        return "\n".join(lines)


@functools.lru_cache(maxsize=256)
def plan(
    core_shapes: tuple[Core, ...],
    rows: int | None = None,
    dtype: str = "float32",
    *,
    repeats: int = 1,
) -> Plan:
    """Find the cheapest plan.

    Args:
        core_shapes: shape (r_k, m_k, n_k, r_{k+1}) of each core.
        rows: number of vectors; None where it is known only at run time, planned as 4096.
        dtype: dtype of the vectors and the kernels.
        repeats: number of products that use the kernels once they are merged, as in a time loop.
    """
    rows = rows or 4096

    @functools.cache
    def best(left: int, right: int) -> tuple[float, tuple[Step, ...]]:
        """Cost and steps of contracting the cores [left, right) after all others."""
        if left == right:
            return 0.0, ()
        # The interval alone determines the state's shape, so the best rest does not depend on how
        # the interval was reached: dynamic programming over O(d^2) intervals.
        costs = []
        for step, rest in _next_steps(core_shapes, left, right):
            seconds, steps = best(*rest)
            first = (left, right) == (0, len(core_shapes))
            seconds += step_seconds(core_shapes, step, rows, dtype, first=first, repeats=repeats)
            costs.append((seconds, (step, *steps)))
        return min(costs, key=lambda pair: pair[0])

    seconds, steps = best(0, len(core_shapes))
    return Plan(core_shapes, steps, rows, dtype, seconds)


def all_plans(core_shapes: tuple[Core, ...]) -> Iterator[tuple[Step, ...]]:
    """Yield all 3^(d-1) sequences of steps, for tests and comparisons."""

    def below(left: int, right: int) -> Iterator[tuple[Step, ...]]:
        if left == right:
            yield ()
            return
        for step, rest in _next_steps(core_shapes, left, right):
            for steps in below(*rest):
                yield (step, *steps)

    return below(0, len(core_shapes))


def step_seconds(
    core_shapes: tuple[Core, ...],
    step: Step,
    rows: int,
    dtype: str,
    *,
    first: bool,
    repeats: int = 1,
) -> float:
    """Estimate a step's time for all vectors: forward, gradients and merging of cores.

    Args:
        core_shapes: shapes of all cores.
        step: the step to estimate.
        rows: number of vectors.
        dtype: dtype of vectors and kernels.
        first: True for the first step, whose input needs no gradient.
        repeats: number of products with the same merged kernels.

    Returns:
        Estimated seconds.
    """
    elements = rows * (step.size_in + step.size_out)
    one_pass = rows * step.flops / _FLOPS_PER_SECOND.get(dtype, _FLOPS_PER_SECOND["float32"])
    one_pass += _itemsize(dtype) * (elements + step.inner * step.outer) / _BYTES_PER_SECOND
    seconds = one_pass * (2 if first else 3)
    if step.after > 1:  # the kernel's gradient transposes state and gradient
        seconds += elements * _SECONDS_PER_TRANSPOSED_ELEMENT
        seconds += rows * step.before * _SECONDS_PER_BLOCK * (1 if first else 2)
    seconds *= repeats
    operations = 4 * repeats
    group = core_shapes[step.start : step.stop]
    is_ring = len(group) == len(core_shapes) > 1 and group[0][0] > 1
    merges = _merges_of_ring(group, _ring_cut(group)) if is_ring else _merges(group)
    for size, inner in merges:  # in float32, forward and twice backward
        seconds += 3 * (2 * size * inner / _FLOPS_PER_SECOND["float32"])
        seconds += 6 * 4 * size / _BYTES_PER_SECOND
        operations += 6
    return seconds + operations * _SECONDS_PER_OPERATION


def _merges(group: tuple[Core, ...]) -> list[tuple[int, int]]:
    """Size of each result on the way to one merged core, and of the axis that is summed over."""
    sizes = []
    for k in range(1, len(group)):
        size = group[0][0] * math.prod(m * n for _, m, n, _ in group[: k + 1]) * group[k][3]
        sizes.append((size, group[k][0]))
    return sizes


def _merges_of_ring(group: tuple[Core, ...], cut: int) -> list[tuple[int, int]]:
    """Merges of a ring that is cut into two chains, whose product closes it."""
    last = math.prod(m * n for _, m, n, _ in group), group[0][0] * group[cut][0]
    return [*_merges(group[:cut]), *_merges(group[cut:]), last]


@functools.cache
def _ring_cut(group: tuple[Core, ...]) -> int:
    """Core before which a ring is best cut, besides at its ends."""

    def operations(cut: int) -> int:
        return sum(size * inner for size, inner in _merges_of_ring(group, cut))

    return min(range(1, len(group)), key=operations)


def _next_steps(
    core_shapes: tuple[Core, ...], left: int, right: int
) -> Iterator[tuple[Step, tuple[int, int]]]:
    """Yield each step that is possible while the cores [left, right) remain, and its remainder."""
    modes_in, modes_out = ([shape[axis] for shape in core_shapes] for axis in (1, 2))
    # The rank of an open end carries the index of a ring along.
    ring = core_shapes[0][0]
    ranks = [1, *(ring * shape[0] for shape in core_shapes[1:]), 1]
    done_left, done_right = math.prod(modes_out[:left]), math.prod(modes_out[right:])
    rank_left, rank_right = ranks[left], ranks[right]
    inside = math.prod(modes_in[left:right])
    yield (
        Step(
            left,
            right,
            "all",
            before=done_left,
            inner=rank_left * inside * rank_right,
            outer=math.prod(modes_out[left:right]),
            after=done_right,
        ),
        (right, right),
    )
    for cut in range(left + 1, right):
        head, tail = math.prod(modes_in[left:cut]), math.prod(modes_in[cut:right])
        yield (
            Step(
                left,
                cut,
                "left",
                before=done_left,
                inner=rank_left * head,
                outer=math.prod(modes_out[left:cut]) * ranks[cut],
                after=tail * rank_right * done_right,
            ),
            (cut, right),
        )
        yield (
            Step(
                cut,
                right,
                "right",
                before=done_left * rank_left * head,
                inner=tail * rank_right,
                outer=ranks[cut] * math.prod(modes_out[cut:right]),
                after=done_right,
            ),
            (left, cut),
        )


def _itemsize(dtype: str) -> int:
    return {"float16": 2, "bfloat16": 2, "float64": 8}.get(dtype, 4)


def merge_cores(cores: Sequence):
    """Merge neighbouring cores into one of shape (r, m_a m_b.., n_a n_b.., s)."""
    merged = ops.convert_to_tensor(cores[0])
    for core in cores[1:]:
        rank, m, n, _ = merged.shape
        _, m_next, n_next, rank_next = core.shape
        inner = merged.shape[3]
        merged = ops.matmul(ops.reshape(merged, (-1, inner)), ops.reshape(core, (inner, -1)))
        merged = ops.reshape(merged, (rank, m, n, m_next, n_next, rank_next))
        merged = ops.transpose(merged, (0, 1, 3, 2, 4, 5))  # input modes together, then output
        merged = ops.reshape(merged, (rank, m * m_next, n * n_next, rank_next))
    return merged


def _merge_ring(cores: Sequence):
    """Merge all cores of a ring into one of shape (1, M, N, 1).

    Two halves are joined at both ends in one product. Merged one after the other, the cores would
    carry the ring's index through a matrix that is larger by its square.
    """
    cut = _ring_cut(core_shapes_of(cores))
    first, second = merge_cores(cores[:cut]), merge_cores(cores[cut:])
    ring, m, n, inner = first.shape
    _, m_next, n_next, _ = second.shape
    first = ops.reshape(ops.transpose(first, (1, 2, 0, 3)), (m * n, ring * inner))
    second = ops.reshape(ops.transpose(second, (3, 0, 1, 2)), (ring * inner, m_next * n_next))
    merged = ops.reshape(ops.matmul(first, second), (m, n, m_next, n_next))
    merged = ops.transpose(merged, (0, 2, 1, 3))
    return ops.reshape(merged, (1, m * m_next, n * n_next, 1))


def full_kernel(cores: Sequence):
    """Compute the dense (M, N) kernel that a chain of cores stands for, as a backend tensor."""
    ring = cores[0].shape[0]
    merged = _merged(cores, ring, is_first=True, is_last=True)
    return ops.reshape(merged, merged.shape[1:3])


def step_kernels(plan: Plan, cores: Sequence) -> list:
    """Merge the cores of each step into its (inner, outer) matrix."""
    # A rank shared with cores that are already contracted belongs to the inner axes, any other to
    # the outer axes.
    axes = {"left": (0, 1, 2, 3), "right": (1, 3, 0, 2), "all": (0, 1, 3, 2)}
    kernels, ring = [], cores[0].shape[0]
    for step in plan.steps:
        core = _merged(
            cores[step.start : step.stop],
            ring,
            is_first=step.start == 0,
            is_last=step.stop == len(plan.core_shapes),
        )
        kernels.append(ops.reshape(ops.transpose(core, axes[step.side]), (step.inner, step.outer)))
    return kernels


def _merged(cores: Sequence, ring: int, *, is_first: bool, is_last: bool):
    """Merge neighbouring cores, which carry a ring's index along with their ranks.

    Args:
        cores: cores (r, m, n, s).
        ring: size of the ring's index; 1 for a tensor train, which has none to carry.
        is_first, is_last: whether the ring's index is the core's own first or last rank.

    Returns:
        Core (ring * r, m, n, ring * s), where an end that is the ring's own has rank 1.
    """
    if ring > 1 and is_first and is_last and len(cores) > 1:
        return _merge_ring(cores)
    core = merge_cores(cores)
    if ring == 1:
        return core
    rank, m, n, next_rank = core.shape
    if is_first and is_last:
        return ops.einsum("amna->mn", core)[None, :, :, None]
    if is_first:
        core = ops.transpose(core, (1, 2, 0, 3))
        return ops.reshape(core, (1, m, n, ring * next_rank))
    if is_last:
        core = ops.transpose(core, (3, 0, 1, 2))
        return ops.reshape(core, (ring * rank, m, n, 1))
    return carried(core, ring)


def core_shapes_of(cores: Sequence) -> tuple[Core, ...]:
    """Shapes of cores as a hashable tuple, as `plan` takes them."""
    return tuple(tuple(int(size) for size in core.shape) for core in cores)  # type: ignore[misc]


def tt_matmul(inputs, cores: Sequence):
    """Multiply (..., M) by the (M, N) matrix that the cores stand for.

    It runs on every backend and is the reference for `ttrnn.engine.projection`, which works in
    chunks.

    Args:
        inputs: tensor of shape (..., prod(m)).
        cores: tensors of shape (r_k, m_k, n_k, r_{k+1}), in the dtype of `inputs`.

    Returns:
        Tensor of shape (..., prod(n)).
    """
    check_onnx_dtype(keras.backend.standardize_dtype(inputs.dtype))
    lead = ops.shape(inputs)[:-1]
    rows = math.prod(lead) if all(isinstance(size, int) for size in lead) else None
    chosen = plan(core_shapes_of(cores), rows)
    state = inputs
    for step, kernel in zip(chosen.steps, step_kernels(chosen, cores), strict=True):
        # Transposed instead of kernel^T @ state, whose gradient would hold one kernel per block.
        state = ops.reshape(state, (-1, step.inner, step.after))
        state = ops.reshape(ops.transpose(state, (0, 2, 1)), (-1, step.inner))
        state = ops.reshape(ops.matmul(state, kernel), (-1, step.after, step.outer))
        state = ops.transpose(state, (0, 2, 1))
    return ops.reshape(state, (*lead, chosen.steps[-1].size_out))


def full_matrix(chains: Sequence[Sequence]):
    """Compute the dense matrix that chains of cores sum to, as a backend tensor."""
    first, *others = (full_kernel(chain) for chain in chains)
    return sum(others, first)


def chains_matmul(inputs, chains: Sequence[Sequence], dtype: str):
    """Multiply (..., M), in `dtype`, by the matrix that chains of cores sum to, on every backend.

    Args:
        inputs: tensor of shape (..., M).
        chains: chains of cores, in float32 or wider.
        dtype: dtype of the computation.
    """
    first, *others = (
        tt_matmul(inputs, [ops.cast(core, dtype) for core in chain]) for chain in chains
    )
    return sum(others, first)
