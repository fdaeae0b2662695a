"""Local response normalisation as one pass over the values, compiled by XLA."""

from __future__ import annotations

from functools import partial

import tensorflow as tf


@partial(tf.function, jit_compile=True)
def normalise(x, radius: int, alpha: float, bias: float):
    """x / (bias + alpha * sum over neighbours of x^2) ^ 0.75, of x (..., channels).

    The sum is made of shifted copies, which XLA never writes to memory; it is in float32.
    """
    channels = x.shape[-1]
    values = tf.cast(x, "float32")
    edges = [[0, 0]] * (len(x.shape) - 1) + [[radius, radius]]
    squares = tf.pad(tf.square(values), edges)
    shifted = (squares[..., start : start + channels] for start in range(2 * radius + 1))
    root = tf.math.rsqrt(bias + alpha * tf.add_n(list(shifted)))
    return tf.cast(values * root * tf.sqrt(root), x.dtype)
