"""Checks that the arguments of a layer's call fit each other.

Sizes that are known when a layer is called are compared at once and raise ValueError. On
TensorFlow, sizes that are known only when the graph runs, and the numbers of frames, are compared
then and raise InvalidArgumentError with the same message.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

# Not exported: Keras calls layers on made-up arrays to learn the shapes of their results.
from keras.src.backend.common.symbolic_scope import in_symbolic_scope

from ttrnn.engine.clips import is_traced
from ttrnn.engine.exporting import is_exporting

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

_MASK_RULE = (
    "mask must have the shape (batch, time) of the sequences, or (1, time) for one mask of all of "
    "them."
)
_CLIPS_RULE = (
    "num_frames must hold the number of frames of each clip, 0 or more, and sum to the number of "
    "all frames."
)


def is_compatible(found: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    """Return True if two shapes may be equal; a size that is not known yet fits any other."""
    return len(found) == len(wanted) and all(
        a == b
        for a, b in zip(found, wanted, strict=True)
        if isinstance(a, int) and isinstance(b, int)
    )


def check_sequences(shape: Sequence[int | None]) -> None:
    """Raise ValueError for sequences of zero steps, which have no last output."""
    if shape[1] == 0:
        raise ValueError(
            f"sequences must have at least one step. Received shape {_text(shape)}; leave such "
            "sequences out, or pad them and mask the padding."
        )


def check_mask(mask_shape: Sequence[int | None], sequences_shape: Sequence[int | None]) -> None:
    """Raise ValueError if a mask is known not to fit sequences (batch, time, ...)."""
    shape = tuple(mask_shape)
    # Keras's RNN also takes masks with a last axis of 1.
    flat = shape[:-1] if len(shape) == 3 and shape[-1] == 1 else shape
    batch, time = sequences_shape[:2]
    if not (is_compatible(flat, (batch, time)) or is_compatible(flat, (1, time))):
        raise ValueError(
            f"{_MASK_RULE} Received a mask of shape {_text(shape)} for sequences of shape "
            f"{_text(sequences_shape)}; compute the mask from the same batch as the sequences."
        )


def full_mask(mask, sequences):
    """Check a mask against sequences (batch, time, ...); return booleans (batch, time)."""
    mask = ops.convert_to_tensor(mask)
    check_mask(mask.shape, sequences.shape)
    mask = ops.cast(mask, "bool")
    if len(mask.shape) == 3:
        mask = ops.squeeze(mask, axis=-1)
    if mask.shape[0] == 1 and sequences.shape[0] != 1:
        # No broadcast_to: torch would need the size of a batch that is being traced.
        mask = ops.repeat(mask, ops.shape(sequences)[0], axis=0)
    # A size of None occurs on TensorFlow only. Assertions are left out of exported graphs, whose
    # runtimes do not have them.
    if None in (*mask.shape, *sequences.shape[:2]) and not is_exporting():
        mask = _assert_equal(
            list(ops.shape(mask)), list(ops.shape(sequences)[:2]), _MASK_RULE, mask
        )
        mask.set_shape(sequences.shape[:2])  # unrolling needs the static number of steps
    return mask


def check_states(
    state_shapes: Sequence[Sequence[int | None]],
    state_sizes: Sequence[int],
    batch: int | None,
    *,
    name: str = "initial_state",
) -> None:
    """Raise ValueError if states are known not to be of shape (batch, units) or (1, units).

    Args:
        state_shapes: shapes of the states that were given.
        state_sizes: units of the states that are needed.
        batch: number of sequences, or None where it is not known yet.
        name: name of the argument, for the message.
    """
    fits = len(state_shapes) == len(state_sizes) and all(
        is_compatible(shape, (batch, size)) or is_compatible(shape, (1, size))
        for shape, size in zip(state_shapes, state_sizes, strict=True)
    )
    if not fits:
        wanted = ", ".join(_text((batch, size)) for size in state_sizes)
        found = ", ".join(_text(shape) for shape in state_shapes) or "none"
        raise ValueError(
            f"{name} must hold {len(state_sizes)} of shape {wanted}. Received {found}; the layer's "
            "get_initial_state(batch_size) makes such states."
        )


def full_states(states: Sequence, state_sizes: Sequence[int], sequences) -> list:
    """Check states against sequences; repeat states (1, units) to (batch, units)."""
    states = [ops.convert_to_tensor(state) for state in states]
    batch = sequences.shape[0]
    check_states([state.shape for state in states], state_sizes, batch)
    return [
        state
        if state.shape[0] != 1 or batch == 1
        else ops.repeat(state, ops.shape(sequences)[0], axis=0)
        for state in states
    ]


def check_frames(frames_shape: Sequence[int | None], num_frames_shape: Sequence) -> None:
    """Raise ValueError if frames and num_frames are not shaped as clips laid end to end."""
    if len(num_frames_shape) != 1 or len(frames_shape) < 2:
        raise ValueError(
            "Clips laid end to end need frames of shape (sum of num_frames, ...) and num_frames of "
            f"shape (batch,). Received {_text(frames_shape)} and {_text(num_frames_shape)}; clips "
            "of one length are frames.reshape(-1, *frames.shape[2:])."
        )


def checked_frames(frames, num_frames, length: int | None = None):
    """Check that the number of frames is the sum of num_frames; return the frames.

    Under jit on JAX the numbers are not known, and where Keras only infers shapes they are made up:
    nothing is compared then.

    Args:
        frames: frames of all clips end to end, (sum of num_frames, ...).
        num_frames: number of frames of each clip, integers (batch,).
        length: number of frames that every clip must have, or None for any.

    Raises:
        ValueError: if the numbers differ; on TensorFlow InvalidArgumentError when the graph runs.
    """
    check_frames(frames.shape, num_frames.shape)
    rule = _CLIPS_RULE
    if length is not None:
        rule = f"Every clip must have {length} frames; cut them to that, or leave out."
    # On TensorFlow each check is an operation that the returned frames depend on, for an assertion
    # without a dependent would never run in a graph.
    if keras.backend.backend() == "tensorflow":
        if is_exporting():
            return frames
        if length is not None:
            frames = _assert_equal(num_frames, length, rule, frames)
        frames = _assert_equal(tf.reduce_sum(num_frames), tf.shape(frames)[0], _CLIPS_RULE, frames)
        least = tf.minimum(tf.reduce_min(num_frames), 0)
        return _assert_equal(least, 0, _CLIPS_RULE, frames)
    if is_traced(num_frames) or in_symbolic_scope():
        return frames
    found = [int(number) for number in ops.convert_to_numpy(num_frames)]
    is_other = length is not None and any(number != length for number in found)
    if is_other or sum(found) != frames.shape[0] or min(found, default=0) < 0:
        raise ValueError(
            f"{rule if is_other else _CLIPS_RULE} Received {found}, which sums to {sum(found)}, "
            f"for {frames.shape[0]} frames; lay the frames of these clips end to end, in order."
        )
    return frames


def _assert_equal(found, wanted, rule: str, then):
    """Return `then`, on TensorFlow, with an assertion that two values are equal."""
    with tf.control_dependencies([tf.debugging.assert_equal(found, wanted, message=rule)]):
        return tf.identity(then)


def _text(shape: Sequence) -> str:
    return str(tuple(shape))
