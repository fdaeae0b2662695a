"""What fits a trained model to a small data set: freezing, layer decay, mixup, balanced classes.

Nothing here knows of a job.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from common.errors import InputError
from experiments.runs.formatting import count, percent

Frozen = Literal["none", "head"] | int

_BLOCK = re.compile(r"blocks_\d+")


def layer_groups(model: keras.Model) -> list[list[keras.layers.Layer]]:
    """The layers that have weights, of models in the model too.

    Returns:
        Of a transformer, whose blocks are called blocks_0 and so on, the embedding, each block,
        and what comes after, which are the norm and the head. Of another model, each layer by
        itself.
    """
    layers = [layer for layer in _layers(model) if layer.weights]
    blocks = [place for place, layer in enumerate(layers) if _BLOCK.fullmatch(layer.name)]
    if not blocks:
        return [[layer] for layer in layers]
    first, stop = blocks[0], blocks[-1] + 1
    return [layers[:first], *([layer] for layer in layers[first:stop]), layers[stop:]]


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


class Trained(NamedTuple):
    """How many parameters are trained, and how many there are."""

    trained: int
    total: int

    def __str__(self) -> str:
        share = percent(self.trained / self.total)
        return f"{count(self.trained)} of {count(self.total)} parameters are trained ({share})"


def freeze(model: keras.Model, frozen: Frozen) -> Trained:
    """Choose the layers that are trained; what was chosen before is forgotten.

    To be called before an optimizer is built. Frozen weights and moving statistics stay as they
    are, without weight decay too. Dropout and stochastic depth go on in frozen layers: the head
    then sees each clip otherwise every time. A model built with rates of 0 has features that
    stand still.

    Args:
        model: any; it is changed. A loaded copy of it has the same layers frozen.
        frozen: "none"; "head", all but the last layer; or a number of blocks, from 0: these, and
            the embedding before them. See `layer_groups`.

    Returns:
        What is left to train.

    Raises:
        InputError: if there are not so many blocks.
    """
    groups = layer_groups(model)
    layers = [layer for group in groups for layer in group]
    num_frozen = _num_frozen(groups, frozen)
    for place, layer in enumerate(layers):
        layer.trainable = place >= num_frozen
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    return Trained(trained, model.count_params())


def _num_frozen(groups: list[list[keras.layers.Layer]], frozen: Frozen) -> int:
    """Layers, from the first."""
    sizes = [len(group) for group in groups]
    if frozen == "none":
        return 0
    if frozen == "head":
        return sum(sizes) - 1
    num_blocks = len(groups) - 2
    if not isinstance(frozen, int) or not 0 <= frozen <= num_blocks:
        raise InputError(
            f"What is frozen must be none, head, or a number of blocks from 0 to {num_blocks}. "
            f"Received {frozen!r}."
        )
    return sum(sizes[: 1 + frozen])


def rate_multipliers(model: keras.Model, decay: float) -> list[float]:
    """How many times the learning rate each weight is trained with.

    decay^(num_groups - 1 - group): 1 in the last group, which holds the head.

    Args:
        model: its layers frozen already, where some are to be.
        decay: above 0, at most 1, such as 0.75; 1 trains all alike.

    Returns:
        One for each of `model.trainable_variables`.

    Raises:
        InputError: if `decay` is out of its range.

    Reference: Clark et al., ELECTRA, ICLR 2020, appendix A; Bao et al., BEiT, ICLR 2022.
    """
    if not 0 < decay <= 1:
        raise InputError(f"A decay of the learning rate must be in (0, 1]. Received {decay}.")
    groups = layer_groups(model)
    multipliers = {
        id(weight): decay ** (len(groups) - 1 - number)
        for number, group in enumerate(groups)
        for layer in group
        for weight in layer.trainable_variables
    }
    return [multipliers[id(weight)] for weight in model.trainable_variables]


class ScaledAdamW(keras.optimizers.Adam):
    """AdamW with a learning rate of its own for each weight.

    The update is scaled, and the weight decay with it. A scaled gradient would change nothing:
    Adam divides by its size. A schedule, and the norm that gradients are clipped to, hold for all
    weights together. The state is AdamW's.

    Args:
        learning_rate: a number or a schedule.
        multipliers: of it, one for each weight that the optimizer is built with.
        weight_decay: apart from the gradient.
        options: of `keras.optimizers.Adam`.

    Raises:
        InputError: in `build`, if there are not as many multipliers as weights.
    """

    def __init__(
        self,
        learning_rate: Any,
        multipliers: Sequence[float],
        *,
        weight_decay: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.multipliers = tuple(multipliers)
        # Keras's own weight decay knows one learning rate only.
        self.scaled_weight_decay = weight_decay

    def build(self, variables) -> None:
        """Make the state of so many weights."""
        if len(variables) != len(self.multipliers):
            raise InputError(
                "There must be as many multipliers as weights; freeze layers first. Received "
                f"{len(self.multipliers)} for {len(variables)}."
            )
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate) -> None:
        """One weight's."""
        multiplier = self.multipliers[self._get_variable_index(variable)]
        rate = keras.ops.cast(learning_rate, variable.dtype) * multiplier
        if self.scaled_weight_decay:
            self.assign_sub(variable, variable * self.scaled_weight_decay * rate)
        super().update_step(gradient, variable, rate)


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


def balanced(
    labels: NDArray[np.integer], clips: ArrayLike, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Clips of an epoch in which all classes come equally often, give or take one.

    A small class's clips come again, each as often as another of the class, give or take one; of
    a large class some are left out, others in the next epoch.

    Args:
        labels: class of every clip of the data set, (num_clips,).
        clips: positions of those to train on.
        rng: decides; made from the seed and the epoch, it gives a resumed run the same clips.

    Returns:
        As many positions as `clips`, in a random order.

    Raises:
        InputError: if there are no clips.
    """
    clips = np.asarray(clips, np.int64)
    if not len(clips):
        raise InputError("There must be clips to balance. Received none.")
    of_clips = np.asarray(labels)[clips]
    classes = np.unique(of_clips)
    quotas = np.full(len(classes), len(clips) // len(classes))
    quotas[rng.permutation(len(classes))[: len(clips) % len(classes)]] += 1
    drawn = [
        _drawn(clips[of_clips == label], quota, rng)
        for label, quota in zip(classes, quotas.tolist(), strict=True)
    ]
    return rng.permutation(np.concatenate(drawn))


def _drawn(members: NDArray[np.int64], number: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """So many of a class: all of them, again and again, then some of them."""
    rounds = -(-number // len(members))
    return np.concatenate([rng.permutation(members) for _ in range(rounds)])[:number]
