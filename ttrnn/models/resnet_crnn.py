"""A frozen ResNet for each frame and an LSTM over them: frames or features in, classes out."""

from __future__ import annotations

from typing import Literal

import keras

from ttrnn.models.crnn import NORM_MOMENTUM, decoded
from ttrnn.models.resnet import BLOCKS, BOTTLENECK_DEPTH, build_resnet
from ttrnn.models.torch_layers import TorchLayers

Inputs = Literal["frames", "features"]


def build_resnet_crnn(
    num_classes: int,
    *,
    depth: int = 152,
    inputs: Inputs = "frames",
    height: int = 224,
    width: int = 224,
    dropout: float = 0.0,
    norm_momentum: float = NORM_MOMENTUM,
    dtype: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> keras.Model:
    """Build the ResNetCRNN of HHTseng/video-classification, layer for layer.

    A ResNet's features of each frame go through 1024 and 768 units, both batch-normalised, with
    ReLU, and 512 units: encoder_fc1 to 3, encoder_bn1 and 2. `ttrnn.models.crnn` makes
    classes of them. With 101 classes 9,737,573 parameters are trained; torch counts 6,144 more, for
    its LSTMs have two biases, which here are one. Batches are normalised as in `build_crnn`.

    The ResNet is frozen: neither its weights nor its statistics move, where the original's
    statistics did. So its features of a clip are always the same, and can be computed once.
    Train on `inputs="features"`; `weights.model_arrays` of that model and of the ResNet are
    together the weights of the one on frames.

    Args:
        num_classes: of the last layer.
        depth: of the ResNet, see `build_resnet`.
        inputs: "frames", pixels; the model contains the ResNet as a layer resnet<depth>.
            "features", what `build_resnet(depth, None, normalize=True)` makes of them.
        height, width: of the frames.
        dropout: share of the values that training drops before the last layers of the encoder and
            of the decoder; the original's scripts set 0.
        norm_momentum: see `build_crnn`.
        dtype: policy of every layer, such as "mixed_bfloat16"; the softmax is float32.
        seed: of initial weights and dropout, but for the ResNet's.
        name: of the model, or None for "resnet152_crnn" and the like.

    Returns:
        A model of {"frames": uint8 (sum of num_frames, height, width, 3), "num_frames": int32
        (batch,)}, or of {"features": float32 (sum of num_frames, 2048, or 512 below depth 50),
        "num_frames": ...}, to probabilities (batch, num_classes): clips of any lengths end to end.

    Raises:
        ValueError: for an unknown depth or `inputs`.
    """
    if inputs not in ("frames", "features"):
        raise ValueError(f"inputs must be frames or features. Received {inputs!r}.")
    if depth not in BLOCKS:
        raise ValueError(f"depth must be one of {', '.join(map(str, BLOCKS))}. Received {depth!r}.")
    num_frames = keras.Input((), dtype="int32", name="num_frames")
    if inputs == "frames":
        seen = keras.Input((height, width, 3), dtype="uint8", name="frames")
        resnet = build_resnet(
            depth, None, input_shape=(height, width, 3), normalize=True, dtype=dtype
        )
        resnet.trainable = False
        features = resnet(seen)
    else:
        size = 2048 if depth >= BOTTLENECK_DEPTH else 512
        seen = features = keras.Input((size,), dtype="float32", name="features")
    layers = TorchLayers(dtype, seed=seed)
    embeddings = _embedded(layers, features, dropout, norm_momentum)
    outputs = decoded(layers, embeddings, num_frames, num_classes, dropout=dropout)
    return keras.Model(
        {inputs: seen, "num_frames": num_frames}, outputs, name=name or f"resnet{depth}_crnn"
    )


def _embedded(layers: TorchLayers, features, dropout: float, norm_momentum: float):
    """(sum of num_frames, 512) of the ResNet's features."""
    x = features
    for number, units in enumerate((1024, 768), 1):
        x = layers.dense(x, units, f"encoder_fc{number}")
        x = layers.norm(x, norm_momentum, f"encoder_bn{number}")
        x = layers.relu(x, f"encoder_relu{number}")
    x = layers.dropout(x, dropout, "encoder_dropout")
    return layers.dense(x, 512, "encoder_fc3")
