"""The UCF101 baselines' names and layouts of weights (HHTseng/video-classification), and ours.

The original's files are state dicts: 3dcnn_epochN.pth; of the others an encoder and a decoder,
cnn_encoder_epochN.pth and rnn_decoder_epochN.pth. What comes out is for `assign_arrays`, which
checks that nothing is missing and that shapes fit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from weights.errors import WeightsError
from weights.resnet import resnet_place
from weights.torch_layers import (
    CONVOLUTION_2D,
    CONVOLUTION_3D,
    DENSE,
    NORM,
    Place,
    Rules,
    in_layer,
    placed,
)

_State = Mapping[str, np.ndarray]
_LAYER = re.compile(r"(conv[12]|bn[12]|fc[123])\.([a-z_]+)")
_CONVOLVED = re.compile(r"conv([1-4])\.([01])\.([a-z_]+)")  # a Sequential of it and its norm
_RESNET = re.compile(r"resnet\.([014567])\.(.+)")  # a Sequential of torchvision's layers
_RESNET_LAYERS = {
    "0": "conv1",
    "1": "bn1",
    "4": "layer1",
    "5": "layer2",
    "6": "layer3",
    "7": "layer4",
}
_LSTM = re.compile(r"LSTM\.([a-z_]+)_l([0-9])")
# torch's gates i, f, g, o are Keras's i, f, c, o
_LSTM_RULES: Rules = {
    "weight_ih": ("lstm_cell/kernel", (1, 0)),
    "weight_hh": ("lstm_cell/recurrent_kernel", (1, 0)),
    "bias_ih": ("lstm_cell/bias_ih", (0,)),
    "bias_hh": ("lstm_cell/bias_hh", (0,)),
}


def conv3d_arrays(state: _State) -> dict[str, np.ndarray]:
    """Arrays by layer/variable from the state dict of CNN3D.

    fc1's rows stay in torch's order, channels first, as `build_conv3d` flattens; so the size of
    the clips need not be known.

    Args:
        state: arrays by torch's key, with or without DataParallel's "module." before it.

    Returns:
        Views of the given arrays, axes in Keras's order.

    Raises:
        WeightsError: for a key of another model, or an array with another number of axes.
    """
    return placed(state, _conv3d_place, model="CNN3D, such as conv1.weight and fc3.bias")


def crnn_arrays(encoder: _State, decoder: _State) -> dict[str, np.ndarray]:
    """Arrays by layer/variable from the state dicts of EncoderCNN and DecoderRNN.

    An LSTM's two biases, which torch only ever adds, become their sum.

    Args:
        encoder, decoder: arrays by torch's key, with or without DataParallel's "module.".

    Returns:
        Views of the given arrays, axes in Keras's order, and sums of biases.

    Raises:
        WeightsError: for a key of another model, an array with another number of axes, or an LSTM
            with one bias.
    """
    model = "EncoderCNN, such as conv1.0.weight and fc3.bias"
    return placed(encoder, _encoder_place, model=model) | _decoder_arrays(decoder)


def resnet_crnn_arrays(encoder: _State, decoder: _State) -> dict[str, np.ndarray]:
    """As `crnn_arrays`, of ResCNNEncoder and DecoderRNN, of fixed or varying length.

    The ResNet's arrays are named as `resnet_arrays` does, the others encoder_... and decoder_...;
    a model of features takes the latter alone.
    """
    model = "ResCNNEncoder, such as resnet.0.weight and bn1.bias"
    return placed(encoder, _resnet_encoder_place, model=model) | _decoder_arrays(decoder)


def _conv3d_place(key: str) -> Place | None:
    return _layer_place(key, "", ("conv", "bn", "fc"))


def _encoder_place(key: str) -> Place | None:
    if found := _CONVOLVED.fullmatch(key):
        number, part, word = found.groups()
        if part == "0":
            return in_layer(f"encoder_conv{number}", CONVOLUTION_2D, word)
        return in_layer(f"encoder_bn{number}", NORM, word)
    return _layer_place(key, "encoder_", ("fc",))


def _resnet_encoder_place(key: str) -> Place | None:
    if found := _RESNET.fullmatch(key):
        return resnet_place(f"{_RESNET_LAYERS[found[1]]}.{found[2]}")
    return _layer_place(key, "encoder_", ("bn", "fc"))


def _decoder_place(key: str) -> Place | None:
    if found := _LSTM.fullmatch(key):
        word, number = found.groups()
        return in_layer(f"decoder_lstm{int(number) + 1}", _LSTM_RULES, word)
    return _layer_place(key, "decoder_", ("fc",))


def _layer_place(key: str, prefix: str, kinds: tuple[str, ...]) -> Place | None:
    """The place of conv1, bn1, fc1 and so on, if the model has such layers."""
    found = _LAYER.fullmatch(key)
    if found is None or not found[1].startswith(kinds):
        return None
    rules = {"c": CONVOLUTION_3D, "b": NORM, "f": DENSE}[found[1][0]]
    return in_layer(prefix + found[1], rules, found[2])


def _decoder_arrays(state: _State) -> dict[str, np.ndarray]:
    model = "DecoderRNN, such as LSTM.weight_ih_l0 and fc2.bias"
    arrays = placed(state, _decoder_place, model=model)
    lstms = {name.partition("/")[0] for name in arrays if "/lstm_cell/" in name}
    for layer in sorted(lstms):
        input_bias, state_bias = (
            arrays.pop(f"{layer}/lstm_cell/bias_{part}", None) for part in ("ih", "hh")
        )
        if input_bias is None or state_bias is None or input_bias.shape != state_bias.shape:
            raise WeightsError(
                f"An LSTM of torch has two biases of one length. {layer} has others; is the "
                "decoder's file whole?"
            )
        arrays[f"{layer}/lstm_cell/bias"] = input_bias + state_bias
    return arrays
