"""What a trained classifier says of the test clips."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from experiments.run_directory import Predictions
from experiments.training import Classifier
from preprocess.pipeline import ClipBatches
from preprocess.reader import Shards


def predict_clips(
    classifier: Classifier, shards: Shards, batches: ClipBatches, clips: np.ndarray
) -> Predictions:
    """Predictions for some clips, in the order of the shards."""
    order, stream = batches.by_length(clips)
    probabilities, labels = classifier.predict(stream)
    back = np.argsort(order)
    positions = order[back]
    return Predictions(
        class_names=shards.class_names,
        clips=[shards.sources[i] for i in positions],
        groups=[shards.groups[i] for i in positions],
        num_frames=shards.num_frames[positions],
        labels=labels[back],
        probabilities=probabilities[back],
    )


def load_classifier(path: Path) -> Classifier:
    """A saved model, to predict with."""
    return Classifier(keras.models.load_model(path))
