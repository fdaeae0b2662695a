"""The portable time loop: on every backend, and the reference of `ttrnn.recurrence`."""

from __future__ import annotations

from collections.abc import Callable

# Keras's own portable loop over time: masks, direction, unrolling, on every backend. It is not
# exported, so this is the one place that reaches for it.
from keras.src.backend import rnn as _keras_time_loop


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
        step: (x (batch, features), states) -> (output (batch, units), states).
        sequences: (batch, time, features).
        initial_state: tensors of shape (batch, units).
        mask: boolean (batch, time), False where a step is to be skipped, or None.
        go_backwards: run from the last step to the first; outputs come in running order.
        unroll: unroll the loop into the graph; the number of steps must be static.
        zero_output_for_mask: put zeros out for masked steps in place of the carried output.
        return_all_outputs: whether the outputs of all steps are wanted.

    Returns:
        (last output (batch, units), outputs (batch, time, units), states).
    """
    return _keras_time_loop(
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
