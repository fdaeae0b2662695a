"""Fine-tuning on a small data set: frozen layers, layer decay, mixup, balanced classes."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from common.errors import InputError
from common.formatting import count, percent

Frozen = Literal["none", "head"] | int

# A transformer's block is a layer, blocks_3; a mobile network's is several, block_3_expand_conv.
_BLOCK = re.compile(r"blocks_(\d+)|block_(\d+)_.+")


def layer_groups(model: keras.Model) -> list[list[keras.layers.Layer]]:
    """Group the layers that have weights, those of nested models included.

    Returns:
        For a transformer, whose blocks are called blocks_0 and so on, and for a mobile network,
        whose layers are called block_0_expand_conv and so on: the layers before the blocks, each
        block, and the layers after them. For another model, each layer by itself.
    """
    layers = [layer for layer in _layers(model) if layer.weights]
    blocks = [place for place, layer in enumerate(layers) if _BLOCK.fullmatch(layer.name)]
    if not blocks:
        return [[layer] for layer in layers]
    first, stop = blocks[0], blocks[-1] + 1
    of_blocks = itertools.groupby(layers[first:stop], key=_block_number)
    return [layers[:first], *(list(group) for _, group in of_blocks), layers[stop:]]


def _block_number(layer: keras.layers.Layer) -> str:
    found = _BLOCK.fullmatch(layer.name)
    return layer.name if found is None else found[1] or found[2]


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


class Trained(NamedTuple):
    """Number of trained parameters, and of all."""

    trained: int
    total: int

    def __str__(self) -> str:
        share = percent(self.trained / self.total)
        return f"{count(self.trained)} of {count(self.total)} parameters are trained ({share})"


def freeze(model: keras.Model, frozen: Frozen) -> Trained:
    """Choose the layers that are trained; an earlier choice is replaced.

    To be called before an optimizer is built. Frozen weights and moving statistics stay as they
    are, and are not decayed either. Dropout and stochastic depth stay active in frozen layers, so
    that the head sees other features of a clip each time. A model built with rates of 0 has
    constant features.

    Args:
        model: the model to change. A copy that is saved and loaded has the same layers frozen.
        frozen: "none"; "head", for all but the last layer; or a number of blocks, from 0, for these
            and the embedding before them. See `layer_groups`.

    Returns:
        Number of parameters that are left to train.

    Raises:
        InputError: if the model has fewer blocks.
    """
    groups = layer_groups(model)
    layers = [layer for group in groups for layer in group]
    num_frozen = _num_frozen(groups, frozen)
    for place, layer in enumerate(layers):
        # Set on every layer, also to True: another call may have frozen it.
        layer.trainable = place >= num_frozen
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    return Trained(trained, model.count_params())


def _num_frozen(groups: list[list[keras.layers.Layer]], frozen: Frozen) -> int:
    """Number of layers to freeze, counted from the first."""
    sizes = [len(group) for group in groups]
    if frozen == "none":
        return 0
    if frozen == "head":
        return sum(sizes) - 1
    # Without the embedding's group and that of norm and head.
    num_blocks = len(groups) - 2
    if not isinstance(frozen, int) or not 0 <= frozen <= num_blocks:
        raise InputError(
            f"What is frozen must be none, head, or a number of blocks from 0 to {num_blocks}. "
            f"Received {frozen!r}."
        )
    return sum(sizes[: 1 + frozen])


def rate_multipliers(model: keras.Model, decay: float) -> list[float]:
    """Learning rate multiplier of each weight, by the group of its layer.

    multiplier = decay^(num_groups - 1 - group): 1 in the last group, which holds the head.

    Args:
        model: the model, its layers already frozen where some are to be.
        decay: decay from one group to the one before, in (0, 1]; 1 trains all groups alike.

    Returns:
        One multiplier for each of `model.trainable_variables`.

    Raises:
        InputError: if `decay` is out of its range.

    Reference: Clark et al., ELECTRA, ICLR 2020, appendix A; Bao et al., BEiT, ICLR 2022.
    """
    if not 0 < decay <= 1:
        raise InputError(f"A decay of the learning rate must be in (0, 1]. Received {decay}.")
    groups = layer_groups(model)
    # By identity: names of variables need not be unique in a model.
    multipliers = {
        id(weight): decay ** (len(groups) - 1 - number)
        for number, group in enumerate(groups)
        for layer in group
        for weight in layer.trainable_variables
    }
    return [multipliers[id(weight)] for weight in model.trainable_variables]


class ScaledAdamW(keras.optimizers.Adam):
    """AdamW with a separate learning rate for each weight.

    The update is scaled, and the weight decay with it. Scaling the gradient instead would change
    nothing, because Adam divides by its size. The schedule and the clipping of gradients apply to
    all weights together. The state is that of AdamW.

    Args:
        learning_rate: a number or a schedule.
        multipliers: factors of the learning rate, one for each weight that the optimizer is built
            with.
        weight_decay: decoupled weight decay, times the learning rate of the weight.
        options: further arguments of `keras.optimizers.Adam`.

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
        """Create the state, after checking that each weight has a multiplier."""
        if len(variables) != len(self.multipliers):
            raise InputError(
                "There must be as many multipliers as weights; freeze layers first. Received "
                f"{len(self.multipliers)} for {len(variables)}."
            )
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate) -> None:
        """Update one weight with its own learning rate."""
        multiplier = self.multipliers[self._get_variable_index(variable)]
        rate = keras.ops.cast(learning_rate, variable.dtype) * multiplier
        if self.scaled_weight_decay:
            # Decoupled decay, before the update and from the old weight, as in Keras's AdamW.
            self.assign_sub(variable, variable * self.scaled_weight_decay * rate)
        super().update_step(gradient, variable, rate)


class Mixup:
    """Mixup: mixes each clip of a batch with another one, drawn anew for every batch.

    clip = w a + (1 - w) b and target = w target(a) + (1 - w) target(b), with one w from
    Beta(alpha, alpha) for a batch, as in the authors' code.

    Args:
        alpha: parameter of the Beta distribution, above 0; 0.2 mixes most clips a little, 1 draws w
            uniformly.
        seed: seed of the weights and of the partners.

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
        """State of the generator; a resumed run draws the same if the checkpoint holds it."""
        return [self._seeds.state]

    @staticmethod
    def check(inputs: Any) -> None:
        """Raise InputError unless all clips of a batch are equally long."""
        if not isinstance(inputs, dict):
            return
        lengths = inputs["num_frames"].numpy()
        if lengths.min() != lengths.max():
            raise InputError(
                "mixup needs clips of one length. Received clips of "
                f"{lengths.min()} to {lengths.max()} frames; cut them to one, or train without it."
            )

    def __call__(self, inputs: Any, targets: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """Mix a batch; works in a compiled step, too.

        Args:
            inputs: (batch, ...), or {"frames": (batch * T, ...), "num_frames": (batch,)}; the entry
                of frames may have another name.
            targets: weights of the classes, (batch, classes).

        Returns:
            Mixed inputs and targets, with the same shapes and dtypes.
        """
        # float64, because a Beta variate is made of two gamma variates: with a small alpha both may
        # be below the smallest float32, and their quotient would be 0 / 0. (The weight is cast to
        # float32 where it is used.)
        weight = keras.random.beta((), self._alpha, self._alpha, dtype="float64", seed=self._seeds)
        partners = keras.random.shuffle(tf.range(tf.shape(targets)[0]), seed=self._seeds)
        mixed = _mixed(targets, partners, weight)
        if not isinstance(inputs, dict):
            return _mixed(inputs, partners, weight), mixed
        # Lengths are equal, so that a mixed clip is as long as both of its parts.
        changed = {
            name: rows if name == "num_frames" else _mixed_clips(rows, partners, weight)
            for name, rows in inputs.items()
        }
        return changed, mixed


def _mixed_clips(frames: tf.Tensor, partners: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Mix frames of equally long clips, laid end to end, (batch * T, ...), with their partners'."""
    shape = tf.shape(frames)
    # (batch * T, ...) to (batch, T, ...), so that whole clips can be gathered.
    clips = tf.reshape(frames, tf.concat([tf.shape(partners), [-1], shape[1:]], axis=0))
    # The reshape loses the static shape of a frame, which the model needs.
    return tf.ensure_shape(tf.reshape(_mixed(clips, partners, weight), shape), frames.shape)


def _mixed(rows: tf.Tensor, partners: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Mix rows (batch, ...) with the rows of their partners, in float32."""
    own = tf.cast(rows, tf.float32)
    weight = tf.cast(weight, tf.float32)
    mixed = weight * own + (1 - weight) * tf.gather(own, partners)
    # Models take uint8 pixels; the cast alone would cut fractions off and darken the picture.
    return tf.cast(tf.round(mixed) if rows.dtype.is_integer else mixed, rows.dtype)


def balanced(
    labels: NDArray[np.integer], clips: ArrayLike, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw the clips of an epoch so that all classes come equally often, give or take one.

    Clips of a small class are repeated, each as often as the others of its class, give or take one.
    Of a large class some clips are left out, and others in the next epoch.

    Args:
        labels: class of every clip of the data set, (num_clips,).
        clips: positions of the clips to train on.
        rng: generator of all draws; made from the seed and the epoch, it gives a resumed run the
            same clips.

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
    # The remainder goes to classes drawn at random: no class gains over many epochs.
    quotas[rng.permutation(len(classes))[: len(clips) % len(classes)]] += 1
    drawn = [
        _drawn(clips[of_clips == label], quota, rng)
        for label, quota in zip(classes, quotas.tolist(), strict=True)
    ]
    return rng.permutation(np.concatenate(drawn))


def _drawn(members: NDArray[np.int64], number: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw `number` clips of a class: all of them as often as they fit, then some of them."""
    # Rounded up; the last round is cut to what is still needed.
    rounds = -(-number // len(members))
    return np.concatenate([rng.permutation(members) for _ in range(rounds)])[:number]
