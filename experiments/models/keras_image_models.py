"""Image models of Keras, from bytes to probabilities, and as graphs for batches of one size."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from common.errors import InputError
from experiments.models.image_models import (
    WEIGHTS_SUFFIXES,
    ModelOptions,
    Predict,
    inference_dtype,
    lines_of,
)
from experiments.models.keras_files import KerasFileError, load_keras_model, load_keras_weights
from experiments.models.onnx_image_models import are_probabilities
from preprocess.video.transforms import FrameFit

# Of the MobileNets that Keras has weights of; the usual one first.
_WIDTHS = {"mobilenet": (1.0, 0.75, 0.5, 0.25), "mobilenetv2": (1.0, 0.35, 0.5, 0.75, 1.3, 1.4)}


def alexnet(options: ModelOptions, *, fused: bool) -> Any:
    """AlexNet with its weights."""
    from ttrnn.models import build_alexnet

    num_classes = 1000 if options.labels is None else len(lines_of(options.labels))
    dtype = inference_dtype(options.policy)
    model = build_alexnet(options.variant, num_classes=num_classes, fused=fused, dtype=dtype)
    _load_weights(model, options.weights)
    return model


def keras_application(options: ModelOptions) -> Any:
    """A keras.applications model from frames of bytes to probabilities."""
    import keras

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
        outputs = keras.layers.Activation("linear", dtype="float32", name="probabilities")(
            model(pixels)
        )
    return keras.Model(frames, outputs, name=model.name)


def _of_the_weights_width(build: Callable[..., Any], widths: Sequence[float], weights: Path) -> Any:
    """The model of whichever width a file of weights fits; the usual one is tried first.

    Raises:
        WeightsError, ValueError: if it fits none of those that Keras has weights of.
    """
    from weights import WeightsError

    for alpha in widths:
        model = build(alpha=alpha)
        try:
            _load_weights(model, weights)
        except (WeightsError, KerasFileError) as error:
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
    """The builder of a keras.applications model, and its preprocessing; case does not matter.

    Raises:
        InputError: if there is none of that name.
    """
    import keras

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
    """A saved model, its scaling of the pixels put in front."""
    import keras
    from keras.applications.imagenet_utils import preprocess_input

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
    grey = np.full((1, *frames.shape[1:]), 128, np.uint8)
    if not are_probabilities(np.array(keras.Model(frames, outputs)(grey), np.float32)):
        outputs = keras.layers.Softmax(dtype="float32")(outputs)
    return keras.Model(frames, outputs, name=inner.name)


def _load_weights(model: Any, path: Path | None) -> None:
    """Weights of any format the suite reads, into a model."""
    if path is None:
        return
    from weights import WeightsError, assign_arrays, read_alexnet_npy, read_arrays

    if path.suffix in (".npy", ".npz", ".safetensors"):
        arrays = read_alexnet_npy(path) if path.suffix == ".npy" else read_arrays(path)
        try:
            assign_arrays(model, arrays)
        except WeightsError as error:
            raise WeightsError(
                f"{path} does not fit {model.name}: {error} See --model, --alpha and --labels."
            ) from error
    elif path.suffix == ".h5":
        load_keras_weights(model, path)
    else:
        raise InputError(f"--weights must end in {', '.join(WEIGHTS_SUFFIXES)}. Received {path}.")


@contextmanager
def _dtype_policy(policy: str) -> Iterator[None]:
    """Keras's default policy, for builders that take none."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def compile_model(model: Any, batch_size: int, fit: FrameFit) -> Predict:
    """The model as one graph for batches of one size.

    Variables become constants where there is batch normalisation: TensorFlow then folds it into
    the convolutions.
    """
    import keras
    import tensorflow as tf

    shape = (batch_size, *fit.frame_shape)
    graph = tf.function(lambda frames: model(frames, training=False)).get_concrete_function(
        tf.TensorSpec(shape, fit.dtype)
    )
    layers = model._flatten_layers()
    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers):
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        frozen = convert_variables_to_constants_v2(graph)
        return lambda frames: frozen(tf.constant(frames))[0].numpy()
    return lambda frames: graph(tf.constant(frames)).numpy()
