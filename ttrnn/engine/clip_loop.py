"""Time loop over clips laid end to end on JAX, with as many steps as the longest clip has frames.

Under jit the number of all frames is known, but not the length of the longest clip. A scan has a
fixed number of steps, so that it would need one for every frame of the batch. This is a while loop
instead, which ends with the longest clip; JAX has no reverse gradient of such a loop, so it has one
of its own. Nothing is padded: step t reads and writes the rows of the clips' frames t.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
from jax import lax
from jax import numpy as jnp


def clip_loop(step: Callable, projected, num_frames, initial_state: list):
    """Run `step` over clips that lie end to end.

    Args:
        step: function of x (batch, gates * units) and the states to the output (batch, units) and
            the new states. Its gradient reaches the float arrays that it closes over.
        projected: projected frames of all clips, (N, gates * units).
        num_frames: number of frames of each clip, int32 (batch,). They sum to N.
        initial_state: tensors (batch, units).

    Returns:
        Output at every frame, (N, units).
    """
    x = jnp.zeros((num_frames.shape[0], projected.shape[1]), projected.dtype)
    # What `step` closes over becomes an argument, for which the gradient below can be asked.
    closed, constants = jax.closure_convert(step, x, initial_state)
    return _run(closed, projected, num_frames, initial_state, constants)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run(step: Callable, projected, num_frames, initial: list, constants: list):
    return _forward(step, projected, num_frames, initial, constants)[0]


def _forward(step: Callable, projected, num_frames, initial: list, constants: list):
    """Outputs of all frames, (N, units), and what the backward pass needs."""
    total = projected.shape[0]

    def body(carry):
        t, before, kept = carry
        rows = _rows(num_frames, t, total)
        after = step(_read(projected, rows), before, *constants)
        # Output and states after every frame. The rows of clips that have ended are not written.
        kept = jax.tree.map(lambda old, new: old.at[rows].set(new, mode="drop"), kept, after)
        return t + 1, list(after[1]), kept

    x = jax.ShapeDtypeStruct((num_frames.shape[0], projected.shape[1]), projected.dtype)
    shapes = jax.eval_shape(step, x, initial, *constants)
    kept = jax.tree.map(lambda part: jnp.zeros((total, part.shape[1]), part.dtype), shapes)
    _, _, (outputs, states) = lax.while_loop(
        lambda carry: carry[0] < _longest(num_frames), body, (jnp.int32(0), initial, kept)
    )
    return outputs, (projected, num_frames, initial, constants, states)


def _backward(step: Callable, residuals: tuple, upstream):
    """Gradients by the arguments of `_run` after `step`, from that by the outputs (N, units)."""
    projected, num_frames, initial, constants, states = residuals
    total = projected.shape[0]

    def body(carry):
        t, by_states, by_projected, by_constants = carry
        rows = _rows(num_frames, t, total)
        previous = _rows(num_frames, t - 1, total)
        before = [
            jnp.where(t > 0, _read(after, previous), first)
            for after, first in zip(states, initial, strict=True)
        ]
        # Only the states are kept. A step computes its gates again, which costs less than keeping
        # and reading them. Clips that have ended read zeros, and add zeros to every sum.
        _, pull_back = jax.vjp(step, _read(projected, rows), before, *constants)
        by_x, by_states, *parts = pull_back((_read(upstream, rows), by_states))
        by_projected = by_projected.at[rows].set(by_x, mode="drop")
        by_constants = [sum_ + part for sum_, part in zip(by_constants, parts, strict=True)]
        return t - 1, by_states, by_projected, by_constants

    nothing = jax.tree.map(jnp.zeros_like, (initial, projected, constants))
    _, by_initial, by_projected, by_constants = lax.while_loop(
        lambda carry: carry[0] >= 0, body, (_longest(num_frames) - 1, *nothing)
    )
    return by_projected, None, by_initial, by_constants


_run.defvjp(_forward, _backward)


def _longest(num_frames):
    return jnp.max(num_frames, initial=0)


def _rows(num_frames, t, total: int):
    """Row of each clip's frame t, (batch,); `total` for a clip that has none."""
    first = jnp.cumsum(num_frames) - num_frames
    return jnp.where((t >= 0) & (t < num_frames), first + t, total)


def _read(array, rows):
    """Rows of an array, and zeros for those that do not exist."""
    return array.at[rows].get(mode="fill", fill_value=0)
