"""Recurrent network over the features of a video's frames: features in, classes out."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from ttrnn.dense import TensorDense
from ttrnn.models.crnn import PadClips
from ttrnn.models.video_rnn import CELLS, MLP, recurrent_layer

MEAN = "mean"
NO_RECURRENCE = (MEAN, MLP)
STANDARDIZE = "standardize"


def build_feature_rnn(
    num_features: int,
    num_classes: int,
    *,
    cell: str = "gru",
    tt_input_shape: Sequence[int] = (),
    tt_output_shape: Sequence[int] = (),
    tt_ranks: int | Sequence[int] = 1,
    pooling: str = "last",
    feature_scale: float = 1.0,
    head_l2: float = 0.0,
    head_dropout: float = 0.0,
    several_labels: bool = False,
    dtype: str | None = None,
    seed: int | None = None,
    **rnn_kwargs,
) -> keras.Model:
    """Build a classifier of clips by the features that a frozen network has of their frames.

    Features are standardized, x' = (x - mean) / (deviation * feature_scale), and go through a
    recurrent layer, or are averaged, to a softmax, whose kernel is zero at first: with few clips
    and many features random scores would not be forgotten. `standardize_features` sets mean and
    deviation; before, they are 0 and 1.

    Args:
        num_features: number of features of a frame.
        num_classes: number of classes.
        cell: "rnn", "gru" or "lstm"; or, without a recurrent layer, "mean" for the mean over the
            frames, for which the next four arguments are not used, and "mlp" for a layer of that
            mean with the units and the kernel of `rnn_kwargs`, see `build_mean_mlp`.
        tt_input_shape, tt_output_shape, tt_ranks: see `ttrnn.TTGRU`; the product of the first is
            `num_features`. One mode alone is the dense layer.
        pooling: input of the softmax: the "last" state, or the "mean" of the states over time.
        feature_scale: divisor of the standardized features.
        head_l2: L2 penalty on the output kernel.
        head_dropout: dropout before the output layer.
        several_labels: a clip may be of several classes: a sigmoid in place of the softmax.
        dtype: policy of the layers, such as "mixed_bfloat16"; features are standardized, and the
            softmax computed, in float32.
        seed: seed of dropout; initial weights follow `keras.utils.set_random_seed`.
        **rnn_kwargs: further arguments of `ttrnn.models.video_rnn.recurrent_layer`.

    Returns:
        A model of {"features": float32 (sum of num_frames, num_features), "num_frames": int32
        (batch,)} to probabilities (batch, num_classes): the clips of a batch end to end.

    Raises:
        ValueError: for an unknown `cell` or `pooling`.

    Example:
        >>> model = build_feature_rnn(
        ...     1280, 11, tt_input_shape=(4, 5, 8, 8), tt_output_shape=(4, 4, 4, 2), tt_ranks=4
        ... )
        >>> clips = {"features": np.zeros((5, 1280), "float32"), "num_frames": np.array([2, 3])}
        >>> model(clips).shape
        (2, 11)
    """
    cells = (*CELLS, *NO_RECURRENCE)
    if cell not in cells:
        raise ValueError(f"cell must be one of {', '.join(cells)}. Received {cell!r}.")
    if pooling not in ("last", "mean"):
        raise ValueError(f"pooling must be last or mean. Received {pooling!r}.")
    features = keras.Input((num_features,), dtype="float32", name="features")
    num_frames = keras.Input((), dtype="int32", name="num_frames")
    # Mean and variance as weights, which are exported, unlike the tensors of Keras's Normalization.
    standardize = keras.layers.BatchNormalization(
        center=False,
        scale=False,
        epsilon=1e-7,
        trainable=False,
        dtype="float32",
        name=STANDARDIZE,
    )
    x = standardize(features, training=False)
    if feature_scale != 1:
        x = keras.layers.Rescaling(1 / feature_scale, dtype="float32", name="scale")(x)
    x, is_frame = PadClips(dtype="float32", name="clips")(x, num_frames)  # (B, T, F), (B, T)
    if cell not in NO_RECURRENCE:
        layer = recurrent_layer(
            cell,
            tt_input_shape=tt_input_shape,
            tt_output_shape=tt_output_shape,
            tt_ranks=tt_ranks,
            return_sequences=pooling == "mean",
            dtype=dtype,
            seed=seed,
            name=cell,
            **rnn_kwargs,
        )
        x = layer(x, mask=is_frame)  # (B, units), or (B, T, units)
    if cell in NO_RECURRENCE or pooling == "mean":
        mean = keras.layers.GlobalAveragePooling1D(dtype=dtype, name="mean_over_time")
        x = mean(x, mask=is_frame)
    if cell == MLP:
        x = TensorDense(activation="tanh", dtype=dtype, name=cell, **rnn_kwargs)(x)
    x = keras.layers.Dropout(head_dropout, seed=seed, dtype=dtype, name="head_dropout")(x)
    outputs = keras.layers.Dense(
        num_classes,
        activation="sigmoid" if several_labels else "softmax",
        kernel_initializer="zeros",
        kernel_regularizer=keras.regularizers.L2(head_l2) if head_l2 else None,
        dtype="float32",
        name="probabilities",
    )(x)
    return keras.Model(
        {"features": features, "num_frames": num_frames}, outputs, name=f"feature_{cell}"
    )


def standardize_features(model: keras.Model, rows: np.ndarray) -> None:
    """Set mean and deviation of a model's features to those of some rows.

    Args:
        model: a model of `build_feature_rnn`.
        rows: features of training clips, float32 (N, num_features).
    """
    rows = rows.astype(np.float64)
    model.get_layer(STANDARDIZE).set_weights([rows.mean(axis=0), rows.var(axis=0)])


def on_frames(model: keras.Model, network: keras.Model) -> keras.Model:
    """Join a network of frames and a classifier of its features.

    Args:
        model: a model of `build_feature_rnn`.
        network: model of pixels (N, H, W, 3), 0 to 255, to features (N, num_features); it is
            frozen.

    Returns:
        A model of {"frames": uint8 (sum of num_frames, H, W, 3), "num_frames": int32 (batch,)} to
        probabilities (batch, num_classes).
    """
    network.trainable = False
    frames = keras.Input(network.input_shape[1:], dtype="uint8", name="frames")
    num_frames = keras.Input((), dtype="int32", name="num_frames")
    features = network(keras.ops.cast(frames, "float32"))
    # Under a mixed policy the network may give another type.
    inputs = {"features": keras.ops.cast(features, "float32"), "num_frames": num_frames}
    return keras.Model(
        {"frames": frames, "num_frames": num_frames}, model(inputs), name=f"frame_{model.name}"
    )
