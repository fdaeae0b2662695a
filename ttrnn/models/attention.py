"""Self-attention over groups of tokens."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="ttrnn")
class SelfAttention(keras.layers.Layer):
    """The tokens of a group look at each other, in several heads.

    y = concat over heads of softmax(q k' / sqrt(d)) v, times a kernel. q, k and v are the thirds of
    x times one kernel, and d = features / heads. The softmax is float32 at least. In training it is
    not kept but computed anew for backpropagation: of 4 blocks at 8 x 448 x 448 a step then takes
    4.6 GB in place of 5.8, and 4 % more time.

    Args:
        heads: how many; they share the features out evenly.

    Input shape:
        (batch, groups, tokens, features). Tokens of different groups do not see each other.

    Output shape:
        The same.

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
        """(B, G, tokens, 3 * features) to (B, G, tokens, features)."""
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
    """How weights start where tokens have so many features: with a deviation of 0.02 at 768.

    The original's is 0.02 at any width; narrow models then hardly learn.
    """
    return keras.initializers.RandomNormal(stddev=0.02 * (768 / features) ** 0.5)


def token_dense(features: int, inputs: int, units: int, **kwargs) -> keras.layers.Dense:
    """A dense layer, built, in a transformer whose tokens have so many features."""
    dense = keras.layers.Dense(units, kernel_initializer=normal(features), **kwargs)
    dense.build((None, inputs))
    return dense


def over_tokens(dense: keras.layers.Dense, x):
    """A dense layer over the tokens of x (batch, ..., features), all in one matrix.

    On TensorFlow bias and activation are then done within the product.
    """
    flat = dense(ops.reshape(x, (-1, x.shape[-1])))  # (B * ..., units)
    return ops.reshape(flat, (-1, *x.shape[1:-1], dense.units))
