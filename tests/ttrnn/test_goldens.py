"""Golden arrays made by TensorLy and ONNX Runtime, and by TedNet; golden/make_*.py say how."""

from pathlib import Path

import numpy as np
import oracle
import pytest
from layer_check import LAYERS

import ttrnn

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "tt_rnn.npz")
TEDNET = np.load(Path(__file__).parents[1] / "golden" / "tednet.npz")
TEDNET_MODES = (2, 3, 4), (2, 1, 3)
TEDNET_FORMATS = [
    ttrnn.TensorTrain(*TEDNET_MODES, (1, 2, 3, 1)),
    ttrnn.TensorRing(*TEDNET_MODES, (2, 3, 1, 2, 3, 2), separate=True),
    ttrnn.BlockTerm(*TEDNET_MODES, (2, 1, 3), blocks=2),
    ttrnn.CP(*TEDNET_MODES, 3),
    ttrnn.Tucker2((2, 3, 4), (6,), (2, 3)),
]
MODES = {"tt_input_shape": (2, 3, 4), "tt_output_shape": (2, 1, 3), "tt_ranks": (1, 2, 3, 1)}
CASES = [("rnn", "sigmoid")] + [(k, gate) for k in ("gru", "lstm") for gate in ("sigmoid", "hard")]
MASK = np.arange(GOLDEN["x"].shape[1]) < GOLDEN["lengths"][:, None]


def weights(kind):
    cores = [GOLDEN[f"{kind}_core_{k}"] for k in range(3)]
    return cores, GOLDEN[f"{kind}_recurrent"], GOLDEN[f"{kind}_bias"]


def check(kind, gate, sequence, states):
    golden_sequence = GOLDEN[f"{kind}_{gate}_sequence"]
    np.testing.assert_allclose(np.asarray(sequence)[MASK], golden_sequence[MASK], atol=2e-6)
    for name, state in zip("hc", states, strict=False):
        np.testing.assert_allclose(state, GOLDEN[f"{kind}_{gate}_{name}"], atol=2e-6)


@pytest.mark.parametrize(("kind", "gate"), CASES)
def test_layers_equal_the_golden_arrays(kind, gate):
    """Red for a gate order, a reset gate after the product, or a mask that stops too late."""
    options = {} if kind == "rnn" else {"recurrent_activation": "sigmoid"}
    if gate == "hard":
        options["recurrent_activation"] = "keras2_hard_sigmoid"
    layer = LAYERS[kind](**MODES, return_sequences=True, return_state=True, **options)
    layer.build(GOLDEN["x"].shape)
    cores, recurrent, bias = weights(kind)
    for variable, value in zip(layer.cell.cores, cores, strict=True):
        variable.assign(value)
    layer.cell.recurrent_kernel.assign(recurrent)
    layer.cell.bias.assign(bias)
    sequence, *states = layer(GOLDEN["x"], mask=MASK)
    check(kind, gate, sequence, states)


@pytest.mark.parametrize(("kind", "gate"), CASES)
def test_the_oracle_equals_the_golden_arrays(kind, gate):
    """The oracle that every other test leans on is itself held to another implementation."""
    function = {"sigmoid": oracle.sigmoid, "hard": oracle.keras2_hard_sigmoid}[gate]
    sequence, states = oracle.forward(
        kind,
        GOLDEN["x"].astype("float64"),
        *weights(kind),
        mask=MASK,
        recurrent_activation=function,
    )
    check(kind, gate, sequence, states)


@pytest.mark.parametrize("kernel_format", TEDNET_FORMATS, ids=lambda shape: shape.name)
def test_lstms_equal_those_of_tednet(kernel_format):
    """Red for a bond or a mode in another place, gates on another mode, or another order of them;
    no two ranks that meet in a core are alike."""
    name, (_, steps, num_features) = kernel_format.name, TEDNET["x"].shape
    layer = ttrnn.TensorLSTM(
        6,
        kernel_format=kernel_format,
        recurrent_activation="sigmoid",
        return_sequences=True,
        return_state=True,
    )
    layer.build((None, steps, num_features))
    for k, variable in enumerate(layer.cell.cores):
        variable.assign(TEDNET[f"{name}_core_{k}"])
    layer.cell.recurrent_kernel.assign(TEDNET[f"{name}_recurrent"])
    layer.cell.bias.assign(TEDNET[f"{name}_bias"])
    for part, found in zip(("sequence", "h", "c"), layer(TEDNET["x"]), strict=True):
        np.testing.assert_allclose(found, TEDNET[f"{name}_{part}"], atol=2e-6)
