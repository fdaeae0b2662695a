"""Batches and classifier of the job on UCF11, as its flags and recipe ask."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from experiments.clips.ucf11 import Ucf11Arguments, stored_stride
from experiments.training.distribution import open_distribution, scope_of
from experiments.training.loop import Classifier
from experiments.training.optimizers import build_model, build_optimizer
from experiments.training.recipes import Recipe
from experiments.training.tasks import ALONE, Task
from preprocess.batches.augment import Augmentation
from preprocess.batches.pipeline import ClipBatches
from preprocess.shards.reader import Shards


def make_batches(arguments: Ucf11Arguments, recipe: Recipe, shards: Shards) -> ClipBatches:
    """Batches of clips, cut and changed as the recipe says."""
    return ClipBatches(
        shards,
        batch_size=recipe.batch_size,
        maxlen=arguments.maxlen,
        # `ClipBatches` counts in stored frames.
        stride=stored_stride(arguments, shards) // shards.stride,
        seed=arguments.seed,
        augment=Augmentation(
            recipe.shortest_share, recipe.largest_shift, recipe.contrast, recipe.brightness
        ),
    )


def make_classifier(
    arguments: Ucf11Arguments,
    recipe: Recipe,
    shards: Shards,
    *,
    num_train_clips: int,
    task: Task = ALONE,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Classifier:
    """Build the recipe's model and optimizer.

    Args:
        num_train_clips: number of clips in an epoch, which sets the length of the schedule.
        task: place of this process among those that --distribute asks for.
        settings: settings that must be the same in all of them.
    """
    # Before TensorFlow computes anything.
    distribution = open_distribution(arguments.distribute, task, settings)
    width, height = shards.frame_size
    # A last batch of fewer clips is a step, too.
    num_steps = recipe.epochs * math.ceil(num_train_clips / recipe.batch_size)
    # Variables that are made in the scope of a strategy have a copy on each replica.
    with scope_of(distribution):
        model = build_model(
            recipe,
            (height, width, 3),
            len(shards.class_names),
            cell=arguments.cell,
            tensor_train=arguments.tt,
            policy=arguments.policy,
            seed=arguments.seed,
        )
        return Classifier(
            model,
            build_optimizer(recipe, num_steps),
            label_smoothing=recipe.label_smoothing,
            distribution=distribution,
        )
