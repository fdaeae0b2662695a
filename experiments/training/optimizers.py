"""Build the model and the optimizer of a recipe."""

from __future__ import annotations

import math
from typing import Any

import keras

from experiments.training.recipes import BaseRecipe, Recipe, VideoRecipe
from ttrnn import Keras2FlatGlorotUniform, factorize
from ttrnn.models.feature_rnn import MEAN, build_feature_rnn
from ttrnn.models.video_rnn import build_video_rnn

# The published modes of a 160x120 RGB frame; other sizes are factorized.
_PUBLISHED_MODES = {(120 * 160 * 3, 4): (8, 20, 20, 18)}


def build_model(
    recipe: Recipe,
    frame_shape: tuple[int, int, int],
    num_classes: int,
    *,
    cell: str,
    tensor_train: bool,
    policy: str,
    seed: int,
) -> keras.Model:
    """Build the recipe's classifier for frames of shape (height, width, 3).

    Args:
        recipe: everything about the model that has no flag of its own.
        frame_shape: height, width and channels of a frame.
        num_classes: number of outputs.
        cell: "gru", "lstm" or "rnn".
        tensor_train: factorize the input kernel; otherwise it is dense.
        policy: Keras dtype policy.
        seed: seed of the initial weights and of dropout.
    """
    return build_video_rnn(
        frame_shape,
        num_classes,
        cell=cell,
        inputs=recipe.inputs,
        scene=recipe.scene,
        pooling=recipe.pooling,
        pixel_scale=recipe.pixel_scale,
        head_dropout=recipe.head_dropout,
        head_l2=recipe.head_l2,
        scene_dropout=recipe.scene_dropout,
        dtype=policy,
        seed=seed,
        **_recurrent_arguments(
            recipe, math.prod(frame_shape), cell=cell, tensor_train=tensor_train
        ),
    )


def build_head(
    recipe: Recipe,
    num_features: int,
    num_classes: int,
    *,
    cell: str,
    tensor_train: bool,
    policy: str,
    seed: int,
) -> keras.Model:
    """Build the recipe's classifier of a frozen network's features.

    Args:
        recipe, num_classes, policy, seed: those of `build_model`.
        num_features: number of features of a frame.
        cell: "gru", "lstm" or "rnn"; or "mean" for a linear classifier of the mean.
        tensor_train: factorize the input kernel, if there is one.
    """
    recurrent = {}
    if cell != MEAN:
        recurrent = _recurrent_arguments(recipe, num_features, cell=cell, tensor_train=tensor_train)
    return build_feature_rnn(
        num_features,
        num_classes,
        cell=cell,
        pooling=recipe.pooling,
        feature_scale=recipe.pixel_scale,
        head_dropout=recipe.head_dropout,
        head_l2=recipe.head_l2,
        dtype=policy,
        seed=seed,
        **recurrent,
    )


def _recurrent_arguments(
    recipe: Recipe, size: int, *, cell: str, tensor_train: bool
) -> dict[str, Any]:
    """Arguments of the recipe's recurrent layer for inputs of `size` values.

    Args:
        recipe, cell, tensor_train: those of `build_model`.
        size: number of values of a frame.
    """
    # The dense baseline is the same layer with a single mode: one core of rank 1, which is the
    # dense kernel itself.
    num_modes = len(recipe.tt_output_shape)
    modes = _PUBLISHED_MODES.get((size, num_modes)) or factorize(size, num_modes)
    units = math.prod(recipe.tt_output_shape)
    # A simple RNN has no gates.
    activation = {} if cell == "rnn" else {"recurrent_activation": recipe.recurrent_activation}
    return {
        "tt_input_shape": modes if tensor_train else (size,),
        "tt_output_shape": recipe.tt_output_shape if tensor_train else (units,),
        "tt_ranks": recipe.tt_rank if tensor_train else 1,
        "kernel_initializer": _kernel_initializer(recipe, tensor_train),
        # The published TT layers ignore their input dropout, the dense baselines apply it.
        "dropout": 0.0 if tensor_train else recipe.dense_input_dropout,
        "recurrent_dropout": recipe.recurrent_dropout,
        **activation,
    }


def build_optimizer(recipe: VideoRecipe, num_steps: int) -> keras.Optimizer:
    """Build Adam, or AdamW if there is weight decay, with the recipe's schedule.

    Args:
        recipe: settings of the optimizer.
        num_steps: steps of the whole training, over which a schedule runs.
    """
    rate = scheduled_rate(recipe, num_steps)
    common: Any = {"epsilon": recipe.epsilon, "global_clipnorm": recipe.clip_norm}
    if recipe.weight_decay:
        return keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay, **common)
    return keras.optimizers.Adam(rate, **common)


def scheduled_rate(recipe: BaseRecipe, num_steps: int) -> Any:
    """Learning rate of a recipe: its cosine schedule, or, of any other schedule, the number."""
    if recipe.schedule != "cosine":
        return recipe.learning_rate
    return cosine_schedule(recipe.learning_rate, num_steps, warmup_share=recipe.warmup_share)


def cosine_schedule(
    learning_rate: float, num_steps: int, *, warmup_share: float
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Schedule that rises linearly from 0 to a rate, then falls to 0 as a cosine.

    Args:
        learning_rate: the highest rate.
        num_steps: steps in all.
        warmup_share: fraction of the steps in which the rate rises.
    """
    # Keras counts the steps of the warm-up apart from those of the decay.
    warmup_steps = math.ceil(warmup_share * num_steps)
    return keras.optimizers.schedules.CosineDecay(
        # Keras begins the warm-up at this rate; without one it is the rate of the first step.
        0.0 if warmup_steps else learning_rate,
        decay_steps=max(1, num_steps - warmup_steps),
        warmup_target=learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )


def _kernel_initializer(recipe: Recipe, tensor_train: bool) -> Any:
    # Keras 2 drew the cores as one flat kernel, with fans of the square root of its length. The
    # dense baseline had an ordinary kernel.
    if recipe.kernel_initializer != "keras2_flat_glorot":
        return recipe.kernel_initializer
    return Keras2FlatGlorotUniform() if tensor_train else "glorot_uniform"
