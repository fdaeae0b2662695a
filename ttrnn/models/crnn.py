"""CRNN: a convolutional network for each frame and an LSTM over the frames of a clip."""

from __future__ import annotations

import keras
from keras import ops

from ttrnn.engine.clips import pad_clips
from ttrnn.models.resnet import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB
from ttrnn.models.torch_layers import TorchLayers
from ttrnn.shapes import check_frames, checked_frames

CONVOLUTIONS = ((32, 5), (64, 3), (128, 3), (256, 3))  # filters and size of each; all of stride 2
SMALLEST_SIDE = 33  # shortest side that the four convolutions reduce to one value
# The original updates the moving statistics once for each of a clip's 28 frames, for it takes one
# frame of every clip at a time, and keeps 0.99 each time. Here all frames are one batch, so that
# one update has to move the statistics as far as those 28.
NORM_MOMENTUM = 0.99**28
LSTM_LAYERS = 3
LSTM_UNITS = 512
HIDDEN_UNITS = 256


def build_crnn(
    num_classes: int,
    *,
    height: int = 256,
    width: int = 342,
    dropout: float = 0.0,
    norm_momentum: float = NORM_MOMENTUM,
    dtype: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> keras.Model:
    """Build the CRNN of HHTseng/video-classification, layer for layer.

    Each frame, normalised by ImageNet's mean and deviation, goes through four convolutions with
    batch normalisation and ReLU, 1024 and 768 units with ReLU, and 512 without: encoder_conv1 to
    4, encoder_bn1 to 4, encoder_fc1 to 3. The LSTMs of `decoded` turn these embeddings into class
    probabilities. At 256 x 342 and 101 classes the model has 81,428,069 parameters; torch counts
    6,144 more, for its LSTMs have two biases instead of one. `weights.ucf101_models` converts the
    original's files.

    On a CPU a training step at those sizes takes 0.7 GB per clip of 28 frames, and 1.6 GB besides.
    In training all frames of a batch are normalised together, so that one clip alone is a batch
    too. The original normalises the first frames of all clips, then the second ones, and so on; in
    inference both do the same.

    Args:
        num_classes: number of classes.
        height, width: size of the frames in pixels, 33 or more.
        dropout: fraction of the values that training drops before the last layers of the encoder
            and of the decoder; the original's scripts set 0.
        norm_momentum: fraction of the moving statistics that one batch leaves. The default moves
            them as fast as the original does with clips of 28 frames.
        dtype: policy of every layer, such as "mixed_bfloat16"; the softmax is float32.
        seed: seed of initial weights and dropout.
        name: name of the model, or None for "crnn".

    Returns:
        A model of {"frames": uint8 (sum of num_frames, height, width, 3), "num_frames": int32
        (batch,)} to probabilities (batch, num_classes): RGB clips of any lengths end to end.

    Raises:
        ValueError: if a side is too small.

    Example:
        >>> model = build_crnn(101, height=64, width=64)
        >>> clips = {"frames": np.zeros((5, 64, 64, 3), "uint8"), "num_frames": np.array([2, 3])}
        >>> model(clips).shape
        (2, 101)

    Reference: github.com/HHTseng/video-classification.
    """
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(
            f"height and width must be {SMALLEST_SIDE} or more, for four convolutions of stride 2. "
            f"Received {height} x {width}; resize the frames."
        )
    layers = TorchLayers(dtype, seed=seed)
    frames = keras.Input((height, width, 3), dtype="uint8", name="frames")
    num_frames = keras.Input((), dtype="int32", name="num_frames")
    x = layers.normalized(frames, IMAGENET_MEAN_RGB, IMAGENET_STD_RGB, "encoder_normalize")
    for number, (filters, size) in enumerate(CONVOLUTIONS, 1):
        x = layers.convolved(
            x, filters, size, momentum=norm_momentum, prefix="encoder_", number=number
        )
    x = layers.flatten(x, "encoder_flatten")  # (sum of num_frames, 71680) of 256 x 342
    for number, units in enumerate((1024, 768), 1):
        x = layers.dense(x, units, f"encoder_fc{number}")
        x = layers.relu(x, f"encoder_fc{number}_relu")
    x = layers.dropout(x, dropout, "encoder_dropout")
    embeddings = layers.dense(x, 512, "encoder_fc3")
    outputs = decoded(layers, embeddings, num_frames, num_classes, dropout=dropout)
    return keras.Model({"frames": frames, "num_frames": num_frames}, outputs, name=name or "crnn")


def decoded(layers: TorchLayers, embeddings, num_frames, num_classes: int, *, dropout: float):
    """Classify clips by their frames' embeddings: DecoderRNN of HHTseng/video-classification.

    Three LSTM layers of 512 units, of which the last gives its output at each clip's own last
    frame, 256 units with ReLU and dropout, and the classes. Layers are decoder_lstm1 to 3,
    decoder_fc1 and decoder_fc2.

    Args:
        layers: factory of the layers.
        embeddings: clips end to end, (sum of num_frames, features).
        num_frames: number of frames of each clip, int32 (batch,).
        num_classes: number of classes.
        dropout: fraction of the 256 values that training drops.

    Returns:
        Symbolic float32 (batch, num_classes).
    """
    x, is_frame = PadClips(dtype=layers.stored_dtype, name="decoder_clips")(embeddings, num_frames)
    for number in range(1, LSTM_LAYERS + 1):
        is_last = number == LSTM_LAYERS
        name = f"decoder_lstm{number}"
        x = layers.lstm(x, LSTM_UNITS, is_frame, name, return_sequences=not is_last)
    x = layers.relu(layers.dense(x, HIDDEN_UNITS, "decoder_fc1"), "decoder_relu1")  # (B, 256)
    x = layers.dropout(x, dropout, "decoder_dropout")
    return layers.probabilities(x, num_classes, "decoder_fc2")


@keras.saving.register_keras_serializable(package="ttrnn")
class PadClips(keras.layers.Layer):
    """Pad clips that lie end to end to the longest one, with a mask.

    The values in the padding are arbitrary.

    Input shape:
        (sum of num_frames, features) and num_frames, integers (batch,).

    Output shape:
        (batch, longest, features), and booleans (batch, longest), True at frames.
    """

    def __init__(self, **kwargs) -> None:
        # Without autocast, which would cast the rows to the compute dtype.
        super().__init__(autocast=False, **kwargs)

    def call(self, rows, num_frames):
        num_frames = ops.cast(num_frames, "int32")
        return pad_clips(checked_frames(rows, num_frames), num_frames)  # (B, T, F)

    def compute_output_spec(self, rows, num_frames):
        check_frames(rows.shape, num_frames.shape)
        batch = num_frames.shape[0]
        padded = keras.KerasTensor((batch, None, rows.shape[-1]), rows.dtype)
        return padded, keras.KerasTensor((batch, None), "bool")
