"""Models that can be exported: models of clips, and models of single images.

Models of clips are rebuilt for ONNX: clips of one length in a batch, float32, and no layers fused
by XLA.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray

from common.errors import InputError
from experiments.clips import scorer
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
from ttrnn.dense import TTDense
from ttrnn.engine.clips import centred_pixels, seen_pixels
from ttrnn.engine.contraction import tt_matmul
from ttrnn.engine.time_loop import time_loop
from ttrnn.frames import FrameRNN, MeanFrame
from ttrnn.gradients import GradientCells, describe_cells, grey_image, reduced
from ttrnn.models.conv3d import EqualClips
from ttrnn.models.crnn import PadClips

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


def for_equal_clips(model: keras.Model) -> keras.Model:
    """Rebuild a model with the same inputs, outputs and weights, for clips of one length.

    Args:
        model: functional model from {"frames", "num_frames"} to probabilities; its layers are
            shared.

    Returns:
        The model; its results for clips of different lengths are wrong.
    """
    # Layers are taken as they are, with their weights; only the way they are called changes.
    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=_call)


def _call(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a layer by plain operations that ONNX has."""
    if isinstance(layer, keras.layers.RNN):
        # Without padding there is nothing to mask.
        kwargs.pop("mask", None)
        return layer(*args, **kwargs)
    for kind, function in _PLAIN.items():
        if isinstance(layer, kind):
            return _Plain(layer, function)(*args, **kwargs)
    return layer(*args, **kwargs)


class _Plain(keras.layers.Layer):
    """Stand-in for a layer whose output a function computes."""

    def __init__(self, layer: Any, function: Callable[..., Any]) -> None:
        super().__init__(dtype=layer.dtype_policy, autocast=layer.autocast, name=layer.name)
        self._layer = layer
        self._function = function
        # The weights are those of the other layer, which has them.
        self.built = True

    def call(self, *args: Any) -> Any:
        return self._function(self._layer, *args)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        return self._layer.compute_output_spec(*args, **kwargs)


def _by_clip(rows: Any, num_frames: Any) -> Any:
    """Reshape rows (B * T, ...) to (B, T, ...)."""
    return ops.reshape(rows, (ops.shape(num_frames)[0], -1, *rows.shape[1:]))


def _mean_frame(layer: MeanFrame, frames: Any, num_frames: Any) -> Any:
    pixels = centred_pixels(frames, layer.scale)
    return ops.mean(_by_clip(pixels, num_frames), axis=1)  # (B, H*W*3)


def _gradient_cells(layer: GradientCells, frames: Any, num_frames: Any) -> Any:
    by_clip = _by_clip(grey_image(frames), num_frames)  # (B, T, H / 2, W / 2)
    mean = ops.repeat(ops.mean(by_clip, axis=1), ops.shape(by_clip)[1], axis=0)
    return describe_cells(reduced(frames), mean, layer.cells)


def _frame_rnn(layer: FrameRNN, frames: Any, num_frames: Any, mean: Any = None) -> Any:
    rnn, by_clip = layer.rnn, _by_clip(frames, num_frames)  # (B, T, H, W, 3)
    if mean is not None:
        # (B, H*W*3) to (B * T, H*W*3): each frame meets its clip's mean.
        mean = ops.repeat(mean, ops.shape(by_clip)[1], axis=0)
    # The engine's chunks and packing are operations that ONNX does not have; the plain loop
    # computes the same.
    seen = seen_pixels(frames, mean, inputs=layer.inputs, scale=layer.scale)
    projected = _by_clip(rnn.cell.project(seen), num_frames)
    initial = list(rnn.cell.get_initial_state(batch_size=ops.shape(num_frames)[0]))
    last, outputs, _ = time_loop(
        rnn.cell.step_function(),
        projected,
        initial,
        go_backwards=rnn.go_backwards,
        return_all_outputs=rnn.return_sequences,
    )
    # `return_sequences` stands for the mean over the frames as in `FrameRNN`.
    return ops.mean(outputs, axis=1) if rnn.return_sequences else last


def _tt_dense(layer: TTDense, inputs: Any) -> Any:
    product = tt_matmul(inputs, list(layer.cores))
    product = product if layer.bias is None else product + layer.bias
    return layer.activation(product)


def _equal_clips(layer: EqualClips, frames: Any, num_frames: Any) -> Any:
    return ops.reshape(frames, (-1, layer.num_frames, *frames.shape[1:]))


def _pad_clips(layer: PadClips, rows: Any, num_frames: Any) -> tuple[Any, Any]:
    padded = _by_clip(rows, num_frames)
    return padded, ops.ones(ops.shape(padded)[:2], "bool")


_PLAIN: dict[type, Callable[..., Any]] = {
    GradientCells: _gradient_cells,
    MeanFrame: _mean_frame,
    FrameRNN: _frame_rnn,
    TTDense: _tt_dense,
    EqualClips: _equal_clips,
    PadClips: _pad_clips,
}


# Policies whose names are replaced by float32 wherever they stand in a configuration.
_POLICIES = {"mixed_bfloat16", "mixed_float16", "bfloat16", "float16"}


def in_float32(model: keras.Model) -> keras.Model:
    """Rebuild a model in float32 with the same weights; returns it unchanged if it is float32."""
    config = json.loads(model.to_json())
    plain = _plain(config)
    if plain == config:
        return model
    rebuilt = keras.models.model_from_json(json.dumps(plain))
    rebuilt.set_weights(model.get_weights())
    return rebuilt


def _plain(value: Any) -> Any:
    """Copy a configuration without half precision and without steps fused by XLA."""
    if isinstance(value, dict):
        # The entry "fused" becomes False wherever it stands, all others are kept.
        return {key: key != "fused" and _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return "float32" if isinstance(value, str) and value in _POLICIES else value
