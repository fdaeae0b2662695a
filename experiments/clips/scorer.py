"""A trained scorer: pictures in, probabilities of a highlight out; kept in a run's directory.

A run holds the model, `best.keras`, and beside it `scorer.json`: how its pictures are made, the
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
from experiments.clips.pictures import Box, PictureSettings
from experiments.models.keras_files import KerasFileError, load_keras_model
from preprocess.errors import PreprocessError

if TYPE_CHECKING:
    import keras

FILE = "scorer.json"
MODEL = "best.keras"
VERSION = 1
_PICTURES_AT_ONCE = 64  # some 0.3 GB of activations at 112 pixels a side


class ScorerError(InputError):
    """A directory holds no scorer that can be used; the message says what to do."""


class Scorer:
    """A model that says how likely a picture shows a highlight.

    Args:
        model: pixels uint8 (B, H, W, 3) to probabilities (B, 2), highlight last.
        settings: how its pictures are made; (H, W, 3) is their `frame_shape`.
        box: the part of the picture that all clips it was trained on were labelled with; None
            where they differed.
        threshold: probability from which a picture is best called a highlight.
    """

    def __init__(
        self,
        model: keras.Model,
        settings: PictureSettings,
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
            lambda pictures: model(pictures, training=False)[:, 1], input_signature=[spec]
        )

    def predict(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N,) of pictures uint8 (N, H, W, 3); compiled once, for any N.

        Raises:
            InputError: if the pictures are others than the model was trained on.
        """
        expected = self.settings.frame_shape
        if pictures.dtype != np.uint8 or pictures.shape[1:] != expected:
            raise InputError(
                f"Pictures must be uint8 of shape (N, {', '.join(map(str, expected))}). "
                f"Received {pictures.dtype} {pictures.shape}."
            )
        parts = [
            self._predict(pictures[start : start + _PICTURES_AT_ONCE]).numpy()
            for start in range(0, len(pictures), _PICTURES_AT_ONCE)
        ]
        return np.concatenate([np.empty(0, np.float32), *parts])


def write_scorer(
    run_dir: Path, settings: PictureSettings, *, box: Box | None, threshold: float
) -> None:
    """Say what a run's `best.keras` is; `load_scorer` then finds it."""
    content = {
        "version": VERSION,
        "model": MODEL,
        "sha256": _sha256(run_dir / MODEL),
        "settings": settings.to_json(),
        "box": None if box is None else list(astuple(box)),
        "threshold": threshold,
    }
    write_atomically(run_dir / FILE, json.dumps(content, indent=2).encode())


def load_scorer(run_dir: Path) -> Scorer:
    """The scorer that `python -m experiments.highlights train` left in a directory.

    Raises:
        ScorerError: if there is none, or it is damaged.
        OSError: if a file cannot be read.
    """
    content = _content(run_dir)
    try:
        settings = PictureSettings.from_json(content["settings"])
        box = None if content["box"] is None else Box(*map(float, content["box"]))
        threshold = float(content["threshold"])
        sha256 = str(content["sha256"])
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold must be from 0 to 1. Received {threshold}.")
    except (KeyError, TypeError, ValueError, PreprocessError) as error:
        raise _damaged(run_dir / FILE, error) from error
    return Scorer(_model(run_dir / MODEL, sha256, settings), settings, box, threshold)


def require_scorer(run_dir: Path) -> None:
    """Whether a directory looks like a run of `train`; nothing of it is loaded.

    Raises:
        ScorerError: if it does not.
    """
    if not (run_dir / FILE).is_file():
        _content(run_dir)
    if not (run_dir / MODEL).is_file():
        raise _no_model(run_dir / MODEL)


def trained_sound_track(run_dir: Path) -> int:
    """Which sound track a scorer was trained on, from 0; `load_scorer` says if there is none."""
    try:
        settings = json.loads((run_dir / FILE).read_bytes())["settings"]
        return int(settings.get("sound_track", 0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0


def _content(run_dir: Path) -> dict[str, Any]:
    """What scorer.json says."""
    path = run_dir / FILE
    if not path.is_file():
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
    except ValueError as error:  # no JSON, or no text
        raise _damaged(path, error) from error
    if not isinstance(content, dict):
        raise _damaged(path, "it holds no object")
    if content.get("version") != VERSION:
        raise ScorerError(
            f"{path} must be of version {VERSION}. Received {content.get('version')!r}; train "
            "again with this release."
        )
    return content


def _model(path: Path, sha256: str, settings: PictureSettings) -> keras.Model:
    """The model, read without running any code of its file's."""
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
    said = lines[0] if lines else "no more is known"
    return ScorerError(f"{path} is damaged: {said} Copy it from the run again, or train again.")
