"""Trained models of clips in the directories of their runs: saving, loading, predicting.

A run leaves `model.keras`, from frames to class probabilities, and `model.json`, which describes
its input.
"""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from common.errors import InputError
from common.files import replacing, write_atomically
from experiments.clips.viewed_model import ClipInputSpec, ViewedModel
from experiments.models.keras_files import load_keras_model
from experiments.runs.run import MODEL, MODEL_SETTINGS, ClipModelError, require_model
from preprocess.batches.views import Views
from preprocess.errors import PreprocessError


def keep_model(run_dir: Path, model: keras.Model, input_spec: ClipInputSpec) -> None:
    """Save a model in a run's directory, and `model.json` beside it."""
    with replacing(run_dir / MODEL) as partial:
        model.save(partial)
    # Written last: a directory with this file holds a whole model.
    text = json.dumps(input_spec.to_json(), indent=1) + "\n"
    write_atomically(run_dir / MODEL_SETTINGS, text.encode())


class ClipModel(ViewedModel):
    """A Keras model that predicts windows of frames.

    Args:
        model: maps {"frames", "num_frames"} to probabilities.
        input_spec: description of its input.
        views: crops and places in each window; their probabilities are averaged.
    """

    def __init__(
        self,
        model: keras.Model,
        input_spec: ClipInputSpec,
        *,
        views: Views = Views(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(input_spec, views)
        self.model = model
        width, height = input_spec.crops.size
        # Clips lie end to end, (sum of num_frames, H, W, 3): one trace serves all lengths.
        spec = {
            "frames": tf.TensorSpec((None, height, width, 3), tf.uint8),
            "num_frames": tf.TensorSpec((None,), tf.int32),
        }
        self._forward = tf.function(
            lambda x: model(x, training=False), input_signature=[spec], autograph=False
        )

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Predict views.

        Args:
            views: frames of each view, uint8 (T, H, W, 3).

        Returns:
            Probabilities, float32 (len(views), classes).
        """
        inputs = {
            "frames": np.concatenate(views),
            "num_frames": np.array([len(view) for view in views], np.int32),
        }
        return self._forward(inputs).numpy()


def load_clip_model(run_dir: Path, *, views: Views = Views()) -> ClipModel:  # noqa: B008 - frozen
    """Load the model of a finished run.

    Raises:
        ClipModelError: if there is none, or it cannot be read.
    """
    return ClipModel(*read_model(run_dir), views=views)


def read_model(run_dir: Path) -> tuple[keras.Model, ClipInputSpec]:
    """Load the model, and the description of its input, that `keep_model` left in a directory.

    Raises:
        ClipModelError: if there is nothing, or it cannot be read.
    """
    require_model(run_dir)
    file = run_dir / MODEL_SETTINGS
    try:
        input_spec = ClipInputSpec.from_json(json.loads(file.read_text(encoding="utf-8")))
        model = load_keras_model(run_dir / MODEL)
        taken = model.input["frames"].shape[2:0:-1]  # width and height; None for any
        if any(
            side not in (None, seen)
            for side, seen in zip(taken, input_spec.crops.size, strict=True)
        ):
            raise InputError(
                f"it takes frames of {taken[0]}x{taken[1]}, and {MODEL_SETTINGS} says "
                f"{'x'.join(map(str, input_spec.crops.size))}."
            )
    except (OSError, ValueError, KeyError, TypeError, PreprocessError) as error:
        raise ClipModelError(f"The model in {run_dir} cannot be read: {error}") from error
    return model, input_spec
