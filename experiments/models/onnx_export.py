"""Convert Keras models to ONNX graphs, and write those for which ONNX Runtime agrees."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
import tf2onnx.optimizer
from onnx import TensorProto, helper

from common.errors import UserError
from experiments.models.image_models import ImageModel
from experiments.models.onnx_files import IMAGE_MODEL, OnnxSession

OPSET = 17
# Largest difference between a probability of Keras and of ONNX Runtime.
TOLERANCE = 1e-4


class ExportError(UserError):
    """Error for a model that cannot be exported, or whose export differs from the Keras model."""


def export_onnx(model: ImageModel, path: Path, *, batch_size: int) -> float:
    """Write an image model with preprocessing, class names and softmax inside, for any batch size.

    Args:
        model: a Keras model, loaded without short cuts.
        path: path of the file, which appears only once ONNX Runtime agrees with Keras.
        batch_size: batch size of the comparison.

    Returns:
        The largest difference between a probability of Keras and of ONNX Runtime.

    Raises:
        ExportError: if it is above 1e-4.
    """
    fit = model.fit
    frames = np.random.default_rng(0).integers(0, 256, (batch_size, *fit.frame_shape))
    frames = frames.astype(fit.dtype)
    expected = model.predict(frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"name": model.name, "fit": asdict(fit), "class_names": model.class_names}
    return write_checked(
        to_onnx(model.keras_model),
        path,
        {IMAGE_MODEL: json.dumps(about)},
        compare=lambda written: float(np.abs(OnnxSession(written)(frames) - expected).max()),
    )


def write_checked(
    proto: Any,
    path: Path,
    metadata: Mapping[str, str],
    *,
    compare: Callable[[Path], float],
    compared_on: str = "",
) -> float:
    """Write a graph to a file, which appears only once it was found to agree with Keras.

    Args:
        proto: an onnx.ModelProto.
        path: path of the file.
        metadata: texts to store in the file.
        compare: returns the largest difference between the probabilities of Keras and of the file
            at a path.
        compared_on: description of the frames of the comparison, for the message.

    Returns:
        The difference.

    Raises:
        ExportError: if it is above 1e-4, or not a number.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        helper.set_model_props(proto, dict(metadata))
        onnx.save(proto, temporary)
        # Up to 2 GiB, of which ONNX Runtime now makes its own copy.
        del proto
        difference = compare(temporary)
        # Written so that NaN fails, too.
        if not difference <= TOLERANCE:
            place = f" on {compared_on}" if compared_on else ""
            raise ExportError(
                f"Keras and ONNX Runtime must agree to {TOLERANCE}. They differ by "
                f"{difference:.2g}{place}; nothing was written."
            )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return difference


def to_onnx(
    model: Any,
    *,
    names: tuple[str, str] = ("input", "output"),
    shape: Sequence[int | None] | None = None,
    prepare: Callable[[Any], Any] = lambda inputs: inputs,
) -> Any:
    """Convert a Keras model to a graph with one input and one output, for any batch size.

    Args:
        model: a functional Keras model on TensorFlow.
        names: names of input and output.
        shape: shape of the input, without the batch; its type is then uint8. None for shape and
            type of the model's only input.
        prepare: makes the model's inputs from the input of the graph.

    Returns:
        An onnx.ModelProto.
    """
    # Weights are inputs of the graph while tf2onnx works on it, and become constants at the end:
    # tf2onnx copies the constants it finds dozens of times (70 s for AlexNet's 244 MB, against 5).
    trainable, others = model.trainable_variables, model.non_trainable_variables
    variables = [*trainable, *others]

    def outputs(inputs, *values):
        ours, rest = list(values[: len(trainable)]), list(values[len(trainable) :])
        found, _ = model.stateless_call(ours, rest, prepare(inputs), training=False)
        return found

    dtype = model.input.dtype if shape is None else "uint8"
    shape = model.input_shape[1:] if shape is None else shape
    signature = [tf.TensorSpec((None, *shape), dtype, name=names[0])]
    signature += [
        tf.TensorSpec(variable.shape, variable.dtype, name=f"weight_{number}")
        for number, variable in enumerate(variables)
    ]
    function = tf.function(outputs, autograph=False)
    # tf2onnx's optimize_transpose reorders the axes of some tensors and leaves their recorded
    # shapes as they were; reshape_optimizer then trusts these. A product over channels after a
    # convolution got another size by that, in some runs and not in others.
    with _without_optimizer("reshape_optimizer"):
        proto, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    graph = proto.graph
    _put_in(graph, {f"weight_{number}": value for number, value in enumerate(variables)})
    _spell_out_erfc(graph)
    _rename_output(graph, names[1])
    for end in (*graph.input, *graph.output):
        end.type.tensor_type.shape.dim[0].dim_param = "batch"
    return proto


@contextmanager
def _without_optimizer(name: str) -> Iterator[None]:
    """Make tf2onnx leave out one of its optimizers in this block."""
    known = tf2onnx.optimizer._optimizers
    before = dict(known)
    known.pop(name, None)
    try:
        yield
    finally:
        known.clear()
        known.update(before)


def _put_in(graph: Any, values: dict[str, Any]) -> None:
    """Replace the inputs that stand for variables by constants; drop those that are not used."""
    used = {name for node in graph.node for name in node.input}
    for known in list(graph.input):
        if known.name in values:
            graph.input.remove(known)
            if known.name in used:
                array = values[known.name].numpy()
                graph.initializer.append(onnx.numpy_helper.from_array(array, known.name))


def _spell_out_erfc(graph: Any) -> None:
    """Replace Erfc, which GELU needs and ONNX lacks, by 1 - Erf."""
    one = "one_for_erfc"
    nodes = []
    for node in graph.node:
        if node.op_type != "Erfc":
            nodes.append(node)
            continue
        # erfc(x) = 1 - erf(x)
        (x,), (y,) = node.input, node.output
        nodes.append(helper.make_node("Erf", [x], [f"{y}/erf"]))
        nodes.append(helper.make_node("Sub", [one, f"{y}/erf"], [y]))
    if len(nodes) > len(graph.node):
        graph.initializer.append(helper.make_tensor(one, TensorProto.FLOAT, (), [1.0]))
    del graph.node[:]
    graph.node.extend(nodes)


def _rename_output(graph: Any, name: str) -> None:
    """Rename the output of a graph wherever it is used."""
    (end,) = graph.output
    for node in graph.node:
        for names in (node.input, node.output):
            for position, known in enumerate(names):
                if known == end.name:
                    names[position] = name
    end.name = name
