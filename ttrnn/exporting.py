"""Whether a graph is being made for another runtime, which has few of TensorFlow's operations.

On TensorFlow the layers multiply in chunks, pack the valid steps and compile by XLA. ONNX and
LiteRT have no such operations: neither arrays of tensors of different sizes nor functions compiled
by XLA. While a model is exported, every layer therefore computes the same values by plain ones.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
from collections.abc import Iterator
from types import FrameType

import keras

# Modules that trace a model in order to write it to a file. None of them has a public flag that
# says so, hence the look at the call stack; it happens only where a graph is traced.
_EXPORTERS = ("keras.src.export.", "tf2onnx.", "tensorflow.lite.", "tensorflow.python.saved_model.")

_is_requested = contextvars.ContextVar("portable_operations", default=False)


@contextlib.contextmanager
def portable_operations() -> Iterator[None]:
    """Trace the layers of this package with operations that other runtimes have.

    `model.export(...)`, tf2onnx and LiteRT's converter get these without being asked. The context
    is for a graph that is traced elsewhere and converted later.

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
    """Whether the caller should use portable operations only. Always False off TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return False
    if _is_requested.get():
        return True
    import tensorflow as tf

    if tf.executing_eagerly():
        return False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(_EXPORTERS):
            return True
        frame = frame.f_back
    return False
