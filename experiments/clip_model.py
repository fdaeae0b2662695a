"""A trained model of clips with what it takes to use it: what it saw, and its classes.

A run leaves `model.keras`, from frames to class probabilities, and `model.json`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import ttrnn.models  # noqa: F401 - makes its layers known to Keras
from preprocess.settings import FrameSettings
from preprocess.views import CropChoice, FrameChoice, Inputs, Views, cut, foreground

MODEL, FILE = "model.keras", "model.json"


class ClipModelError(ValueError):
    """There is no model that can be used."""


@dataclass(frozen=True)
class Seen:
    """What a model saw of videos, and its classes.

    Args:
        class_names: in label order.
        frames: how a video's frames are made.
        choice: which of them it sees.
        crops: which part of them.
        usual_frames: that the clips have, as `frames` makes them: their median.
        inputs: the frames, or their foreground.
    """

    class_names: tuple[str, ...]
    frames: FrameSettings
    choice: FrameChoice
    crops: CropChoice
    usual_frames: int
    inputs: Inputs = "frames"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Seen:
        """From what `to_json` gave."""
        return cls(
            tuple(values["class_names"]),
            FrameSettings.from_json(values["frames"]),
            FrameChoice(**values["choice"]),
            CropChoice(**values["crops"]),
            values["usual_frames"],
            values["inputs"],
        )


def keep_model(run_dir: Path, model: keras.Model, seen: Seen) -> None:
    """Leave a model in a run's directory; `model.json`, which comes last, makes it complete."""
    partial = run_dir / f".partial-{MODEL}"
    model.save(partial)
    partial.replace(run_dir / MODEL)
    text = json.dumps(seen.to_json(), indent=1) + "\n"
    partial = run_dir / f".partial-{FILE}"
    partial.write_text(text, encoding="utf-8")
    partial.replace(run_dir / FILE)


class ClipModel:
    """Says what windows of frames show.

    Args:
        model: {"frames", "num_frames"} to probabilities.
        seen: what it saw in training.
        views: crops and places in each window; their mean counts.
    """

    def __init__(self, model: keras.Model, seen: Seen, *, views: Views = Views()) -> None:  # noqa: B008 - frozen
        self.seen = seen
        self.class_names = seen.class_names
        self.frame_settings = seen.frames
        self._views = views
        self._model = model
        width, height = seen.crops.size
        spec = {
            "frames": tf.TensorSpec((None, height, width, 3), tf.uint8),
            "num_frames": tf.TensorSpec((None,), tf.int32),
        }
        self._forward = tf.function(lambda x: model(x, training=False), input_signature=[spec])

    @property
    def window(self) -> int:
        """Frames of a video, as `frame_settings` makes them, that it looks at at once."""
        choice = self.seen.choice
        return choice.num_frames if choice.sampling == "window" else self.seen.usual_frames

    def predict(self, windows: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Probabilities of windows of a video.

        Args:
            windows: of each its frames, uint8 (T, H, W, 3), as `frame_settings` make them.

        Returns:
            float32 (len(windows), classes).
        """
        if self.seen.inputs == "foreground":
            windows = [foreground(frames) for frames in windows]
        views = [self._view(frames, *place) for frames in windows for place in self._views]
        inputs = {
            "frames": np.concatenate(views),
            "num_frames": np.array([len(view) for view in views], np.int32),
        }
        found = self._forward(inputs).numpy()  # (windows * views, classes)
        return found.reshape(len(windows), -1, found.shape[-1]).mean(axis=1)

    def _view(self, frames: NDArray[np.uint8], place: int, crop: int) -> NDArray[np.uint8]:
        chosen = frames[self.seen.choice.tested(len(frames), place, self._views.temporal)]
        part = self.seen.crops.tested(self.seen.frames.size, crop, self._views.spatial)
        return cut(chosen, part, self.seen.crops.size)


def load_clip_model(run_dir: Path, *, views: Views = Views()) -> ClipModel:  # noqa: B008 - frozen
    """The model of a finished run.

    Raises:
        ClipModelError: if there is none, or it cannot be read.
    """
    file = run_dir / FILE
    if not file.is_file():
        raise ClipModelError(
            f"A finished run's directory is needed, which holds {FILE} and {MODEL}. {run_dir} does "
            "not; name another, or train one."
        )
    try:
        seen = Seen.from_json(json.loads(file.read_text(encoding="utf-8")))
        model = keras.models.load_model(run_dir / MODEL, compile=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClipModelError(f"The model in {run_dir} cannot be read: {error}") from error
    return ClipModel(model, seen, views=views)
