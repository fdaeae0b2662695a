"""Layers of a TimeSformer: patches as tokens, self-attention, and blocks over space and time."""

from __future__ import annotations

from typing import Literal, get_args

import keras
from keras import ops

EPSILON = 1e-6  # of the layer normalisations, as in the original; Keras's default is 1e-3
Attention = Literal["divided", "space", "joint"]


@keras.saving.register_keras_serializable(package="ttrnn")
class SelfAttention(keras.layers.Layer):
    """Multi-head self-attention among the tokens of each group.

    y = concat over heads of softmax(q k' / sqrt(d)) v, times a kernel. q, k and v are the thirds of
    x times one kernel, and d = features / heads. The softmax is float32 or wider. In training it is
    recomputed for backpropagation instead of kept: a step of 4 blocks at 8 x 448 x 448 then takes
    4.6 GB instead of 5.8, and 4 % more time.

    Args:
        heads: number of heads, which divide the features evenly.

    Input shape:
        (batch, groups, tokens, features). Tokens of different groups do not attend to each other.

    Output shape:
        Same as the input.

    Raises:
        ValueError: if `heads` does not divide the features.

    Reference: Vaswani et al., NIPS 2017, section 3.2.
    """

    def __init__(self, heads: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, input_shape) -> None:
        features = input_shape[-1]
        if features % self.heads:
            raise ValueError(
                f"heads must divide the features. Received {self.heads} heads, {features} features."
            )
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={-1: features})
        policy = self.dtype_policy
        self.qkv = token_dense(features, features, 3 * features, dtype=policy, name="qkv")
        self.proj = token_dense(features, features, features, dtype=policy, name="proj")

    def call(self, x, training=None):
        attend = keras.remat(self._attend) if training else self._attend
        return over_tokens(self.proj, attend(over_tokens(self.qkv, x)))

    def _attend(self, qkv):
        """Attend by q, k and v (B, G, tokens, 3 * features) to (B, G, tokens, features)."""
        groups, tokens, width = qkv.shape[1:]
        depth = width // (3 * self.heads)
        qkv = ops.reshape(qkv, (-1, tokens, 3, self.heads, depth))
        # Two plain products over (B*G, heads): on TensorFlow's CPU einsum takes up to a third
        # longer, and ops.dot_product_attention 1.3 to 2.2 times as long.
        q, k, v = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), axis=0)  # (B*G, heads, .., d)
        scores = ops.matmul(q * depth**-0.5, ops.transpose(k, (0, 1, 3, 2)))
        scores = ops.cast(scores, keras.backend.result_type(scores.dtype, "float32"))
        y = ops.matmul(ops.cast(ops.softmax(scores, axis=-1), v.dtype), v)
        return ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (-1, groups, tokens, width // 3))

    def compute_output_shape(self, input_shape) -> tuple:
        return tuple(input_shape)

    def get_config(self) -> dict:
        return super().get_config() | {"heads": self.heads}


def normal(features: int) -> keras.initializers.Initializer:
    """Build the initializer of a model with `features` per token: a deviation of 0.02 at 768.

    The original uses 0.02 at any width, with which narrow models hardly learn.
    """
    return keras.initializers.RandomNormal(stddev=0.02 * (768 / features) ** 0.5)


def token_dense(features: int, inputs: int, units: int, **kwargs) -> keras.layers.Dense:
    """Create and build a dense layer of a transformer with `features` per token."""
    dense = keras.layers.Dense(units, kernel_initializer=normal(features), **kwargs)
    dense.build((None, inputs))
    return dense


def over_tokens(dense: keras.layers.Dense, x):
    """Apply a dense layer to the tokens of x (batch, ..., features) as one matrix.

    TensorFlow then fuses bias and activation into the product.
    """
    flat = dense(ops.reshape(x, (-1, x.shape[-1])))  # (B * ..., units)
    return ops.reshape(flat, (-1, *x.shape[1:-1], dense.units))


def check_attention(attention: str) -> None:
    """Raise ValueError for an unknown kind of attention."""
    if attention not in get_args(Attention):
        raise ValueError(
            f"attention must be one of {', '.join(get_args(Attention))}. Received {attention!r}."
        )


def by_patch(x):
    """Exchange frames and patches: (B, T, N, D) to (B, N, T, D), and back."""
    return ops.transpose(x, (0, 2, 1, 3))


def gelu(x):
    """Exact GELU, x P(X <= x) of a standard normal X; Keras's, by erfc, takes twice as long."""
    return 0.5 * x * (1 + ops.erf(x * 0.5**0.5))


@keras.saving.register_keras_serializable(package="ttrnn")
class SpaceTimeBlock(keras.layers.Layer):
    """Block of a TimeSformer: attention, then dense layers for each token, both with residuals.

    "divided": a patch attends to itself in all frames, then to all patches of its frame,

        x = x + temporal_fc(temporal_attn(temporal_norm1(x)))    patches alone
        x = x + attn(norm1([class token; x]))                    frame by frame
        x = x + fc2(gelu(fc1(norm2(x))))

    where the class token's residual is the mean of its residuals in all frames. temporal_fc starts
    at zero. "space" and "joint" leave out the first line: the tokens of a group attend to each
    other.

    Args:
        heads: heads of each attention.
        hidden: units of fc1.
        attention: "divided", "space" or "joint".
        num_frames: number of frames of a clip, by which "divided" separates the patches.
        dropout: dropout of the residual branches and of the hidden units.
        drop_path: probability of leaving out a residual in training (stochastic depth): for a group
            of tokens in attention, where a patch in all frames is a group of the first line, and
            for a clip in fc2.
        seed: seed of both.

    Input shape:
        (batch, groups, tokens, features), as `SpaceTimeEmbedding` gives them.

    Output shape:
        Same as the input.

    Raises:
        ValueError: for "divided", if the patches do not divide evenly into `num_frames` frames.

    Reference: Bertasius, Wang, Torresani, ICML 2021, section 3.
    """

    def __init__(
        self,
        heads: int,
        hidden: int,
        *,
        attention: Attention = "divided",
        num_frames: int = 1,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        seed: int | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        check_attention(attention)
        self.heads = heads
        self.hidden = hidden
        self.attention = attention
        self.num_frames = num_frames
        self.dropout = dropout
        self.drop_path = drop_path
        self.seed = seed
        policy = self.dtype_policy
        self.drop = keras.layers.Dropout(dropout, seed=seed, dtype=policy)
        self.drop_group = keras.layers.Dropout(
            drop_path,
            noise_shape=(None, None, 1, 1),
            seed=None if seed is None else seed + 1,
            dtype=policy,
        )

    def build(self, input_shape) -> None:
        features, policy = input_shape[-1], self.dtype_policy
        tokens = input_shape[2]
        if self.attention == "divided" and (tokens - 1) % self.num_frames:
            raise ValueError(
                f"A clip must have a class token and as many patches in each of its "
                f"{self.num_frames} frames. Received {tokens} tokens; give num_frames of the clips."
            )
        # "divided" tells frames apart by the number of tokens alone, so that number is fixed.
        axes = {-1: features} | ({2: tokens} if self.attention == "divided" else {})
        self.input_spec = keras.layers.InputSpec(ndim=4, axes=axes)
        if self.attention == "divided":
            self.temporal_norm1 = self._norm("temporal_norm1", features)
            self.temporal_attn = self._attention("temporal_attn", features)
            self.temporal_fc = keras.layers.Dense(
                features, kernel_initializer="zeros", dtype=policy, name="temporal_fc"
            )
            self.temporal_fc.build((None, features))
        self.norm1 = self._norm("norm1", features)
        self.attn = self._attention("attn", features)
        self.norm2 = self._norm("norm2", features)
        self.fc1 = token_dense(features, features, self.hidden, dtype=policy, name="fc1")
        self.fc2 = token_dense(features, self.hidden, features, dtype=policy, name="fc2")

    def _norm(self, name: str, features: int) -> keras.layers.LayerNormalization:
        norm = keras.layers.LayerNormalization(epsilon=EPSILON, dtype=self.dtype_policy, name=name)
        norm.build((None, features))
        return norm

    def _attention(self, name: str, features: int) -> SelfAttention:
        attention = SelfAttention(self.heads, dtype=self.dtype_policy, name=name)
        attention.build((None, None, None, features))
        return attention

    def call(self, x, training=None):
        if self.attention == "divided":
            x = self._divided(x)
        else:
            x = x + self._dropped(self.attn(self.norm1(x)))
        return x + self._dropped(self._feed_forward(self.norm2(x), training))

    def _divided(self, x):
        """Compute the first two lines of the equation; (B, 1, 1 + N*T, D) in and out."""
        shape = (-1, (x.shape[2] - 1) // self.num_frames, self.num_frames, x.shape[3])
        cls, patches = x[:, :, :1], ops.reshape(x[:, :, 1:], shape)  # (B, N, T, D)
        change = self._dropped(self.temporal_attn(self.temporal_norm1(patches)))
        patches = patches + over_tokens(self.temporal_fc, change)
        # Each frame attends with a copy of the class token.
        frames = [ops.repeat(cls, self.num_frames, axis=1), by_patch(patches)]
        frames = ops.concatenate(frames, axis=2)  # (B, T, 1 + N, D)
        change = self._dropped(self.attn(self.norm1(frames)))
        cls = cls + ops.mean(change[:, :, :1], axis=1, keepdims=True)
        patches = patches + by_patch(change[:, :, 1:])
        patches = ops.reshape(patches, (-1, 1, x.shape[2] - 1, x.shape[3]))
        return ops.concatenate([cls, patches], axis=2)

    def _feed_forward(self, x, training):
        """Compute fc2(gelu(fc1(x))) over all tokens as one matrix."""
        # Recomputing GELU for backpropagation saves three arrays of the hidden units' size.
        activate = keras.remat(gelu) if training else gelu
        flat = ops.reshape(x, (-1, x.shape[-1]))  # (B * tokens, D)
        flat = self.fc2(self.drop(activate(self.fc1(flat))))
        return ops.reshape(flat, (-1, *x.shape[1:]))

    def _dropped(self, change):
        """Apply dropout and stochastic depth to a residual branch."""
        return self.drop_group(self.drop(change))

    def compute_output_shape(self, input_shape) -> tuple:
        return tuple(input_shape)

    def get_config(self) -> dict:
        names = ("heads", "hidden", "attention", "num_frames", "dropout", "drop_path", "seed")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="ttrnn")
class SpaceTimeEmbedding(keras.layers.Layer):
    """Patches of frames as tokens, with position and time embeddings and a class token in front.

    token(p, t) = patch(p, t) K + b + pos_embed(p) + time_embed(t); the class token is
    cls_token + pos_embed(0).

    Args:
        features: features of a token.
        patch_size: side of a patch, in pixels.
        attention: "space" for groups of one frame's tokens, without time_embed; otherwise one
            group of all tokens of a clip.
        position_stddev: initial deviation of pos_embed and time_embed; None for the original's
            start, where time_embed is zero. See `build_timesformer`.
        dropout: dropout of the tokens.
        seed: seed of the dropout.

    Input shape:
        (batch, num_frames, height, width, channels).

    Output shape:
        (batch, 1, 1 + patches * num_frames, features), where the frames of a patch are neighbours.
        For "space" (batch, num_frames, 1 + patches, features).

    Raises:
        ValueError: if `patch_size` does not divide height and width.
    """

    def __init__(
        self,
        features: int,
        patch_size: int,
        *,
        attention: Attention = "divided",
        position_stddev: float | None = None,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        check_attention(attention)
        self.features = features
        self.patch_size = patch_size
        self.attention = attention
        self.position_stddev = position_stddev
        self.dropout = dropout
        self.seed = seed
        self.drop = keras.layers.Dropout(dropout, seed=seed, dtype=self.dtype_policy)

    def build(self, input_shape) -> None:
        num_frames, height, width, channels = input_shape[1:]
        # The embeddings belong to places and times. Without this check other sizes would pass: the
        # reshapes of `call` would take them for another number of clips.
        axes = {1: num_frames, 2: height, 3: width, 4: channels}
        self.input_spec = keras.layers.InputSpec(ndim=5, axes=axes)
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                "patch_size must divide height and width of a frame. Received patch_size "
                f"{self.patch_size}, frames of {height} x {width}."
            )
        num_patches = height // self.patch_size * (width // self.patch_size)
        self.proj = keras.layers.Conv2D(
            self.features,
            self.patch_size,
            self.patch_size,
            kernel_initializer=normal(self.features),
            dtype=self.dtype_policy,
            name="proj",
        )
        self.proj.build((None, height, width, channels))
        self.cls_token = self.add_weight(
            (1, 1, self.features), normal(self.features), name="cls_token"
        )
        self.pos_embed = self.add_weight(
            (1, 1 + num_patches, self.features),
            self._start(normal(self.features)),
            name="pos_embed",
        )
        if self.attention != "space":
            self.time_embed = self.add_weight(
                (1, num_frames, self.features), self._start("zeros"), name="time_embed"
            )

    def _start(self, originals):
        """Choose the initializer of an embedding, the original's unless a deviation is given."""
        if self.position_stddev is None:
            return originals
        return keras.initializers.RandomNormal(stddev=self.position_stddev)

    def call(self, frames):
        num_frames, num_patches = frames.shape[1], self.pos_embed.shape[1] - 1
        x = self.proj(ops.reshape(frames, (-1, *frames.shape[2:])))  # (B*T, h, w, D)
        x = ops.reshape(x, (-1, num_frames, num_patches, self.features)) + self.pos_embed[:, 1:]
        cls = (self.cls_token + self.pos_embed[:, :1])[None]  # (1, 1, 1, D)
        if self.attention != "space":
            x = by_patch(x + self.time_embed[:, :, None])  # (B, N, T, D)
            x = ops.reshape(x, (-1, 1, num_patches * num_frames, self.features))
        cls = ops.broadcast_to(cls, (ops.shape(x)[0], x.shape[1], 1, self.features))
        return self.drop(ops.concatenate([cls, x], axis=2))

    def compute_output_shape(self, input_shape) -> tuple:
        batch, num_frames, height, width, _ = input_shape
        num_patches = height // self.patch_size * (width // self.patch_size)
        if self.attention == "space":
            return (batch, num_frames, 1 + num_patches, self.features)
        return (batch, 1, 1 + num_patches * num_frames, self.features)

    def get_config(self) -> dict:
        names = ("features", "patch_size", "attention", "position_stddev", "dropout", "seed")
        return super().get_config() | {name: getattr(self, name) for name in names}
