"""Image models to ONNX files, and ONNX files as image models."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError, UserError
from experiments.models.onnx_export import to_onnx
from experiments.models.onnx_session import OnnxSession
from preprocess.video.transforms import FrameFit

if TYPE_CHECKING:
    from experiments.models.image_models import ImageModel, ModelOptions

TOLERANCE = 1e-4
_METADATA = "ttrnn"


class ExportError(UserError):
    """An exported model does not do what the Keras model does."""


def export_onnx(model: ImageModel, path: Path, *, batch_size: int) -> float:
    """Write a model with preprocessing, class names and softmax inside; the batch may vary.

    Args:
        model: a Keras model, loaded without short cuts.
        path: of the file; it appears only once ONNX Runtime agrees with Keras.
        batch_size: of the comparison.

    Returns:
        The largest difference between a probability of Keras and of ONNX Runtime.

    Raises:
        ExportError: if it is above 1e-4.
    """
    import onnx

    fit = model.fit
    frames = np.random.default_rng(0).integers(0, 256, (batch_size, *fit.frame_shape))
    frames = frames.astype(fit.dtype)
    expected = model.predict(frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        written = to_onnx(model.keras_model)
        about = {"name": model.name, "fit": asdict(fit), "class_names": model.class_names}
        onnx.helper.set_model_props(written, {_METADATA: json.dumps(about)})
        onnx.save(written, temporary)
        difference = float(np.abs(OnnxSession(temporary)(frames) - expected).max())
        if not difference <= TOLERANCE:
            raise ExportError(
                f"Keras and ONNX Runtime must agree to {TOLERANCE}. They differ by {difference}; "
                "nothing was written."
            )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return difference


def load_onnx(options: ModelOptions, batch_size: int, threads_a_batch: int = 1) -> ImageModel:
    """Read an ONNX file: one of ours, or any that takes pictures and gives a number a class.

    Raises:
        InputError: if ONNX Runtime cannot read it, or it is no classifier of pictures.
    """
    from experiments.models.image_models import ImageModel, class_names, model_settings

    run = OnnxSession(Path(options.model), threads_a_batch)
    about = json.loads(run.metadata.get(_METADATA, "{}"))
    if about and (options.size or options.labels or options.scaling != "none"):
        raise InputError(
            f"{options.model} holds its own size, labels and scaling; leave out --size, --labels "
            "and --scaling."
        )
    if about:
        fit = FrameFit(**{name: _tuples(value) for name, value in about["fit"].items()})
        names = about["class_names"]
        predict: Any = run
    else:
        fit = FrameFit(_picture_size(run, options), crop="aspect", interpolation="smooth")
        predict = _foreign(run, options.scaling)
        probe = predict(np.zeros((batch_size, *fit.frame_shape), np.uint8))
        names = class_names(options.labels, probe.shape[-1])
        if not are_probabilities(probe):
            predict = _with_softmax(predict)
    return ImageModel(
        name=about.get("name", Path(options.model).stem),
        fit=fit,
        class_names=names,
        predict=predict,
        settings=model_settings(options),
    )


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _is_channels_first(run: OnnxSession) -> bool:
    shape = run.input.shape
    return len(shape) == 4 and shape[1] == 3 and shape[3] != 3


def _picture_size(run: OnnxSession, options: ModelOptions) -> tuple[int, int]:
    """Width and height that a foreign model takes."""
    shape = run.input.shape
    channels_first = _is_channels_first(run)
    if len(shape) != 4 or shape[1 if channels_first else 3] != 3:
        raise InputError(f"{options.model} must take pictures of 3 channels. It takes {shape}.")
    height, width = shape[2:4] if channels_first else shape[1:3]
    usual = options.size or 224
    known = (value if isinstance(value, int) else usual for value in (width, height))
    return tuple(known)  # type: ignore[return-value]


def _foreign(run: OnnxSession, scaling: str) -> Any:
    """Frames of bytes to probabilities, by a model that knows nothing of this suite."""
    from keras.applications.imagenet_utils import preprocess_input

    kinds = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(float16)": np.float16}
    kind = kinds.get(run.input.type, np.float32)
    channels_first = _is_channels_first(run)

    def predict(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels: NDArray[Any] = frames.astype(np.float32)
        if scaling == "unit":
            pixels = pixels / 255
        elif scaling != "none":
            pixels = preprocess_input(pixels, mode=scaling)
        if channels_first:
            pixels = pixels.transpose(0, 3, 1, 2)  # (B, 3, H, W)
        outputs = run(np.ascontiguousarray(pixels, kind)).astype(np.float32)
        return outputs.reshape(len(frames), -1)

    return predict


def are_probabilities(outputs: NDArray[np.float32]) -> bool:
    """Whether a model's outputs (B, C) are such already, rather than logits."""
    return bool(outputs.min() >= 0 and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))


def _with_softmax(predict: Any) -> Any:
    def probabilities(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        outputs = predict(frames)
        shares = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    return probabilities
