"""Creating and reading the tensor-train kernel of a layer."""

from __future__ import annotations

import keras
from keras import ops

from ttrnn.engine.contraction import DEFAULT_MAX_ACTIVATION_BYTES, merge_cores, tt_matmul
from ttrnn.engine.exporting import is_exporting
from ttrnn.formats.tensor_train import TTShape
from ttrnn.initializers import core_initializers


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
            autocast=False,  # merged as they are, cast once
        )
        for k, (core_shape, initializer) in enumerate(
            zip(shape.core_shapes, initializers, strict=True)
        )
    ]


def full_kernel(cores: list):
    """The dense (M, N) kernel that the cores stand for, as a backend tensor."""
    merged = merge_cores(cores)
    return ops.reshape(merged, merged.shape[1:3])


def tt_product(
    inputs, cores: list, dtype: str, max_activation_bytes: int = DEFAULT_MAX_ACTIVATION_BYTES
):
    """Multiply (..., M) by the kernel: in chunks on TensorFlow, else and for export by `tt_matmul`.

    Args:
        inputs: tensor of shape (..., M).
        cores: the kernel's, in float32 or wider.
        dtype: to compute in.
        max_activation_bytes: see `ttrnn.engine.projection.project`.

    Returns:
        Tensor of shape (..., N) in `dtype`.
    """
    if keras.backend.backend() != "tensorflow" or is_exporting():
        return tt_matmul(ops.cast(inputs, dtype), [ops.cast(core, dtype) for core in cores])
    from ttrnn.engine.projection import project

    lead, features = ops.shape(inputs)[:-1], inputs.shape[-1]
    product = project(
        ops.reshape(ops.convert_to_tensor(inputs), (-1, features)),
        cores,
        dtype=dtype,
        max_activation_bytes=max_activation_bytes,
    )
    return ops.reshape(product, (*lead, product.shape[-1]))
