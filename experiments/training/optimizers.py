"""Build the optimizer of a recipe, with its schedule of learning rates."""

from __future__ import annotations

import math
from typing import Any

import keras

from experiments.training.recipes import BaseRecipe, VideoRecipe


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
