"""TedNet's layers, which `experiments.bench_formats` measures ours beside, in PyTorch.

Pan, Wang, Xu, "TedNet: A PyTorch Toolkit for Tensor Decomposition Networks", 2021 (arXiv
2104.05018), version 0.1.3. Its trains, rings, block terms and CP are measured; its recurrent matrix
is dense, and it takes one step of time after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tednet.tnn.bt_tucker import BTTLSTM
from tednet.tnn.cp import CPLSTM
from tednet.tnn.tensor_ring import TRLSTM
from tednet.tnn.tensor_train import TTLSTM
from tednet.tnn.tn_rnn import LSTMState

from experiments.bench_formats import (
    FEATURES,
    FEATURES_DENSE_RECURRENT,
    NUM_CLIPS,
    NUM_STEPS,
    PIXELS,
    PIXELS_DENSE_RECURRENT,
    RANKS,
    RING_PIXELS,
    SpeedRow,
    seconds_of,
)

# Steps of a clip. Every step takes as long, and CP takes seconds for each, so that few are enough.
_NUM_STEPS = {**NUM_STEPS, PIXELS_DENSE_RECURRENT: 2}


class TedNet:
    """Steps of TedNet's LSTMs at the published sizes.

    Args:
        formats: names of formats; those that TedNet lacks are left out.
    """

    def __init__(self, formats: tuple[str, ...]) -> None:
        self._formats = formats
        self._size = ""
        self._built: dict[str, _Steps] = {}

    def measure(self, size: str) -> list[SpeedRow]:
        """Time a training and an inference step of every layer of a size, once."""
        if size != self._size:
            made = _LAYERS.get(size, {})
            self._size = size
            self._built = {
                name: _Steps(made[name](), size) for name in self._formats if name in made
            }
        return [steps.row(name) for name, steps in self._built.items()]


class _Steps:
    """Training and inference step of a layer, which have run once."""

    def __init__(self, layer: Any, size: str) -> None:
        self._layer, self._size = layer, size
        generator = torch.Generator().manual_seed(0)
        # (T, B, features); the pixels exist as floats before the clock starts.
        shape = (_NUM_STEPS[size], NUM_CLIPS, int(layer.input_size))
        self._frames = torch.randn(shape, generator=generator)
        self._optimizer = torch.optim.Adam(layer.parameters(), 1e-4)
        self._train()
        self._infer()

    def row(self, name: str) -> SpeedRow:
        """Time both steps once."""
        training, inference = seconds_of(self._train), seconds_of(self._infer)
        num_frames = len(self._frames) * NUM_CLIPS
        kernel = self._layer.cell.weight_ih
        bias = 0 if kernel.bias is None else kernel.bias.numel()
        return SpeedRow(
            size=self._size,
            format=f"TedNet's {name}",
            kernel_params=sum(weight.numel() for weight in kernel.parameters()) - bias,
            layer_params=sum(weight.numel() for weight in self._layer.parameters()),
            training_frames_per_second=num_frames / training,
            inference_frames_per_second=num_frames / inference,
        )

    def _outputs(self) -> Any:
        zeros = torch.zeros(NUM_CLIPS, int(self._layer.hidden_size))
        return self._layer(self._frames, LSTMState(zeros, zeros))[0]

    def _train(self) -> float:
        self._layer.train()
        self._optimizer.zero_grad()
        loss = (self._outputs() ** 2).mean()
        loss.backward()
        self._optimizer.step()
        return loss.item()

    def _infer(self) -> float:
        self._layer.eval()
        with torch.inference_mode():
            return self._outputs().sum().item()


def _trains(modes: tuple[tuple[int, ...], tuple[int, ...]], ranks: dict[str, int]) -> Any:
    """Makers of the layers whose modes are in pairs; TedNet changes the lists that it is given."""
    inputs, outputs = modes
    makers: dict[str, Callable[[], Any]] = {
        "tt": lambda: TTLSTM([*inputs], [*outputs], [ranks["tt"]] * (len(inputs) - 1)),
        "bt": lambda: BTTLSTM([*inputs], [*outputs], [ranks["bt"]] * len(inputs), 2),
        "cp": lambda: CPLSTM([*inputs], [*outputs], ranks["cp"]),
    }
    return makers


_LAYERS: dict[str, dict[str, Callable[[], Any]]] = {
    PIXELS_DENSE_RECURRENT: _trains(PIXELS, RANKS[PIXELS_DENSE_RECURRENT])
    | {"tr": lambda: TRLSTM([*RING_PIXELS[0]], [*RING_PIXELS[1]], [*RING_PIXELS[2]])},
    FEATURES_DENSE_RECURRENT: _trains(FEATURES, RANKS[FEATURES_DENSE_RECURRENT])
    | {
        "tr": lambda: TRLSTM(
            [*FEATURES[0]],
            [*FEATURES[1]],
            [RANKS[FEATURES_DENSE_RECURRENT]["tr"]] * (len(FEATURES[0]) + len(FEATURES[1])),
        )
    },
}
