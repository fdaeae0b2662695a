"""TimeSformer: a transformer over the patches of a clip's frames, class probabilities out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import keras
from keras import ops

from ttrnn.models.space_time import EPSILON, Attention, SpaceTimeBlock, SpaceTimeEmbedding, normal

MEAN, STD = 0.45, 0.225  # of pixels from 0 to 1, of each colour


def build_timesformer(
    num_classes: int,
    *,
    num_frames: int = 8,
    image_size: int = 224,
    patch_size: int = 16,
    dim: int = 768,
    depth: int = 12,
    heads: int = 12,
    mlp_ratio: float = 4,
    attention: Attention = "divided",
    drop_path: float = 0.1,
    dropout: float = 0.0,
    position_stddev: float | None = None,
    normalize: bool = True,
    dtype: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> keras.Model:
    """Build a TimeSformer, its normalisation of pixels included.

    The defaults are the published base model: 121.57 million weights with 400 classes. The
    published HR is num_frames=16, image_size=448; L is num_frames=96. What a block computes is in
    `ttrnn.models.space_time.SpaceTimeBlock`.

    An array's name follows the original's: blocks.3.attn.qkv.weight is blocks_3/attn/qkv/kernel;
    `weights.timesformer` has the whole rule.

    Args:
        num_classes: of the last layer.
        num_frames: of a clip.
        image_size: height and width of a frame, in pixels.
        patch_size: height and width of a patch.
        dim: features of a token.
        depth: number of blocks.
        heads: of each attention.
        mlp_ratio: hidden units of a block's dense layers to `dim`.
        attention: "divided", over time, then over space; "joint", over all patches of a clip at
            once; "space", over each frame by itself, of which the mean is taken at the end.
        drop_path: stochastic depth of the last block in training, from 0 in the first.
        dropout: of tokens, of hidden units and of what a block adds.
        position_stddev: deviation that the embeddings of places and times start with. None for the
            original's start, 0.02 and 0, which is for weights of an image model: a small model that
            begins with nothing hardly learns from it. For that 0.5 does well.
        normalize: take uint8 pixels, 0 to 255, and normalise them in the model by a mean of 0.45
            and a deviation of 0.225. Otherwise they come normalised, as floats.
        dtype: policy of every layer, such as "mixed_bfloat16"; the last layers are float32.
        seed: of dropout and stochastic depth.
        name: of the model, or None for "timesformer".

    Returns:
        A model of RGB clips (batch, num_frames, image_size, image_size, 3) to probabilities
        (batch, num_classes). `model.get_layer("head").output` are the logits.

    Raises:
        ValueError: if `patch_size` does not divide `image_size`, `heads` does not divide `dim`, or
            `attention` is unknown.

    Reference: Bertasius, Wang, Torresani, ICML 2021; github.com/facebookresearch/TimeSformer.
    """
    stored = keras.dtype_policies.get(dtype).variable_dtype  # float32 under mixed policies
    seeds = _seeds(seed)
    shape = (num_frames, image_size, image_size, 3)
    frames = keras.Input(shape, dtype="uint8" if normalize else stored, name="frames")
    x = frames
    if normalize:
        scaling = keras.layers.Rescaling(1 / (255 * STD), -MEAN / STD, dtype=stored, name="pixels")
        x = scaling(x)
    x = SpaceTimeEmbedding(
        dim,
        patch_size,
        attention=attention,
        position_stddev=position_stddev,
        dropout=dropout,
        seed=next(seeds),
        dtype=dtype,
        name="embed",
    )(x)
    for block in range(depth):
        x = SpaceTimeBlock(
            heads,
            round(mlp_ratio * dim),
            attention=attention,
            num_frames=num_frames,
            dropout=dropout,
            drop_path=drop_path * block / max(depth - 1, 1),
            seed=next(seeds),
            dtype=dtype,
            name=f"blocks_{block}",
        )(x)
    x = ClassToken(dtype=stored, name="cls")(x)  # (B, dim)
    x = keras.layers.LayerNormalization(epsilon=EPSILON, dtype=stored, name="norm")(x)
    logits = keras.layers.Dense(
        num_classes,
        kernel_initializer=normal(dim),
        dtype=stored,
        name="head",
    )(x)
    outputs = keras.layers.Softmax(dtype=stored, name="probabilities")(logits)
    return keras.Model(frames, outputs, name=name or "timesformer")


def _seeds(seed: int | None) -> Iterator[int | None]:
    """One a layer; a block uses the next number too."""
    return itertools.repeat(None) if seed is None else itertools.count(seed, 2)


@keras.saving.register_keras_serializable(package="ttrnn")
class ClassToken(keras.layers.Layer):
    """The first token of each group, the mean over the groups.

    Input shape:
        (batch, groups, tokens, features).

    Output shape:
        (batch, features).
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def call(self, x):
        return ops.mean(x[:, :, 0], axis=1)

    def compute_output_shape(self, input_shape) -> tuple:
        return (input_shape[0], input_shape[-1])
