"""Detection of export to another runtime, which lacks some of TensorFlow's operations.

On TensorFlow the layers multiply in chunks, pack the valid steps and compile by XLA. ONNX and
LiteRT have neither arrays of tensors of different sizes nor functions compiled by XLA. While a
model is exported, every layer therefore computes the same values by plain operations.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

# Modules that trace a model in order to write it to a file. None of them has a public flag that
# says so, hence the look at the call stack; it happens only where a graph is traced.
_EXPORTERS = ("keras.src.export.", "tf2onnx.", "tensorflow.lite.", "tensorflow.python.saved_model.")

# The subset that ends in ONNX, whose runtime has limits of its own (bfloat16, sequence lengths).
_ONNX_EXPORTERS = ("keras.src.export.onnx", "tf2onnx.")

_is_requested = contextvars.ContextVar("portable_operations", default=False)


@contextlib.contextmanager
def portable_operations() -> Iterator[None]:
    """Trace the layers of this package with operations that other runtimes support.

    `model.export(...)`, tf2onnx and LiteRT's converter are detected without it. Use this context
    manager for a graph that is traced elsewhere and converted later. Layers compute the same values
    inside it, without the fast path of `ttrnn.engine.compiled`.

    Example:
        >>> with ttrnn.portable_operations():
        ...     function = tf.function(model).get_concrete_function(spec)
        >>> tf.saved_model.save(model, "saved", signatures=function)
    """
    token = _is_requested.set(True)
    try:
        yield
    finally:
        _is_requested.reset(token)


def is_exporting() -> bool:
    """Return True if the caller should use portable operations only; False off TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return False
    if _is_requested.get():
        return True
    return not tf.executing_eagerly() and _is_called_from(_EXPORTERS)


def check_onnx_dtype(dtype: str) -> None:
    """Raise ValueError if a product in bfloat16 is being exported to ONNX.

    tf2onnx writes such files, also for Keras's own layers, but ONNX Runtime loads none of them.
    """
    if dtype == "bfloat16" and _is_called_from(_ONNX_EXPORTERS):
        raise ValueError(
            "A model that is exported to ONNX must not compute in bfloat16, which ONNX Runtime "
            "does not load. Received a layer of compute dtype bfloat16; build the model with "
            'dtype="float32", give it set_weights(model.get_weights()), and export that.'
        )


def check_onnx_sequences(shape: Sequence, *, is_length_fixed: bool) -> None:
    """Raise ValueError if an ONNX file would not accept the sequences that the model accepts.

    PyTorch's exporter records one call, with a single step where the number of steps is not fixed;
    the file then fails for any other number. JAX's exporter fails with errors of its own.

    Args:
        shape: shape (batch, time, features) of the sequences in the call that is exported.
        is_length_fixed: True if the layer was built for one number of steps.
    """
    backend = keras.backend.backend()
    if backend == "torch" and not is_length_fixed and _is_called_from(_ONNX_EXPORTERS):
        raise ValueError(
            "On PyTorch a recurrent layer is exported to ONNX for one number of steps. Received "
            "sequences of any length; build the model with keras.Input((STEPS, FEATURES)), or "
            "export it on TensorFlow, where batch and steps may vary."
        )
    if backend == "jax" and _is_called_from(_ONNX_EXPORTERS):
        raise ValueError(
            "On JAX recurrent layers of ttrnn are not exported to ONNX, for jax2onnx fails where "
            f"they reshape a batch of any size. Received sequences of shape {tuple(shape)}; save "
            "the model, load it with KERAS_BACKEND=tensorflow, and export it there."
        )


def _is_called_from(modules: tuple[str, ...]) -> bool:
    """Return True if a module whose name begins with one of these is on the call stack."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(modules):
            return True
        frame = frame.f_back
    return False
