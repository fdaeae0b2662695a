"""TimeSformer: a transformer over the patches of a clip's frames, class probabilities out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import keras
from keras import ops

from ttrnn.models.space_time import EPSILON, Attention, SpaceTimeBlock, SpaceTimeEmbedding, normal

# Mean and deviation of pixels from 0 to 1, the same for each colour, as the original normalises.
MEAN, STD = 0.45, 0.225


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
    """Build a TimeSformer, including the normalisation of its pixels.

    The defaults are the published base model: 121.57 million weights with 400 classes. The
    published HR is num_frames=16, image_size=448; L is num_frames=96. The equations of a block are
    those of `ttrnn.models.space_time.SpaceTimeBlock`.

    Weight names follow the original's: blocks.3.attn.qkv.weight is blocks_3/attn/qkv/kernel;
    `weights.timesformer` has the whole rule.

    Args:
        num_classes: number of classes.
        num_frames: number of frames of a clip.
        image_size: height and width of a frame, in pixels.
        patch_size: height and width of a patch, in pixels.
        dim: features of a token.
        depth: number of blocks.
        heads: heads of each attention.
        mlp_ratio: hidden units of a block's dense layers over `dim`.
        attention: "divided", over time, then over space; "joint", over all patches of a clip at
            once; "space", over each frame alone, with the mean over frames at the end.
        drop_path: stochastic depth of the last block in training; it rises linearly from 0 in the
            first.
        dropout: dropout of tokens, of hidden units and of the residual branches.
        position_stddev: initial deviation of the position and time embeddings. None for the
            original's 0.02 and 0, which suit weights of an image model; a small model trained from
            scratch hardly learns from those, and 0.5 does well.
        normalize: take uint8 pixels, 0 to 255, and normalise them in the model by a mean of 0.45
            and a deviation of 0.225. Otherwise pixels are floats that are normalised already.
        dtype: policy of every layer, such as "mixed_bfloat16"; the last layers are float32.
        seed: seed of dropout and stochastic depth.
        name: name of the model, or None for "timesformer".

    Returns:
        A model of RGB clips (batch, num_frames, image_size, image_size, 3) to probabilities
        (batch, num_classes). `model.get_layer("head").output` are the logits.

    Raises:
        ValueError: if `patch_size` does not divide `image_size`, `heads` does not divide `dim`, or
            `attention` is unknown.

    Example:
        >>> model = build_timesformer(10, image_size=32, dim=64, depth=2, heads=4)
        >>> model(np.zeros((2, 8, 32, 32, 3), "uint8")).shape
        (2, 10)

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
            # Linear from 0 to drop_path, as the original's linspace(0, 0.1, 12).
            drop_path=drop_path * block / max(depth - 1, 1),
            seed=next(seeds),
            dtype=dtype,
            name=f"blocks_{block}",
        )(x)
    # The head alone costs little, so it stays in float32 under mixed policies.
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
    """Yield one seed per layer, two apart, for a block uses the number after its own too."""
    return itertools.repeat(None) if seed is None else itertools.count(seed, 2)


@keras.saving.register_keras_serializable(package="ttrnn")
class ClassToken(keras.layers.Layer):
    """Class token of a clip: the mean over the groups of each group's first token.

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
