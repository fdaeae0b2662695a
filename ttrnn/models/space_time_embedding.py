"""A clip's patches as the tokens of a TimeSformer."""

from __future__ import annotations

import keras
from keras import ops

from ttrnn.models.attention import normal
from ttrnn.models.space_time_block import Attention, by_patch, check_attention


@keras.saving.register_keras_serializable(package="ttrnn")
class SpaceTimeEmbedding(keras.layers.Layer):
    """Patches of frames as tokens, with where and when they are, and a class token before them.

    token(p, t) = patch(p, t) K + b + pos_embed(p) + time_embed(t), of the class token
    cls_token + pos_embed(0).

    Args:
        features: of a token.
        patch_size: side of a patch, in pixels.
        attention: "space" for tokens of each frame by itself, without time_embed; otherwise the
            tokens of a clip.
        position_stddev: what pos_embed and time_embed start with; None for the original's start,
            where time_embed is zero. See `build_timesformer`.
        dropout: of the tokens.
        seed: of the dropout.

    Input shape:
        (batch, num_frames, height, width, channels).

    Output shape:
        (batch, 1, 1 + patches * num_frames, features): patch after patch, each frame after frame.
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
        # The weights belong to places and times: other sizes would be taken for more clips.
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
