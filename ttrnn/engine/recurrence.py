"""Recurrences over packed steps, with a gradient of their own: TensorFlow's fast path.

Inside the time loop are only the products that depend on the step before. The backward pass
computes the gates of all steps again in a few large products, and with them everything by which
the gradient of a state is multiplied; its loop then does one small product a kernel, and the
gradient of the recurrent kernel is one large product after it. States and sums are at least
float32, whatever the layer computes in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from ttrnn.activations import keras2_hard_sigmoid
from ttrnn.engine.packing import Packing

# Of these the derivative at an element follows from that element alone, so one GradientTape over
# all packed rows gives every slope. A softmax, say, or a user's own function has no place here.
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
    """Whether the derivatives of all these can be taken element by element."""
    return all(activation in _ELEMENTWISE for activation in activations)


@dataclass(frozen=True)
class Steps:
    """Packing, activations and dropout mask: what every step of a run shares."""

    packing: Packing
    dtype: str
    """Of the large products of the backward pass; sums are at least float32."""
    activation: Callable
    recurrent_activation: Callable
    """Of the gates; not looked at where there are none."""
    dropped: tf.Tensor | None
    """(B, units) recurrent-dropout mask, in the packing's order."""

    def drop(self, state: tf.Tensor) -> tf.Tensor:
        """A block's state (n, units) as it enters the recurrent products."""
        return state if self.dropped is None else state * self.dropped[: tf.shape(state)[0]]

    def product(self, a: tf.Tensor, b: tf.Tensor, **transpose: bool) -> tf.Tensor:
        """A product over all packed rows."""
        return tf.cast(
            tf.matmul(tf.cast(a, self.dtype), tf.cast(b, self.dtype), **transpose), a.dtype
        )

    @property
    def dropped_rows(self) -> tf.Tensor | float:
        """(N, units): the dropout mask of each packed row."""
        return 1.0 if self.dropped is None else tf.gather(self.dropped, self.packing.position)


class SimpleRNN:
    """h' = activation(x + (h * M) U)."""

    num_states = 1

    @staticmethod
    def kernels(kernel: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Recurrent matrices, in the order in which a step multiplies by them."""
        return (kernel,)

    @staticmethod
    def step(steps: Steps, x, states, kernels) -> tuple[tf.Tensor, ...]:
        """States after one step."""
        return (steps.activation(x + tf.matmul(steps.drop(states[0]), kernels[0])),)

    @staticmethod
    def factors(steps: Steps, x, before, after, kernels):
        """Factors of the backward loop, and what entered the products, for all packed rows.

        They are computed anew from the states, all that the forward loop keeps, in products over
        all steps at once.
        """
        entered = before[0] * steps.dropped_rows
        pre = x + steps.product(entered, kernels[0])
        return (_derivative(steps.activation, pre)[1],), (entered,)

    @staticmethod
    def step_back(steps: Steps, gradients, factors, kernels):
        """Gradients of x and of the states before a step, from those of the states after it."""
        (slope,) = factors
        g_x = gradients[0] * slope
        return (g_x,), (steps.drop(tf.matmul(g_x, kernels[0], transpose_b=True)),)


class GRU:
    """z, r = s(x_zr + (h * M) U_zr); c = a(x_h + (r * h * M) U_h); h' = z * h + (1 - z) * c."""

    num_states = 1

    @staticmethod
    def kernels(kernel: tf.Tensor) -> tuple[tf.Tensor, ...]:
        units = kernel.shape[0]
        return kernel[:, : 2 * units], kernel[:, 2 * units :]

    @staticmethod
    def step(steps: Steps, x, states, kernels):
        (state,), units = states, states[0].shape[1]
        dropped = steps.drop(state)
        opened = steps.recurrent_activation(x[:, : 2 * units] + tf.matmul(dropped, kernels[0]))
        update, reset = opened[:, :units], opened[:, units:]
        candidate = steps.activation(x[:, 2 * units :] + tf.matmul(reset * dropped, kernels[1]))
        # z * h + (1 - z) * c with one multiplication less
        return (candidate + update * (state - candidate),)

    @staticmethod
    def factors(steps: Steps, x, before, after, kernels):
        (state,), units = before, before[0].shape[1]
        entered = state * steps.dropped_rows
        opened, slopes = _derivative(
            steps.recurrent_activation, x[:, : 2 * units] + steps.product(entered, kernels[0])
        )
        update, reset = opened[:, :units], opened[:, units:]
        candidate, slope = _derivative(
            steps.activation, x[:, 2 * units :] + steps.product(reset * entered, kernels[1])
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
    def step_back(steps: Steps, gradients, factors, kernels):
        (gradient,) = gradients
        by_candidate, by_state, by_update, by_reset, reset = factors
        g_candidate = gradient * by_candidate
        g_gated = tf.matmul(g_candidate, kernels[1], transpose_b=True)
        # update and reset share one kernel, hence one product (B, 2 * units)
        g_opened = tf.concat([gradient * by_update, g_gated * by_reset], axis=1)
        g_entered = g_gated * reset + tf.matmul(g_opened, kernels[0], transpose_b=True)
        return (g_opened, g_candidate), (gradient * by_state + steps.drop(g_entered),)


class LSTM:
    """i, f, c, o from x + (h * M) U; c' = f * c + i * g; h' = o * activation(c')."""

    num_states = 2

    @staticmethod
    def kernels(kernel: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return (kernel,)

    @staticmethod
    def step(steps: Steps, x, states, kernels):
        state, carry = states
        pre = x + tf.matmul(steps.drop(state), kernels[0])
        units = state.shape[1]
        opened = steps.recurrent_activation(pre[:, : 2 * units])
        candidate = steps.activation(pre[:, 2 * units : 3 * units])
        carry = opened[:, units:] * carry + opened[:, :units] * candidate
        return steps.recurrent_activation(pre[:, 3 * units :]) * steps.activation(carry), carry

    @staticmethod
    def factors(steps: Steps, x, before, after, kernels):
        (state, carry), units = before, before[0].shape[1]
        entered = state * steps.dropped_rows
        pre = x + steps.product(entered, kernels[0])
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
    def step_back(steps: Steps, gradients, factors, kernels):
        gradient, g_carry = gradients
        by_carry, by_out, by_input, by_forget, by_candidate, kept = factors
        g_carry = g_carry + gradient * by_carry
        parts = [g_carry * by_input, g_carry * by_forget, g_carry * by_candidate, gradient * by_out]
        g_x = tf.concat(parts, axis=1)
        g_state = steps.drop(tf.matmul(g_x, kernels[0], transpose_b=True))
        return (g_x,), (g_state, g_carry * kept)


Kind = type[SimpleRNN] | type[GRU] | type[LSTM]


def run(
    kind: Kind,
    steps: Steps,
    inputs: tf.Tensor,
    kernel: tf.Tensor,
    initial: Sequence[tf.Tensor],
) -> list[tf.Tensor]:
    """Run a recurrence over packed steps.

    Args:
        kind: SimpleRNN, GRU or LSTM of this module.
        steps: the packing, the activations, the dropout mask.
        inputs: (N, gates * units), the projected inputs of the packed steps.
        kernel: (units, gates * units), recurrent.
        initial: each state at the beginning, (B, units), in the packing's order.

    Returns:
        Each state after every packed step, (N, units); float32 or wider.
    """
    # Rounding to bfloat16 at every step would add up over a clip of hundreds of frames.
    dtype = inputs.dtype if inputs.dtype.size >= 4 else tf.float32

    @tf.custom_gradient
    def recurrence(inputs, kernel, *initial):
        kernels = kind.kernels(kernel)
        states = _forward(kind, steps, inputs, kernels, initial)

        def backward(*upstream):
            dense = [tf.convert_to_tensor(gradient) for gradient in upstream]
            return _backward(kind, steps, inputs, kernels, initial, states, dense)

        return states, backward

    states = recurrence(*(tf.cast(tensor, dtype) for tensor in (inputs, kernel, *initial)))
    return list(states) if isinstance(states, (list, tuple)) else [states]


def _forward(kind: Kind, steps: Steps, inputs, kernels, initial) -> list[tf.Tensor]:
    packing = steps.packing
    arrays = [_array(state, tf.size(packing.num_active)) for state in initial]

    def body(t, states, arrays):
        here = _block(packing, t)
        # The longest sequences come first, so those that go on are the leading rows.
        before = tuple(state[: packing.num_active[t]] for state in states)
        after = list(kind.step(steps, inputs[here], before, kernels))
        arrays = [array.write(t, state) for array, state in zip(arrays, after, strict=True)]
        return t + 1, after, arrays

    # The number of rows shrinks from step to step: the loop must not take it for fixed.
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


def _backward(kind: Kind, steps: Steps, inputs, kernels, initial, states, upstream) -> tuple:
    packing = steps.packing
    before = [
        tf.gather(tf.concat([first, after], axis=0), packing.previous)
        for first, after in zip(initial, states, strict=True)
    ]
    factors, entered = kind.factors(steps, inputs, before, states, kernels)
    num_steps = tf.size(packing.num_active)

    def body(t, gradients, arrays):
        here, rows = _block(packing, t), packing.num_active[t]
        # Sequences that end at this step join the loop here, without gradient from a later one.
        gradients = [
            tf.pad(gradient, [[0, rows - tf.shape(gradient)[0]], [0, 0]]) + outside[here]
            for gradient, outside in zip(gradients, upstream, strict=True)
        ]
        by_kernel, gradients = kind.step_back(steps, gradients, [f[here] for f in factors], kernels)
        arrays = [array.write(t, g) for array, g in zip(arrays, by_kernel, strict=True)]
        return t - 1, list(gradients), arrays

    free = [tf.TensorShape((None, state.shape[1])) for state in initial]
    arrays = [_array(kernel, num_steps) for kernel in kernels]
    nothing = [tf.zeros((0, state.shape[1]), state.dtype) for state in initial]
    _, gradients, arrays = tf.while_loop(
        lambda t, *_: t >= 0,
        body,
        (num_steps - 1, nothing, arrays),
        shape_invariants=(tf.TensorShape(()), free, [tf.TensorShape(None)] * len(arrays)),
    )
    by_input = [
        tf.ensure_shape(array.concat(), (None, kernel.shape[1]))
        for array, kernel in zip(arrays, kernels, strict=True)
    ]
    # All steps in one product (units, N) x (N, ...): the loop would make L small ones and add them.
    by_kernel = [
        steps.product(state, gradient, transpose_a=True)
        for state, gradient in zip(entered, by_input, strict=True)
    ]
    # Sequences without any valid step never entered the loop; their states have no gradient.
    missing = tf.shape(initial[0])[0] - tf.shape(gradients[0])[0]
    by_initial = [tf.pad(gradient, [[0, missing], [0, 0]]) for gradient in gradients]
    return tf.concat(by_input, axis=1), tf.concat(by_kernel, axis=1), *by_initial


def _block(packing: Packing, t: tf.Tensor) -> slice:
    start = packing.block_start[t]
    return slice(start, start + packing.num_active[t])


def _array(like: tf.Tensor, size: tf.Tensor) -> tf.TensorArray:
    """Array of `size` blocks, each of any number of rows as wide as `like`."""
    return tf.TensorArray(like.dtype, size, element_shape=(None, like.shape[1]), infer_shape=False)


def _derivative(activation: Callable, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Value and derivative of an elementwise function, each of the shape of `x`."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = activation(x)
    slope = tape.gradient(y, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return y, slope
