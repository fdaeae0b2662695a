"""Load image models by name or file, of Keras or ONNX, each with its own preprocessing."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.applications.imagenet_utils import preprocess_input
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from common.errors import InputError
from experiments.models.image_models import (
    WEIGHTS_SUFFIXES,
    ImageModel,
    ModelOptions,
    Predict,
    class_names,
    inference_dtype,
    lines_of,
    model_settings,
    weights_file,
)
from experiments.models.keras_files import KerasFileError, load_keras_model, load_keras_weights
from experiments.models.onnx_files import IMAGE_MODEL, OnnxSession
from experiments.models.zoo import MOBILE_NETWORKS
from preprocess.video.transforms import FrameFit
from ttrnn.models import build_alexnet, build_efficientnet_lite, build_mobilenet_v2
from weights import WeightsError, assign_arrays, read_alexnet_npy, read_arrays
from weights.mobile_networks import read_mobile_network

# Widths of the MobileNets that Keras has weights for; the usual one first.
_WIDTHS = {"mobilenet": (1.0, 0.75, 0.5, 0.25), "mobilenetv2": (1.0, 0.35, 0.5, 0.75, 1.3, 1.4)}
ALEXNET_FITS = {
    # Pictures are stretched to 256x256 and the middle 227x227 is seen, as Caffe's tools do.
    "caffe": FrameFit((227, 227), margin=(14, 14, 15, 15)),
    "seed": FrameFit((227, 227), crop="aspect", interpolation="area", centred=True),
}


def load_model(
    options: ModelOptions, *, batch_size: int, fused: bool = True, threads_a_batch: int = 1
) -> ImageModel:
    """Build or read a model, with its weights and class names.

    Args:
        options: checked by `check_options`.
        batch_size: number of frames that `predict` takes, always the same, so that a frame's
            probabilities do not depend on other frames.
        fused: let AlexNet take short cuts that cannot be exported.
        threads_a_batch: threads of ONNX Runtime for a batch; TensorFlow's are set by then.

    Raises:
        ValueError, WeightsError, OSError: if a file does not hold what it should.
    """
    if options.model.endswith(".onnx"):
        return load_onnx(options, batch_size, threads_a_batch)
    if options.model == "alexnet":
        model = alexnet(options, fused=fused)
    elif options.model in MOBILE_NETWORKS:
        model = mobile_network(options)
    elif options.model.endswith(".keras"):
        model = keras_file(options)
    else:
        model = keras_application(options)
    if options.model == "alexnet":
        fit = ALEXNET_FITS[options.variant]
    else:
        # (None, height, width, 3) to (width, height).
        fit = FrameFit(model.input_shape[2:0:-1], crop="aspect", interpolation="smooth")
    num_classes = model.output_shape[-1]
    return ImageModel(
        name=model.name,
        fit=fit,
        class_names=class_names(options.labels, num_classes),
        predict=compile_model(model, batch_size, fit),
        settings=model_settings(options),
        keras_model=model,
    )


def alexnet(options: ModelOptions, *, fused: bool) -> Any:
    """Build AlexNet with its weights."""
    num_classes = 1000 if options.labels is None else len(lines_of(options.labels))
    dtype = inference_dtype(options.policy)
    model = build_alexnet(options.variant, num_classes=num_classes, fused=fused, dtype=dtype)
    _load_weights(model, options.weights)
    return model


def mobile_network(options: ModelOptions) -> Any:
    """Build an EfficientNet-Lite or MobileNetV2 from uint8 frames to probabilities."""
    num_classes = 1000 if options.labels is None else len(lines_of(options.labels))
    arguments: dict[str, Any] = {"normalize": True, "dtype": options.policy, "name": options.model}
    if options.size is not None:
        arguments["input_shape"] = (options.size, options.size, 3)
    variant = MOBILE_NETWORKS[options.model]
    if variant is None:
        inner = build_mobilenet_v2(num_classes, **arguments)
    else:
        inner = build_efficientnet_lite(variant, num_classes, **arguments)
    _load_weights(inner, weights_file(options), network=options.model)
    frames = keras.Input(inner.input_shape[1:], dtype="uint8", name="frames")
    logits = inner(keras.ops.cast(frames, "float32"))
    outputs = keras.layers.Softmax(dtype="float32", name="probabilities")(logits)
    return keras.Model(frames, outputs, name=inner.name)


def keras_application(options: ModelOptions) -> Any:
    """Build a keras.applications model from uint8 frames to probabilities."""
    build, preprocess = find_application(options.model)
    arguments: dict[str, Any] = {"weights": None}
    takes_alpha = "alpha" in inspect.signature(build).parameters
    if options.alpha is not None and not takes_alpha:
        raise InputError(f"{options.model} does not take --alpha; leave it out.")
    if options.size is not None:
        arguments["input_shape"] = (options.size, options.size, 3)
    if options.labels is not None:
        arguments["classes"] = len(lines_of(options.labels))
    with _dtype_policy(options.policy):
        if not takes_alpha:
            model = build(**arguments)
            _load_weights(model, options.weights)
        elif options.alpha is not None or options.weights is None:
            model = build(**arguments, alpha=options.alpha or 1.0)
            _load_weights(model, options.weights)
        else:
            widths = _WIDTHS[options.model.lower()]
            model = _of_the_weights_width(partial(build, **arguments), widths, options.weights)
        frames = keras.Input(_input_shape(model, options), dtype="uint8", name="frames")
        pixels = preprocess(keras.ops.cast(frames, "float32"))
        # Only a cast to float32, under any policy.
        outputs = keras.layers.Activation("linear", dtype="float32", name="probabilities")(
            model(pixels)
        )
    return keras.Model(frames, outputs, name=model.name)


def _of_the_weights_width(build: Callable[..., Any], widths: Sequence[float], weights: Path) -> Any:
    """Build a model in the width that a file of weights fits; the usual width is tried first.

    Raises:
        WeightsError, ValueError: if it fits none of the widths that Keras has weights for.
    """
    for alpha in widths:
        model = build(alpha=alpha)
        try:
            _load_weights(model, weights)
        except (WeightsError, KerasFileError) as error:
            # The error of the usual width says the most about a file that fits none.
            if alpha == widths[0]:
                first_error = error
            continue
        return model
    tried = ", ".join(f"{alpha:g}" for alpha in widths[1:])
    raise type(first_error)(f"{first_error} Nor does a width of {tried}; see --alpha.")


def _input_shape(model: Any, options: ModelOptions) -> tuple[int, int, int]:
    height, width = model.input_shape[1:3]
    usual = options.size or 224
    return (height or usual, width or usual, 3)


def find_application(name: str) -> tuple[Callable[..., Any], Callable[[Any], Any]]:
    """Find the builder of a keras.applications model, and its preprocessing; case does not matter.

    Raises:
        InputError: if there is none of that name.
    """
    # A builder's preprocessing is that of the submodule in which it is defined.
    known: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {}
    for module in vars(keras.applications).values():
        if isinstance(module, ModuleType) and hasattr(module, "preprocess_input"):
            for builder, value in vars(module).items():
                if callable(value) and builder[0].isupper():
                    known[builder] = (value, module.preprocess_input)
    found = {builder.lower(): both for builder, both in known.items()}.get(name.lower())
    if found is None:
        raise InputError(
            f"--model must be alexnet, a .keras or .onnx file, or one of "
            f"{', '.join(sorted(known))}. Received {name!r}."
        )
    return found


def keras_file(options: ModelOptions) -> Any:
    """Read a .keras file, and put the scaling of the pixels in front."""
    inner = load_keras_model(Path(options.model))
    if len(inner.inputs) != 1 or len(inner.inputs[0].shape) != 4:
        raise InputError(f"{options.model} must take pictures (batch, height, width, 3) alone.")
    frames = keras.Input(_input_shape(inner, options), dtype="uint8", name="frames")
    pixels = keras.ops.cast(frames, "float32")
    if options.scaling == "unit":
        pixels = pixels / 255
    elif options.scaling != "none":
        pixels = preprocess_input(pixels, mode=options.scaling)
    outputs = inner(pixels)
    # A prediction tells whether the file ends with a softmax; its layers may not.
    grey = np.full((1, *frames.shape[1:]), 128, np.uint8)
    if not are_probabilities(np.array(keras.Model(frames, outputs)(grey), np.float32)):
        outputs = keras.layers.Softmax(dtype="float32")(outputs)
    return keras.Model(frames, outputs, name=inner.name)


def _load_weights(model: Any, path: Path | None, *, network: str | None = None) -> None:
    """Load weights of any format that the suite reads into a model.

    Args:
        model: the model.
        path: file of weights; None for none.
        network: name of a mobile network, whose file may also be PyTorch's.
    """
    if path is None:
        return
    if path.suffix == ".h5":
        load_keras_weights(model, path)
        return
    if path.suffix == ".npy":
        arrays = read_alexnet_npy(path)
    elif network is not None:
        arrays = read_mobile_network(network, path)
    elif path.suffix in (".npz", ".safetensors"):
        arrays = read_arrays(path)
    else:
        raise InputError(f"--weights must end in {', '.join(WEIGHTS_SUFFIXES)}. Received {path}.")
    try:
        assign_arrays(model, arrays)
    except WeightsError as error:
        raise WeightsError(
            f"{path} does not fit {model.name}: {error} See --model, --alpha and --labels."
        ) from error


@contextmanager
def _dtype_policy(policy: str) -> Iterator[None]:
    """Set Keras's default dtype policy, for builders that take none."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def compile_model(model: Any, batch_size: int, fit: FrameFit) -> Predict:
    """Compile a model into one graph for batches of one size."""
    shape = (batch_size, *fit.frame_shape)
    graph = tf.function(lambda frames: model(frames, training=False)).get_concrete_function(
        tf.TensorSpec(shape, fit.dtype)
    )
    # Models inside the model included.
    layers = model._flatten_layers()
    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers):
        # With constants TensorFlow folds the batch normalisation into the convolutions.
        frozen = convert_variables_to_constants_v2(graph)
        return lambda frames: frozen(tf.constant(frames))[0].numpy()
    return lambda frames: graph(tf.constant(frames)).numpy()


def load_onnx(options: ModelOptions, batch_size: int, threads_a_batch: int = 1) -> ImageModel:
    """Read an ONNX file: one of ours, or any that takes images and gives a number for each class.

    Raises:
        InputError: if ONNX Runtime cannot read it, or it is no classifier of pictures.
    """
    run = OnnxSession(Path(options.model), threads_a_batch)
    about = json.loads(run.metadata.get(IMAGE_MODEL, "{}"))
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
        fit = FrameFit(_image_size(run, options), crop="aspect", interpolation="smooth")
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


def _image_size(run: OnnxSession, options: ModelOptions) -> tuple[int, int]:
    """Find the width and height of the input of a model that was not exported here."""
    shape = run.input.shape
    channels_first = _is_channels_first(run)
    if len(shape) != 4 or shape[1 if channels_first else 3] != 3:
        raise InputError(f"{options.model} must take pictures of 3 channels. It takes {shape}.")
    height, width = shape[2:4] if channels_first else shape[1:3]
    usual = options.size or 224
    known = (value if isinstance(value, int) else usual for value in (width, height))
    return tuple(known)  # type: ignore[return-value]


def _foreign(run: OnnxSession, scaling: str) -> Any:
    """Return a function from uint8 frames to the outputs of a model that was not exported here."""
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
        # Some classifiers keep axes of size 1 after their last pooling.
        return outputs.reshape(len(frames), -1)

    return predict


def are_probabilities(outputs: NDArray[np.float32]) -> bool:
    """Whether a model's outputs (B, C) are probabilities, rather than logits."""
    return bool(outputs.min() >= 0 and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))


def _with_softmax(predict: Any) -> Any:
    def probabilities(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        outputs = predict(frames)
        # Less the largest, so that no exponential overflows.
        shares = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    return probabilities
