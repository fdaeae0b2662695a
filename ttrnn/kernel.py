"""Creating and reading the tensor-train kernel of a layer."""

from __future__ import annotations

import keras
from keras import ops

from ttrnn.contraction import merge_cores
from ttrnn.initializers import core_initializers
from ttrnn.tensor_train import TTShape


def add_cores(layer: keras.layers.Layer, shape: TTShape) -> list:
    """Give `layer` one weight a core, drawn, regularized and constrained as its kernel is.

    Args:
        layer: has `kernel_initializer`, `kernel_regularizer` and `kernel_constraint`.
        shape: modes and ranks of the kernel, gates included.

    Returns:
        Variables of shape (r_k, m_k, n_k, r_{k+1}).
    """
    initializers = core_initializers(layer.kernel_initializer, shape.core_shapes)
    return [
        layer.add_weight(
            shape=core_shape,
            name=f"core_{k}",
            initializer=initializer,
            regularizer=layer.kernel_regularizer,
            constraint=layer.kernel_constraint,
        )
        for k, (core_shape, initializer) in enumerate(
            zip(shape.core_shapes, initializers, strict=True)
        )
    ]


def full_kernel(cores: list):
    """The dense (M, N) kernel that the cores stand for, as a backend tensor."""
    merged = merge_cores(cores)
    return ops.reshape(merged, merged.shape[1:3])
