"""What a trained classifier says of the test clips, and the figures of a result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.models.keras_files import load_keras_model
from experiments.runs.directory import Predictions
from experiments.runs.history import History
from experiments.runs.metrics import accuracy, top_k_accuracy, wilson_interval
from experiments.training.step import Classifier
from preprocess.shards.reader import Shards

if TYPE_CHECKING:
    import keras

    from experiments.clips.job import Batches


def predict_clips(
    classifier: Classifier, shards: Shards, batches: Batches, clips: np.ndarray
) -> Predictions:
    """Predictions for some clips, in the order of the shards.

    Where a clip is seen several times, its probabilities are the mean of those of its views.
    """
    order, stream = batches.by_length(clips)
    probabilities, labels = classifier.predict(stream)
    positions, first, row_of = np.unique(order, return_index=True, return_inverse=True)
    sums = np.zeros((len(positions), probabilities.shape[1]))
    np.add.at(sums, row_of, probabilities)
    return Predictions(
        class_names=shards.class_names,
        clips=[shards.sources[i] for i in positions],
        groups=[shards.groups[i] for i in positions],
        num_frames=shards.num_frames[positions],
        labels=labels[first],
        probabilities=sums / np.bincount(row_of)[:, None],
    )


def load_classifier(path: Path) -> Classifier:
    """A saved model, to predict with."""
    return Classifier(load_keras_model(path))


def model_sizes(model: keras.Model, layer_name: str, *, tensor_train: bool) -> dict[str, Any]:
    """Fields of a result: parameters of the model, and what the tensor train saves of its layer."""
    sizes: dict[str, Any] = {"params": model.count_params()}
    if tensor_train:
        layer = model.get_layer(layer_name).rnn
        sizes["tt_params"] = layer.num_tt_params
        sizes["compression_kernel"], sizes["compression_layer"] = layer.compression
    return sizes


def scores(
    history: History, predictions: dict[str, Predictions], *, selection: str
) -> dict[str, Any]:
    """Fields of a result: the accuracies of the chosen model, and those of the best and the last.

    Args:
        history: of the training.
        predictions: of the test clips, by the "best" and the "last" model.
        selection: which of them was chosen.
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
        "validation_accuracy": chosen.validation_accuracy,
        "train_accuracy": chosen.train_accuracy,
        "epochs_run": len(history.epochs),
        "frames_per_second": history.frames_per_second,
    }
