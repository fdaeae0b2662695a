"""Readers of whole models; their values are weights, and predictions for an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from tests.fuzzing.readers import Reader

_SIDE = 16
_NAMES = ("run", "walk", "jump")
_IMAGE = np.random.default_rng(0).integers(0, 256, (1, _SIDE, _SIDE, 3), np.uint8)


def _keras() -> Any:
    """Import Keras after silencing TensorFlow."""
    from experiments.process import runtime

    runtime.hush()
    import keras

    return keras


def _small_model() -> Any:
    """Build a model of images, uint8, to probabilities."""
    keras = _keras()
    keras.utils.set_random_seed(0)
    frames = keras.Input((_SIDE, _SIDE, 3), dtype="uint8", name="frames")
    pixels = keras.layers.Rescaling(1 / 255)(frames)
    seen = keras.layers.Conv2D(4, 3, activation="relu", name="seen")(pixels)
    mean = keras.layers.GlobalAveragePooling2D()(seen)
    return keras.Model(frames, keras.layers.Dense(3, activation="softmax", name="said")(mean))


def _keras_file(folder: Path) -> None:
    _small_model().save(folder / "model.keras")


def _read_keras(folder: Path) -> Any:
    _keras()
    from experiments.models.keras_files import load_keras_model

    model = load_keras_model(folder / "model.keras")
    return [weight.numpy() for weight in model.weights]


def _weights_file(folder: Path) -> None:
    _small_model().save_weights(folder / "model.weights.h5")


def _read_weights(folder: Path) -> Any:
    model = _small_model()
    from experiments.models.keras_files import load_keras_weights

    load_keras_weights(model, folder / "model.weights.h5")
    return [weight.numpy() for weight in model.weights]


def _clip_model(folder: Path) -> None:
    _keras()
    from experiments.clips.model import keep_model
    from experiments.clips.viewed_model import ClipInputSpec
    from preprocess.batches.views import CropChoice, FrameChoice
    from preprocess.shards.settings import FrameSettings
    from ttrnn.models import build_video_rnn

    size = (_SIDE, _SIDE)
    model = build_video_rnn(
        *((_SIDE, _SIDE, 3), len(_NAMES)),
        cell="gru",
        tt_input_shape=(8, 8, 12),
        tt_output_shape=(2, 2, 2),
        tt_ranks=2,
        seed=0,
    )
    choice, crops = FrameChoice(8, start="first"), CropChoice(size)
    keep_model(
        folder, model, ClipInputSpec(_NAMES, FrameSettings(size), choice, crops, usual_frames=8)
    )


def _read_clip_model(folder: Path) -> Any:
    _keras()
    from experiments.clips.model import load_clip_model

    model = load_clip_model(folder)
    frames = np.repeat(_IMAGE, 8, axis=0)
    size = (_SIDE, _SIDE)
    return model.input_spec, model.predict([frames], size)


def _impossible_prediction(value: Any) -> str:
    _, probabilities = value
    if probabilities.shape != (1, len(_NAMES)) or not np.isclose(probabilities.sum(), 1, atol=1e-3):
        return f"probabilities {probabilities}"
    return ""


def _scorer(folder: Path) -> None:
    keras = _keras()
    from experiments.clips.images import Box, ImageSettings
    from experiments.clips.scorer import write_scorer

    settings = ImageSettings(parts=("box",), side=_SIDE, fps=5.0)
    pixels = keras.Input(settings.frame_shape, dtype="uint8")
    bright = keras.ops.mean(keras.ops.cast(pixels, "float32"), axis=(1, 2, 3)) / 255
    outputs = keras.ops.stack([1 - bright, bright], axis=1)
    keras.Model(pixels, outputs).save(folder / "best.keras")
    write_scorer(folder, settings, box=Box(0.5, 0.25, 1.0, 0.75), threshold=0.6)


def _read_scorer(folder: Path) -> Any:
    _keras()
    from experiments.clips.scorer_model import load_scorer

    scorer = load_scorer(folder)
    return scorer.settings, scorer.box, scorer.threshold, scorer.predict(_IMAGE)


def _onnx_file(folder: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    shape = [1, _SIDE, _SIDE, 3]
    kernel = np.random.default_rng(0).random((3, 3), np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["frames"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "kernel"], ["raw"]),
        helper.make_node("Softmax", ["raw"], ["said"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("said", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor("kernel", TensorProto.FLOAT, (3, 3), kernel.ravel())],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(made, folder / "model.onnx")
    (folder / "labels.txt").write_text("\n".join(_NAMES) + "\n", encoding="utf-8")


def _read_onnx(folder: Path) -> Any:
    _keras()
    from experiments.models.image_loading import load_onnx
    from experiments.models.image_models import ModelOptions

    path, labels = str(folder / "model.onnx"), folder / "labels.txt"
    model = load_onnx(ModelOptions(model=path, labels=labels, scaling="unit"), batch_size=1)
    side = model.fit.size
    pixels = _IMAGE if side == (_SIDE, _SIDE) else np.zeros((1, *model.fit.frame_shape), np.uint8)
    return model.class_names, model.predict(pixels)


_REFUSALS = (UserError, OSError)  # that the commands turn into a line
MODELS = (
    Reader("keras file", _keras_file, _read_keras, _REFUSALS, checksummed=True),
    Reader("keras weights", _weights_file, _read_weights, _REFUSALS),
    Reader(
        *("clip model", _clip_model, _read_clip_model, _REFUSALS),
        checksummed=True,
        wrong=_impossible_prediction,
    ),
    Reader("scorer", _scorer, _read_scorer, _REFUSALS),
    Reader("onnx file", _onnx_file, _read_onnx, _REFUSALS),
)
