"""A model to an ONNX file that is there only if ONNX Runtime agrees with Keras."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError, UserError
from experiments.export.sample import Sample
from experiments.export.subjects import Subject
from experiments.models.onnx_session import OnnxSession
from preprocess.video.messages import silent

TOLERANCE = 1e-4
_BATCHES = (1, 3)
_SINGLE_ROWS = 8  # that are compared one by one
_LARGEST_BYTES = 2**31 - 2**22  # of a protobuf message, with room for the graph

Predict = Callable[[NDArray[Any]], NDArray[np.float32]]


class ExportError(UserError):
    """The exported model is not there, or does not do what the Keras model does."""


def write_onnx(subject: Subject, path: Path, sample: Sample) -> float:
    """Write a model with softmax and metadata inside; the batch may vary.

    Args:
        subject: the model.
        path: of the file; it appears only once ONNX Runtime agrees with Keras.
        sample: what they are compared on, in batches of 1 and 3.

    Returns:
        The largest difference between a probability of Keras and of ONNX Runtime.

    Raises:
        ExportError: if it is above 1e-4, or no graph can be made of the model.
        InputError: if the model is too large for a file.
    """
    import onnx

    require_small(subject.model.count_params())
    temporary = path.with_name(f".{path.name}.part")
    try:
        proto = _graph(subject)
        onnx.helper.set_model_props(proto, subject.about.to_metadata())
        onnx.save(proto, temporary)
        del proto
        difference = largest_difference(subject.predict, OnnxSession(temporary, 0), sample)
        if not difference <= TOLERANCE:
            raise ExportError(
                f"Keras and ONNX Runtime must agree to {TOLERANCE}. They differ by "
                f"{difference:.2g} on {sample.origin}; nothing was written."
            )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return difference


def require_small(num_weights: int) -> None:
    """Raise ValueError for more float32 weights than fit in a file."""
    if 4 * num_weights > _LARGEST_BYTES:
        raise InputError(
            f"An ONNX file holds at most 2 GiB. This model's weights are {num_weights:,}, which in "
            f"float32 is {4 * num_weights / 2**30:.2f} GiB; train a smaller one."
        )


def largest_difference(ours: Predict, theirs: Predict, sample: Sample) -> float:
    """Between a probability of one and of the other: rows one by one, and in batches."""
    batches = [sample.batch(size) for size in _BATCHES]
    batches += [row[None] for row in sample.rows[:_SINGLE_ROWS]]
    found = [np.abs(ours(batch) - theirs(batch)).max() for batch in batches]
    return float(np.max(found))


def _graph(subject: Subject) -> Any:
    with silent("tf2onnx"):
        try:
            return subject.graph()
        except Exception as error:  # tf2onnx's errors have no common class
            raise ExportError(f"tf2onnx makes no graph of this model: {error}") from error
