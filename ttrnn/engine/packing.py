"""Packing of the valid steps of a batch of sequences, so that padding takes part in nothing.

A masked step carries state and output over, so it can be left out of the recurrence. The valid
steps of all sequences are laid end to end in order of time: first the first valid step of every
sequence, then the second of all that have one, and so on, the longest sequence first. Step t of
the loop is then one block of rows, and each block has at most as many as the one before.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Packing:
    """Places of the N valid steps of B sequences, in order of time."""

    order: tf.Tensor
    """(B,): the sequences by falling number of valid steps."""
    place: tf.Tensor
    """(B,): the place of each sequence in that order."""
    lengths: tf.Tensor
    """(B,): valid steps of each sequence, in that order."""
    num_active: tf.Tensor
    """(L,): rows of each block; L is the largest number of valid steps."""
    block_start: tf.Tensor
    """(L,): packed row at which each block starts."""
    step: tf.Tensor
    """(N,): block of each packed row."""
    position: tf.Tensor
    """(N,): place in `order` of each packed row's sequence."""

    @property
    def sequence(self) -> tf.Tensor:
        """Sequence of each packed row, (N,)."""
        return tf.gather(self.order, self.position)

    def row_of(self, position: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """Row of the state after `count` steps, in [initial states in `order`; packed rows].

        Args:
            position: place of the sequence in `order`.
            count: how many valid steps were taken; 0 for the initial state.
        """
        # Where count is 0 the block is not looked at, but the index must be one that exists.
        start = tf.gather(self.block_start, tf.maximum(count - 1, 0))
        return tf.where(count > 0, tf.shape(self.order)[0] + start + position, position)

    @property
    def previous(self) -> tf.Tensor:
        """Row of the state that each packed row starts from, as in `row_of`, (N,)."""
        return self.row_of(self.position, self.step)

    def unpack(self, states: tf.Tensor, taken: tf.Tensor) -> tf.Tensor:
        """Outputs after so many valid steps; after none, zeros, as Keras gives.

        Args:
            states: packed (N, units).
            taken: (B, S), counts of valid steps taken by each sequence.

        Returns:
            (B, S, units).
        """
        rows = self.row_of(self.place[:, None] + tf.zeros_like(taken), taken)
        nothing = tf.zeros((tf.size(self.order), states.shape[1]), states.dtype)
        return take(tf.concat([nothing, states], axis=0), rows)

    @property
    def last(self) -> tf.Tensor:
        """Row of the state that each sequence ends with, as in `row_of`, (B,)."""
        return tf.gather(self.row_of(tf.range(tf.size(self.order)), self.lengths), self.place)


def pack(lengths: tf.Tensor) -> Packing:
    """Pack sequences of `lengths` valid steps, int32 (B,)."""
    order = tf.argsort(lengths, direction="DESCENDING", stable=True)
    place = tf.argsort(order)  # the inverse permutation
    lengths = tf.gather(lengths, order)
    valid = tf.sequence_mask(lengths, tf.maximum(tf.reduce_max(lengths), 1))  # (B, L)
    valid = tf.transpose(valid)  # (L, B): tf.where then counts in order of time
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

    TensorFlow's own gradient of a gather is IndexedSlices, which the products behind it would
    have to make dense.
    """

    @tf.custom_gradient
    def gather(tensor):
        def backward(upstream):
            return tf.scatter_nd(rows[..., None], upstream, tf.shape(tensor))

        return tf.gather(tensor, rows), backward

    return gather(tensor)


def permute(tensor: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    """Put all rows of a matrix into another order; the gradient is a gather too, not a scatter."""

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
    """(N,): row of (batch * time) of each packed row."""
    taken: tf.Tensor
    """(batch, time): valid steps taken up to and with each step, in running order."""


def pack_mask(mask: tf.Tensor, *, go_backwards: bool) -> MaskedSteps:
    """Pack the steps that a boolean (batch, time) mask leaves valid, in running order."""
    time = tf.shape(mask)[1]
    if go_backwards:
        mask = tf.reverse(mask, [1])
    counts = tf.cast(mask, tf.int32)
    packing = pack(tf.reduce_sum(counts, axis=1))
    # valid steps first, each kind in running order
    steps = tf.argsort(1 - counts, axis=1, stable=True)
    steps = tf.gather_nd(steps, tf.stack([packing.sequence, packing.step], axis=1))
    if go_backwards:
        steps = time - 1 - steps
    return MaskedSteps(packing, packing.sequence * time + steps, tf.cumsum(counts, axis=1))
