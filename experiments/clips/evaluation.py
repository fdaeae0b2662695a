"""Shared last part of the jobs on clips: training on a split, test, result and report.

Each job brings its own data, model and recipe; `experiments.training.loop` trains.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from experiments.clips.explanation import explain
from experiments.clips.model import keep_model
from experiments.clips.viewed_model import ClipInputSpec, ViewedModel
from experiments.models.keras_files import load_keras_model
from experiments.runs.directory import Predictions, write_predictions
from experiments.runs.metrics import (
    accuracy,
    argmax_accuracy,
    mean_average_precision,
    top_k_accuracy,
    wilson_interval,
)
from experiments.runs.mlflow_store import MlflowTracker
from experiments.runs.records import append_record, write_result
from experiments.runs.report import write_report
from experiments.runs.run import RECORDS
from experiments.runs.strips import FRAMES_IN_REPORT, ExplainedClip, write_explanations
from experiments.runs.tensorboard import EventWriter
from experiments.training import loop
from experiments.training.distribution import Distribution
from experiments.training.history import History, NextRate, Stop
from experiments.training.loop import Classifier, Score
from experiments.training.recipes import VideoRecipe
from preprocess.batches.pipeline import Stream
from preprocess.batches.planning import ALL, ReplicaShard
from preprocess.batches.views import CropChoice, FrameChoice, Inputs, Views
from preprocess.shards.reader import Shards
from preprocess.shards.settings import FrameSettings
from preprocess.sources.splits import Split
from ttrnn.frames import FrameRNN

# Of the most confident mistakes, and the time after which no further one is begun.
_NUM_EXPLAINED = 3
_EXPLAINING_SECONDS = 20


class Batches(Protocol):
    """Source of batches, with the clips as a model sees them."""

    def shuffled(self, clips: ArrayLike, epoch: int, shard: ReplicaShard = ALL) -> Stream:
        """Batches of one epoch of training."""

    def by_length(self, clips: ArrayLike, shard: ReplicaShard = ALL) -> tuple[np.ndarray, Stream]:
        """Batches for evaluation, and the position of the clip that each of their rows shows."""


class Tracker(Protocol):
    """Second place for what a run writes to its directory, for a tool that shows many runs."""

    def add_epochs(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Add the epochs that are not there yet, of all rows of metrics.csv so far."""

    def add_test(self) -> None:
        """Add what the test and the report have left in the run's directory."""

    def close(self) -> None:
        """End the run there."""


def train_and_test(
    classifier: Classifier,
    batches: Batches,
    shards: Shards,
    split: Split,
    arguments: Any,
    recipe: VideoRecipe,
    *,
    run_dir: Path,
    started: float,
    input_spec: ClipInputSpec,
    fields: dict[str, Any],
    test_batches: Batches | None = None,
    clips: Callable[[int], ArrayLike] | None = None,
    whole: Callable[[keras.Model], keras.Model] | None = None,
    stop: Stop | None = None,
    next_rate: NextRate | None = None,
) -> dict[str, Any] | None:
    """Train a model on the clips of a split, test it, and report.

    Args:
        classifier: model and optimizer.
        batches: batches to train on and to validate with.
        shards: all clips.
        split: subsets of the clips.
        arguments: flags of the job, of which `resume`, `record` and those of trackers count here.
        recipe: recipe of the training.
        run_dir: directory of all that the run leaves.
        started: `time.perf_counter()` at the start of this part of the run.
        input_spec, fields, whole: those of `finish_run`.
        test_batches: batches to test with; None for `batches`.
        clips: that of `epoch_batches`.
        stop, next_rate: those of `experiments.training.loop.train_and_test`.

    Returns:
        The content of result.json, and the run's directory as "run_dir"; None in a worker that is
        not the chief.

    Raises:
        RunError: if the checkpoint is damaged, or another worker has ended.
    """
    train_batches, validation_batches = epoch_batches(
        batches, split, classifier.distribution, clips
    )
    distribution = classifier.distribution
    trackers: list[Tracker] = []
    if distribution is None or distribution.is_chief:
        if arguments.tensorboard:
            trackers.append(EventWriter(run_dir))
        if arguments.mlflow:
            trackers.append(MlflowTracker(run_dir))
    test = partial(
        finish_run,
        run_dir=run_dir,
        shards=shards,
        batches=test_batches or batches,
        clips=split.test,
        selection=recipe.selection,
        input_spec=input_spec,
        fields=fields,
        record=arguments.record,
        whole=whole,
    )
    result = loop.train_and_test(
        classifier,
        train_batches,
        validation_batches,
        test,
        epochs=recipe.epochs,
        clips_per_epoch=len(split.train) + len(split.validation),
        run_dir=run_dir,
        resume=arguments.resume,
        started=started,
        score=score_of(shards),
        score_name="accuracy" if shards.label_matrix is None else "mAP",
        stop=stop,
        next_rate=next_rate,
        on_epoch=partial(_track_epochs, trackers),
    )
    for tracker in trackers:
        tracker.add_test()
        tracker.close()
    return result


def _track_epochs(trackers: Sequence[Tracker], history: History) -> None:
    rows = history.rows()
    for tracker in trackers:
        tracker.add_epochs(rows)


def score_of(shards: Shards) -> Score:
    """Score of the best epoch: mean average precision where clips have several classes."""
    return argmax_accuracy if shards.label_matrix is None else mean_average_precision


def epoch_batches(
    batches: Batches,
    split: Split,
    distribution: Distribution | None,
    clips: Callable[[int], ArrayLike] | None = None,
) -> tuple[Callable[[int], Iterable[Any]], Callable[[], Iterable[Any]]]:
    """Make the sources of training and validation batches that `train_and_test` takes.

    Args:
        batches: source of batches.
        split: clips to train on and to validate with.
        distribution: replicas among which each batch is dealt out; None for this process alone.
        clips: returns the positions of an epoch's clips (from 0); None for all training clips.

    Returns:
        Function from an epoch (from 0) to its training batches, and one to the validation batches.
    """

    def train_batches(epoch: int) -> Iterable[Any]:
        chosen = clips(epoch) if clips else split.train
        if distribution is None:
            return batches.shuffled(chosen, epoch)
        return distribution.dealt(lambda shard: batches.shuffled(chosen, epoch, shard))

    def validation_batches() -> Iterable[Any]:
        # Predictions need no replicas: each process evaluates its part of the clips with one of
        # them.
        shard = distribution.process_shard if distribution else ALL
        return batches.by_length(split.validation, shard)[1]

    return train_batches, validation_batches


def finish_run(
    history: History,
    *,
    run_dir: Path,
    shards: Shards,
    batches: Batches,
    clips: np.ndarray,
    selection: str,
    input_spec: ClipInputSpec,
    fields: dict[str, Any],
    record: bool,
    whole: Callable[[keras.Model], keras.Model] | None = None,
) -> dict[str, Any]:
    """Test the best and the last model, save the chosen one for predictions, and report.

    Args:
        history: epochs of the training.
        run_dir: directory of the model, the predictions, the result and the report.
        shards: all clips.
        batches: views of the clips to test with.
        clips: positions of the test clips.
        selection: weights that are chosen: "last", or "best" on the validation clips.
        input_spec: how frames of videos are made into the model's input.
        fields: fields of the result that are known before training.
        record: append the result to the recorded ones.
        whole: completes the trained model to one from frames to classes; None if it is complete.

    Returns:
        The content of result.json, and the run's directory as "run_dir".
    """
    # The model is kept first: a run with a result counts as finished, and is never resumed.
    chosen = load_classifier(run_dir / f"{selection}.keras").model
    complete = whole(chosen) if whole else chosen
    keep_model(run_dir, complete, input_spec)
    begun = time.perf_counter()
    # Both are tested whatever the selection: their difference shows what choosing by the
    # validation clips is worth. They differ in their weights alone, so that one model, compiled
    # once, predicts with either.
    tested = load_classifier(run_dir / "best.keras")
    predictions = {"best": predict_clips(tested, shards, batches, clips)}
    tested.model.set_weights(load_keras_model(run_dir / "last.keras").get_weights())
    predictions["last"] = predict_clips(tested, shards, batches, clips)
    write_predictions(run_dir / "predictions.csv", predictions[selection])
    result = {
        **fields,
        **scores(history, predictions, selection=selection),
        "wall_seconds": history.elapsed_seconds + time.perf_counter() - begun,
    }
    result = write_result(run_dir, result)
    tested.model.set_weights(chosen.get_weights())
    # After the result, whose time and memory are those of training and test.
    _explain_mistakes(
        run_dir,
        tested if complete is chosen else None,
        shards,
        predictions[selection],
        input_spec,
    )
    write_report(run_dir, shards)
    if record:
        append_record(result, RECORDS)
    return result | {"run_dir": run_dir}


class _TestedModel(ViewedModel):
    """Model of a test, whose compiled step predicts views of single clips as well."""

    def __init__(self, classifier: Classifier, input_spec: ClipInputSpec) -> None:
        super().__init__(input_spec, Views())
        self._classifier = classifier

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Predict views; probabilities (len(views), classes)."""
        inputs = {
            "frames": tf.constant(np.concatenate(views)),
            "num_frames": tf.constant([len(view) for view in views], tf.int32),
        }
        return self._classifier.predict([(inputs, tf.zeros(len(views)))])[0]


def _explain_mistakes(
    run_dir: Path,
    classifier: Classifier | None,
    shards: Shards,
    predictions: Predictions,
    input_spec: ClipInputSpec,
) -> None:
    """Draw which moments and places decided the most confident mistakes, for the report.

    Args:
        classifier: model from frames to classes, with the weights that made the predictions; None
            for a head on features, which sees no picture.
    """
    explained: list[ExplainedClip] = []
    if classifier is not None:
        model = _TestedModel(classifier, input_spec)
        stride = max(1, input_spec.frames.stride // shards.stride)
        begun = time.perf_counter()
        for row in predictions.worst_mistakes[:_NUM_EXPLAINED]:
            source = predictions.clips[row]
            clip = shards[shards.sources.index(source)]
            frames = clip.read(stride=stride)
            # As the model sees it in a test, in one view; a short clip may be there twice.
            (view,) = model.views([frames], clip.original_size)
            label = int(predictions.predicted[row])
            found = explain(
                model.probabilities,
                view,
                label,
                class_name=predictions.class_names[label],
                start_seconds=0,
                end_seconds=len(view),
                parts=FRAMES_IN_REPORT,
            )
            explained.append(ExplainedClip(source, found.probability, found.strip()))
            # A slow network explains one clip.
            if time.perf_counter() - begun > _EXPLAINING_SECONDS:
                break
    write_explanations(run_dir, explained, sees_pixels=classifier is not None)


def describe_input(
    shards: Shards,
    choice: FrameChoice,
    crops: CropChoice,
    *,
    inputs: Inputs = "frames",
    stride: int = 1,
) -> ClipInputSpec:
    """Describe the input of a model that is trained on shards.

    Args:
        shards: the clips.
        choice: frames that the model sees.
        crops: part of each frame that it sees.
        inputs: the frames, or their foreground.
        stride: step between the frames that it sees, counted in stored frames.
    """
    settings = shards.settings
    assert isinstance(settings, FrameSettings)
    # `max_frames` counts frames after the stride, of which there are fewer now.
    max_frames = settings.max_frames and math.ceil(settings.max_frames / stride)
    return ClipInputSpec(
        tuple(shards.class_names),
        replace(settings, stride=settings.stride * stride, max_frames=max_frames),
        choice,
        crops,
        # Rounded up: the first frame counts whatever follows.
        usual_frames=int(np.median(-(-shards.num_frames // stride))),
        inputs=inputs,
        several_labels=shards.label_matrix is not None,
    )


def predict_clips(
    classifier: Classifier, shards: Shards, batches: Batches, clips: np.ndarray
) -> Predictions:
    """Predict some clips, and return them in the order of the shards.

    The probabilities of a clip with several views are the mean over its views.
    """
    order, stream = batches.by_length(clips)
    probabilities, labels = classifier.predict(stream)
    # Batches are sorted by length, and each clip has one row for each of its views. `order` (rows,)
    # names the clip of each row.
    positions, first, row_of = np.unique(order, return_index=True, return_inverse=True)
    sums = np.zeros((len(positions), probabilities.shape[1]))
    # Unlike `sums[row_of] += ...`, it adds every row of a clip that occurs more than once.
    np.add.at(sums, row_of, probabilities)
    common: dict[str, Any] = {
        "class_names": shards.class_names,
        "clips": [shards.sources[i] for i in positions],
        "groups": [shards.groups[i] for i in positions],
        "num_frames": shards.num_frames[positions],
        "probabilities": sums / np.bincount(row_of)[:, None],
    }
    if labels.ndim == 2:
        return Predictions.of_several(truth=labels[first] > 0, **common)
    return Predictions(labels=labels[first], **common)


def load_classifier(path: Path) -> Classifier:
    """Load a saved model for predictions."""
    return Classifier(load_keras_model(path))


def model_sizes(model: keras.Model, layer_name: str, *, compressed: bool) -> dict[str, Any]:
    """Fields of a result about a model's parameters, and how far its formats compress them.

    Args:
        model: the classifier.
        layer_name: name of its recurrent layer.
        compressed: whether a matrix of that layer is a tensor train or another network of cores.
    """
    sizes: dict[str, Any] = {"params": model.count_params()}
    if compressed:
        layer = model.get_layer(layer_name)
        layer = layer.rnn if isinstance(layer, FrameRNN) else layer
        # The kernel alone is compressed far more than the layer, whose recurrent matrix is dense:
        # both are reported.
        sizes["tt_params"] = layer.num_kernel_params
        sizes["compression_kernel"], sizes["compression_layer"] = layer.compression
    return sizes


def scores(
    history: History, predictions: dict[str, Predictions], *, selection: str
) -> dict[str, Any]:
    """Fields of a result about accuracy, for the chosen, the best and the last model.

    Of clips that may be of several classes, accuracy is the share whose most probable class is one
    of theirs.

    Args:
        history: epochs of the training.
        predictions: predictions of the test clips, by the "best" and the "last" model.
        selection: name of the chosen model.
    """
    accuracies = {name: accuracy(p.labels, p.predicted) for name, p in predictions.items()}
    tested = predictions[selection]
    chosen = history.best if selection == "best" else history.epochs[-1]
    low, high = wilson_interval(int(tested.correct.sum()), len(tested.clips))
    return {
        "accuracy": accuracies[selection],
        "accuracy_interval": {"low": low, "high": high},
        "accuracy_top5": top_k_accuracy(tested.labels, tested.probabilities, k=5),
        "accuracy_last": accuracies["last"],
        "accuracy_best": accuracies["best"],
        "mean_average_precision": None
        if tested.truth is None
        else mean_average_precision(tested.probabilities, tested.truth),
        "validation_accuracy": chosen.validation_accuracy,
        "train_accuracy": chosen.train_accuracy,
        "epochs_run": len(history.epochs),
        "frames_per_second": history.frames_per_second,
    }
