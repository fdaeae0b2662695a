"""A trained scorer: pictures in, probabilities of a highlight out.

It imports TensorFlow, so the process must have set its thread pools before.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from common.errors import InputError
from experiments.clips.images import Box, ImageSettings
from experiments.clips.scorer import (
    FILE,
    MODEL,
    ScorerError,
    damaged_error,
    digest_of,
    no_model_error,
    read_content,
)
from experiments.models.keras_files import KerasFileError, load_keras_model
from preprocess.errors import PreprocessError

# Some 0.3 GB of activations at 112 pixels a side.
_IMAGES_AT_ONCE = 64


class Scorer:
    """A model that predicts how likely a picture shows a highlight.

    Args:
        model: maps pixels, uint8 (B, H, W, 3), to probabilities (B, 2), highlight last.
        settings: settings of its pictures; (H, W, 3) is their `frame_shape`.
        box: box that all training clips were labelled with; None if they differed.
        threshold: probability from which a picture counts as a highlight.
        doubts: reasons not to trust the threshold on other recordings.
    """

    def __init__(
        self,
        model: keras.Model,
        settings: ImageSettings,
        box: Box | None = None,
        threshold: float = 0.5,
        doubts: Sequence[str] = (),
    ) -> None:
        self.model = model
        self.settings = settings
        self.box = box
        self.threshold = threshold
        self.doubts = tuple(doubts)
        spec = tf.TensorSpec((None, *settings.frame_shape), tf.uint8)
        self._predict = tf.function(
            lambda images: model(images, training=False)[:, 1],
            input_signature=[spec],
            autograph=False,
        )

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict pictures.

        Args:
            images: uint8 (N, H, W, 3).

        Returns:
            Probabilities of a highlight, float32 (N,).

        Raises:
            InputError: if the pictures have another shape or dtype than those of the training.
        """
        expected = self.settings.frame_shape
        if images.dtype != np.uint8 or images.shape[1:] != expected:
            raise InputError(
                f"Pictures must be uint8 of shape (N, {', '.join(map(str, expected))}). "
                f"Received {images.dtype} {images.shape}."
            )
        parts = [
            self._predict(images[start : start + _IMAGES_AT_ONCE]).numpy()
            for start in range(0, len(images), _IMAGES_AT_ONCE)
        ]
        # The empty array makes N = 0 work.
        return np.concatenate([np.empty(0, np.float32), *parts])


def load_scorer(run_dir: Path) -> Scorer:
    """Load the scorer that `python -m experiments.highlights train` left in a directory.

    Raises:
        ScorerError: if there is none, or it is damaged.
        OSError: if a file cannot be read.
    """
    content = read_content(run_dir)
    try:
        settings = ImageSettings.from_json(content["settings"])
        box = None if content["box"] is None else Box(*map(float, content["box"]))
        threshold = float(content["threshold"])
        sha256 = str(content["sha256"])
        doubts = [str(one) for one in content.get("doubts", ())]
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold must be from 0 to 1. Received {threshold}.")
    except (KeyError, TypeError, ValueError, PreprocessError) as error:
        raise damaged_error(run_dir / FILE, error) from error
    return Scorer(_model(run_dir / MODEL, sha256, settings), settings, box, threshold, doubts)


def _model(path: Path, sha256: str, settings: ImageSettings) -> keras.Model:
    """Load the model without running any code from its file."""
    if not path.is_file():
        raise no_model_error(path)
    if digest_of(path) != sha256:
        raise ScorerError(
            f"{path} is not the model that {FILE} speaks of; copy both from the run, or train "
            "again."
        )
    try:
        model = load_keras_model(path)
    except KerasFileError as error:
        raise ScorerError(f"{error} Copy it from the run again, or train again.") from error
    shapes = (tuple(model.input_shape[1:]), tuple(model.output_shape[1:]))
    if shapes != (settings.frame_shape, (2,)):
        raise ScorerError(
            f"{path} must take pictures of shape {settings.frame_shape}, as {FILE} says, and give "
            f"2 probabilities. It takes {shapes[0]} and gives {shapes[1]}; train again."
        )
    return model
