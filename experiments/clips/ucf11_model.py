"""Model and batches of the job on UCF11, as its flags and recipe ask: of pixels or of features."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from experiments.clips.datasets import result_fields
from experiments.clips.evaluation import Batches, model_sizes
from experiments.clips.features import feature_views, load_network
from experiments.clips.frozen_networks import FROZEN_NETWORKS, RANDOM_WEIGHTS
from experiments.clips.ucf11 import (
    NUM_FOLDS,
    Ucf11Arguments,
    feature_size,
    is_compressed,
    kernel_format,
    model_name,
    plain_recipe,
    stored_stride,
)
from experiments.process import runtime
from experiments.training.distribution import open_distribution, scope_of
from experiments.training.finetuning import (
    Mixup,
    ScaledAdamW,
    freeze,
    layer_groups,
    rate_multipliers,
)
from experiments.training.loop import Classifier
from experiments.training.optimizers import build_optimizer, scheduled_rate
from experiments.training.recipes import Recipe
from experiments.training.recurrent_models import (
    Formats,
    build_head,
    build_model,
)
from experiments.training.tasks import ALONE, Task
from preprocess.batches.augment import Augmentation, relighting
from preprocess.batches.features import FeatureViews
from preprocess.batches.pipeline import ClipBatches
from preprocess.batches.view_batches import PixelViews, ViewBatches
from preprocess.batches.views import CropChoice, FrameChoice
from preprocess.shards.reader import Shards
from preprocess.sources.official_lists import num_official_splits
from preprocess.sources.splits import Split
from ttrnn.models.feature_rnn import NO_RECURRENCE, on_frames, standardize_features


@dataclass(frozen=True)
class Ucf11Model:
    """A classifier, what it sees of the clips, and what predictions need to show it the same.

    Args:
        classifier: the part that is trained.
        head: the model that has the recurrent layer.
        batches: batches for it.
        choice: choice of the frames.
        crops: choice of the part of each frame.
        whole: completes the trained part to a model from frames to classes; None if it is one.
    """

    classifier: Classifier
    head: keras.Model
    batches: Batches
    choice: FrameChoice
    crops: CropChoice
    whole: Callable[[keras.Model], keras.Model] | None = None


def _formats(arguments: Ucf11Arguments) -> Formats:
    """Formats of the recurrent layer, by the flags."""
    return Formats(
        kernel_format(arguments),
        arguments.recurrent_format,
        joint=arguments.joint_format,
        rank=arguments.rank,
    )


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
        features = open_features(arguments, shards)
        model = make_head(arguments, recipe, features, split, shards)
        if arguments.unfreeze:
            return _fine_tuned(arguments, recipe, features, model, shards, split)
        return model
    classifier = make_classifier(
        arguments,
        recipe,
        shards,
        num_train_clips=len(split.train),
        task=task,
        settings=settings,
    )
    return Ucf11Model(
        classifier,
        classifier.model,
        make_batches(arguments, recipe, shards),
        FrameChoice(recipe.maxlen, start="first", exact=False),
        CropChoice(shards.frame_size),
    )


def make_batches(arguments: Ucf11Arguments, recipe: Recipe, shards: Shards) -> ClipBatches:
    """Batches of clips, cut and changed as the recipe says."""
    return ClipBatches(
        shards,
        batch_size=recipe.batch_size,
        maxlen=recipe.maxlen,
        # `ClipBatches` counts in stored frames.
        stride=stored_stride(arguments, shards) // shards.stride,
        seed=arguments.seed,
        augment=Augmentation(
            recipe.shortest_share,
            recipe.largest_shift,
            recipe.contrast,
            recipe.brightness,
            recipe.mirror,
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
            several_labels=shards.label_matrix is not None,
        )
        return Classifier(
            model,
            build_optimizer(recipe, num_steps),
            label_smoothing=recipe.label_smoothing,
            distribution=distribution,
        )


@dataclass(frozen=True)
class FrozenFeatures:
    """Features that a frozen network has of all clips, which any number of heads may classify.

    Args:
        network: model of pixels (N, H, W, 3), 0 to 255, to features (N, num_features).
        views: the features, each clip's a view.
        choice: choice of the frames.
        crops: choice of the part of each frame.
    """

    network: keras.Model
    views: FeatureViews
    choice: FrameChoice
    crops: CropChoice


def open_features(arguments: Ucf11Arguments, shards: Shards) -> FrozenFeatures:
    """Load the frozen network that the flags name, and compute the features that are missing.

    Raises:
        PreprocessError, WeightsError, InputError: as `make_model` does.
    """
    assert arguments.features is not None
    width, height = feature_size(arguments)
    # Whatever size the frames are stored in.
    crops = CropChoice((width, height), whole=True)
    choice = FrameChoice(arguments.frames, "segments")
    network = load_network(
        FROZEN_NETWORKS.get(arguments.features, arguments.features),
        None if arguments.weights in (None, RANDOM_WEIGHTS) else Path(str(arguments.weights)),
        input_shape=(height, width, 3),
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
    return FrozenFeatures(network, views, choice, crops)


def make_head(
    arguments: Ucf11Arguments,
    recipe: Recipe,
    features: FrozenFeatures,
    split: Split,
    shards: Shards,
) -> Ucf11Model:
    """Build a classifier of a frozen network's features, and its batches."""
    # The frozen network, and heads that were built before this one in the same process, have drawn
    # from Keras's generator, too.
    runtime.set_seed(arguments.seed)
    head = build_head(
        recipe,
        features.network.output_shape[-1],
        len(shards.class_names),
        cell=arguments.cell,
        formats=_formats(arguments),
        policy=arguments.policy,
        seed=arguments.seed,
        several_labels=shards.label_matrix is not None,
    )
    standardize_features(head, _training_rows(features.views, split, arguments))
    num_steps = recipe.epochs * math.ceil(len(split.train) / recipe.batch_size)
    return Ucf11Model(
        Classifier(
            head, build_optimizer(recipe, num_steps), label_smoothing=recipe.label_smoothing
        ),
        head,
        # The features are those of one choice of frames: all of them are a view.
        ViewBatches(
            features.views, features.choice, batch_size=recipe.batch_size, seed=arguments.seed
        ),
        features.choice,
        features.crops,
        whole=lambda trained: on_frames(trained, features.network),
    )


def _fine_tuned(
    arguments: Ucf11Arguments,
    recipe: Recipe,
    features: FrozenFeatures,
    model: Ucf11Model,
    shards: Shards,
    split: Split,
) -> Ucf11Model:
    """Join a classifier and its network, whose last blocks are trained as well.

    Args:
        model: the classifier of the frozen network's features.
    """
    network = features.network
    whole = on_frames(model.classifier.model, network)
    network.trainable = True
    num_blocks = len(layer_groups(whole)) - 2  # without the layers before and after them
    print(freeze(whole, num_blocks - arguments.unfreeze))
    for layer in network.layers:
        # Statistics of a few clips, whose frames are alike, would be worse than ImageNet's.
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    num_steps = recipe.epochs * math.ceil(len(split.train) / recipe.batch_size)
    optimizer = ScaledAdamW(
        scheduled_rate(recipe, num_steps),
        rate_multipliers(whole, recipe.layer_decay),
        weight_decay=recipe.weight_decay,
        epsilon=recipe.epsilon,
        global_clipnorm=recipe.clip_norm,
    )
    classifier = Classifier(
        whole,
        optimizer,
        label_smoothing=recipe.label_smoothing,
        mixup=Mixup(recipe.mixup, seed=arguments.seed) if recipe.mixup else None,
    )
    crops = replace(features.crops, mirror=recipe.mirror)
    changes = relighting(recipe.contrast, recipe.brightness)
    batches = ViewBatches(
        PixelViews(shards, crops, changes=changes),
        features.choice,
        batch_size=recipe.batch_size,
        seed=arguments.seed,
    )
    return replace(model, classifier=classifier, batches=batches, whole=None)


def describe_result(
    arguments: Ucf11Arguments,
    recipe: Recipe,
    model: Ucf11Model,
    shards: Shards,
    split: Split,
) -> dict[str, Any]:
    """Fields of the result that are known before training."""
    return {
        **result_fields(
            arguments.module,
            arguments,
            recipe,
            shards,
            split,
            fold=arguments.test_part,
            # Official splits count as folds.
            num_folds=num_official_splits(shards.dataset)
            if arguments.split == "official"
            else NUM_FOLDS,
            model=model_name(arguments),
            maxlen=model.choice.num_frames,
            stride=stored_stride(arguments, shards),
            # README's table leaves out runs of other lengths than their recipe's.
            recipe_epochs=plain_recipe(arguments).epochs,
        ),
        **model_sizes(model.head, arguments.cell, compressed=is_compressed(arguments)),
        "params": model.classifier.model.count_params(),
    }


def _training_rows(views: FeatureViews, split: Split, arguments: Ucf11Arguments) -> np.ndarray:
    """Return what is standardized, of the training clips: (N, num_features)."""
    frames = np.arange(arguments.frames)
    middle = np.zeros(1, np.int64)
    rows = np.stack([views.load(int(clip), frames, middle) for clip in split.train])  # (N, T, F)
    # Without recurrence means over the frames are seen, whose deviations are smaller.
    if arguments.cell in NO_RECURRENCE:
        return rows.mean(axis=1)
    return rows.reshape(-1, rows.shape[-1])
