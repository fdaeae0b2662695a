"""A Keras model as an ONNX graph."""

from __future__ import annotations

from typing import Any

OPSET = 17


def to_onnx(model: Any) -> Any:
    """The graph of a Keras model with one input and one output; the batch may vary.

    Weights are inputs of the graph while tf2onnx works on it, and are put in at the end: it
    copies whatever constants it finds dozens of times (70 s for AlexNet's 244 MB, against 5).

    Args:
        model: a functional Keras model on TensorFlow.

    Returns:
        An onnx.ModelProto whose input is called "input" and whose output "output".
    """
    import onnx
    import tensorflow as tf
    import tf2onnx

    trainable, others = model.trainable_variables, model.non_trainable_variables
    variables = [*trainable, *others]

    def outputs(frames, *values):
        ours, rest = list(values[: len(trainable)]), list(values[len(trainable) :])
        found, _ = model.stateless_call(ours, rest, frames, training=False)
        return found

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), model.input.dtype, name="input")]
    signature += [
        tf.TensorSpec(variable.shape, variable.dtype, name=f"weight_{number}")
        for number, variable in enumerate(variables)
    ]
    proto, _ = tf2onnx.convert.from_function(
        tf.function(outputs, autograph=False), input_signature=signature, opset=OPSET
    )
    graph = proto.graph
    values = {f"weight_{number}": variable for number, variable in enumerate(variables)}
    used = {name for node in graph.node for name in node.input}
    for known in list(graph.input):
        if known.name in values:
            graph.input.remove(known)
            if known.name in used:
                array = values[known.name].numpy()
                graph.initializer.append(onnx.numpy_helper.from_array(array, known.name))
    _spell_out_erfc(graph)
    _rename_output(graph)
    for end in (*graph.input, *graph.output):
        end.type.tensor_type.shape.dim[0].dim_param = "batch"
    return proto


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


def _rename_output(graph: Any) -> None:
    """Call the output "output", wherever it is spoken of."""
    (end,) = graph.output
    for node in graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == end.name:
                    names[position] = "output"
    end.name = "output"
