"""Model and batches of the job on UCF11, as its flags and recipe ask: of pixels or of features."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from experiments.clips.evaluation import Batches
from experiments.clips.features import feature_views, load_network
from experiments.clips.frozen_networks import FROZEN_NETWORKS, RANDOM_WEIGHTS
from experiments.clips.ucf11 import Ucf11Arguments, kernel_format, stored_stride
from experiments.training.distribution import open_distribution, scope_of
from experiments.training.loop import Classifier
from experiments.training.optimizers import Formats, build_head, build_model, build_optimizer
from experiments.training.recipes import Recipe
from experiments.training.tasks import ALONE, Task
from preprocess.batches.augment import Augmentation
from preprocess.batches.features import FeatureViews
from preprocess.batches.pipeline import ClipBatches
from preprocess.batches.view_batches import ViewBatches
from preprocess.batches.views import CropChoice, FrameChoice
from preprocess.shards.reader import Shards
from preprocess.sources.splits import Split
from ttrnn.models.feature_rnn import MEAN, on_frames, standardize_features

# Side of the square that a frozen network sees, in the middle of a picture scaled to it.
_SIDE = 224


@dataclass(frozen=True)
class Ucf11Model:
    """A classifier, what it sees of the clips, and what predictions need to show it the same.

    Args:
        classifier: the part that is trained.
        batches: batches for it.
        choice: choice of the frames.
        crops: choice of the part of each frame.
        whole: completes the trained part to a model from frames to classes; None if it is one.
    """

    classifier: Classifier
    batches: Batches
    choice: FrameChoice
    crops: CropChoice
    whole: Callable[[keras.Model], keras.Model] | None = None


def _formats(arguments: Ucf11Arguments) -> Formats:
    """Formats of the recurrent layer, by the flags."""
    return Formats(kernel_format(arguments), arguments.recurrent_format, arguments.rank)


def make_model(
    arguments: Ucf11Arguments,
    recipe: Recipe,
    shards: Shards,
    split: Split,
    task: Task,
    settings: Mapping[str, Any],
) -> Ucf11Model:
    """Build the model and its batches; features are computed now where they are missing.

    Args:
        arguments: flags of the job.
        recipe: recipe of the training.
        shards: the clips.
        split: subsets of the clips.
        task, settings: those of `make_classifier`.

    Raises:
        PreprocessError, WeightsError, InputError: if frames, or a file of weights, cannot be read.
    """
    if arguments.features is not None:
        return _feature_model(arguments, recipe, shards, split)
    return Ucf11Model(
        make_classifier(
            arguments,
            recipe,
            shards,
            num_train_clips=len(split.train),
            task=task,
            settings=settings,
        ),
        make_batches(arguments, recipe, shards),
        FrameChoice(arguments.maxlen, start="first", exact=False),
        CropChoice(shards.frame_size),
    )


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
            formats=_formats(arguments),
            policy=arguments.policy,
            seed=arguments.seed,
        )
        return Classifier(
            model,
            build_optimizer(recipe, num_steps),
            label_smoothing=recipe.label_smoothing,
            distribution=distribution,
        )


def _feature_model(
    arguments: Ucf11Arguments, recipe: Recipe, shards: Shards, split: Split
) -> Ucf11Model:
    """Build a classifier of the features of a frozen network, and their batches."""
    assert arguments.features is not None
    # In the pictures' own shape, whatever size the frames are stored in.
    crops = CropChoice((_SIDE, _SIDE), short_sides=(_SIDE, _SIDE))
    choice = FrameChoice(arguments.frames, "segments")
    network = load_network(
        FROZEN_NETWORKS.get(arguments.features, arguments.features),
        None if arguments.weights in (None, RANDOM_WEIGHTS) else Path(str(arguments.weights)),
        input_shape=(_SIDE, _SIDE, 3),
        policy=arguments.policy,
    )
    views = feature_views(
        network,
        arguments.features,
        shards,
        policy=arguments.policy,
        crops=crops,
        choice=choice,
    )
    head = build_head(
        recipe,
        network.output_shape[-1],
        len(shards.class_names),
        cell=arguments.cell,
        formats=_formats(arguments),
        policy=arguments.policy,
        seed=arguments.seed,
    )
    standardize_features(head, _training_rows(views, split, arguments))
    num_steps = recipe.epochs * math.ceil(len(split.train) / recipe.batch_size)
    return Ucf11Model(
        Classifier(
            head, build_optimizer(recipe, num_steps), label_smoothing=recipe.label_smoothing
        ),
        # The features are those of one choice of frames: all of them are a view.
        ViewBatches(views, choice, batch_size=recipe.batch_size, seed=arguments.seed),
        choice,
        crops,
        whole=lambda trained: on_frames(trained, network),
    )


def _training_rows(views: FeatureViews, split: Split, arguments: Ucf11Arguments) -> np.ndarray:
    """Return what is standardized, of the training clips: (N, num_features)."""
    frames = np.arange(arguments.frames)
    middle = np.zeros(1, np.int64)
    rows = np.stack([views.load(int(clip), frames, middle) for clip in split.train])  # (N, T, F)
    # A linear classifier sees the means over the frames, whose deviations are smaller.
    return rows.mean(axis=1) if arguments.cell == MEAN else rows.reshape(-1, rows.shape[-1])
