"""A trained scorer: pictures in, probabilities of a highlight out; stored in a run's directory.

A run holds the model, `best.keras`, and beside it `scorer.json`: the settings of its pictures, the
box that shows the excitement and the suggested threshold.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from common.files import write_atomically
from experiments.clips.images import Box, ImageSettings
from experiments.models.keras_files import KerasFileError, load_keras_model
from preprocess.errors import PreprocessError

if TYPE_CHECKING:
    import keras

FILE = "scorer.json"
MODEL = "best.keras"
VERSION = 1
# Some 0.3 GB of activations at 112 pixels a side.
_IMAGES_AT_ONCE = 64


class ScorerError(InputError):
    """Error for a directory without a usable scorer; the message says what to do."""


class Scorer:
    """A model that predicts how likely a picture shows a highlight.

    Args:
        model: maps pixels, uint8 (B, H, W, 3), to probabilities (B, 2), highlight last.
        settings: settings of its pictures; (H, W, 3) is their `frame_shape`.
        box: box that all training clips were labelled with; None if they differed.
        threshold: probability from which a picture counts as a highlight.
    """

    def __init__(
        self,
        model: keras.Model,
        settings: ImageSettings,
        box: Box | None = None,
        threshold: float = 0.5,
    ) -> None:
        import tensorflow as tf

        self.model = model
        self.settings = settings
        self.box = box
        self.threshold = threshold
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


def write_scorer(
    run_dir: Path, settings: ImageSettings, *, box: Box | None, threshold: float
) -> None:
    """Write `scorer.json` for a run's `best.keras`, so that `load_scorer` finds it."""
    content = {
        "version": VERSION,
        "model": MODEL,
        # Ties the settings to one model: a file that is copied alone from another run is refused.
        "sha256": _sha256(run_dir / MODEL),
        "settings": settings.to_json(),
        "box": None if box is None else list(astuple(box)),
        "threshold": threshold,
    }
    write_atomically(run_dir / FILE, json.dumps(content, indent=2).encode())


def load_scorer(run_dir: Path) -> Scorer:
    """Load the scorer that `python -m experiments.highlights train` left in a directory.

    Raises:
        ScorerError: if there is none, or it is damaged.
        OSError: if a file cannot be read.
    """
    content = _content(run_dir)
    try:
        settings = ImageSettings.from_json(content["settings"])
        box = None if content["box"] is None else Box(*map(float, content["box"]))
        threshold = float(content["threshold"])
        sha256 = str(content["sha256"])
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold must be from 0 to 1. Received {threshold}.")
    except (KeyError, TypeError, ValueError, PreprocessError) as error:
        raise _damaged(run_dir / FILE, error) from error
    return Scorer(_model(run_dir / MODEL, sha256, settings), settings, box, threshold)


def require_scorer(run_dir: Path) -> None:
    """Check that a directory looks like a run of `train`, without loading it.

    Raises:
        ScorerError: if it does not.
    """
    if not (run_dir / FILE).is_file():
        # Raises the error that says why there is no such file.
        _content(run_dir)
    if not (run_dir / MODEL).is_file():
        raise _no_model(run_dir / MODEL)


def trained_sound_track(run_dir: Path) -> int:
    """Read the number of the sound track that a scorer was trained on, from 0.

    A directory without a scorer gives 0: `load_scorer` says later what is wrong with it.
    """
    try:
        settings = json.loads((run_dir / FILE).read_bytes())["settings"]
        return int(settings.get("sound_track", 0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0


def _content(run_dir: Path) -> dict[str, Any]:
    """Read scorer.json, and check its version."""
    path = run_dir / FILE
    if not path.is_file():
        # A run begins with config.json and ends with scorer.json.
        if (run_dir / "config.json").is_file():
            raise ScorerError(
                f"The training in {run_dir} did not come to its end: it has no {FILE}. Give its "
                "command again, with --resume."
            )
        raise ScorerError(
            f"A scorer is a directory with {FILE}. {run_dir} has none; make one with python -m "
            f"experiments.highlights train LABELS SHARDS --out {run_dir}"
        )
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        # Not JSON, or not text.
        raise _damaged(path, error) from error
    if not isinstance(content, dict):
        raise _damaged(path, "it holds no object")
    if content.get("version") != VERSION:
        raise ScorerError(
            f"{path} must be of version {VERSION}. Received {content.get('version')!r}; train "
            "again with this release."
        )
    return content


def _model(path: Path, sha256: str, settings: ImageSettings) -> keras.Model:
    """Load the model without running any code from its file."""
    if not path.is_file():
        raise _no_model(path)
    if _sha256(path) != sha256:
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


def _no_model(path: Path) -> ScorerError:
    return ScorerError(f"{path.parent} holds {FILE} but not {MODEL}; copy both, or train again.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(path: Path, error: object) -> ScorerError:
    lines = f"{error!r}".splitlines() if isinstance(error, KeyError) else f"{error}".splitlines()
    reason = lines[0] if lines else "no more is known"
    return ScorerError(f"{path} is damaged: {reason} Copy it from the run again, or train again.")
