"""Conversion of weights of the UCF101 baselines (HHTseng/video-classification) to Keras.

The original's files are state dicts: 3dcnn_epochN.pth; for the other models an encoder and a
decoder, cnn_encoder_epochN.pth and rnn_decoder_epochN.pth. The results are for `assign_arrays`,
which checks that nothing is missing and that shapes fit.
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
# Keys of the original; digits are bounded, so that no key reaches a layer that does not exist.
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
# torch's gates i, f, g, o are Keras's i, f, c, o in the same order, so kernels are only transposed.
_LSTM_RULES: Rules = {
    "weight_ih": ("lstm_cell/kernel", (1, 0)),
    "weight_hh": ("lstm_cell/recurrent_kernel", (1, 0)),
    "bias_ih": ("lstm_cell/bias_ih", (0,)),
    "bias_hh": ("lstm_cell/bias_hh", (0,)),
}


def conv3d_arrays(state: _State) -> dict[str, np.ndarray]:
    """Convert the state dict of CNN3D to arrays by layer/variable.

    Args:
        state: arrays by torch's key, with or without DataParallel's "module." before it.

    Returns:
        Views of the given arrays, axes in Keras's order.

    Raises:
        WeightsError: for a key of another model, or an array with a wrong number of axes.

    Example:
        >>> model = ttrnn.models.build_conv3d(101)
        >>> assign_arrays(model, conv3d_arrays(read_state_dict("3dcnn_epoch15.pth")))

    Reference: github.com/HHTseng/video-classification.
    """
    # fc1's rows stay in torch's order, channels first, in which `build_conv3d` flattens; the size
    # of the clips need not be known for that.
    return placed(state, _conv3d_place, model="CNN3D, such as conv1.weight and fc3.bias")


def crnn_arrays(encoder: _State, decoder: _State) -> dict[str, np.ndarray]:
    """Convert the state dicts of EncoderCNN and DecoderRNN to arrays by layer/variable.

    An LSTM's two biases, which torch only ever adds, become their sum.

    Args:
        encoder, decoder: arrays by torch's key, with or without DataParallel's "module.".

    Returns:
        Views of the given arrays, axes in Keras's order, and sums of biases.

    Raises:
        WeightsError: for a key of another model, an array with a wrong number of axes, or an LSTM
            with one bias.

    Example:
        >>> encoder = read_state_dict("cnn_encoder_epoch63.pth")
        >>> decoder = read_state_dict("rnn_decoder_epoch63.pth")
        >>> assign_arrays(ttrnn.models.build_crnn(101), crnn_arrays(encoder, decoder))

    Reference: github.com/HHTseng/video-classification.
    """
    model = "EncoderCNN, such as conv1.0.weight and fc3.bias"
    return placed(encoder, _encoder_place, model=model) | _decoder_arrays(decoder)


def resnet_crnn_arrays(encoder: _State, decoder: _State) -> dict[str, np.ndarray]:
    """Convert the state dicts of ResCNNEncoder and DecoderRNN to arrays by layer/variable.

    The ResNet's arrays have the names of `resnet_arrays`, the others encoder_... and decoder_...;
    a model of features takes the latter alone. Files of the version for clips of varying length
    have the same keys.

    Args:
        encoder, decoder: arrays by torch's key, with or without DataParallel's "module.".

    Returns:
        Views of the given arrays, axes in Keras's order, and sums of biases.

    Raises:
        WeightsError: as `crnn_arrays`.

    Example:
        >>> arrays = resnet_crnn_arrays(encoder, decoder)
        >>> assign_arrays(ttrnn.models.build_resnet_crnn(101), arrays)

    Reference: github.com/HHTseng/video-classification.
    """
    model = "ResCNNEncoder, such as resnet.0.weight and bn1.bias"
    return placed(encoder, _resnet_encoder_place, model=model) | _decoder_arrays(decoder)


def _conv3d_place(key: str) -> Place | None:
    """Place of a key of CNN3D."""
    return _layer_place(key, "", ("conv", "bn", "fc"))


def _encoder_place(key: str) -> Place | None:
    """Place of a key of EncoderCNN, whose convolutions are Sequentials with their norms."""
    if found := _CONVOLVED.fullmatch(key):
        number, part, word = found.groups()
        if part == "0":
            return in_layer(f"encoder_conv{number}", CONVOLUTION_2D, word)
        return in_layer(f"encoder_bn{number}", NORM, word)
    return _layer_place(key, "encoder_", ("fc",))


def _resnet_encoder_place(key: str) -> Place | None:
    """Place of a key of ResCNNEncoder, whose ResNet is a Sequential of torchvision's layers."""
    if found := _RESNET.fullmatch(key):
        return resnet_place(f"{_RESNET_LAYERS[found[1]]}.{found[2]}")
    return _layer_place(key, "encoder_", ("bn", "fc"))


def _decoder_place(key: str) -> Place | None:
    """Place of a key of DecoderRNN."""
    if found := _LSTM.fullmatch(key):
        word, number = found.groups()
        return in_layer(f"decoder_lstm{int(number) + 1}", _LSTM_RULES, word)
    return _layer_place(key, "decoder_", ("fc",))


def _layer_place(key: str, prefix: str, kinds: tuple[str, ...]) -> Place | None:
    """Place of conv1, bn1, fc1 and so on, if the model has such layers."""
    found = _LAYER.fullmatch(key)
    if found is None or not found[1].startswith(kinds):
        return None
    rules = {"c": CONVOLUTION_3D, "b": NORM, "f": DENSE}[found[1][0]]
    return in_layer(prefix + found[1], rules, found[2])


def _decoder_arrays(state: _State) -> dict[str, np.ndarray]:
    """Convert the state dict of DecoderRNN, with the sum of each LSTM's biases."""
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
