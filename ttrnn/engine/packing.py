"""Packing of the valid steps of a batch of sequences, so that padding costs nothing.

A masked step carries state and output over, so the recurrence can leave it out. The valid steps
of all sequences are laid end to end in order of time: the first valid step of every sequence, then
the second of all that have one, and so on, the longest sequence first. Step t of the loop is then
one block of rows, and no block has more rows than the one before.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Packing:
    """Positions of the N valid steps of B sequences, in order of time."""

    order: tf.Tensor
    """Sequences by falling number of valid steps, (B,)."""
    place: tf.Tensor
    """Place of each sequence in `order`, (B,)."""
    lengths: tf.Tensor
    """Number of valid steps of each sequence, (B,), in `order`."""
    num_active: tf.Tensor
    """Number of rows of each block, (L,); L is the largest number of valid steps."""
    block_start: tf.Tensor
    """First packed row of each block, (L,)."""
    step: tf.Tensor
    """Block of each packed row, (N,)."""
    position: tf.Tensor
    """Place in `order` of each packed row's sequence, (N,)."""

    @property
    def sequence(self) -> tf.Tensor:
        """Sequence of each packed row, (N,)."""
        return tf.gather(self.order, self.position)

    def row_of(self, position: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """Row of the state after `count` steps, in [initial states in `order`; packed rows].

        Args:
            position: place of the sequence in `order`.
            count: number of valid steps taken; 0 for the initial state.
        """
        # Where count is 0 the block is not used, but the index must exist.
        start = tf.gather(self.block_start, tf.maximum(count - 1, 0))
        return tf.where(count > 0, tf.shape(self.order)[0] + start + position, position)

    @property
    def previous(self) -> tf.Tensor:
        """Row of the state that each packed row starts from, as in `row_of`, (N,)."""
        return self.row_of(self.position, self.step)

    def unpack(self, states: tf.Tensor, taken: tf.Tensor) -> tf.Tensor:
        """Look up each sequence's output after given numbers of valid steps.

        Args:
            states: packed states, (N, units).
            taken: numbers of valid steps of each sequence, (B, S).

        Returns:
            Outputs (B, S, units); zeros after no valid step, as in Keras.
        """
        rows = self.row_of(self.place[:, None] + tf.zeros_like(taken), taken)
        nothing = tf.zeros((tf.size(self.order), states.shape[1]), states.dtype)
        return take(tf.concat([nothing, states], axis=0), rows)

    @property
    def last(self) -> tf.Tensor:
        """Row of each sequence's final state, as in `row_of`, (B,)."""
        return tf.gather(self.row_of(tf.range(tf.size(self.order)), self.lengths), self.place)


def pack(lengths: tf.Tensor) -> Packing:
    """Pack sequences of `lengths` valid steps, int32 (B,)."""
    # Stable, so that equal lengths keep their order and a run can be repeated bit for bit.
    order = tf.argsort(lengths, direction="DESCENDING", stable=True)
    place = tf.argsort(order)  # the inverse permutation
    lengths = tf.gather(lengths, order)
    valid = tf.sequence_mask(lengths, tf.maximum(tf.reduce_max(lengths), 1))  # (B, L)
    valid = tf.transpose(valid)  # (L, B): tf.where then lists the steps in order of time
    num_active = tf.reduce_sum(tf.cast(valid, tf.int32), axis=1)
    where = tf.cast(tf.where(valid), tf.int32)
    return Packing(
        order=order,
        place=place,
        lengths=lengths,
        num_active=num_active,
        block_start=tf.cumsum(num_active, exclusive=True),
        step=where[:, 0],
        position=where[:, 1],
    )


def take(tensor: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Take rows of a matrix, with a dense gradient.

    TensorFlow's own gradient of a gather is IndexedSlices, which the products that follow would
    have to convert to a dense tensor.
    """

    @tf.custom_gradient
    def gather(tensor):
        def backward(upstream):
            return tf.scatter_nd(rows[..., None], upstream, tf.shape(tensor))

        return tf.gather(tensor, rows), backward

    return gather(tensor)


def permute(tensor: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    """Reorder all rows of a matrix; the gradient is a gather too, not a scatter."""

    @tf.custom_gradient
    def gather(tensor):
        def backward(upstream):
            return tf.gather(upstream, tf.math.invert_permutation(order))

        return tf.gather(tensor, order), backward

    return gather(tensor)


@dataclass(frozen=True)
class MaskedSteps:
    """Packed steps of a (batch, time) mask."""

    packing: Packing
    rows: tf.Tensor
    """Row of (batch * time) of each packed row, (N,)."""
    taken: tf.Tensor
    """Number of valid steps up to and including each step, (batch, time), in running order."""


def pack_mask(mask: tf.Tensor, *, go_backwards: bool) -> MaskedSteps:
    """Pack the steps where a boolean (batch, time) mask is True, in running order."""
    time = tf.shape(mask)[1]
    if go_backwards:
        mask = tf.reverse(mask, [1])
    counts = tf.cast(mask, tf.int32)
    packing = pack(tf.reduce_sum(counts, axis=1))
    # A stable sort puts the valid steps first and keeps them in running order. (B, T)
    steps = tf.argsort(1 - counts, axis=1, stable=True)
    steps = tf.gather_nd(steps, tf.stack([packing.sequence, packing.step], axis=1))
    if go_backwards:
        steps = time - 1 - steps
    return MaskedSteps(packing, packing.sequence * time + steps, tf.cumsum(counts, axis=1))
