"""Models that can be exported: models of clips, and models of single images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from common.errors import InputError
from experiments.clips import scorer
from experiments.clips.export.graphs import for_equal_clips, in_float32
from experiments.clips.images import ImageSettings
from experiments.clips.model import ClipModel, read_model
from experiments.clips.scorer_model import load_scorer
from experiments.clips.viewed_model import ClipInputSpec
from experiments.models.image_loading import are_probabilities
from experiments.models.keras_files import load_keras_model
from experiments.models.onnx_export import to_onnx
from experiments.models.onnx_files import About
from experiments.runs.run import MODEL, MODEL_SETTINGS
from preprocess.shards.settings import FrameSettings, StoredSettings
from ttrnn.models.conv3d import EqualClips

# Side of the frames for a model that takes any size.
_USUAL_SIDE = 224
# Frames of a video from one image to the next: neighbours look too much alike to test with.
_IMAGE_STRIDE = 10


class Subject(Protocol):
    """Model with what is needed to export it."""

    about: About
    model: keras.Model
    notes: tuple[str, ...]
    """Notes for the person who exports it."""
    settings_type: type[StoredSettings]
    """Type of the settings of the shards that the model was trained on."""

    @property
    def frame_settings(self) -> FrameSettings:
        """Settings of the frames that the model takes from a video."""

    @property
    def window(self) -> int:
        """Number of frames that the model looks at at once."""

    def graph(self) -> Any:
        """Convert the model to an onnx.ModelProto."""

    def model_input(
        self, frames: NDArray[np.uint8], original_size: tuple[int, int]
    ) -> NDArray[Any]:
        """Make a row of the graph's input from a window of frames.

        Args:
            frames: uint8 (T, H, W, 3).
            original_size: width and height of the video's own frames.
        """

    def predict(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Predict the graph's input by Keras; probabilities (batch, classes)."""


class ClipSubject:
    """A model of clips, to be exported.

    Args:
        model: maps {"frames", "num_frames"} to probabilities.
        input_spec: description of its input.
    """

    settings_type: type[StoredSettings] = FrameSettings

    def __init__(self, model: keras.Model, input_spec: ClipInputSpec) -> None:
        self.model = in_float32(model)
        self.notes = _notes(model, self.model)
        self.about = About("clips", input_spec.class_names, input_spec.to_json())
        self._keras = ClipModel(self.model, input_spec)
        self.frame_settings = self._keras.frame_settings
        self.window = self._keras.window

    def graph(self) -> Any:
        """Convert to a graph from "clips", uint8 (B, T, H, W, 3), to "probabilities"."""
        # A 3D CNN only takes clips of the length it was built for.
        layers = [layer for layer in self.model.layers if isinstance(layer, EqualClips)]
        num_frames = layers[0].num_frames if layers else None
        shape = self.model.input["frames"].shape[1:]

        def prepare(clips: Any) -> dict[str, Any]:
            batch, length = tf.shape(clips)[0], tf.shape(clips)[1]
            # (B, T, H, W, 3) to clips laid end to end, (B * T, H, W, 3), as the model takes them.
            frames = tf.reshape(clips, (-1, *shape))
            return {"frames": frames, "num_frames": tf.fill([batch], length)}

        proto = to_onnx(
            for_equal_clips(self.model),
            names=("clips", "probabilities"),
            shape=(num_frames, *shape),
            prepare=prepare,
        )
        if num_frames is None:
            # A readable name for the axis of any length.
            proto.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "frames"
        return proto

    def model_input(
        self, frames: NDArray[np.uint8], original_size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """View of a window that the model sees, uint8 (T, H, W, 3)."""
        (view,) = self._keras.views([frames], original_size)
        return view

    def predict(self, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (batch, classes) of clips (batch, T, H, W, 3)."""
        return self._keras.probabilities(list(inputs))


class ImageSubject:
    """A model of single images, to be exported.

    Args:
        model: maps images (batch, height, width, 3) to probabilities, or to logits.
        about: description of the model.
        settings_type: type of the settings of the shards that it was trained on.

    Raises:
        InputError: if it is no such model.
    """

    def __init__(
        self,
        model: keras.Model,
        about: About,
        settings_type: type[StoredSettings] = FrameSettings,
    ) -> None:
        self.about = about
        self.settings_type = settings_type
        model = _of_images(model)
        shape = model.input_shape[1:3]
        height, width = (side or _USUAL_SIDE for side in shape)
        self.frame_settings = FrameSettings((width, height), _IMAGE_STRIDE)
        self.window = 1
        plain = in_float32(model)
        self.notes = _notes(model, plain)
        self._dtype = np.dtype(plain.input.dtype)
        # Outputs tell logits from probabilities; a model's last layer may have any form.
        noise = np.random.default_rng(0).integers(0, 256, (4, height, width, 3))
        self.model = plain
        if not are_probabilities(self.predict(noise)):
            self.notes = (*self.notes, "Its outputs are no probabilities: a softmax was put on.")
            softmax = keras.layers.Softmax(name="softmax_of_export")
            self.model = keras.Model(plain.input, softmax(plain.output))

    def graph(self) -> Any:
        """Convert to a graph from "frames", (batch, height, width, 3), to "probabilities"."""
        return to_onnx(self.model, names=("frames", "probabilities"))

    def model_input(
        self, frames: NDArray[np.uint8], original_size: tuple[int, int]
    ) -> NDArray[Any]:
        """First image of a window, in the model's dtype."""
        return frames[0].astype(self._dtype)

    def predict(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Probabilities (batch, classes) of images (batch, H, W, 3)."""
        return np.asarray(self.model(inputs.astype(self._dtype), training=False))


def _of_images(model: keras.Model) -> keras.Model:
    """Convert to a functional model of one input and one output.

    Raises:
        InputError: if it does not take images and give one number for each class.
    """
    try:
        inputs, outputs = keras.tree.flatten(model.inputs), keras.tree.flatten(model.outputs)
    except (AttributeError, ValueError):  # Keras's for a Sequential model that was never built
        raise InputError(
            f"A model needs to know the shape of its input. {model.name} has none; save it once it "
            "was built, or begin it with keras.Input((height, width, 3))."
        ) from None
    fits = len(inputs) == len(outputs) == 1 and len(inputs[0].shape) == 4
    if not (fits and inputs[0].shape[3] == 3 and len(outputs[0].shape) == 2):
        raise InputError(
            "A model of pictures must take one batch of RGB pictures (batch, height, width, 3) and "
            f"give one number a class. {model.name} takes {_shapes(inputs)} and gives "
            f"{_shapes(outputs)}. A model of clips is exported by its run's directory, where "
            "model.json says what it saw; any other by Keras's own model.export(path, "
            'format="onnx").'
        )
    return keras.Model(inputs[0], outputs[0], name=model.name)


def _shapes(tensors: list[Any]) -> str:
    return " and ".join(str(tuple(tensor.shape)) for tensor in tensors)


def _notes(model: keras.Model, exported: keras.Model) -> tuple[str, ...]:
    if model is exported:
        return ()
    return ("It computes otherwise than in plain float32: it was rebuilt in that, same weights.",)


_SCORER_CLASSES = ("no highlight", "highlight")


def load_subject(path: Path) -> Subject:
    """Load the model of a finished run, or of a .keras file.

    Args:
        path: directory of a run on clips or of a scorer, or a Keras file of a model of pictures.

    Raises:
        ValueError, OSError: if there is no model that can be exported.
    """
    if path.is_dir():
        if (path / scorer.FILE).is_file():
            return _scorer(path)
        return ClipSubject(*read_model(path))
    if path.suffix != ".keras" or not path.is_file():
        raise InputError(
            f"A finished run's directory, or a .keras file, is needed. Received {path}."
        )
    # The file of a run on clips, named by itself.
    if path.name == MODEL and path.with_name(MODEL_SETTINGS).is_file():
        return ClipSubject(*read_model(path.parent))
    return ImageSubject(load_keras_model(path), About("pictures"))


def _scorer(path: Path) -> ImageSubject:
    found = load_scorer(path)
    settings = found.settings.to_json() | {"threshold": found.threshold}
    return ImageSubject(found.model, About("scorer", _SCORER_CLASSES, settings), ImageSettings)
