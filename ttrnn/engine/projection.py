"""Products of many vectors with a tensor train, in chunks and bounded memory, on TensorFlow.

Rows are read, prepared (converted from bytes to pixels, for example) and multiplied a chunk at a
time, one chunk per CPU core; a chunk fits the core's cache. The intermediate results that the
backward pass needs are kept up to `max_activation_bytes` and recomputed beyond it, so that memory
grows with the result alone.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from itertools import takewhile

import tensorflow as tf

from ttrnn.engine.contraction import (
    DEFAULT_MAX_ACTIVATION_BYTES,
    Plan,
    Step,
    core_shapes_of,
    plan,
    step_kernels,
)

Prepare = Callable[..., tf.Tensor]

# A product with a matrix of fewer columns than this leaves a processor's vectors half empty, so
# that two transpositions and one large product are quicker (docs/log.md, "narrow steps").
_MIN_COLUMNS = 9
# Rows of a chunk where there are too few for the plan's chunks on all cores.
_CHUNK_SIZES = (8, 16, 32, 64, 128, 256, 512)


def project(
    source: tf.Tensor,
    cores: Sequence,
    *,
    dtype: str,
    rows: tf.Tensor | None = None,
    prepare: Prepare | None = None,
    context: Sequence[tf.Tensor] = (),
    max_activation_bytes: int = DEFAULT_MAX_ACTIVATION_BYTES,
) -> tf.Tensor:
    """Multiply rows of `source` by the matrix that the cores stand for.

    Args:
        source: (num_sources, ...). Floats get a gradient, integers none.
        cores: tensors of shape (r_k, m_k, n_k, r_{k+1}).
        dtype: dtype of the product, such as "bfloat16"; the cores' gradients are summed in their
            own dtype.
        rows: rows to multiply, int32 (num_rows,), each at most once; None for all in order.
        prepare: function of source rows (C, ...), row numbers (C,) and `*context` to vectors (C,
            prod(m)) in `dtype`, applied to each chunk, without gradient. C is the same for all
            chunks, as suits a function compiled by XLA. None casts.
        context: tensors that `prepare` needs.
        max_activation_bytes: largest memory kept by the forward for the backward pass.

    Returns:
        (num_rows, prod(n)) in `dtype`.
    """
    # The plan is made when the graph is traced, when the number of rows may still be unknown.
    rows_known = source.shape[0] if rows is None else rows.shape[0]
    chosen = plan(core_shapes_of(cores), rows_known, dtype)
    if prepare is None and not source.dtype.is_floating:
        prepare = _cast_to(dtype)
    kernels = [tf.convert_to_tensor(kernel) for kernel in step_kernels(chosen, cores)]
    if rows is None and prepare is None and _is_one_chunk(source, chosen, max_activation_bytes):
        return _product_at_once(source, kernels, chosen)
    product = _ChunkedProduct(source, rows, chosen, prepare, context, max_activation_bytes)
    return product(kernels)


def project_chains(
    source: tf.Tensor, chains: Sequence[Sequence], *, max_activation_bytes: int, **options
) -> tf.Tensor:
    """Multiply rows of `source` by the sum of the matrices that some chains stand for.

    Args:
        source, **options: see `project`.
        chains: chains of cores.
        max_activation_bytes: largest memory kept for the backward pass, by all chains together.
    """
    share = max_activation_bytes // len(chains)
    first, *others = (
        project(source, cores, max_activation_bytes=share, **options) for cores in chains
    )
    return tf.add_n([first, *others]) if others else first


def _is_one_chunk(source: tf.Tensor, chosen: Plan, max_activation_bytes: int) -> bool:
    """Return True if no chunks are needed: few rows, or a one-step plan, which keeps nothing."""
    rows, bytes_a_row = source.shape[0], chosen.kept_size * tf.as_dtype(chosen.dtype).size
    if len(chosen.steps) == 1:
        return True
    return rows is not None and rows <= min(chosen.chunk_rows, max_activation_bytes // bytes_a_row)


def _product_at_once(source: tf.Tensor, kernels: list[tf.Tensor], chosen: Plan) -> tf.Tensor:
    """Multiply all rows in one go, keeping the inputs of every step for the backward pass."""
    dtype = tf.as_dtype(chosen.dtype)

    @tf.custom_gradient
    def product(source, *kernels):
        cast = [tf.cast(kernel, dtype) for kernel in kernels]
        states = states_of(tf.cast(source, dtype), step_operands(cast, chosen), chosen)

        def backward(upstream):
            by_kernels = kernel_gradients(states[:-1], cast, upstream, chosen)
            by_source = tf.cast(input_gradient(cast, upstream, chosen), source.dtype)
            return by_source, *(
                tf.cast(g, k.dtype) for g, k in zip(by_kernels, kernels, strict=True)
            )

        return tf.reshape(states[-1], (-1, chosen.steps[-1].size_out)), backward

    return product(source, *kernels)


def _num_cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _ChunkedProduct:
    """Product of a matrix and rows, chunk by chunk, with its gradient."""

    def __init__(
        self,
        source: tf.Tensor,
        rows: tf.Tensor | None,
        chosen: Plan,
        prepare: Prepare | None,
        context: Sequence[tf.Tensor],
        max_activation_bytes: int,
    ) -> None:
        self._plan = chosen
        self._dtype = tf.as_dtype(chosen.dtype)
        self._source = source
        self._prepare = prepare
        self._context = context
        self._num_rows = tf.shape(source if rows is None else rows)[0]
        self._chunk, self._num_chunks = self._chunks(max_activation_bytes)
        self._rows = rows
        # `prepare` is compiled for one shape only, so the last chunk is filled up with row 0.
        if rows is not None and prepare is not None:
            missing = self._num_chunks * self._chunk - self._num_rows
            self._rows = tf.pad(rows, [[0, missing]])
        kept_bytes = max(1, chosen.kept_size * self._dtype.size)
        self._num_kept = tf.minimum(
            self._num_chunks, max_activation_bytes // kept_bytes // self._chunk
        )
        # One chunk per CPU core at a time, each in its own cache; fewer where that would take more
        # memory than allowed.
        self._parallel = max(1, min(_num_cores(), max_activation_bytes // self._chunk_bytes()))

    def _chunk_bytes(self) -> int:
        """Estimated bytes of a chunk in work: its rows, its states and their gradients."""
        elements = self._plan.steps[0].size_in + 2 * self._plan.kept_size
        return self._plan.chunk_rows * elements * self._dtype.size

    def _chunks(self, max_activation_bytes: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Number of rows per chunk and number of chunks; the last chunk may be smaller.

        `prepare` is compiled by XLA for each size of a chunk, of which there are therefore few:
        the plan's, and smaller powers of two that give every core a chunk. Without `prepare` the
        rows are divided evenly.
        """
        row_bytes = self._plan.steps[0].size_in * self._dtype.size
        max_rows = max(1, min(self._plan.chunk_rows, max_activation_bytes // row_bytes))
        if self._prepare is not None:
            sizes = [*takewhile(lambda size: size < max_rows, _CHUNK_SIZES), max_rows]
            rows_per_core = -(-self._num_rows // _num_cores())
            number = tf.searchsorted(sizes, [rows_per_core])[0]
            chunk = tf.constant(sizes)[tf.minimum(number, len(sizes) - 1)]
            return chunk, tf.maximum(1, -(-self._num_rows // chunk))
        num_chunks = tf.maximum(1, -(-self._num_rows // max_rows))  # rounded up
        return tf.maximum(1, -(-self._num_rows // num_chunks)), num_chunks

    def __call__(self, kernels: list[tf.Tensor]) -> tf.Tensor:
        if self._prepare is not None:

            @tf.custom_gradient
            def product(*kernels):
                result, kept = self._forward(self._cast(kernels))

                def backward(upstream):
                    return self._kernel_gradients(kernels, kept, upstream)

                return result, backward

            return product(*kernels)

        @tf.custom_gradient
        def product_of_floats(source, *kernels):
            result, kept = self._forward(self._cast(kernels))

            def backward(upstream):
                # Two loops: TensorFlow prunes the one whose gradient nobody asks for.
                return (
                    self._source_gradient(kernels, upstream),
                    *self._kernel_gradients(kernels, kept, upstream),
                )

            return result, backward

        return product_of_floats(self._source, *kernels)

    def _cast(self, kernels: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        return [tf.cast(kernel, self._dtype) for kernel in kernels]

    def _read(self, chunk: tf.Tensor) -> tf.Tensor:
        """Vectors of one chunk, (C, M)."""
        where = slice(chunk * self._chunk, (chunk + 1) * self._chunk)
        if self._rows is None:  # a slice along the first axis copies nothing, unlike a gather
            part, rows = self._source[where], chunk * self._chunk + tf.range(self._chunk)
        else:
            rows = self._rows[where]
            part = tf.gather(self._source, rows)
        if self._prepare is None:
            return tf.cast(part, self._dtype)
        if self._rows is None:
            # The products of these rows of zeros are cut off at the end; their upstream gradients
            # are zeros too.
            part = self._filled_up(part)
            rows = tf.minimum(rows, self._num_rows - 1)
        return self._prepare(part, rows, *self._context)

    def _filled_up(self, part: tf.Tensor) -> tf.Tensor:
        """Pad a last, smaller chunk with rows of zeros; return any other unchanged."""
        missing = self._chunk - tf.shape(part)[0]
        padding = [[0, missing]] + [[0, 0]] * (len(part.shape) - 1)
        return tf.cond(missing > 0, lambda: tf.pad(part, padding), lambda: part)

    def _forward(self, kernels: Sequence[tf.Tensor]) -> tuple[tf.Tensor, list[tf.TensorArray]]:
        """Multiply all rows; also return the inputs of the later steps, for the kept chunks."""
        # Two loops instead of a condition in each iteration: first the chunks that are kept, then
        # the others.
        steps, operands = self._plan.steps, step_operands(kernels, self._plan)
        result = self._array(self._num_chunks, (None, steps[-1].size_out))
        kept = [self._array(self._num_kept, (None, step.size_in)) for step in steps[1:]]

        def body(chunk, result, *kept, keep: bool):
            states = states_of(self._read(chunk), operands, self._plan)
            if keep:
                kept = tuple(
                    array.write(chunk, tf.reshape(state, (-1, step.size_in)))
                    for array, state, step in zip(kept, states[1:-1], steps[1:], strict=True)
                )
            result = result.write(chunk, tf.reshape(states[-1], (-1, steps[-1].size_out)))
            return (chunk + 1, result, *kept)

        chunk, result, *kept = self._loop(
            0, self._num_kept, lambda *v: body(*v, keep=True), result, *kept
        )
        _, result = self._loop(chunk, self._num_chunks, lambda *v: body(*v, keep=False), result)
        return result.concat()[: self._num_rows], kept

    def _kernel_gradients(
        self, kernels: Sequence[tf.Tensor], kept: list[tf.TensorArray], upstream: tf.Tensor
    ) -> list[tf.Tensor]:
        """Sum the chunks' gradients of each step's kernel."""
        cast = self._cast(kernels)
        operands = step_operands(cast, self._plan)
        # In the cores' dtype: a bfloat16 sum over hundreds of chunks would lose small terms.
        totals = [tf.zeros_like(kernel) for kernel in kernels]

        def body(chunk, *totals, keep: bool):
            # The rows are read and prepared a second time, which is cheaper than keeping them.
            if keep:
                states = [self._read(chunk), *(array.read(chunk) for array in kept)]
            else:
                states = states_of(self._read(chunk), operands, self._plan)[:-1]
            gradients = kernel_gradients(states, cast, self._upstream(upstream, chunk), self._plan)
            return (
                chunk + 1,
                *(t + tf.cast(g, t.dtype) for t, g in zip(totals, gradients, strict=True)),
            )

        chunk, *totals = self._loop(0, self._num_kept, lambda *v: body(*v, keep=True), *totals)
        _, *totals = self._loop(chunk, self._num_chunks, lambda *v: body(*v, keep=False), *totals)
        return totals

    def _source_gradient(
        self, kernels: Sequence[tf.Tensor], upstream: tf.Tensor
    ) -> tf.Tensor | tf.IndexedSlices:
        """Gradient of `source`, in its own dtype."""
        cast = self._cast(kernels)

        def body(chunk, result):
            gradient = input_gradient(cast, self._upstream(upstream, chunk), self._plan)
            return chunk + 1, result.write(chunk, gradient)

        result = self._array(self._num_chunks, (None, self._plan.steps[0].size_in))
        _, result = self._loop(0, self._num_chunks, body, result)
        gradient = tf.cast(result.concat(), self._source.dtype)
        if self._rows is None:
            return gradient
        # Each row is multiplied at most once, so no two gradients meet here.
        return tf.scatter_nd(self._rows[:, None], gradient, tf.shape(self._source))

    def _upstream(self, upstream: tf.Tensor, chunk: tf.Tensor) -> tf.Tensor:
        """Upstream gradient of one chunk, filled up as the chunk itself is."""
        part = upstream[chunk * self._chunk : (chunk + 1) * self._chunk]
        return part if self._prepare is None else self._filled_up(part)

    def _array(self, size: tf.Tensor, shape: tuple) -> tf.TensorArray:
        # Both loops of the backward pass may read an element, so reading must not clear it.
        return tf.TensorArray(
            self._dtype, size, element_shape=shape, infer_shape=False, clear_after_read=False
        )

    def _loop(self, start, stop, body: Callable, *values) -> list:
        """Run `body(chunk, *values)` for the chunks [start, stop), several at once."""
        return tf.while_loop(
            lambda chunk, *_: chunk < stop,
            body,
            (tf.convert_to_tensor(start), *values),
            parallel_iterations=self._parallel,
        )


@functools.cache
def _cast_to(dtype: str) -> Prepare:
    """Build a `prepare` function that only casts."""
    return tf.function(lambda part, rows: tf.cast(part, dtype), jit_compile=True)


def step_operands(kernels: Sequence[tf.Tensor], chosen: Plan) -> list[tf.Tensor]:
    """Prepare each step's kernel for `contract`: as it is, or transposed to (1, outer, inner).

    Call it outside the loop over chunks, which would transpose the kernels again for each chunk.
    """
    return [
        tf.transpose(kernel)[None] if step.after >= _MIN_COLUMNS else kernel
        for step, kernel in zip(chosen.steps, kernels, strict=True)
    ]


def states_of(x: tf.Tensor, operands: Sequence[tf.Tensor], chosen: Plan) -> list[tf.Tensor]:
    """Inputs of each step, followed by the output of the last step.

    Args:
        x: rows (C, M).
        operands: result of `step_operands`.
        chosen: the plan.
    """
    states = [x]
    for step, operand in zip(chosen.steps, operands, strict=True):
        states.append(contract(states[-1], operand, step))
    return states


def kernel_gradients(
    states: Sequence[tf.Tensor], kernels: Sequence[tf.Tensor], gradient: tf.Tensor, chosen: Plan
) -> list[tf.Tensor]:
    """Gradient of each step's kernel, (inner, outer) each.

    Args:
        states: inputs of the steps, as `states_of` returns them without the last.
        kernels: the steps' kernels.
        gradient: gradient of the product, (C, N).
        chosen: the plan.
    """
    steps, gradients = chosen.steps, []
    for step, kernel, state in reversed(list(zip(steps, kernels, states, strict=True))):
        gradients.append(_kernel_gradient(state, gradient, step))
        if step is not steps[0]:  # the gradient of the rows themselves is `input_gradient`'s
            gradient = state_gradient(gradient, kernel, step)
    return gradients[::-1]


def input_gradient(kernels: Sequence[tf.Tensor], gradient: tf.Tensor, chosen: Plan) -> tf.Tensor:
    """Gradient of the rows, (C, M), from the gradient of the product, (C, N)."""
    for step, kernel in reversed(list(zip(chosen.steps, kernels, strict=True))):
        gradient = state_gradient(gradient, kernel, step)
    return tf.reshape(gradient, (-1, chosen.steps[0].size_in))


def contract(state: tf.Tensor, operand: tf.Tensor, step: Step) -> tf.Tensor:
    """Contract one step: (C * before, inner, after) to (C * before, outer, after).

    Args:
        state: the step's input.
        operand: result of `step_operands` for the step, (inner, outer) or (1, outer, inner).
        step: the step.
    """
    # Without trailing axes one large product replaces a batch of matrix-vector products.
    if step.after == 1:
        return tf.matmul(tf.reshape(state, (-1, step.inner)), operand)
    state = tf.reshape(state, (-1, step.inner, step.after))
    if step.after < _MIN_COLUMNS:
        rows = tf.reshape(tf.transpose(state, (0, 2, 1)), (-1, step.inner))
        product = tf.reshape(tf.matmul(rows, operand), (-1, step.after, step.outer))
        return tf.transpose(product, (0, 2, 1))
    return tf.matmul(operand, state)


def state_gradient(gradient: tf.Tensor, kernel: tf.Tensor, step: Step) -> tf.Tensor:
    """Gradient of a step's input from that of its output."""
    if step.after == 1:
        return tf.matmul(tf.reshape(gradient, (-1, step.outer)), kernel, transpose_b=True)
    gradient = tf.reshape(gradient, (-1, step.outer, step.after))
    if step.after < _MIN_COLUMNS:
        rows = tf.reshape(tf.transpose(gradient, (0, 2, 1)), (-1, step.outer))
        product = tf.matmul(rows, kernel, transpose_b=True)
        return tf.transpose(tf.reshape(product, (-1, step.after, step.inner)), (0, 2, 1))
    return tf.matmul(kernel[None], gradient)


def _kernel_gradient(state: tf.Tensor, gradient: tf.Tensor, step: Step) -> tf.Tensor:
    """Gradient (inner, outer) of a step's kernel from the step's input and output gradient."""
    state = tf.reshape(state, (-1, step.inner, step.after))
    gradient = tf.reshape(gradient, (-1, step.outer, step.after))
    # (C * before * after, inner) and (.., outer): one product then sums over all rows.
    if step.after > 1:
        state, gradient = (tf.transpose(tensor, (0, 2, 1)) for tensor in (state, gradient))
    state, gradient = tf.reshape(state, (-1, step.inner)), tf.reshape(gradient, (-1, step.outer))
    return tf.matmul(state, gradient, transpose_a=True)
