"""Portable time loops for every backend; the reference that `ttrnn.engine.recurrence` equals."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import ops

# Keras's own portable loop over time: masks, direction, unrolling, on every backend. It is not
# exported, so this is the one place that reaches for it.
from keras.src.backend import rnn as _keras_time_loop

if keras.backend.backend() == "torch":
    import torch


def time_loop(
    step: Callable,
    sequences,
    initial_state: list,
    *,
    mask=None,
    go_backwards: bool = False,
    unroll: bool = False,
    zero_output_for_mask: bool = False,
    return_all_outputs: bool = True,
):
    """Run `step` over the time axis; a masked step carries output and state over.

    Args:
        step: function of x (batch, features) and the states to the output (batch, units) and the
            new states.
        sequences: (batch, time, features).
        initial_state: tensors of shape (batch, units).
        mask: booleans (batch, time), False where a step is to be skipped, or None.
        go_backwards: run from the last step to the first; outputs come in running order.
        unroll: unroll the loop into the graph; the number of steps must be static.
        zero_output_for_mask: output zeros at masked steps instead of the carried output.
        return_all_outputs: return the outputs of all steps instead of the last one's alone.

    Returns:
        Last output (batch, units), outputs (batch, time, units) and final states.
    """
    is_torch = keras.backend.backend() == "torch"
    # Reversed here, so that below the mask is in running order, as the outputs are.
    if go_backwards and (unroll or is_torch):
        sequences, go_backwards = ops.flip(sequences, axis=1), False
        mask = None if mask is None else ops.flip(mask, axis=1)
    if is_torch:
        return _torch_time_loop(
            step,
            sequences,
            initial_state,
            mask=mask,
            zero_output_for_mask=zero_output_for_mask,
            return_all_outputs=return_all_outputs,
        )
    last, outputs, states = _keras_time_loop(
        step,
        sequences,
        initial_state,
        go_backwards=go_backwards,
        mask=mask,
        unroll=unroll,
        input_length=sequences.shape[1],
        zero_output_for_mask=zero_output_for_mask,
        return_all_outputs=return_all_outputs,
    )
    # An unrolled loop of Keras 3.15 on JAX ignores zero_output_for_mask.
    if unroll and zero_output_for_mask and mask is not None:
        is_valid = ops.expand_dims(mask if return_all_outputs else mask[:, -1:], -1)
        outputs = ops.where(is_valid, outputs, ops.zeros_like(outputs))
        last = outputs[:, -1]
    return last, outputs, states


def _torch_time_loop(
    step: Callable,
    sequences,
    states: list,
    *,
    mask,
    zero_output_for_mask: bool,
    return_all_outputs: bool,
):
    """Run `step` forwards over the time axis on torch, where every loop is one of Python.

    Keras 3.15 runs the first step twice, counts the steps in tensors and compares them at every
    step. Results are those of `time_loop`.
    """
    is_valid = None if mask is None else mask[:, :, None].unbind(1)  # (B, 1) each
    output, outputs = torch.zeros_like(states[0]), []
    for t, x in enumerate(sequences.unbind(1)):
        new_output, new_states = step(x, states)
        if is_valid is not None:
            skipped = torch.zeros_like(output) if zero_output_for_mask else output
            new_output = torch.where(is_valid[t], new_output, skipped)
            new_states = [
                torch.where(is_valid[t], new, old)
                for new, old in zip(new_states, states, strict=True)
            ]
        output, states = new_output, new_states
        if return_all_outputs:
            outputs.append(output)
    return output, torch.stack(outputs or [output], 1), states


def exported_time_loop(
    step: Callable,
    sequences,
    initial_state: list,
    *,
    mask=None,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
    return_all_outputs: bool = True,
):
    """Run `step` over the time axis without arrays of tensors, for export.

    LiteRT has arrays of tensors for static shapes only. Arguments and results are those of
    `time_loop`.
    """
    steps = ops.transpose(sequences, (1, 0, 2))  # (T, B, gates * units)
    length = ops.shape(steps)[0]
    zeros = ops.zeros_like(initial_state[0])
    # A loop cannot carry an empty tensor: where only the last output is wanted, one row is kept.
    outputs = ops.repeat(zeros[None], length if return_all_outputs else 1, axis=0)  # (T, B, units)

    def body(t, output, outputs, *states):
        now = length - 1 - t if go_backwards else t
        new_output, new_states = step(steps[now], list(states))
        if mask is not None:
            # A masked step carries output and states over, as Keras's loop does.
            is_valid = ops.expand_dims(mask[:, now], -1)  # (B, 1)
            skipped = zeros if zero_output_for_mask else output
            new_output = ops.where(is_valid, new_output, skipped)
            new_states = [
                ops.where(is_valid, new, old) for new, old in zip(new_states, states, strict=True)
            ]
        if return_all_outputs:
            outputs = ops.scatter_update(outputs, [[t]], new_output[None])
        return (t + 1, new_output, outputs, *new_states)

    _, output, outputs, *states = ops.while_loop(
        lambda t, *_: t < length, body, (0, zeros, outputs, *initial_state)
    )
    outputs = outputs if return_all_outputs else output[None]
    return output, ops.transpose(outputs, (1, 0, 2)), states
