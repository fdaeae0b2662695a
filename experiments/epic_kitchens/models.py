"""Build the TimeSformer, the optimizer that fine-tunes it, and its batches of clips."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.epic_kitchens.recipes import SIZES, EpicKitchensArguments, Recipe
from experiments.training.finetuning import Mixup, ScaledAdamW, balanced, freeze, rate_multipliers
from experiments.training.loop import Classifier
from experiments.training.optimizers import scheduled_rate
from preprocess.batches.augment import relighting
from preprocess.batches.rand_augment import RandAugment
from preprocess.batches.view_batches import PixelViews, ViewBatches
from preprocess.shards.reader import Shards
from preprocess.sources.splits import Split
from ttrnn.models.conv3d import EqualClips
from ttrnn.models.timesformer import build_timesformer
from weights.timesformer import load_timesformer

# Standard deviation of the embeddings of places and times, for training from nothing.
_FROM_NOTHING_STDDEV = 0.5


def build_model(arguments: EpicKitchensArguments, recipe: Recipe, num_classes: int) -> keras.Model:
    """Build a TimeSformer for frames laid end to end, load its first weights, and freeze layers.

    Returns:
        A model of {"frames": uint8 (batch * num_frames, size, size, 3), "num_frames": int32
        (batch,)} to probabilities (batch, num_classes), in which the TimeSformer is a layer.

    Raises:
        WeightsError, ValueError: if the weights do not fit, or the layers to freeze.
    """
    size = SIZES[arguments.size_name]
    side = recipe.crop_size[0]
    timesformer = build_timesformer(
        num_classes,
        num_frames=recipe.num_frames,
        image_size=side,
        patch_size=size.patch_size,
        dim=size.dim,
        depth=size.depth,
        heads=size.heads,
        attention=arguments.attention,
        drop_path=recipe.drop_path,
        dropout=recipe.dropout,
        position_stddev=None if arguments.weights else _FROM_NOTHING_STDDEV,
        dtype=arguments.policy,
        seed=arguments.seed,
        name="timesformer",
    )
    if arguments.weights is not None:
        for note in load_timesformer(timesformer, arguments.weights):
            print(note)
    # Before the optimizer is built: it makes its state for trainable weights only.
    print(freeze(timesformer, arguments.frozen))
    frames = keras.Input((side, side, 3), dtype="uint8", name="frames")
    num_frames = keras.Input((), dtype="int32", name="num_frames")
    # (batch * T, H, W, 3) to (batch, T, H, W, 3).
    clips = EqualClips(recipe.num_frames, name="clips")(frames, num_frames)
    return keras.Model({"frames": frames, "num_frames": num_frames}, timesformer(clips))


def build_classifier(
    arguments: EpicKitchensArguments, recipe: Recipe, num_classes: int, *, num_train_clips: int
) -> Classifier:
    """Build the model with its optimizer.

    Args:
        num_train_clips: number of clips in an epoch, which sets the length of the schedule.
    """
    model = build_model(arguments, recipe, num_classes)
    num_steps = recipe.epochs * math.ceil(num_train_clips / recipe.batch_size)
    optimizer = ScaledAdamW(
        # The search for a rate sets one rate after the other, which a schedule would not allow.
        recipe.learning_rate if arguments.find_rate else scheduled_rate(recipe, num_steps),
        rate_multipliers(model, recipe.layer_decay),
        weight_decay=recipe.weight_decay,
        epsilon=recipe.epsilon,
        global_clipnorm=recipe.clip_norm,
    )
    return Classifier(
        model,
        optimizer,
        label_smoothing=recipe.label_smoothing,
        mixup=Mixup(recipe.mixup, seed=arguments.seed) if recipe.mixup else None,
    )


def make_batches(arguments: EpicKitchensArguments, recipe: Recipe, shards: Shards) -> ViewBatches:
    """Make the batches of clips, cut and augmented as the recipe says."""
    changes: list[Any] = [*relighting(recipe.contrast, recipe.brightness)]
    if recipe.num_operations:
        changes.append(RandAugment(recipe.num_operations, recipe.magnitude))
    return ViewBatches(
        PixelViews(shards, recipe.crops, changes=changes, inputs=recipe.inputs),
        recipe.choice(),
        batch_size=recipe.batch_size,
        seed=arguments.seed,
    )


def epoch_clips(
    shards: Shards, split: Split, recipe: Recipe, seed: int
) -> Callable[[int], NDArray[np.int64]] | None:
    """Return a function that draws an epoch's balanced clips; None to take all alike."""
    if not recipe.balanced:
        return None
    # Drawn from the seed and the epoch, so that a resumed run draws the same. The last number keeps
    # this stream apart from the one that shuffles the clips.
    return lambda epoch: balanced(
        shards.labels, split.train, np.random.default_rng([seed, epoch, 1])
    )
