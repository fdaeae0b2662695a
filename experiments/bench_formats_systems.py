"""Layers that `experiments.bench_formats` measures, in a process of their own."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ttrnn
from experiments.bench_formats import (
    BASELINES,
    AccuracyRow,
    Arguments,
    CompressionRow,
    SpeedRow,
    grouped,
)
from experiments.clips.datasets import open_dataset
from experiments.clips.features import feature_views, load_network
from experiments.clips.frozen_networks import FROZEN_NETWORKS, require_network
from experiments.runs.plots import LIGHT, new_figure
from experiments.training.optimizers import build_optimizer, largest_rank
from experiments.training.recipes import TUNED, Recipe, on_features
from preprocess.batches.views import CropChoice, FrameChoice
from preprocess.shards.settings import FrameSettings
from preprocess.sources.catalog import UCF11
from preprocess.sources.splits import Split, Strategy, make_split
from ttrnn.dense import balanced_modes
from ttrnn.frames import FrameRNN
from ttrnn.models.feature_rnn import build_feature_rnn, standardize_features
from ttrnn.models.video_rnn import CELLS

_PIXELS = (8, 20, 20, 18), (4, 4, 4, 4)
_FEATURES = (64, 32), (32, 64)
_RING = (4, 2, 5, 8, 6, 5, 3, 2), (4, 4, 2, 4, 2), (10, *[5] * 12)
# The published settings (docs/formats.md names the papers); gates multiply the first output mode.
_PUBLISHED: dict[str, dict[str, ttrnn.MatrixFormat | None]] = {
    "pixels, 57,600 to 256": {
        "dense": None,
        "tt": ttrnn.TensorTrain(*_PIXELS, 4),
        "tr": ttrnn.TensorRing(*_RING, separate=True),
        "bt": ttrnn.BlockTerm(*_PIXELS, 4, blocks=2),
        "tucker": ttrnn.Tucker(*_PIXELS, 4),
        "cp": ttrnn.CP(*_PIXELS, 40),
        "kcp": ttrnn.KroneckerCP(*_PIXELS, 4),
        "ht": ttrnn.HierarchicalTucker(*_PIXELS, 4),
    },
    "features, 2,048 to 2,048": {
        "dense": None,
        "tt": ttrnn.TensorTrain(*_FEATURES, 10),
        "tr": ttrnn.TensorRing(*_FEATURES, 20, separate=True),
        "bt": ttrnn.BlockTerm(*_FEATURES, 5, blocks=2),
        "tucker": ttrnn.Tucker(*_FEATURES, 10),
        "cp": ttrnn.CP(*_FEATURES, 400),
        "kcp": ttrnn.KroneckerCP(*_FEATURES, 10),
        "ht": ttrnn.HierarchicalTucker(*_FEATURES, 10),
    },
}
# The state of 2,048 units makes the recurrent matrix as large: in a format, too.
_BOTH = "features, both matrices"
_PUBLISHED[_BOTH] = _PUBLISHED["features, 2,048 to 2,048"]
_CLIPS, _PIXEL_FRAMES, _FEATURE_FRAMES = 16, 60, 8


class Speed:
    """Steps of LSTMs of every format at the published sizes."""

    def __init__(self, formats: tuple[str, ...]) -> None:
        self._formats = ("dense", *formats)

    def measure(self, rounds: int) -> list[SpeedRow]:
        """Time all layers of each size in turn."""
        rows = []
        for size, formats in _PUBLISHED.items():
            names = [name for name in formats if name in self._formats]
            built = {name: _steps(size, formats[name]) for name in names}
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
            for _ in range(rounds):
                for name in names:
                    train, infer = built[name].calls
                    times[name].append((_seconds(train), _seconds(infer)))
            for name in names:
                layer = built[name].layer
                plans = layer.plans(built[name].num_frames)
                training, inference = (median(pair[k] for pair in times[name]) for k in (0, 1))
                rows.append(
                    SpeedRow(
                        size,
                        name,
                        layer.num_kernel_params,
                        layer.count_params(),
                        built[name].num_frames / training,
                        built[name].num_frames / inference,
                        sum(plan.flops for plan in plans),
                        max(len(plan.steps) for plan in plans),
                    )
                )
        return rows


@dataclass(frozen=True)
class _Steps:
    """Compiled training and inference step of a layer, which have run once."""

    layer: Any
    calls: tuple[Callable[[], Any], Callable[[], Any]]
    num_frames: int


def _steps(size: str, kernel_format: ttrnn.MatrixFormat | None) -> _Steps:
    is_pixels = size.startswith("pixels")
    rng = np.random.default_rng(0)
    length = _PIXEL_FRAMES if is_pixels else _FEATURE_FRAMES
    layer = ttrnn.TensorLSTM(
        256 if is_pixels else 2048,
        kernel_format=kernel_format,
        recurrent_format=kernel_format if size == _BOTH else None,
    )
    inputs: tuple[Any, ...]
    if is_pixels:
        frames = tf.constant(rng.integers(0, 256, (_CLIPS * length, 120, 160, 3), np.uint8))
        inputs = (frames, tf.fill(_CLIPS, length))
        outer = FrameRNN(layer, scale=64.0)
        outer.build(frames.shape)
    else:
        inputs = (tf.constant(rng.standard_normal((_CLIPS, length, 2048)), tf.float32),)
        outer = layer
        outer.build(inputs[0].shape)
    variables = layer.trainable_variables
    optimizer = keras.optimizers.Adam(1e-4)
    optimizer.build(variables)

    @tf.function
    def train():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(outer(*inputs, training=True) ** 2)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    @tf.function
    def infer():
        return tf.reduce_sum(outer(*inputs))

    # The first call compiles.
    for call in (train, infer):
        float(call())
    return _Steps(layer, (train, infer), _CLIPS * length)


def _seconds(call: Callable[[], Any]) -> float:
    repeats, started = 0, time.perf_counter()
    while time.perf_counter() - started < 0.5:
        float(call())
        repeats += 1
    return (time.perf_counter() - started) / repeats


class Accuracy:
    """Recurrent classifiers of the features of clips, which are computed once.

    Args:
        arguments: flags of the benchmark.
    """

    def __init__(self, arguments: Arguments) -> None:
        self._arguments = arguments
        self._recipe = on_features(TUNED).override([], epochs=arguments.epochs)
        require_network(arguments.features, None)
        shards = open_dataset(
            UCF11,
            videos=arguments.videos,
            shards=arguments.shards,
            settings=FrameSettings((298, 224), stride=4),
        )
        crops = CropChoice((224, 224), short_sides=(224, 224))
        choice = FrameChoice(arguments.frames, "segments")
        network = load_network(
            FROZEN_NETWORKS.get(arguments.features, arguments.features),
            None,
            input_shape=(224, 224, 3),
            policy="float32",
        )
        views = feature_views(
            network, arguments.features, shards, policy="float32", crops=crops, choice=choice
        )
        frames, middle = np.arange(arguments.frames), np.zeros(1, np.int64)
        self._rows = np.stack([views.load(clip, frames, middle) for clip in range(len(shards))])
        self._labels, self._groups = shards.labels, shards.groups
        self._num_classes = len(shards.class_names)

    def train(self, name: str, budget: int, split: Strategy, fold: int, seed: int) -> AccuracyRow:
        """Train one model on one fold, and test it after every epoch."""
        started = time.perf_counter()
        parts = self._split(split, fold, seed)
        model, rank = self._build(name, budget, seed)
        accuracies = self._fit(self._standardized(model, parts), parts, self._recipe, seed)
        layer = model.get_layer(self._arguments.cell)
        return AccuracyRow(
            format=name,
            budget=budget,
            rank=rank,
            kernel_params=layer.num_kernel_params,
            layer_params=layer.count_params(),
            model_params=model.count_params(),
            split=split,
            fold=fold,
            seed=seed,
            accuracy_last=accuracies[-1],
            accuracy_best=max(accuracies),
            num_test_clips=len(parts.test),
            seconds=time.perf_counter() - started,
            failure="" if np.isfinite(accuracies[-1]) else "the loss is not finite",
        )

    def compress(self, budget: int, split: Strategy, fold: int, seed: int) -> list[CompressionRow]:
        """Train a dense layer, compress its kernel by each format, and train on."""
        parts = self._split(split, fold, seed)
        dense = self._standardized(self._build("dense", 0, seed)[0], parts)
        before = self._fit(dense, parts, self._recipe, seed)[-1]
        cell = dense.get_layer(self._arguments.cell).cell
        kernel = keras.ops.convert_to_numpy(cell.full_kernel())
        # A quarter of the epochs, at a quarter of the rate.
        recipe = replace(
            self._recipe,
            epochs=-(-self._recipe.epochs // 4),
            learning_rate=self._recipe.learning_rate / 4,
        )
        rows = []
        for name in self._arguments.formats:
            # The modes that `compress` chooses.
            modes = balanced_modes((len(kernel), cell.units), None, None)
            rank = largest_rank(name, modes[0], modes[1], budget, cell.num_gates)
            small = ttrnn.compress(dense, name, rank=rank, layers=[self._arguments.cell])
            layer = small.get_layer(self._arguments.cell)
            found = keras.ops.convert_to_numpy(layer.cell.full_kernel())
            after = self._accuracy(small, parts.test)
            rows.append(
                CompressionRow(
                    format=name,
                    budget=budget,
                    kernel_params=layer.num_kernel_params,
                    split=split,
                    fold=fold,
                    seed=seed,
                    error=float(np.linalg.norm(found - kernel) / np.linalg.norm(kernel)),
                    accuracy_before=before,
                    accuracy_after=after,
                    accuracy_tuned=self._fit(small, parts, recipe, seed)[-1],
                )
            )
        return rows

    def _split(self, split: Strategy, fold: int, seed: int) -> Split:
        return make_split(
            self._labels, self._groups, strategy=split, fold=fold, num_folds=5, seed=seed
        )

    def _standardized(self, model: keras.Model, parts: Split) -> keras.Model:
        training = np.concatenate([parts.train, parts.validation])
        standardize_features(model, self._rows[training].reshape(-1, self._rows.shape[-1]))
        return model

    def _fit(self, model: keras.Model, parts: Split, recipe: Recipe, seed: int) -> list[float]:
        """Train by a recipe; returns the test accuracy after every epoch, NaN where it failed."""
        # No choice is made by the validation clips, so that they are trained on.
        training = np.concatenate([parts.train, parts.validation])
        batch = recipe.batch_size
        steps = -(-len(training) // batch)
        optimizer = build_optimizer(recipe, recipe.epochs * steps)
        model.compile(optimizer, "sparse_categorical_crossentropy")
        rng, accuracies = np.random.default_rng(seed), []
        for _ in range(recipe.epochs):
            # Filled up with clips of the beginning: batches of one size need one graph only.
            order = np.resize(rng.permutation(training), steps * batch)
            for clips in order.reshape(steps, batch):
                loss = model.train_on_batch(self._inputs(clips), self._labels[clips])
            is_finite = np.isfinite(loss)
            accuracies.append(self._accuracy(model, parts.test) if is_finite else float("nan"))
        return accuracies

    def _accuracy(self, model: keras.Model, clips: np.ndarray) -> float:
        scores = model.predict_on_batch(self._inputs(clips))
        return float(np.mean(scores.argmax(1) == self._labels[clips]))

    def _inputs(self, clips: np.ndarray) -> dict[str, np.ndarray]:
        rows = self._rows[clips]
        num_frames = np.full(len(clips), rows.shape[1], np.int32)
        return {"features": rows.reshape(-1, rows.shape[2]), "num_frames": num_frames}

    def _build(self, name: str, budget: int, seed: int) -> tuple[keras.Model, int | None]:
        """Build the classifier with the largest rank, or size, that the budget allows."""
        num_features, cell = self._rows.shape[-1], self._arguments.cell
        layer: Any = CELLS[cell]
        gates = layer.cell_class.num_gates
        output_modes = self._recipe.tt_output_shape
        units = int(np.prod(output_modes))
        kernel_format: ttrnn.MatrixFormat | None = None
        rank: int | None = None
        if name == "smaller dense":
            units = max(1, budget // (gates * num_features))
        elif name == "low rank":
            # Two cores: (gates * units, rank) with the first output mode, and (rank, features).
            rank = max(1, budget // (num_features + gates * units))
            kernel_format = ttrnn.TensorTrain((1, num_features), (units, 1), rank)
        elif name not in BASELINES:
            input_modes = ttrnn.factorize(num_features, len(output_modes))
            rank = largest_rank(name, input_modes, output_modes, budget, gates)
            kernel_format = ttrnn.make_format(name, input_modes, output_modes, rank)
        model = build_feature_rnn(
            num_features,
            self._num_classes,
            cell=cell,
            units=units,
            kernel_format=kernel_format,
            pooling=self._recipe.pooling,
            feature_scale=self._recipe.pixel_scale,
            head_dropout=self._recipe.head_dropout,
            recurrent_dropout=self._recipe.recurrent_dropout,
            # One rule of the starting variance for all.
            kernel_initializer=keras.initializers.GlorotUniform(seed),
            # Cores have seeds that follow the kernel's.
            recurrent_initializer=keras.initializers.Orthogonal(seed=seed + 100),
            seed=seed,
        )
        return model, rank

    def chart(self, rows: list[AccuracyRow]) -> bytes:
        """Plot the runs; see `pareto_png`."""
        return pareto_png(rows)


def pareto_png(rows: Sequence[AccuracyRow]) -> bytes:
    """Plot the accuracy of the last epoch over the weights of the layer, a panel for each split."""
    splits = sorted({row.split for row in rows})
    figure = new_figure(6 * len(splits), 4, LIGHT)
    panels = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
    markers = "osD^v<>P*X"
    for axes, split in zip(panels, splits, strict=True):
        names = dict.fromkeys(row.format for row in rows)
        for marker, name in zip(markers, names, strict=False):
            points = sorted(
                (group[0].kernel_params, mean(row.accuracy_last for row in group))
                for (found, _, where), group in grouped(
                    [row for row in rows if not row.failure]
                ).items()
                if (found, where) == (name, split)
            )
            if points:
                axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, label=name)
        axes.set_xscale("log")
        axes.set_xlabel("weights of the input kernel")
        axes.set_title(f"{split} split", color=LIGHT.text)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("test accuracy, last epoch")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=5,
        frameon=False,
        fontsize=8,
    )
    content = io.BytesIO()
    figure.savefig(content, format="png", facecolor=LIGHT.background)
    return content.getvalue()
