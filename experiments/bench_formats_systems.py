"""Layers that `experiments.bench_formats` measures, in a process of their own."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib import ticker
from scipy.special import stdtrit  # not scipy.stats, which takes a second to import

import ttrnn
from experiments import crossval
from experiments.bench_formats import (
    FEATURES,
    FEATURES_BOTH,
    FEATURES_DENSE_RECURRENT,
    NUM_CLIPS,
    NUM_STEPS,
    OTHER_COMPRESSIONS,
    PIXELS,
    PIXELS_DENSE_RECURRENT,
    RANKS,
    RING_PIXELS,
    AccuracyRow,
    Arguments,
    CompressionRow,
    Key,
    SpeedRow,
    grouped,
    seconds_of,
)
from experiments.clips.head_runs import HeadRuns, TrainedHead
from experiments.clips.ucf11 import Ucf11Arguments
from experiments.crossval import Setting, run_head
from experiments.process.environment import peak_rss_bytes
from experiments.runs.directory import read_history
from experiments.runs.plots import LIGHT, dress, new_figure, png_bytes
from experiments.training.loop import Classifier
from experiments.training.optimizers import build_optimizer
from experiments.training.recipes import TUNED, on_features
from ttrnn.frames import FrameRNN

_PIXEL_RANKS, _FEATURE_RANKS = RANKS[PIXELS_DENSE_RECURRENT], RANKS[FEATURES_DENSE_RECURRENT]
_PUBLISHED: dict[str, dict[str, ttrnn.MatrixFormat | None]] = {
    PIXELS_DENSE_RECURRENT: {
        "dense": None,
        "tt": ttrnn.TensorTrain(*PIXELS, _PIXEL_RANKS["tt"]),
        "tr": ttrnn.TensorRing(*RING_PIXELS, separate=True),
        "bt": ttrnn.BlockTerm(*PIXELS, _PIXEL_RANKS["bt"], blocks=2),
        "tucker": ttrnn.Tucker(*PIXELS, _PIXEL_RANKS["tucker"]),
        "cp": ttrnn.CP(*PIXELS, _PIXEL_RANKS["cp"]),
        "kcp": ttrnn.KroneckerCP(*PIXELS, _PIXEL_RANKS["kcp"]),
        "ht": ttrnn.HierarchicalTucker(*PIXELS, _PIXEL_RANKS["ht"]),
    },
    FEATURES_DENSE_RECURRENT: {
        "dense": None,
        "tt": ttrnn.TensorTrain(*FEATURES, _FEATURE_RANKS["tt"]),
        "tr": ttrnn.TensorRing(*FEATURES, _FEATURE_RANKS["tr"], separate=True),
        "bt": ttrnn.BlockTerm(*FEATURES, _FEATURE_RANKS["bt"], blocks=2),
        "tucker": ttrnn.Tucker(*FEATURES, _FEATURE_RANKS["tucker"]),
        "cp": ttrnn.CP(*FEATURES, _FEATURE_RANKS["cp"]),
        "kcp": ttrnn.KroneckerCP(*FEATURES, _FEATURE_RANKS["kcp"]),
        "ht": ttrnn.HierarchicalTucker(*FEATURES, _FEATURE_RANKS["ht"]),
    },
}
_PUBLISHED[FEATURES_BOTH] = _PUBLISHED[FEATURES_DENSE_RECURRENT]


class Speed:
    """Steps of LSTMs of every format at the published sizes.

    Args:
        formats: names of formats; the dense layer is measured, too.
    """

    def __init__(self, formats: tuple[str, ...]) -> None:
        self._formats = ("dense", *formats)
        self._size = ""
        self._built: dict[str, _Steps] = {}

    def measure(self, size: str) -> list[SpeedRow]:
        """Time a training and an inference step of every layer of a size, once."""
        if size != self._size:
            # The layers of one size at a time are in memory.
            self._size, self._built = size, {}
            for name in self._formats:
                self._built[name] = _steps(size, _PUBLISHED[size][name])
        return [_speed(size, name, steps) for name, steps in self._built.items()]


def _speed(size: str, name: str, steps: _Steps) -> SpeedRow:
    plans = steps.layer.plans(steps.num_frames)
    training, inference = (seconds_of(call) for call in steps.calls)
    return SpeedRow(
        size=size,
        format=name,
        kernel_params=steps.layer.num_kernel_params,
        layer_params=steps.layer.count_params(),
        training_frames_per_second=steps.num_frames / training,
        inference_frames_per_second=steps.num_frames / inference,
        flops_per_frame=sum(plan.flops for plan in plans),
        steps=max(len(plan.steps) for plan in plans),
    )


class Memory:
    """Memory of one layer's steps, in a process that has done nothing else."""

    def measure(self, size: str, name: str) -> int:
        """Rise of the peak in bytes by a layer, its clips, and two steps of either kind."""
        before = peak_rss_bytes()
        steps = _steps(size, _PUBLISHED[size][name])
        for call in steps.calls:
            call()
        return peak_rss_bytes() - before


@dataclass(frozen=True)
class _Steps:
    """Compiled training and inference step of a layer, which have run once."""

    layer: Any
    calls: tuple[Callable[[], float], Callable[[], float]]
    num_frames: int


def _steps(size: str, kernel_format: ttrnn.MatrixFormat | None) -> _Steps:
    is_pixels = size == PIXELS_DENSE_RECURRENT
    rng = np.random.default_rng(0)
    length = NUM_STEPS[size]
    layer = ttrnn.TensorLSTM(
        256 if is_pixels else 2048,
        kernel_format=kernel_format,
        recurrent_format=kernel_format if size == FEATURES_BOTH else None,
    )
    inputs: tuple[Any, ...]
    if is_pixels:
        frames = tf.constant(rng.integers(0, 256, (NUM_CLIPS * length, 120, 160, 3), np.uint8))
        inputs = (frames, tf.fill(NUM_CLIPS, length))
        outer = FrameRNN(layer, scale=64.0)
        outer.build(frames.shape)
    else:
        inputs = (tf.constant(rng.standard_normal((NUM_CLIPS, length, 2048)), tf.float32),)
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

    # A number is there only when its step has ended.
    calls = (lambda: float(train()), lambda: float(infer()))
    for call in calls:  # the first call compiles
        call()
    return _Steps(layer, calls, NUM_CLIPS * length)


class Accuracy:
    """Heads on the features of clips, which are computed once.

    Args:
        arguments: flags of the benchmark.
    """

    def __init__(self, arguments: Arguments) -> None:
        self._arguments = arguments
        self._heads = HeadRuns()
        self._sizes: dict[Setting, tuple[int | None, int | None, int]] = {}

    def models(self) -> list[tuple[str, int | None, Setting]]:
        """Name, rank of the budget's tensor train, and setting of every model."""
        found: list[tuple[str, int | None, Setting]] = []
        for tt_rank in self._arguments.ranks:
            names: list[Any] = [*self._arguments.formats, "low-rank"]
            found += [(name, tt_rank, self._setting(name, tt_rank)) for name in names]
            units = self._smaller_units(tt_rank)
            smaller = self._setting("dense", changes=[f"tt_output_shape=[{units}]"])
            found.append(("smaller dense", tt_rank, smaller))
        # These have one size, whatever the budget.
        found.append(("dense", None, self._setting("dense")))
        found.append(("tt-mlp", None, replace(self._setting("tt"), cell="mlp")))
        found.append(("mean", None, replace(self._setting("tt"), cell="mean")))
        return found

    def train(
        self,
        name: str,
        tt_rank: int | None,
        setting: Setting,
        split: str,
        fold: int,
        seed: int,
    ) -> AccuracyRow:
        """Train and test one model on one fold, unless that was done before."""
        runs = self._runs(split)
        result = run_head(self._heads, runs, setting, fold, seed)
        history = read_history(setting.run_dir(runs, fold, seed) / "metrics.csv")
        assert history is not None
        if setting not in self._sizes:
            head = self._heads.build(self._flags(setting, split, fold, seed)).head
            kernel = layer = None
            if name != "mean":
                recurrent = head.get_layer(setting.cell)
                kernel, layer = recurrent.num_kernel_params, recurrent.count_params()
            self._sizes[setting] = kernel, layer, head.count_params()
        kernel, layer, model = self._sizes[setting]
        return AccuracyRow(
            format=name,
            tt_rank=tt_rank,
            kernel_params=kernel,
            layer_params=layer,
            model_params=model,
            split=split,
            fold=fold,
            seed=seed,
            accuracy_last=result["accuracy_last"],
            accuracy_best=result["accuracy_best"],
            num_test_clips=result["num_test_clips"],
            seconds=result["wall_seconds"],
            failure="" if np.isfinite(history["train_loss"][-1]) else "the loss is not finite",
        )

    def compress(self, split: str, fold: int, seed: int) -> list[CompressionRow]:
        """Train a dense layer, compress its kernel in every way, and train on."""
        tt_rank = max(self._arguments.ranks)
        trained = self._heads.train(self._flags(self._setting("dense"), split, fold, seed))
        before = _accuracy(trained, trained.classifier)
        dense = trained.classifier.model
        kernel = _kernel(dense.get_layer(self._arguments.cell))
        rows = []
        for name in (*self._arguments.formats, *OTHER_COMPRESSIONS):
            small = self._compressed(dense, name, tt_rank, split)
            found = _kernel(small.model.get_layer(self._arguments.cell))
            if small.rounded is not None:
                found = rounded_to_int8(found)
            after, tuned = _trained_on(small, trained)
            rows.append(
                CompressionRow(
                    format=name,
                    tt_rank=tt_rank,
                    kernel_params=small.num_params,
                    kernel_bytes=small.num_bytes,
                    split=split,
                    fold=fold,
                    seed=seed,
                    error=float(np.linalg.norm(found - kernel) / np.linalg.norm(kernel)),
                    accuracy_before=before,
                    accuracy_after=after,
                    accuracy_tuned=tuned,
                )
            )
        return rows

    def chart(self, rows: list[AccuracyRow]) -> bytes:
        """Plot the runs; see `pareto_png`."""
        return pareto_png(rows)

    def differences(self, rows: list[AccuracyRow]) -> dict[Key, tuple[float, float]]:
        """Compare every model with the tensor train of its budget; see `intervals`."""
        return intervals(rows)

    def _compressed(
        self, dense: keras.Model, name: str, tt_rank: int, split: str
    ) -> _CompressedModel:
        """Compress the input kernel of a model in one way, to the bytes of a tensor train."""
        cell = self._arguments.cell
        layer = dense.get_layer(cell)
        if name not in ("pruned", "pruned int8", "int8", "nothing"):
            # The format, with modes and ranks, that the job would train from scratch.
            kernel_format = self._format(self._setting(name, tt_rank), split)
            options = kernel_format.get_config()
            small = ttrnn.compress(layer, type(kernel_format), rank=options.pop("ranks"), **options)
            count = small.num_kernel_params
            return _CompressedModel(_with_layer(dense, small), count, 4 * count)
        clone = _with_layer(dense, layer.__class__.from_config(layer.get_config()))
        clone.set_weights(dense.get_weights())
        core = clone.get_layer(cell).cell.cores[0]
        columns = _kernel(layer).shape[1]
        train = self._format(self._setting("tt", tt_rank), split)
        budget = 4 * train.with_gates(layer.cell.num_gates).num_params
        count, rounded = core.shape.num_elements(), name.endswith("int8")
        size = count * (1 if rounded else 4) + (4 * columns if rounded else 0)
        if name.startswith("pruned"):
            # Sparse columns: each weight with its row in 16 bits, and where every column begins.
            around = 4 * (columns + 1) + (4 * columns if rounded else 0)
            each = 2 + (1 if rounded else 4)
            count = min(count, (budget - around) // each)
            size = around + count * each
            keep_largest(core, count)
        return _CompressedModel(clone, count, size, core if rounded else None)

    def _format(self, setting: Setting, split: str) -> ttrnn.MatrixFormat:
        head = self._heads.build(self._flags(setting, split, 0, 0)).head
        return head.get_layer(self._arguments.cell).cell.kernel_format

    def _smaller_units(self, tt_rank: int) -> int:
        """Largest state of a dense layer with no more weights than that of a tensor train."""
        flags = self._flags(self._setting("tt", tt_rank), "group", 0, 0)
        head = self._heads.build(flags).head
        layer = head.get_layer(self._arguments.cell)
        num_features = head.input["features"].shape[-1]
        units = 1
        # Kernel, recurrent matrix and bias of the next size.
        while (
            layer.cell.num_gates * (units + 1) * (num_features + units + 2) <= layer.count_params()
        ):
            units += 1
        return units

    def _setting(
        self, kernel: Any, tt_rank: int | None = None, changes: Sequence[str] = ()
    ) -> Setting:
        """Setting of a head that trains on all other folds."""
        if tt_rank not in (None, on_features(TUNED).tt_rank):
            changes = [f"tt_rank={tt_rank}"]
        overrides = " ".join(["validation=test", *changes])
        return Setting(TUNED.name, self._arguments.cell, kernel, overrides)

    def _runs(self, split: str) -> crossval.Arguments:
        """Flags that the runs of a split share."""
        arguments = self._arguments
        flags = ["--split", split, "--threads", arguments.threads]
        if arguments.policy != "auto":
            flags += ["--policy", arguments.policy]
        for name in ("videos", "shards", "epochs"):
            if getattr(arguments, name) is not None:
                flags += [f"--{name}", str(getattr(arguments, name))]
        if arguments.frames != Ucf11Arguments.frames:
            flags += ["--frames", str(arguments.frames)]
        return crossval.Arguments(
            # Below runs/, where those of all settings are.
            name=os.path.relpath(arguments.out / split, "runs"),
            features=arguments.features,
            flags=shlex.join(flags),
            record=arguments.record,
        )

    def _flags(self, setting: Setting, split: str, fold: int, seed: int) -> Ucf11Arguments:
        runs = self._runs(split)
        # Not the directory of the run: it may have been carried out, which the job would refuse.
        return replace(setting.parsed(runs, fold, seed, Path()), out=None, record=False)


@dataclass(frozen=True)
class _CompressedModel:
    """A model with a compressed kernel.

    Args:
        model: the model.
        num_params, num_bytes: size of the kernel.
        rounded: kernel that is rounded to int8 whenever the model is tested; None for none.
    """

    model: keras.Model
    num_params: int
    num_bytes: int
    rounded: Any = None


def _kernel(layer: Any) -> np.ndarray:
    """Matrix (M, gates * N) of a layer's input kernel."""
    return keras.ops.convert_to_numpy(layer.cell.full_kernel())


def _with_layer(model: keras.Model, layer: Any) -> keras.Model:
    """Clone a model with another layer in the place of one of the same name."""

    def clone(old: Any) -> Any:
        return layer if old.name == layer.name else old.__class__.from_config(old.get_config())

    cloned = keras.models.clone_model(model, clone_function=clone)
    for old in model.layers:
        if old.name != layer.name:
            cloned.get_layer(old.name).set_weights(old.get_weights())
    return cloned


def keep_largest(variable: Any, count: int) -> None:
    """Set all but the largest entries of a variable to zero, where training leaves them."""
    values = keras.ops.convert_to_numpy(variable)
    mask = np.zeros(values.size, values.dtype)
    mask[np.argsort(-np.abs(values), axis=None, kind="stable")[:count]] = 1
    mask = mask.reshape(values.shape)
    variable.assign(values * mask)
    # The optimizer calls it after every step.
    variable.constraint = lambda value: value * mask


def rounded_to_int8(kernel: np.ndarray) -> np.ndarray:
    """Round to 255 even steps in each column, between plus and minus its largest entry."""
    steps = np.abs(kernel).max(axis=0) / 127
    steps = np.where(steps > 0, steps, 1)
    return (np.round(kernel / steps) * steps).astype(kernel.dtype)


def _accuracy(trained: TrainedHead, classifier: Classifier) -> float:
    """Share of the test clips that are classified correctly."""
    return float(trained.predictions(classifier).correct.mean())


def _trained_on(small: _CompressedModel, trained: TrainedHead) -> tuple[float, float]:
    """Test a compressed model, train it for a quarter of the epochs more, and test it again."""
    recipe = replace(
        trained.recipe,
        epochs=-(-trained.recipe.epochs // 4),
        learning_rate=trained.recipe.learning_rate / 4,
    )
    clips, batches = trained.split.train, trained.batches
    num_steps = recipe.epochs * -(-len(clips) // recipe.batch_size)
    classifier = Classifier(
        small.model,
        build_optimizer(recipe, num_steps),
        label_smoothing=recipe.label_smoothing,
    )

    def tested() -> float:
        kept = None
        if small.rounded is not None:
            kept = small.rounded.numpy()
            matrix = kept.reshape(kept.shape[1], kept.shape[2])
            small.rounded.assign(rounded_to_int8(matrix).reshape(kept.shape))
        found = _accuracy(trained, classifier)
        if kept is not None:
            small.rounded.assign(kept)
        return found

    after = tested()
    for epoch in range(recipe.epochs):
        # All loaded first: CPython 3.11 may raise SystemError where a thread parses a file's header
        # while this one traces the step.
        for inputs, labels in list(batches.shuffled(clips, epoch)):
            classifier.train_batch(inputs, labels)
    return after, tested()


def intervals(rows: Sequence[AccuracyRow]) -> dict[Key, tuple[float, float]]:
    """95 % intervals of the difference to the tensor train, on the same folds and seeds.

    Training sets of different folds overlap, so that the runs are not independent: the variance of
    the mean is that of Nadeau and Bengio, 2003, of repeated splits.
    """
    found = {}
    groups = grouped([row for row in rows if not row.failure])
    for key, group in groups.items():
        _, tt_rank, split = key
        largest = max((rank for _, rank, _ in groups if rank is not None), default=None)
        trains = groups.get(("tt", largest if tt_rank is None else tt_rank, split), [])
        of_train = {(row.fold, row.seed): row.accuracy_last for row in trains}
        pairs = [row for row in group if (row.fold, row.seed) in of_train]
        gains = np.array([row.accuracy_last - of_train[row.fold, row.seed] for row in pairs])
        if key[0] == "tt" or len(gains) < 2:
            continue
        # A fold is tested, and four are trained on.
        variance = gains.var(ddof=1) * (1 / len(gains) + 1 / 4)
        half = float(stdtrit(len(gains) - 1, 0.975) * np.sqrt(variance))
        found[key] = (float(gains.mean()) - half, float(gains.mean()) + half)
    return found


# Colours of Okabe and Ito, which colour-blind people tell apart, and markers that repeat them.
_STYLES = {
    "tt": ("#0072b2", "o"),
    "tr": ("#d55e00", "s"),
    "bt": ("#009e73", "D"),
    "tucker": ("#cc79a7", "^"),
    "cp": ("#e69f00", "v"),
    "kcp": ("#56b4e9", "<"),
    "ht": ("#7b4fa3", ">"),
    "low-rank": ("#8a929b", "p"),
    "smaller dense": ("#8a929b", "h"),
    "dense": (LIGHT.text, "*"),
    "tt-mlp": ("#0072b2", "H"),
}


def pareto_png(rows: Sequence[AccuracyRow]) -> bytes:
    """Plot the accuracy of the last epoch over the bytes of the input kernel, a panel a split.

    A smaller dense layer stands where the tensor train stands whose layer is as large, and the mean
    over the frames, which has no kernel, is a line. Another format within the band around the
    tensor train does not differ from it: the band is as wide as the median of the intervals.
    """
    splits = sorted({row.split for row in rows})
    figure = new_figure(max(8, 6 * len(splits)), 5, LIGHT)
    panels = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
    rows = [row for row in rows if not row.failure]
    for axes, split in zip(panels, splits, strict=True):
        _draw_split(axes, [row for row in rows if row.split == split])
        axes.set_title(f"{split} split", fontsize=11, loc="left", fontweight="bold")
        dress(axes, LIGHT)
    panels[0].set_ylabel("test accuracy, last epoch")
    handles: dict[str, Any] = {}
    for axes in panels:
        lines, names = axes.get_legend_handles_labels()
        handles |= dict(zip(names, lines, strict=True))
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=6,
        frameon=False,
        fontsize=9,
        labelcolor=LIGHT.text,
    )
    return png_bytes(figure)


def _draw_split(axes: Any, rows: Sequence[AccuracyRow]) -> None:
    """Draw the runs of one split."""
    groups = grouped(rows)
    train_bytes = {
        rank: _kernel_bytes(group) for (name, rank, _), group in groups.items() if name == "tt"
    }
    # Bytes and mean accuracy of every model, by its name.
    points: dict[str, list[tuple[int, float]]] = {}
    for (name, rank, _), group in groups.items():
        accuracy = mean(row.accuracy_last for row in group)
        if name == "mean":
            axes.axhline(accuracy, color=LIGHT.text, linestyle=":", linewidth=1.2, label="mean")
            continue
        size = _kernel_bytes(group)
        if name == "smaller dense":
            size = train_bytes.get(rank, size)
        points.setdefault(name, []).append((size, accuracy))
    widths: dict[int | None, list[float]] = {}
    for (_, rank, _), (low, high) in intervals(rows).items():
        widths.setdefault(rank, []).append((high - low) / 2)
    # Bytes, and lower and upper end of the band.
    around: list[tuple[float, float, float]] = []
    for rank, size in sorted(train_bytes.items(), key=lambda pair: pair[1]):
        if rank in widths:
            middle = mean(row.accuracy_last for row in groups["tt", rank, rows[0].split])
            half = median(widths[rank])
            # Of some width, so that a single rank has a band, too.
            around += [(size * k, middle - half, middle + half) for k in (0.85, 1 / 0.85)]
    if around:
        band = np.array(around)
        axes.fill_between(
            band[:, 0],
            band[:, 1],
            np.minimum(band[:, 2], 1),
            color=_STYLES["tt"][0],
            alpha=0.1,
            linewidth=0,
            label="95 % about tt",
        )
    for name, line in points.items():
        colour, marker = _STYLES.get(name, (LIGHT.text, "o"))
        sizes, accuracies = zip(*sorted(line), strict=True)
        axes.plot(
            sizes,
            accuracies,
            color=colour,
            marker=marker,
            markersize=11 if marker == "*" else 7,
            markeredgecolor=LIGHT.background,
            linewidth=2.5 if name == "tt" else 1.4,
            label=name,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(_short_size))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_xlabel("bytes of the input kernel")
    axes.grid(axis="y", color=LIGHT.grid, linewidth=0.8)


def _short_size(num_bytes: float, _: int) -> str:
    """Label of a tick."""
    return f"{num_bytes / 1e6:g} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:g} kB"


def _kernel_bytes(group: Sequence[AccuracyRow]) -> int:
    """Bytes of a model's input kernel, of float32."""
    return 4 * (group[0].kernel_params or 0)
