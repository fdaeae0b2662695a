"""The models of the UCF101 job, and the batches that they are trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import keras

from experiments.clips.features import feature_views, load_resnet
from experiments.training.distribution import open_distribution, scope_of
from experiments.training.loop import Classifier
from experiments.training.optimizers import build_optimizer
from experiments.training.tasks import ALONE, Task
from experiments.ucf101.recipes import RANDOM_WEIGHTS, Recipe, Ucf101Arguments
from preprocess.batches.augment import relighting
from preprocess.batches.view_batches import PixelViews, ViewBatches
from preprocess.shards.reader import Shards
from preprocess.sources.splits import Split
from ttrnn.models.conv3d import build_conv3d
from ttrnn.models.crnn import build_crnn
from ttrnn.models.resnet_crnn import build_resnet_crnn
from weights.assign import assign_arrays, model_arrays

if TYPE_CHECKING:
    from preprocess.batches.view_batches import ViewSource


class Ucf101Model:
    """A model with its data, as the flags and the recipe ask.

    Args:
        arguments: flags of the job.
        recipe: recipe of the training.
        shards: the clips.
        split: subsets of the clips.
        task: place of this process among those that --distribute asks for.
        settings: settings that must be the same in all of them.
        store_features: compute a frozen ResNet's features once; otherwise it is in the model, and
            computes them in every epoch.
    """

    def __init__(
        self,
        arguments: Ucf101Arguments,
        recipe: Recipe,
        shards: Shards,
        split: Split,
        *,
        task: Task = ALONE,
        settings: Mapping[str, Any] = MappingProxyType({}),
        store_features: bool = True,
    ) -> None:
        # Before TensorFlow computes anything.
        self._distribution = open_distribution(arguments.distribute, task, settings)
        self._arguments = arguments
        self._recipe = recipe
        self._shards = shards
        self._split = split
        self._store_features = store_features and arguments.model == "resnet-crnn"
        self._resnet: Any = None
        if arguments.model == "resnet-crnn":
            weights = arguments.weights or RANDOM_WEIGHTS
            file = None if weights == RANDOM_WEIGHTS else Path(weights)
            width, height = recipe.crop_size
            # Outside the distribution's scope: it only computes features, and is not trained.
            self._resnet = load_resnet(
                arguments.resnet_depth,
                file,
                input_shape=(height, width, 3),
                policy=arguments.policy,
            )

    def batches(self) -> ViewBatches:
        """Make the batches of views; a ResNet's features are computed first if they are missing."""
        # Workers share the folder of features: the chief computes them, the others find them there.
        with self._distribution.chief_first() if self._distribution else nullcontext():
            source = self._features() if self._store_features else self._pixels()
        return ViewBatches(
            source,
            self._recipe.choice(varlen=self._arguments.varlen),
            batch_size=self._recipe.batch_size,
            seed=self._arguments.seed,
        )

    def classifier(self) -> Classifier:
        """Build the part of the model that is trained, with its optimizer."""
        recipe = self._recipe
        num_steps = recipe.epochs * math.ceil(len(self._split.train) / recipe.batch_size)
        with scope_of(self._distribution):
            return Classifier(
                self._trained(),
                build_optimizer(recipe, num_steps),
                label_smoothing=recipe.label_smoothing,
                distribution=self._distribution,
            )

    def whole(self, trained: keras.Model) -> keras.Model:
        """Return the model from frames to classes, of which `trained` may be only the head."""
        if self._resnet is None:
            return trained
        width, height = self._recipe.crop_size
        model = build_resnet_crnn(
            len(self._shards.class_names),
            depth=self._arguments.resnet_depth,
            height=height,
            width=width,
            dtype=self._arguments.policy,
        )
        assign_arrays(model, model_arrays(self._resnet) | model_arrays(trained))
        return model

    def _trained(self) -> keras.Model:
        recipe, arguments = self._recipe, self._arguments
        width, height = recipe.crop_size
        common: dict[str, Any] = {
            "height": height,
            "width": width,
            "dropout": recipe.dropout,
            "dtype": arguments.policy,
            "seed": arguments.seed,
        }
        num_classes = len(self._shards.class_names)
        if arguments.model == "conv3d":
            return build_conv3d(
                num_classes,
                num_frames=recipe.num_frames,
                channels=recipe.channels,
                head=recipe.head,
                normalization=recipe.normalization,
                **common,
            )
        if arguments.model == "crnn":
            return build_crnn(num_classes, **common)
        head = build_resnet_crnn(
            num_classes, depth=arguments.resnet_depth, inputs="features", **common
        )
        return head if self._store_features else self.whole(head)

    def _pixels(self) -> ViewSource:
        recipe = self._recipe
        changes = relighting(recipe.contrast, recipe.brightness)
        return PixelViews(self._shards, recipe.crops, changes=changes, inputs=recipe.inputs)

    def _features(self) -> ViewSource:
        """Return views of stored features: middle crops of all clips, others of the test clips."""
        return feature_views(
            self._resnet,
            f"resnet{self._arguments.resnet_depth}",
            self._shards,
            policy=self._arguments.policy,
            crops=self._recipe.crops,
            num_crops=self._recipe.places.spatial,
            inputs=self._recipe.inputs,
            test_clips=self._split.test,
        )
