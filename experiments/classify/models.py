"""Image models by name or file, each with its own preprocessing, as one kind of thing."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from preprocess.transforms import FrameFit

Policy = Literal["float32", "mixed_bfloat16"]
Scaling = Literal["none", "unit", "tf", "torch", "caffe"]
Predict = Callable[[NDArray[Any]], NDArray[np.float32]]
ALEXNET_FITS = {
    # Pictures are stretched to 256x256 and the middle 227x227 is seen, as Caffe's tools do.
    "caffe": FrameFit((227, 227), margin=(14, 14, 15, 15)),
    "seed": FrameFit((227, 227), crop="aspect", interpolation="area", centred=True),
}


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it sees pictures."""

    model: str = "alexnet"
    """alexnet, the name of a keras.applications model (mobilenet, resnet50, ...), or a .keras or
    .onnx file."""
    weights: Path | None = None
    """File of weights."""
    variant: Literal["caffe", "seed"] = "caffe"
    """AlexNet as the Caffe model, or as the original script has it."""
    alpha: float = 1.0
    """Width of a MobileNet."""
    size: int | None = None
    """Side of the pictures, for models that take several."""
    labels: Path | None = None
    """File of class names, one a line; ImageNet's where a model has 1,000 classes."""
    scaling: Scaling = "none"
    """Of the pixels given to a .keras or .onnx file: none, 0 to 255; unit, 0 to 1; tf, -1 to 1;
    torch or caffe, ImageNet's mean subtracted in their ways."""
    policy: Policy = "float32"
    """Arithmetic of the layers."""


@dataclass(frozen=True)
class ImageModel:
    """A classifier of frames.

    Args:
        name: for people.
        fit: what pictures are made into.
        class_names: unique, one a class.
        predict: frames (batch_size, H, W, 3) to probabilities (batch_size, classes).
        settings: all that the probabilities depend on, as JSON.
        keras_model: from frames to probabilities, where it is one of Keras's.
    """

    name: str
    fit: FrameFit
    class_names: list[str]
    predict: Predict
    settings: dict[str, Any]
    keras_model: Any = field(default=None, repr=False)


def check_options(options: ModelOptions) -> None:
    """See that the model is known and its files are there, before anything heavy is imported.

    Raises:
        ValueError: if not.
    """
    path = Path(options.model)
    is_file = path.suffix in (".keras", ".onnx")
    if is_file and not path.is_file():
        raise ValueError(f"--model names a file that is not there: {path}.")
    if is_file and options.weights is not None:
        raise ValueError(f"{path} holds its own weights; leave out --weights.")
    if is_file and options.policy != "float32":
        raise ValueError(f"--policy is for models built here; {path} holds its own arithmetic.")
    if not is_file and options.scaling != "none":
        raise ValueError(f"--scaling is for .keras and .onnx files; {options.model} has its own.")
    if not is_file and options.weights is None:
        fetch = (
            "python -m weights fetch alexnet"
            if options.model == "alexnet"
            else ("see python -m weights list")
        )
        raise ValueError(f"{options.model} needs a file of --weights. To get one: {fetch}.")
    for given in (options.weights, options.labels):
        if given is not None and not given.is_file():
            raise ValueError(f"There is no file {given}.")


def load_model(options: ModelOptions, *, batch_size: int, fused: bool = True) -> ImageModel:
    """Build or read a model, with its weights and class names.

    Args:
        options: checked by `check_options`.
        batch_size: of the frames that `predict` is given: always as many, so that a frame's
            probabilities depend on no other frame.
        fused: let AlexNet take short cuts that cannot be exported.

    Raises:
        ValueError, WeightsError, OSError: if a file does not hold what it should.
    """
    from experiments.classify.onnx_models import load_onnx

    if options.model.endswith(".onnx"):
        return load_onnx(options, batch_size)
    if options.model == "alexnet":
        model = _alexnet(options, fused=fused)
        fit = ALEXNET_FITS[options.variant]
    elif options.model.endswith(".keras"):
        model = _keras_file(options)
        fit = FrameFit(model.input_shape[2:0:-1], crop="aspect", interpolation="area")
    else:
        model = _keras_application(options)
        fit = FrameFit(model.input_shape[2:0:-1], crop="aspect", interpolation="area")
    num_classes = model.output_shape[-1]
    return ImageModel(
        name=model.name,
        fit=fit,
        class_names=class_names(options.labels, num_classes),
        predict=compile_model(model, batch_size, fit),
        settings=model_settings(options),
        keras_model=model,
    )


def model_settings(options: ModelOptions) -> dict[str, Any]:
    """What probabilities depend on; files by their contents."""
    settings: dict[str, Any] = {"model": options.model, "policy": options.policy}
    if options.model == "alexnet":
        settings["variant"] = options.variant
    files = {"model_sha256": Path(options.model), "weights_sha256": options.weights}
    settings |= {"alpha": options.alpha, "size": options.size, "scaling": options.scaling}
    files |= {"labels_sha256": options.labels}
    for name, path in files.items():
        if path is not None and path.is_file():
            with path.open("rb") as file:
                settings[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return settings


def class_names(labels: Path | None, num_classes: int) -> list[str]:
    """One unique name a class.

    Raises:
        ValueError: if the file has another number of lines, or there is none for these classes.
    """
    if labels is not None:
        names = _lines(labels)
        if len(names) != num_classes:
            raise ValueError(
                f"--labels must hold a line for each of {num_classes} classes. {labels} holds "
                f"{len(names)}."
            )
    elif num_classes == 1000:
        from weights.imagenet import imagenet_classes

        names = [known.name for known in imagenet_classes()]
    else:
        raise ValueError(f"--labels is needed for a model of {num_classes} classes.")
    count = Counter(names)
    return [f"{name} [{i}]" if count[name] > 1 else name for i, name in enumerate(names)]


def _lines(labels: Path) -> list[str]:
    try:
        lines = labels.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"--labels must be a text file in UTF-8. {labels} is not.") from None
    return [line.strip() for line in lines if line.strip()]


def _alexnet(options: ModelOptions, *, fused: bool) -> Any:
    from ttrnn.models import build_alexnet

    num_classes = 1000 if options.labels is None else len(_lines(options.labels))
    model = build_alexnet(
        options.variant, num_classes=num_classes, fused=fused, dtype=options.policy
    )
    _load_weights(model, options.weights)
    return model


def _keras_application(options: ModelOptions) -> Any:
    """A keras.applications model from frames of bytes to probabilities."""
    import keras

    build, preprocess = find_application(options.model)
    arguments: dict[str, Any] = {"weights": None}
    if options.alpha != 1:
        arguments["alpha"] = options.alpha
    if options.size is not None:
        arguments["input_shape"] = (options.size, options.size, 3)
    if options.labels is not None:
        arguments["classes"] = len(_lines(options.labels))
    with _dtype_policy(options.policy):
        try:
            model = build(**arguments)
        except TypeError as error:
            raise ValueError(f"{options.model} does not take --alpha.") from error
        _load_weights(model, options.weights)
        frames = keras.Input(_input_shape(model, options), dtype="uint8", name="frames")
        pixels = preprocess(keras.ops.cast(frames, "float32"))
        outputs = keras.layers.Activation("linear", dtype="float32", name="probabilities")(
            model(pixels)
        )
    return keras.Model(frames, outputs, name=model.name)


def _input_shape(model: Any, options: ModelOptions) -> tuple[int, int, int]:
    height, width = model.input_shape[1:3]
    usual = options.size or 224
    return (height or usual, width or usual, 3)


def find_application(name: str) -> tuple[Callable[..., Any], Callable[[Any], Any]]:
    """The builder of a keras.applications model, and its preprocessing; case does not matter.

    Raises:
        ValueError: if there is none of that name.
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
        raise ValueError(
            f"--model must be alexnet, a .keras or .onnx file, or one of "
            f"{', '.join(sorted(known))}. Received {name!r}."
        )
    return found


def _keras_file(options: ModelOptions) -> Any:
    """A saved model, its scaling of the pixels put in front."""
    import keras
    from keras.applications.imagenet_utils import preprocess_input

    from experiments.classify.onnx_models import are_probabilities

    try:
        inner = keras.models.load_model(options.model, compile=False)
    except Exception as error:  # Keras's own have no common class
        raise ValueError(f"Keras cannot read {options.model}: {error}") from error
    if isinstance(inner.input, dict | list) or len(inner.input_shape) != 4:
        raise ValueError(f"{options.model} must take pictures (batch, height, width, 3) alone.")
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
    from weights import assign_arrays, read_alexnet_npy, read_arrays

    if path.suffix == ".npy":
        assign_arrays(model, read_alexnet_npy(path))
    elif path.suffix in (".npz", ".safetensors"):
        assign_arrays(model, read_arrays(path))
    elif path.suffix == ".h5":
        try:
            model.load_weights(path)
        except (ValueError, KeyError, OSError) as error:
            raise ValueError(f"{path} does not fit {model.name}: {error}") from error
    else:
        raise ValueError(
            f"--weights must end in .npy, .npz, .safetensors, .weights.h5 or .h5. Received {path}."
        )


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
