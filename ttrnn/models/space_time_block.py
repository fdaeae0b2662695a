"""A block of a TimeSformer: attention over time and space, or over either or both at once."""

from __future__ import annotations

from typing import Literal, get_args

import keras
from keras import ops

from ttrnn.models.attention import SelfAttention, over_tokens, token_dense

EPSILON = 1e-6  # of the layer normalisations
Attention = Literal["divided", "space", "joint"]


def check_attention(attention: str) -> None:
    """Raise ValueError for a kind that there is not."""
    if attention not in get_args(Attention):
        raise ValueError(
            f"attention must be one of {', '.join(get_args(Attention))}. Received {attention!r}."
        )


def by_patch(x):
    """(B, T, N, D) to (B, N, T, D), and back."""
    return ops.transpose(x, (0, 2, 1, 3))


def gelu(x):
    """x P(X <= x) of a standard normal X, exactly. Keras's own, by erfc, takes twice as long."""
    return 0.5 * x * (1 + ops.erf(x * 0.5**0.5))


@keras.saving.register_keras_serializable(package="ttrnn")
class SpaceTimeBlock(keras.layers.Layer):
    """A block of a TimeSformer: attention, then a dense layer of each token, each with a residual.

    "divided": a patch looks at itself in all frames, then at all patches of its frame,

        x = x + temporal_fc(temporal_attn(temporal_norm1(x)))    patches alone
        x = x + attn(norm1([class token; x]))                    frame by frame
        x = x + fc2(gelu(fc1(norm2(x))))

    where the class token takes the mean of what it gets in each frame. temporal_fc starts at zero.
    "space" and "joint" have no first line: the tokens of a group look at each other.

    Args:
        heads: of each attention.
        hidden: units of fc1.
        attention: "divided", "space" or "joint".
        num_frames: of a clip; what "divided" finds the patches by.
        dropout: of what is added, and of the hidden units.
        drop_path: how often nothing is added in training (stochastic depth): to a group of tokens
            in attention, in its first line a patch's in all frames, and to a clip by fc2.
        seed: of both.

    Input shape:
        (batch, groups, tokens, features), as `SpaceTimeEmbedding` gives them.

    Output shape:
        The same.

    Raises:
        ValueError: for "divided", if the patches are not as many in each of the frames.

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
        # "divided" tells the patches of a clip apart by their number alone.
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
        """The first two lines: (B, 1, 1 + N*T, D) to the same."""
        shape = (-1, (x.shape[2] - 1) // self.num_frames, self.num_frames, x.shape[3])
        cls, patches = x[:, :, :1], ops.reshape(x[:, :, 1:], shape)  # (B, N, T, D)
        change = self._dropped(self.temporal_attn(self.temporal_norm1(patches)))
        patches = patches + over_tokens(self.temporal_fc, change)
        frames = [ops.repeat(cls, self.num_frames, axis=1), by_patch(patches)]
        frames = ops.concatenate(frames, axis=2)  # (B, T, 1 + N, D)
        change = self._dropped(self.attn(self.norm1(frames)))
        cls = cls + ops.mean(change[:, :, :1], axis=1, keepdims=True)
        patches = patches + by_patch(change[:, :, 1:])
        patches = ops.reshape(patches, (-1, 1, x.shape[2] - 1, x.shape[3]))
        return ops.concatenate([cls, patches], axis=2)

    def _feed_forward(self, x, training):
        """Of all tokens in one matrix: TensorFlow does bias and GELU within the product."""
        activate = keras.remat(gelu) if training else gelu  # three arrays less to keep
        flat = ops.reshape(x, (-1, x.shape[-1]))  # (B * tokens, D)
        flat = self.fc2(self.drop(activate(self.fc1(flat))))
        return ops.reshape(flat, (-1, *x.shape[1:]))

    def _dropped(self, change):
        return self.drop_group(self.drop(change))

    def compute_output_shape(self, input_shape) -> tuple:
        return tuple(input_shape)

    def get_config(self) -> dict:
        names = ("heads", "hidden", "attention", "num_frames", "dropout", "drop_path", "seed")
        return super().get_config() | {name: getattr(self, name) for name in names}
