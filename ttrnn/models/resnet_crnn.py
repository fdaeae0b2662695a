"""ResNetCRNN: a frozen ResNet for each frame and an LSTM over the frames of a clip."""

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
    ReLU, and 512 units: encoder_fc1 to 3, encoder_bn1 and 2. The LSTMs of `ttrnn.models.crnn`
    classify the clips by them. With 101 classes 9,737,573 parameters are trained; torch counts
    6,144 more, for its LSTMs have two biases instead of one. Batches are normalised as in
    `build_crnn`.

    The ResNet is frozen: neither its weights nor its statistics move, where the original's
    statistics did. Its features of a clip are therefore always the same and can be computed once.
    Train on `inputs="features"`; `weights.model_arrays` of that model and of the ResNet are
    together the weights of the model on frames.

    Args:
        num_classes: number of classes.
        depth: depth of the ResNet, see `build_resnet`.
        inputs: "frames" for pixels; the model then contains the ResNet as a layer resnet<depth>.
            "features" for the outputs of `build_resnet(depth, None, normalize=True)`.
        height, width: size of the frames in pixels.
        dropout: fraction of the values that training drops before the last layers of the encoder
            and of the decoder; the original's scripts set 0.
        norm_momentum: see `build_crnn`.
        dtype: policy of every layer, such as "mixed_bfloat16"; the softmax is float32.
        seed: seed of initial weights and dropout, except for the ResNet's.
        name: name of the model, or None for "resnet152_crnn" and the like.

    Returns:
        A model of {"frames": uint8 (sum of num_frames, height, width, 3), "num_frames": int32
        (batch,)}, or of {"features": float32 (sum of num_frames, 2048, or 512 below depth 50),
        "num_frames": ...}, to probabilities (batch, num_classes): clips of any lengths end to end.

    Raises:
        ValueError: for an unknown depth or `inputs`.

    Example:
        >>> model = build_resnet_crnn(101, inputs="features")
        >>> clips = {"features": np.zeros((5, 2048), "float32"), "num_frames": np.array([2, 3])}
        >>> model(clips).shape
        (2, 101)

    Reference: github.com/HHTseng/video-classification.
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
        # In Keras this also makes batch normalisation use its moving statistics in training.
        resnet.trainable = False
        features = resnet(seen)
    else:
        size = 2048 if depth >= BOTTLENECK_DEPTH else 512
        seen = features = keras.Input((size,), dtype="float32", name="features")
    # From here on both kinds of model have the same layers, so that weights of one fit the other.
    layers = TorchLayers(dtype, seed=seed)
    embeddings = _embedded(layers, features, dropout, norm_momentum)
    outputs = decoded(layers, embeddings, num_frames, num_classes, dropout=dropout)
    return keras.Model(
        {inputs: seen, "num_frames": num_frames}, outputs, name=name or f"resnet{depth}_crnn"
    )


def _embedded(layers: TorchLayers, features, dropout: float, norm_momentum: float):
    """Reduce the ResNet's features of each frame to embeddings (sum of num_frames, 512)."""
    x = features
    # Unlike the CRNN's encoder, dense layers are batch-normalised here, and the last one is not.
    for number, units in enumerate((1024, 768), 1):
        x = layers.dense(x, units, f"encoder_fc{number}")
        x = layers.norm(x, norm_momentum, f"encoder_bn{number}")
        x = layers.relu(x, f"encoder_relu{number}")
    x = layers.dropout(x, dropout, "encoder_dropout")
    return layers.dense(x, 512, "encoder_fc3")
