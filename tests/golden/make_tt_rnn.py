"""Make tt_rnn.npz: TT kernels by TensorLy, recurrences by ONNX Runtime. Neither shares our code.

    pip install numpy onnx onnxruntime tensorly
    python tests/golden/make_tt_rnn.py

ONNX's GRU with linear_before_reset=0 applies the reset gate before the recurrent product, and its
HardSigmoid(alpha=0.2, beta=0.5) is Keras 2's. Gate orders there: GRU z, r, h; LSTM i, o, f, c.
Arrays, for kind in rnn, gru, lstm: `<kind>_core_0..2` (r_k, m_k, n_k, r_{k+1}), `<kind>_recurrent`
(units, gates * units), `<kind>_bias`; for gate in sigmoid, hard (rnn: sigmoid only)
`<kind>_<gate>_sequence` (batch, time, units; zeros from a clip's length on), `<kind>_<gate>_h` and,
for the LSTM, `<kind>_<gate>_c`: the states after each clip's own last step.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import tensorly
from onnx import TensorProto, helper
from tensorly.tt_matrix import TTMatrix, tt_matrix_to_matrix

IN_MODES, OUT_MODES, RANKS = (2, 3, 4), (2, 1, 3), (1, 2, 3, 1)
UNITS, BATCH, STEPS = 6, 3, 7
LENGTHS = np.array([7, 4, 1], np.int32)
GATE_ORDER = {"rnn": [0], "gru": [0, 1, 2], "lstm": [0, 3, 1, 2]}  # ours -> ONNX's
HARD_SIGMOID = {"sigmoid": ("Sigmoid", 0.0, 0.0), "hard": ("HardSigmoid", 0.2, 0.5)}


def onnx_recurrence(kind, gate, x, kernel, recurrent, bias):
    gates = len(GATE_ORDER[kind])

    def reorder(matrix):  # (inputs, gates * units) -> (1, gates * units, inputs)
        blocks = np.split(matrix, gates, axis=-1)
        return np.concatenate([blocks[g] for g in GATE_ORDER[kind]], axis=-1).T[None]

    both_biases = np.concatenate([reorder(bias), np.zeros((1, gates * UNITS))], axis=1)
    name, alpha, beta = HARD_SIGMOID[gate]
    activations = {"rnn": ["Tanh"], "gru": [name, "Tanh"], "lstm": [name, "Tanh", "Tanh"]}[kind]
    attributes = {"hidden_size": UNITS, "activations": activations}
    if gate == "hard":
        attributes |= {"activation_alpha": [alpha], "activation_beta": [beta]}
    if kind == "gru":
        attributes["linear_before_reset"] = 0
    weights = {"W": reorder(kernel), "R": reorder(recurrent), "B": both_biases}
    weights = {key: value.astype(np.float32) for key, value in weights.items()}
    outputs = ["Y", "Y_h", "Y_c"][: 3 if kind == "lstm" else 2]
    node = helper.make_node(kind.upper(), ["X", "W", "R", "B", "lengths"], outputs, **attributes)
    graph = helper.make_graph(
        [node],
        kind,
        [
            helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, [x.shape[1]]),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    sequence, *states = session.run(None, {"X": x, "lengths": LENGTHS})
    return sequence[:, 0].transpose(1, 0, 2), [state[0] for state in states]


def main():
    rng = np.random.default_rng(2017)
    x = rng.standard_normal((BATCH, STEPS, np.prod(IN_MODES))).astype(np.float32)
    arrays = {"x": x, "lengths": LENGTHS}
    for kind, order in GATE_ORDER.items():
        gates = len(order)
        out_modes = (gates * OUT_MODES[0], *OUT_MODES[1:])
        shapes = zip(RANKS, IN_MODES, out_modes, RANKS[1:], strict=False)
        cores = [rng.normal(scale=0.7, size=shape).astype(np.float32) for shape in shapes]
        recurrent = rng.normal(scale=0.5, size=(UNITS, gates * UNITS)).astype(np.float32)
        bias = rng.normal(scale=0.5, size=gates * UNITS).astype(np.float32)
        kernel = tensorly.to_numpy(tt_matrix_to_matrix(TTMatrix(cores)))
        arrays |= {f"{kind}_core_{k}": core for k, core in enumerate(cores)}
        arrays |= {f"{kind}_recurrent": recurrent, f"{kind}_bias": bias}
        for gate in ["sigmoid"] if kind == "rnn" else ["sigmoid", "hard"]:
            sequence, states = onnx_recurrence(
                kind, gate, x.transpose(1, 0, 2), kernel, recurrent, bias
            )
            arrays[f"{kind}_{gate}_sequence"] = sequence
            for name, state in zip("hc", states, strict=False):
                arrays[f"{kind}_{gate}_{name}"] = state
    np.savez_compressed(Path(__file__).with_name("tt_rnn.npz"), **arrays)


if __name__ == "__main__":
    main()
