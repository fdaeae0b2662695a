"""Three LSTM layers over the embedded frames of clips of any length, and a classifier."""

from __future__ import annotations

import keras
from keras import ops

from ttrnn.frames import pad_clips
from ttrnn.models.torch_layers import TorchLayers
from ttrnn.shapes import check_frames, checked_frames

LSTM_LAYERS = 3
LSTM_UNITS = 512
HIDDEN_UNITS = 256


def decoded(layers: TorchLayers, embeddings, num_frames, num_classes: int, *, dropout: float):
    """Class probabilities of clips: DecoderRNN of HHTseng/video-classification.

    Three LSTM layers of 512 units, the last one's output at each clip's own last frame, 256 units
    with ReLU and dropout, the classes. Layers are decoder_lstm1 to 3, decoder_fc1, decoder_fc2.

    Args:
        layers: makes the layers.
        embeddings: (sum of num_frames, features), the clips end to end.
        num_frames: int32 (batch,).
        num_classes: of the last layer.
        dropout: share of the 256 values that training drops.

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
    """Clips end to end, as rows of one length and a mask of what is a frame.

    What stands in the padding is of no meaning: only the mask says what it is.

    Input shape:
        (sum of num_frames, features) and num_frames, integers (batch,).

    Output shape:
        (batch, longest, features), and booleans (batch, longest).
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, rows, num_frames):
        num_frames = ops.cast(num_frames, "int32")
        return pad_clips(checked_frames(rows, num_frames), num_frames)  # (B, T, F)

    def compute_output_spec(self, rows, num_frames):
        check_frames(rows.shape, num_frames.shape)
        batch = num_frames.shape[0]
        padded = keras.KerasTensor((batch, None, rows.shape[-1]), rows.dtype)
        return padded, keras.KerasTensor((batch, None), "bool")
