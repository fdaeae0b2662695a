"""Fast paths of the layers on TensorFlow.

Recurrent layers pack the valid steps, project them in chunks and run the loop of
`ttrnn.engine.recurrence`; the result is that of `ttrnn.engine.time_loop` over the cell's `project`
and `step_function`. Frame layers convert bytes to floats a few frames at a time, by XLA. AlexNet's
normalisation is one pass over the values.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from functools import partial

import tensorflow as tf

from ttrnn.engine import recurrence
from ttrnn.engine.clips import seen_pixels
from ttrnn.engine.packing import Packing, pack, pack_mask, permute, take
from ttrnn.engine.projection import project_chains

_KINDS: dict[str, recurrence.Kind] = {
    "simple_rnn": recurrence.SimpleRNN,
    "gru": recurrence.GRU,
    "lstm": recurrence.LSTM,
}
# Frames of a clip that are summed at a time: one shape for XLA, and a bound on the float pixels
# (7 MB of 160x120 RGB).
_FRAMES_AT_A_TIME = 32


def can_run(cell) -> bool:
    """Return True for a cell of `ttrnn.cells` itself with activations of known derivative."""
    activations = [cell.activation, getattr(cell, "recurrent_activation", cell.activation)]
    return _kind_of(cell) is not None and recurrence.is_elementwise(*activations)


def _kind_of(cell) -> recurrence.Kind | None:
    """Recurrence of a cell's class, or None for a subclass, whose step may differ."""
    # vars() and not getattr(): an inherited `recurrence` would hide an overridden step.
    return _KINDS.get(vars(type(cell)).get("recurrence", ""))


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
    """Run a recurrent layer over sequences, with the results of `ttrnn.engine.time_loop`.

    Args:
        cell: a cell for which `can_run` is true.
        sequences: (batch, time, features).
        initial_state: states of shape (batch, units).
        mask: booleans (batch, time), False where a step is to be skipped, or None.
        go_backwards: run from the last step to the first.
        zero_output_for_mask: output zeros at masked steps instead of the output before.
        return_all_outputs: return the outputs of all steps instead of the last one's alone.
        training: apply dropout.
        max_activation_bytes: see `ttrnn.engine.projection.project`.

    Returns:
        Last output (batch, units); outputs (batch, time, units), or (batch, 1, units) without
        `return_all_outputs`; final states.
    """
    cell.gated_kernel_format.check_input_size(sequences.shape[-1])
    batch, time = tf.shape(sequences)[0], tf.shape(sequences)[1]
    if training and cell.dropout > 0:
        # One mask a sequence, the same at every step.
        dropped = cell.get_dropout_mask(sequences[:, 0])[:, None]  # (B, 1, features)
        sequences = tf.cast(sequences, cell.compute_dtype) * dropped
    all_valid = mask is None
    mask = tf.ones((batch, time), bool) if all_valid else tf.cast(mask, bool)
    masked = pack_mask(mask, go_backwards=go_backwards)
    projected = project_chains(
        tf.reshape(sequences, (batch * time, sequences.shape[2])),
        cell.kernel_chains(),
        dtype=cell.compute_dtype,
        rows=None if all_valid else masked.rows,
        max_activation_bytes=max_activation_bytes,
    )
    # Without a mask the inputs are read in place and their products ordered afterwards: a product
    # has far fewer columns than an input.
    if all_valid:
        projected = permute(projected, masked.rows)
    initial, states = run_packed(cell, projected, masked.packing, initial_state, training=training)
    taken, valid = masked.taken, tf.reverse(mask, [1]) if go_backwards else mask
    if not return_all_outputs:
        taken, valid = taken[:, -1:], valid[:, -1:]
    outputs = masked.packing.unpack(states[0], taken)  # (B, T or 1, units)
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
    """Run a recurrent layer over clips laid end to end, starting from zero states.

    Args:
        cell: a cell for which `can_run` is true.
        frames: frames of all clips, (sum(num_frames), ...).
        num_frames: number of frames of each clip, int32 (batch,).
        prepare: function of `ttrnn.engine.projection.project` that makes features of frames.
        context: tensors that `prepare` needs.
        return_all_outputs: return the output of every frame instead of each clip's last one.
        training: apply recurrent dropout.
        max_activation_bytes: see `ttrnn.engine.projection.project`.

    Returns:
        With `return_all_outputs`, the outputs of all frames in packed order, (N, units), and the
        clip of each, (N,). Otherwise the last output of each clip, (batch, units), and the clips
        0 to batch - 1.
    """
    packing = pack(num_frames)
    first = tf.cumsum(num_frames, exclusive=True)
    projected = project_chains(
        frames,
        cell.kernel_chains(),
        dtype=cell.compute_dtype,
        prepare=prepare,
        context=context,
        max_activation_bytes=max_activation_bytes,
    )
    # The frames stay where they are, clip after clip; only their products go into packed order.
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
    """Run a cell's recurrence over packed projections (N, gates * units).

    Returns:
        Initial states in the packing's order, (batch, units) each, and the states after every
        packed step, (N, units) each.
    """
    # The bias is added in float32 too: the sum of a bfloat16 product and bias is rounded once less.
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
    kind = _kind_of(cell)
    assert kind is not None  # `can_run` was asked first
    chains = cell.recurrent_chains()
    if chains is None:
        matrices = recurrence.dense_matrices(
            kind, tf.convert_to_tensor(cell.full_recurrent_kernel())
        )
    else:
        matrices = recurrence.planned_matrices(kind, chains, batch=initial_state[0].shape[0])
    return initial, recurrence.run(kind, steps, projected, matrices, initial)


def mean_pixels(frames: tf.Tensor, num_frames: tf.Tensor, scale: float) -> tf.Tensor:
    """Mean pixels of each clip, float32 (batch, features); zeros for a clip without frames.

    Args:
        frames: uint8 frames of all clips, (sum(num_frames), height, width, 3).
        num_frames: number of frames of each clip, int32 (batch,).
        scale: divisor of the centred pixels.
    """
    first = tf.cumsum(num_frames, exclusive=True)
    size = math.prod(frames.shape[1:])
    rows = tf.reshape(frames, (-1, size))
    num_missing = tf.maximum(_FRAMES_AT_A_TIME - tf.shape(rows)[0], 0)
    rows = tf.cond(num_missing > 0, lambda: tf.pad(rows, [[0, num_missing], [0, 0]]), lambda: rows)
    last_start = tf.shape(rows)[0] - _FRAMES_AT_A_TIME

    def clip_mean(clip):
        def add(start, total):
            # A slice copies nothing, unlike a gather. Near the end of all frames it begins with
            # rows before `start`, elsewhere it may end with another clip's; neither counts.
            wanted = first[clip] + start
            place = tf.minimum(wanted, last_start)
            some = tf.ensure_shape(
                rows[place : place + _FRAMES_AT_A_TIME], (_FRAMES_AT_A_TIME, size)
            )
            stop = first[clip] + num_frames[clip]
            return start + _FRAMES_AT_A_TIME, _add_rows(total, some, wanted - place, stop - place)

        _, total = tf.while_loop(
            lambda start, _: start < num_frames[clip],
            add,
            (0, tf.zeros(size, tf.int32)),
            # One group at a time: the other clips occupy the other cores.
            parallel_iterations=1,
        )
        count = tf.cast(tf.maximum(num_frames[clip], 1), tf.float32)
        # Centred and scaled once after the mean, whose sum of bytes is exact.
        mean = (tf.cast(total, tf.float32) / count - 128) * (1 / scale)
        return tf.where(num_frames[clip] > 0, mean, 0.0)

    return tf.map_fn(clip_mean, tf.range(tf.size(num_frames)), fn_output_signature=tf.float32)


@tf.function(jit_compile=True)
def _add_rows(total: tf.Tensor, rows: tf.Tensor, start: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
    """Add the rows [start, stop) of bytes (n, features) to int32 totals (features,)."""
    row = tf.range(rows.shape[0])
    is_wanted = (start <= row) & (row < stop)
    # Whole numbers: XLA sums them in one pass, and masked floats in two.
    return total + tf.reduce_sum(tf.where(is_wanted[:, None], tf.cast(rows, tf.int32), 0), axis=0)


def pooled_state(layer, frames, num_frames, mean, *, training: bool) -> tf.Tensor:
    """Output of a FrameRNN, (batch, units): the last state or the mean over a clip's frames.

    Args:
        layer: a `ttrnn.frames.FrameRNN`.
        frames: uint8 frames of all clips, (sum(num_frames), height, width, 3).
        num_frames: number of frames of each clip, int32 (batch,).
        mean: mean pixels of each clip, (batch, features), or None for "raw" inputs.
        training: apply dropout.
    """
    cell, num_clips = layer.rnn.cell, tf.size(num_frames)
    dropped = None
    if training and cell.dropout > 0:
        size = math.prod(frames.shape[1:])
        dropped = cell.get_dropout_mask(tf.ones((num_clips, size), layer.compute_dtype))
    outputs, clip = run_frames(
        cell,
        frames,
        num_frames,
        prepare=_prepare(layer.inputs, layer.scale, layer.compute_dtype),
        context=(tf.repeat(tf.range(num_clips), num_frames), mean, dropped),
        return_all_outputs=layer.rnn.return_sequences,
        training=training,
        max_activation_bytes=layer.rnn.max_activation_bytes,
    )
    # Keras caches a cell's masks until they are reset; its RNN layer does that, which is not run
    # here. Without this the next batch would get the same masks.
    cell.reset_dropout_mask()
    cell.reset_recurrent_dropout_mask()
    if layer.rnn.return_sequences:
        outputs = _clip_means(outputs, clip, num_frames)
    return tf.cast(outputs, layer.compute_dtype)


def _clip_means(rows: tf.Tensor, clip: tf.Tensor, num_frames: tf.Tensor) -> tf.Tensor:
    """Mean of each clip's rows, (batch, units); zeros for a clip without frames.

    Args:
        rows: rows of all frames in any order, (N, units).
        clip: the clip of each row, int32 (N,).
        num_frames: number of rows of each clip, int32 (batch,).
    """
    count = tf.cast(tf.maximum(num_frames, 1), rows.dtype)[:, None]

    # TensorFlow's own gradient of the sum provides for negative clips, in five more operations
    # on all rows.
    @tf.custom_gradient
    def means(rows):
        total = tf.math.unsorted_segment_sum(rows, clip, tf.size(num_frames))
        return total / count, lambda upstream: tf.gather(upstream / count, clip)

    return means(rows)


@functools.cache
def _prepare(inputs: str, scale: float, dtype: str) -> Callable:
    """Build the `prepare` function of `project` that makes a FrameRNN's features of frames.

    It is cached so that XLA compiles it once for all layers and steps with the same arguments.
    """

    @tf.function(jit_compile=True)
    def compiled(part, clips, mean, dropped):
        mean = None if mean is None else tf.gather(mean, clips)
        seen = seen_pixels(part, mean, inputs=inputs, scale=scale)
        if dropped is not None:
            seen *= tf.cast(tf.gather(dropped, clips), seen.dtype)
        return _to_bfloat16(seen) if dtype == "bfloat16" else tf.cast(seen, dtype)

    def prepare(part, rows, clip_of_frame, mean, dropped):
        return compiled(part, tf.gather(clip_of_frame, rows), mean, dropped)

    return prepare


def _to_bfloat16(x: tf.Tensor) -> tf.Tensor:
    """Round finite float32 values to bfloat16, halves away from zero.

    It is for XLA, whose own cast also treats values that are not numbers, and takes twice as long.
    """
    bits = tf.bitcast(x, tf.uint32) + tf.constant(0x8000, tf.uint32)
    upper = tf.bitwise.right_shift(bits, tf.constant(16, tf.uint32))
    return tf.bitcast(tf.cast(upper, tf.uint16), tf.bfloat16)


@partial(tf.function, jit_compile=True)
def normalise(x, radius: int, alpha: float, bias: float):
    """Normalise x (..., channels): x / (bias + alpha * sum of neighbours' x^2) ^ 0.75.

    The sum is made of shifted copies, which XLA never writes to memory; it is in float32.
    """
    channels = x.shape[-1]
    values = tf.cast(x, "float32")
    edges = [[0, 0]] * (len(x.shape) - 1) + [[radius, radius]]
    squares = tf.pad(tf.square(values), edges)
    shifted = (squares[..., start : start + channels] for start in range(2 * radius + 1))
    # s^-0.75 = s^-0.5 * sqrt(s^-0.5): two square roots are cheaper than a power.
    root = tf.math.rsqrt(bias + alpha * tf.add_n(list(shifted)))
    return tf.cast(values * root * tf.sqrt(root), x.dtype)
