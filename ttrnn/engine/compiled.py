"""The recurrent layers on TensorFlow: valid steps packed, projected in chunks, run by our own loop.

The result is that of `ttrnn.engine.time_loop` over the cell's `project` and `step_function`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from ttrnn import cells
from ttrnn.engine import recurrence
from ttrnn.engine.packing import Packing, pack, pack_mask, permute, take
from ttrnn.engine.projection import project

_KINDS: dict[type, recurrence.Kind] = {
    cells.TTSimpleRNNCell: recurrence.SimpleRNN,
    cells.TTGRUCell: recurrence.GRU,
    cells.TTLSTMCell: recurrence.LSTM,
}


def can_run(cell) -> bool:
    """Whether a cell is one of ours, not a subclass, with activations of known derivative."""
    activations = [cell.activation, getattr(cell, "recurrent_activation", cell.activation)]
    return type(cell) in _KINDS and recurrence.is_elementwise(*activations)


def run_sequences(
    cell,
    sequences: tf.Tensor,
    initial_state: Sequence[tf.Tensor],
    *,
    mask: tf.Tensor | None,
    go_backwards: bool,
    zero_output_for_mask: bool,
    return_all_outputs: bool,
    training: bool,
    max_activation_bytes: int,
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """A layer over sequences (batch, time, features), as `ttrnn.engine.time_loop` would run it.

    Returns:
        Last output (batch, units); outputs (batch, time, units), or (batch, 1, units) where not
        all are wanted; final states.
    """
    cell.tt_shape.check_input_size(sequences.shape[-1])
    batch, time = tf.shape(sequences)[0], tf.shape(sequences)[1]
    if training and cell.dropout > 0:
        dropped = cell.get_dropout_mask(sequences[:, 0])[:, None]
        sequences = tf.cast(sequences, cell.compute_dtype) * dropped
    all_valid = mask is None
    mask = tf.ones((batch, time), bool) if all_valid else tf.cast(mask, bool)
    masked = pack_mask(mask, go_backwards=go_backwards)
    projected = project(
        tf.reshape(sequences, (batch * time, sequences.shape[2])),
        cell.cores,
        dtype=cell.compute_dtype,
        rows=None if all_valid else masked.rows,
        max_activation_bytes=max_activation_bytes,
    )
    if all_valid:  # to read the inputs where they are and order the products is less to move
        projected = permute(projected, masked.rows)
    initial, states = run_packed(cell, projected, masked.packing, initial_state, training=training)
    taken, valid = masked.taken, tf.reverse(mask, [1]) if go_backwards else mask
    if not return_all_outputs:
        taken, valid = taken[:, -1:], valid[:, -1:]
    outputs = masked.packing.unpack(states[0], taken)
    if zero_output_for_mask:
        outputs = tf.where(valid[:, :, None], outputs, tf.zeros_like(outputs))
    final = [
        take(tf.concat(pair, axis=0), masked.packing.last)
        for pair in zip(initial, states, strict=True)
    ]
    return outputs[:, -1], outputs, final


def run_frames(
    cell,
    frames: tf.Tensor,
    num_frames: tf.Tensor,
    *,
    prepare: Callable,
    context: Sequence[tf.Tensor],
    return_all_outputs: bool,
    training: bool,
    max_activation_bytes: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """A layer over clips laid end to end, (sum(num_frames), ...), starting from zero states.

    Args:
        cell: of the layer.
        frames: of all clips.
        num_frames: int32 (batch,), of each clip.
        prepare: as in `ttrnn.engine.projection.project`.
        context: what `prepare` needs.
        return_all_outputs: whether the output of every frame is wanted, or each clip's last.
        training: whether recurrent dropout applies.
        max_activation_bytes: see `ttrnn.engine.projection.project`.

    Returns:
        Outputs of all frames in packed order (N, units) and the clip of each, or of the last
        frame of each clip (batch, units) and 0 to batch - 1.
    """
    packing = pack(num_frames)
    first = tf.cumsum(num_frames, exclusive=True)
    projected = project(
        frames,
        cell.cores,
        dtype=cell.compute_dtype,
        prepare=prepare,
        context=context,
        max_activation_bytes=max_activation_bytes,
    )
    projected = permute(projected, tf.gather(first, packing.sequence) + packing.step)
    zeros = [tf.zeros((tf.size(num_frames), cell.units)) for _ in tf.nest.flatten(cell.state_size)]
    initial, states = run_packed(cell, projected, packing, zeros, training=training)
    if return_all_outputs:
        return states[0], packing.sequence
    outputs = take(tf.concat([initial[0], states[0]], axis=0), packing.last)
    return outputs, tf.range(tf.size(num_frames))


def run_packed(
    cell,
    projected: tf.Tensor,
    packing: Packing,
    initial_state: Sequence[tf.Tensor],
    *,
    training: bool,
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """The recurrence over packed projections: initial states in packed order, and all states."""
    dtype = tf.float64 if projected.dtype == tf.float64 else tf.float32
    projected = tf.cast(projected, dtype)
    if cell.bias is not None:
        projected += tf.cast(cell.bias, dtype)
    initial = [take(tf.cast(state, dtype), packing.order) for state in initial_state]
    dropped = None
    if training and cell.recurrent_dropout > 0:
        dropped = cell.get_recurrent_dropout_mask(initial_state[0])
        dropped = tf.gather(tf.cast(dropped, dtype), packing.order)
    steps = recurrence.Steps(
        packing,
        cell.compute_dtype,
        cell.activation,
        getattr(cell, "recurrent_activation", cell.activation),
        dropped,
    )
    kernel = tf.convert_to_tensor(cell.recurrent_kernel)
    return initial, recurrence.run(_KINDS[type(cell)], steps, projected, kernel, initial)
