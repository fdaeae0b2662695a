"""Make tednet.npz: LSTMs of TedNet, the public bench of compressed recurrent networks, in PyTorch.

    pip install tednet==0.1.3 torch==1.13.1 "numpy<2"
    python tests/golden/make_tednet.py

Arrays: `x` (batch, time, features) and, for name in tt, tr, bt, cp, tucker2: `<name>_core_0..` with
the axes of `ttrnn`'s cores, `<name>_recurrent` (units, 4 * units), `<name>_bias` (its two biases
added), `<name>_sequence` (batch, time, units) and `<name>_h`, `<name>_c`: the last states.

What TedNet orders otherwise: cores of a train have their modes first; block-term layers contract
the factors from the last to the first with a core that is read from the first to the last.
"""

from pathlib import Path

import numpy as np
import torch
from tednet.tnn.bt_tucker import BTTLSTM
from tednet.tnn.cp import CPLSTM
from tednet.tnn.tensor_ring import TRLSTM
from tednet.tnn.tensor_train import TTLSTM
from tednet.tnn.tn_rnn import LSTMState
from tednet.tnn.tucker2 import TK2LSTM

IN_MODES, OUT_MODES = [2, 3, 4], [2, 1, 3]
BATCH, STEPS, UNITS = 3, 5, 6
TRAIN_RANKS, RING_RANKS, CP_RANK, TUCKER2_RANKS = [2, 3], [2, 3, 1, 2, 3, 2], 3, [2, 3]
BLOCK_RANKS, BLOCKS = [2, 1, 3], 2


def train_cores(nodes):
    """Cores (r, m, n, r') of nodes (m, n, r'), (m, n, r, r') and (m, n, r)."""
    first, middle, last = (nodes[f"node{k}"] for k in range(3))
    return [first[None], middle.transpose(2, 0, 1, 3), last.transpose(2, 0, 1)[..., None]]


def ring_cores(nodes):
    return [nodes[f"node{k}"] for k in range(6)]


def block_cores(nodes):
    """The blocks' cores, then their factors (block, m, n, rank)."""
    backwards = [
        nodes[f"core_block{c}"].reshape(BLOCK_RANKS[::-1]).transpose() for c in range(BLOCKS)
    ]
    return [
        np.stack(backwards),
        *(np.stack([nodes[f"factor{k}_block{c}"] for c in range(BLOCKS)]) for k in range(3)),
    ]


def cp_cores(nodes):
    return [
        np.stack([nodes[f"node{k}_block{r}"] for r in range(CP_RANK)], axis=1) for k in range(6)
    ]


def tucker2_cores(nodes):
    """A (m, a), G (a, m, m', b) and B (b, columns)."""
    return [nodes["node0"], nodes["node_core"].transpose(2, 0, 1, 3), nodes["node1"]]


# Each layer multiplies the first mode in the list that it is given by its four gates.
LAYERS = {
    "tt": (lambda: TTLSTM(IN_MODES, OUT_MODES[:], TRAIN_RANKS), train_cores),
    "tr": (lambda: TRLSTM(IN_MODES, OUT_MODES[:], RING_RANKS), ring_cores),
    "bt": (lambda: BTTLSTM(IN_MODES, OUT_MODES[:], BLOCK_RANKS, BLOCKS), block_cores),
    "cp": (lambda: CPLSTM(IN_MODES, OUT_MODES[:], CP_RANK), cp_cores),
    "tucker2": (lambda: TK2LSTM(IN_MODES, UNITS, TUCKER2_RANKS), tucker2_cores),
}


def main():
    torch.manual_seed(0)
    x = torch.randn(BATCH, STEPS, int(np.prod(IN_MODES)))
    arrays = {"x": x}
    for name, (make, cores_of) in LAYERS.items():
        layer = make().eval()  # without dropout
        cell, block = layer.cell, layer.cell.weight_ih
        with torch.no_grad():
            for parameter in block.parameters():
                parameter.copy_(0.7 * torch.randn(parameter.shape))
            cell.bias_hh.copy_(0.5 * torch.randn(cell.bias_hh.shape))
            zeros = torch.zeros(BATCH, UNITS)
            sequence, (h, c) = layer(x.transpose(0, 1), LSTMState(zeros, zeros))
        nodes = {key: value.detach().numpy() for key, value in block.named_parameters()}
        for k, core in enumerate(cores_of(nodes)):
            arrays[f"{name}_core_{k}"] = core
        arrays[f"{name}_recurrent"] = cell.weight_hh.detach().T
        arrays[f"{name}_bias"] = (cell.bias_hh + block.bias).detach()
        arrays |= {f"{name}_sequence": sequence.transpose(0, 1), f"{name}_h": h, f"{name}_c": c}
    arrays = {key: np.ascontiguousarray(value, np.float32) for key, value in arrays.items()}
    np.savez_compressed(Path(__file__).with_name("tednet.npz"), **arrays)


if __name__ == "__main__":
    main()
