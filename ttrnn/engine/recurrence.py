"""Recurrences over packed steps with a hand-written gradient: the fast path on TensorFlow.

The time loop holds only the products that depend on the step before. The backward pass first
recomputes the gates of all steps in a few large products and derives from them every factor that
multiplies a state's gradient. Its loop then needs one small product per kernel and step, and the
gradient of the recurrent kernel is one large product after the loop. States and sums are float32
or wider, whatever dtype the layer computes in.

A factorized recurrent matrix is merged once for all steps: into the dense one, or into the few
kernels of a plan (`ttrnn.engine.contraction`) where multiplying by those one after the other takes
less time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import keras
import tensorflow as tf

from ttrnn.activations import keras2_hard_sigmoid
from ttrnn.engine.contraction import Plan, core_shapes_of, full_kernel, plan, step_kernels
from ttrnn.engine.packing import Packing
from ttrnn.engine.projection import input_gradient, kernel_gradients, states_of, step_operands

# What a factorized recurrent matrix is planned for: sequences of a batch, where their number is
# not known yet, and the steps of a loop, which all use the kernels that are merged before it.
_BATCH, _STEPS = 16, 100

# Activations whose derivative at an element depends on that element alone, so that one
# GradientTape over all packed rows gives every slope. A softmax mixes elements, and of a user's
# own function nothing is known: layers with those run the portable time loop.
_ELEMENTWISE = {
    getattr(keras.activations, name)
    for name in [
        "celu",
        "elu",
        "exponential",
        "gelu",
        "hard_shrink",
        "hard_sigmoid",
        "hard_silu",
        "hard_tanh",
        "leaky_relu",
        "linear",
        "log_sigmoid",
        "mish",
        "relu",
        "relu6",
        "selu",
        "sigmoid",
        "silu",
        "soft_shrink",
        "softplus",
        "softsign",
        "sparse_plus",
        "squareplus",
        "tanh",
        "tanh_shrink",
        "threshold",
    ]
} | {keras2_hard_sigmoid}


def is_elementwise(*activations: Callable) -> bool:
    """Return True if the derivative of every activation is taken element by element."""
    return all(activation in _ELEMENTWISE for activation in activations)


@dataclass(frozen=True)
class Steps:
    """Packing, activations and dropout mask that all steps of a run share."""

    packing: Packing
    dtype: str
    """Dtype of the large products of the backward pass; their results are float32 or wider."""
    activation: Callable
    recurrent_activation: Callable
    """Activation of the gates; unused by a recurrence without gates."""
    dropped: tf.Tensor | None
    """Recurrent-dropout mask (B, units) in the packing's order, or None."""

    def drop(self, state: tf.Tensor) -> tf.Tensor:
        """Apply the dropout mask to a block's state (n, units), for the recurrent products."""
        # The rows of a block are the first n sequences of the packing's order, as are the mask's.
        return state if self.dropped is None else state * self.dropped[: tf.shape(state)[0]]

    @property
    def dropped_rows(self) -> tf.Tensor | float:
        """Dropout mask of each packed row, (N, units), or 1.0 without dropout."""
        return 1.0 if self.dropped is None else tf.gather(self.dropped, self.packing.position)


@dataclass(frozen=True)
class Matrix:
    """Recurrent matrix of some gates: itself, or the kernels of a planned product."""

    kernels: tuple[tf.Tensor, ...]
    plan: Plan | None = None
    """Plan of the product with the kernels; None for a single kernel, the matrix itself."""
    operands: tuple[tf.Tensor, ...] = ()
    """Kernels as `step_operands` prepares them for `times`; empty without a plan."""

    def with_kernels(self, kernels: Sequence[tf.Tensor]) -> Matrix:
        """Copy of the matrix with other kernels, ready for `times`."""
        found = () if self.plan is None else tuple(step_operands(kernels, self.plan))
        return replace(self, kernels=tuple(kernels), operands=found)

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.kernels[0].shape[1] if self.plan is None else self.plan.steps[-1].size_out

    def times(self, state: tf.Tensor) -> tf.Tensor:
        """Multiply the states of a step, (n, units)."""
        if self.plan is None:
            return tf.matmul(state, self.kernels[0])
        return tf.reshape(states_of(state, self.operands, self.plan)[-1], (-1, self.width))

    def back(self, gradient: tf.Tensor) -> tf.Tensor:
        """Gradient of the states of a step, (n, units), from that of their product."""
        if self.plan is None:
            return tf.matmul(gradient, self.kernels[0], transpose_b=True)
        return input_gradient(self.kernels, gradient, self.plan)

    def times_all(self, states: tf.Tensor, dtype: str) -> tf.Tensor:
        """Multiply the states of all packed rows, in `dtype`; the result has the states' dtype."""
        cast = self.with_kernels([tf.cast(kernel, dtype) for kernel in self.kernels])
        product = cast.times(tf.cast(states, dtype))
        return tf.cast(product, states.dtype)

    def gradients(self, states: tf.Tensor, gradient: tf.Tensor, dtype: str) -> list[tf.Tensor]:
        """Gradients of the kernels from all packed rows, in `dtype`.

        Args:
            states: left operands of the products, (N, units).
            gradient: gradient of the products, (N, width).
            dtype: dtype of the products.
        """
        left, right = tf.cast(states, dtype), tf.cast(gradient, dtype)
        if self.plan is None:
            found = [tf.matmul(left, right, transpose_a=True)]
        else:
            kernels = [tf.cast(kernel, dtype) for kernel in self.kernels]
            inputs = states_of(left, step_operands(kernels, self.plan), self.plan)[:-1]
            found = kernel_gradients(inputs, kernels, right, self.plan)
        return [tf.cast(tensor, states.dtype) for tensor in found]


# The three classes below have the same three functions. In them x is the projected input, h the
# state before a step, h' the state after it and M the dropout mask. A name "by_z" in `step_back` is
# one of the `factors`: the derivative of a step's result by z or, for a gate, by its argument.
class SimpleRNN:
    """Simple recurrence h' = activation(x + (h * M) U)."""

    num_states = 1
    gates = (1,)
    """Number of gates of each recurrent matrix, in the order in which a step uses them."""

    @staticmethod
    def step(steps: Steps, x, states, matrices) -> tuple[tf.Tensor, ...]:
        """Compute the states after one step from x (n, gates * units) and states (n, units)."""
        return (steps.activation(x + matrices[0].times(steps.drop(states[0]))),)

    @staticmethod
    def factors(steps: Steps, x, before, after, matrices):
        """Compute the factors of the backward loop for all packed rows.

        The forward loop keeps the states only. The gates are recomputed from them here, in products
        over all steps at once.

        Args:
            steps: the run's packing, activations and mask.
            x: projected inputs (N, gates * units).
            before: states before each packed step, (N, units) each.
            after: states after each packed step, (N, units) each.
            matrices: recurrent matrices, as many as `gates`.

        Returns:
            The factors that `step_back` takes, (N, ...) each, and the left operand (N, units) of
            each recurrent product, from which the matrices' gradients follow.
        """
        entered = before[0] * steps.dropped_rows
        pre = x + matrices[0].times_all(entered, steps.dtype)
        return (_derivative(steps.activation, pre)[1],), (entered,)

    @staticmethod
    def step_back(steps: Steps, gradients, factors, matrices):
        """Turn the gradients of the states after a step into those of x and the states before."""
        (slope,) = factors
        g_x = gradients[0] * slope
        return (g_x,), (steps.drop(matrices[0].back(g_x)),)


class GRU:
    """Gated recurrence, reset before the product (`reset_after=False`), gates in order z, r, h.

    z, r = s(x_zr + (h * M) U_zr); c = a(x_h + (r * h * M) U_h); h' = z * h + (1 - z) * c, where s
    is the recurrent activation and a the activation.
    """

    num_states = 1
    # Two matrices, for the candidate's product has to wait for the reset gate.
    gates = (2, 1)

    @staticmethod
    def step(steps: Steps, x, states, matrices):
        (state,), units = states, states[0].shape[1]
        dropped = steps.drop(state)
        opened = steps.recurrent_activation(x[:, : 2 * units] + matrices[0].times(dropped))
        update, reset = opened[:, :units], opened[:, units:]
        candidate = steps.activation(x[:, 2 * units :] + matrices[1].times(reset * dropped))
        # z * h + (1 - z) * c with one multiplication less.
        return (candidate + update * (state - candidate),)

    @staticmethod
    def factors(steps: Steps, x, before, after, matrices):
        (state,), units = before, before[0].shape[1]
        entered = state * steps.dropped_rows
        opened, slopes = _derivative(
            steps.recurrent_activation,
            x[:, : 2 * units] + matrices[0].times_all(entered, steps.dtype),
        )
        update, reset = opened[:, :units], opened[:, units:]
        candidate, slope = _derivative(
            steps.activation,
            x[:, 2 * units :] + matrices[1].times_all(reset * entered, steps.dtype),
        )
        factors = (
            (1 - update) * slope,  # h' by candidate's argument
            update,  # h' by h
            (state - candidate) * slopes[:, :units],  # h' by update's argument
            entered * slopes[:, units:],  # (r * h * M) by reset's argument
            reset,  # (r * h * M) by (h * M)
        )
        return factors, (entered, reset * entered)

    @staticmethod
    def step_back(steps: Steps, gradients, factors, matrices):
        (gradient,) = gradients
        by_candidate, by_state, by_update, by_reset, reset = factors
        g_candidate = gradient * by_candidate
        g_gated = matrices[1].back(g_candidate)
        # Update and reset gate share one kernel, hence one product (n, 2 * units).
        g_opened = tf.concat([gradient * by_update, g_gated * by_reset], axis=1)
        g_entered = g_gated * reset + matrices[0].back(g_opened)
        return (g_opened, g_candidate), (gradient * by_state + steps.drop(g_entered),)


class LSTM:
    """Long short-term memory, gates in order i, f, c, o; the states are h and the carry c.

    i, f, o = s(x + (h * M) U); g = a(x + (h * M) U); c' = f * c + i * g; h' = o * a(c').
    """

    num_states = 2
    gates = (4,)

    @staticmethod
    def step(steps: Steps, x, states, matrices):
        state, carry = states
        pre = x + matrices[0].times(steps.drop(state))
        units = state.shape[1]
        opened = steps.recurrent_activation(pre[:, : 2 * units])
        candidate = steps.activation(pre[:, 2 * units : 3 * units])
        carry = opened[:, units:] * carry + opened[:, :units] * candidate
        return steps.recurrent_activation(pre[:, 3 * units :]) * steps.activation(carry), carry

    @staticmethod
    def factors(steps: Steps, x, before, after, matrices):
        (state, carry), units = before, before[0].shape[1]
        entered = state * steps.dropped_rows
        pre = x + matrices[0].times_all(entered, steps.dtype)
        opened, slopes = _derivative(steps.recurrent_activation, pre[:, : 2 * units])
        candidate, slope = _derivative(steps.activation, pre[:, 2 * units : 3 * units])
        out, out_slope = _derivative(steps.recurrent_activation, pre[:, 3 * units :])
        seen, seen_slope = _derivative(steps.activation, after[1])
        factors = (
            out * seen_slope,  # h' by c'
            seen * out_slope,  # h' by out's argument
            candidate * slopes[:, :units],  # c' by input's argument
            carry * slopes[:, units:],  # c' by forget's argument
            opened[:, :units] * slope,  # c' by candidate's argument
            opened[:, units:],  # c' by c
        )
        return factors, (entered,)

    @staticmethod
    def step_back(steps: Steps, gradients, factors, matrices):
        gradient, g_carry = gradients
        by_carry, by_out, by_input, by_forget, by_candidate, kept = factors
        # The carry reaches the loss by the next step and by this step's output.
        g_carry = g_carry + gradient * by_carry
        parts = [g_carry * by_input, g_carry * by_forget, g_carry * by_candidate, gradient * by_out]
        g_x = tf.concat(parts, axis=1)
        g_state = steps.drop(matrices[0].back(g_x))
        return (g_x,), (g_state, g_carry * kept)


Kind = type[SimpleRNN] | type[GRU] | type[LSTM]


def dense_matrices(kind: Kind, kernel: tf.Tensor) -> list[Matrix]:
    """Split a dense recurrent kernel (units, gates * units) into the matrices of a recurrence."""
    # The gradient of a split is one concatenation; that of slices is a sum of padded gradients.
    widths = [gates * kernel.shape[0] for gates in kind.gates]
    return [Matrix((part,)) for part in tf.split(kernel, widths, axis=1)]


def planned_matrices(kind: Kind, chains: Sequence[Sequence], batch: int | None) -> list[Matrix]:
    """Plan the products of a recurrent matrix that is a sum of chains of cores.

    Args:
        kind: the recurrence.
        chains: the chains of (units, gates * units).
        batch: number of sequences, or None where it is not known.
    """
    if len(chains) > 1:
        # Several chains would take several times as many operations in every step.
        return dense_matrices(kind, sum(full_kernel(chain) for chain in chains))
    (chain,), matrices, start = chains, [], 0
    # The gates are the slowest digit of the columns: those of the first core that has any.
    gated = next(k for k, core in enumerate(chain) if core.shape[2] > 1 or k == len(chain) - 1)
    columns = chain[gated].shape[2] // sum(kind.gates)
    for gates in kind.gates:
        stop = start + gates * columns
        cores = [*chain[:gated], chain[gated][:, :, start:stop], *chain[gated + 1 :]]
        chosen = plan(core_shapes_of(cores), batch or _BATCH, "float32", repeats=_STEPS)
        kernels = tuple(tf.convert_to_tensor(kernel) for kernel in step_kernels(chosen, cores))
        matrices.append(Matrix(kernels, chosen if len(kernels) > 1 else None))
        start = stop
    return matrices


def run(
    kind: Kind,
    steps: Steps,
    inputs: tf.Tensor,
    matrices: Sequence[Matrix],
    initial: Sequence[tf.Tensor],
) -> list[tf.Tensor]:
    """Run a recurrence over packed steps.

    Args:
        kind: SimpleRNN, GRU or LSTM of this module.
        steps: packing, activations and dropout mask.
        inputs: projected inputs of the packed steps, (N, gates * units).
        matrices: recurrent matrices, as `dense_matrices` or `planned_matrices` makes them.
        initial: initial states, (B, units) each, in the packing's order.

    Returns:
        Each state after every packed step, (N, units), in float32 or wider.
    """
    # Rounding to bfloat16 at every step would add up over a clip of hundreds of frames.
    dtype = inputs.dtype if inputs.dtype.size >= 4 else tf.float32
    num_kernels = sum(len(matrix.kernels) for matrix in matrices)

    # TensorFlow's own gradient of a while loop stores every tensor of every step and multiplies
    # out the recurrent kernel's gradient inside the loop.
    @tf.custom_gradient
    def recurrence(inputs, *others):
        kernels, initial = iter(others[:num_kernels]), others[num_kernels:]
        cast = [matrix.with_kernels([next(kernels) for _ in matrix.kernels]) for matrix in matrices]
        states = _forward(kind, steps, inputs, cast, initial)

        def backward(*upstream):
            # The gradient of a gather on the states arrives as IndexedSlices.
            dense = [tf.convert_to_tensor(gradient) for gradient in upstream]
            return _backward(kind, steps, inputs, cast, initial, states, dense)

        return states, backward

    kernels = [kernel for matrix in matrices for kernel in matrix.kernels]
    states = recurrence(*(tf.cast(tensor, dtype) for tensor in (inputs, *kernels, *initial)))
    return list(states) if isinstance(states, (list, tuple)) else [states]


def _forward(kind: Kind, steps: Steps, inputs, matrices, initial) -> list[tf.Tensor]:
    """Run the time loop; return each state after every packed step, (N, units)."""
    packing = steps.packing
    num_steps = tf.size(packing.num_active)
    arrays = [_array(state.dtype, state.shape[1], num_steps) for state in initial]

    def body(t, states, arrays):
        here = _block(packing, t)
        # The longest sequences come first, so those with a step t are the leading rows.
        before = tuple(state[: packing.num_active[t]] for state in states)
        after = list(kind.step(steps, inputs[here], before, matrices))
        arrays = [array.write(t, state) for array, state in zip(arrays, after, strict=True)]
        return t + 1, after, arrays

    # The number of rows shrinks from step to step, so the loop must not take it for fixed.
    free = [tf.TensorShape((None, state.shape[1])) for state in initial]
    _, _, arrays = tf.while_loop(
        lambda t, *_: t < tf.size(packing.num_active),
        body,
        (0, list(initial), arrays),
        shape_invariants=(tf.TensorShape(()), free, [tf.TensorShape(None)] * len(arrays)),
    )
    return [
        tf.ensure_shape(array.concat(), (None, state.shape[1]))
        for array, state in zip(arrays, initial, strict=True)
    ]


def _backward(kind: Kind, steps: Steps, inputs, matrices, initial, states, upstream) -> tuple:
    """Run the time loop backwards.

    Args:
        kind, steps, inputs, matrices, initial: as in the forward pass.
        states: results of the forward pass, (N, units) each.
        upstream: gradients of the loss by `states`.

    Returns:
        Gradients by the inputs (N, gates * units), each kernel of the matrices, and each initial
        state (B, units).
    """
    packing = steps.packing
    # The state before a packed row is an initial state or the row of the step before. (N, units)
    before = [
        tf.gather(tf.concat([first, after], axis=0), packing.previous)
        for first, after in zip(initial, states, strict=True)
    ]
    factors, entered = kind.factors(steps, inputs, before, states, matrices)
    num_steps = tf.size(packing.num_active)

    def body(t, gradients, arrays):
        here, rows = _block(packing, t), packing.num_active[t]
        # Time runs backwards: sequences that end at this step join the loop here, as further rows
        # without a gradient from a later step.
        gradients = [
            tf.pad(gradient, [[0, rows - tf.shape(gradient)[0]], [0, 0]]) + outside[here]
            for gradient, outside in zip(gradients, upstream, strict=True)
        ]
        by_matrix, gradients = kind.step_back(
            steps, gradients, [f[here] for f in factors], matrices
        )
        arrays = [array.write(t, g) for array, g in zip(arrays, by_matrix, strict=True)]
        return t - 1, list(gradients), arrays

    free = [tf.TensorShape((None, state.shape[1])) for state in initial]
    dtype = inputs.dtype
    arrays = [_array(dtype, matrix.width, num_steps) for matrix in matrices]
    # Before the last step no sequence takes part yet.
    nothing = [tf.zeros((0, state.shape[1]), state.dtype) for state in initial]
    _, gradients, arrays = tf.while_loop(
        lambda t, *_: t >= 0,
        body,
        (num_steps - 1, nothing, arrays),
        shape_invariants=(tf.TensorShape(()), free, [tf.TensorShape(None)] * len(arrays)),
    )
    by_input = [
        tf.ensure_shape(array.concat(), (None, matrix.width))
        for array, matrix in zip(arrays, matrices, strict=True)
    ]
    # One product (units, N) x (N, ...) over all steps. Inside the loop it would be L small ones
    # and as many additions.
    by_kernel = [
        tensor
        for matrix, state, gradient in zip(matrices, entered, by_input, strict=True)
        for tensor in matrix.gradients(state, gradient, steps.dtype)
    ]
    # Sequences without a valid step never entered the loop; their initial states get zeros.
    missing = tf.shape(initial[0])[0] - tf.shape(gradients[0])[0]
    by_initial = [tf.pad(gradient, [[0, missing], [0, 0]]) for gradient in gradients]
    return tf.concat(by_input, axis=1), *by_kernel, *by_initial


def _block(packing: Packing, t: tf.Tensor) -> slice:
    """Packed rows of step t."""
    start = packing.block_start[t]
    return slice(start, start + packing.num_active[t])


def _array(dtype: tf.DType, width: int, size: tf.Tensor) -> tf.TensorArray:
    """Create an array of `size` blocks of any number of rows."""
    return tf.TensorArray(dtype, size, element_shape=(None, width), infer_shape=False)


def _derivative(activation: Callable, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Value and derivative of an elementwise function, each of the shape of `x`."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = activation(x)
    slope = tape.gradient(y, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return y, slope
