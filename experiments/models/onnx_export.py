"""A Keras model as an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

OPSET = 17


def to_onnx(
    model: Any,
    *,
    names: tuple[str, str] = ("input", "output"),
    shape: Sequence[int | None] | None = None,
    prepare: Callable[[Any], Any] = lambda inputs: inputs,
) -> Any:
    """The graph of a Keras model, with one input and one output; the batch may vary.

    Weights are inputs of the graph while tf2onnx works on it, and are put in at the end: it
    copies whatever constants it finds dozens of times (70 s for AlexNet's 244 MB, against 5).

    Args:
        model: a functional Keras model on TensorFlow.
        names: of input and output.
        shape: of the input, less the batch; None for that of the model's only input, whose type
            is uint8 otherwise.
        prepare: makes what the model takes of the input.

    Returns:
        An onnx.ModelProto.
    """
    import tensorflow as tf
    import tf2onnx

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
    """Let tf2onnx leave out one of its optimizers.

    optimize_transpose orders the axes of some tensors anew and leaves their recorded shapes as
    they were; reshape_optimizer then trusts these. A product over channels after a convolution
    got another size by that, in some runs and not in others.
    """
    from tf2onnx import optimizer

    known = optimizer._optimizers
    before = dict(known)
    known.pop(name, None)
    try:
        yield
    finally:
        known.clear()
        known.update(before)


def _put_in(graph: Any, values: dict[str, Any]) -> None:
    """Variables as constants in place of the inputs of their names, as far as they are used."""
    import onnx

    used = {name for node in graph.node for name in node.input}
    for known in list(graph.input):
        if known.name in values:
            graph.input.remove(known)
            if known.name in used:
                array = values[known.name].numpy()
                graph.initializer.append(onnx.numpy_helper.from_array(array, known.name))


def _spell_out_erfc(graph: Any) -> None:
    """Erfc, of which GELU is made and which ONNX does not know, as 1 - Erf."""
    from onnx import TensorProto, helper

    one = "one_for_erfc"
    nodes = []
    for node in graph.node:
        if node.op_type != "Erfc":
            nodes.append(node)
            continue
        (x,), (y,) = node.input, node.output
        nodes.append(helper.make_node("Erf", [x], [f"{y}/erf"]))
        nodes.append(helper.make_node("Sub", [one, f"{y}/erf"], [y]))
    if len(nodes) > len(graph.node):
        graph.initializer.append(helper.make_tensor(one, TensorProto.FLOAT, (), [1.0]))
    del graph.node[:]
    graph.node.extend(nodes)


def _rename_output(graph: Any, name: str) -> None:
    """Give the output its name, wherever it is spoken of."""
    (end,) = graph.output
    for node in graph.node:
        for names in (node.input, node.output):
            for position, known in enumerate(names):
                if known == end.name:
                    names[position] = name
    end.name = name
