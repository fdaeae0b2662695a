"""Mixup: a training clip is the mixture of two, and so is its target."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from common.errors import InputError


class Mixup:
    """Mixes each clip of a batch with another of it, drawn anew for every batch.

    clip = w a + (1 - w) b and target = w target(a) + (1 - w) target(b), with one w of
    Beta(alpha, alpha) a batch, as in the authors' code. Pixels that came as whole numbers are
    rounded to such: models take uint8, and would cut a fraction off.

    Args:
        alpha: above 0; 0.2 mixes most clips a little, 1 draws every w alike.
        seed: of all that is drawn.

    Raises:
        InputError: if `alpha` is not above 0.

    Reference: Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018.
    """

    def __init__(self, alpha: float, *, seed: int) -> None:
        if not alpha > 0:
            raise InputError(f"The alpha of mixup must be above 0. Received {alpha}.")
        self._alpha = alpha
        self._seeds = keras.random.SeedGenerator(seed)

    @property
    def variables(self) -> list[keras.Variable]:
        """What a checkpoint must hold for a resumed run to draw the same."""
        return [self._seeds.state]

    @staticmethod
    def check(inputs: Any) -> None:
        """Raise ValueError unless all clips of a batch are equally long."""
        if not isinstance(inputs, dict):
            return
        lengths = inputs["num_frames"].numpy()
        if lengths.min() != lengths.max():
            raise InputError(
                "mixup needs clips of one length. Received clips of "
                f"{lengths.min()} to {lengths.max()} frames; cut them to one, or train without it."
            )

    def __call__(self, inputs: Any, targets: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """A batch mixed, in a compiled step too.

        Args:
            inputs: (batch, ...), or {"frames": (batch * T, ...), "num_frames": (batch,)}; what is
                there of frames may have another name.
            targets: shares of the classes, (batch, classes).

        Returns:
            Both, of the same shapes and kinds.
        """
        # Of a small alpha both gammas that make the Beta may be below float32's least number.
        weight = keras.random.beta((), self._alpha, self._alpha, dtype="float64", seed=self._seeds)
        partners = keras.random.shuffle(tf.range(tf.shape(targets)[0]), seed=self._seeds)
        mixed = _mixed(targets, partners, weight)
        if not isinstance(inputs, dict):
            return _mixed(inputs, partners, weight), mixed
        changed = {
            name: rows if name == "num_frames" else _mixed_clips(rows, partners, weight)
            for name, rows in inputs.items()
        }
        return changed, mixed


def _mixed_clips(frames: tf.Tensor, partners: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Frames of equally long clips, end to end, (batch * T, ...), with those of their partners."""
    shape = tf.shape(frames)
    clips = tf.reshape(frames, tf.concat([tf.shape(partners), [-1], shape[1:]], axis=0))
    return tf.ensure_shape(tf.reshape(_mixed(clips, partners, weight), shape), frames.shape)


def _mixed(rows: tf.Tensor, partners: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Rows (batch, ...) with those of their partners."""
    own = tf.cast(rows, tf.float32)
    weight = tf.cast(weight, tf.float32)
    mixed = weight * own + (1 - weight) * tf.gather(own, partners)
    return tf.cast(tf.round(mixed) if rows.dtype.is_integer else mixed, rows.dtype)
