"""Options of image models with their checks, and the models' class names and settings.

Command lines import this file, so it must stay light; `experiments.models.image_loading` builds
and reads the models.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from tyro.conf import arg

from common.errors import InputError, did_you_mean
from experiments.models.zoo import MOBILE_NETWORKS
from weights.imagenet import imagenet_classes
from weights.registry import ENTRIES, require_installed
from weights.torch_reader.torch_files import SUFFIXES as TORCH_SUFFIXES

if TYPE_CHECKING:
    from preprocess.video.transforms import FrameFit

Columns = Literal["all", "seed"]
# Labels of a frame in the original's files.
SEED_TOP = 5

Policy = Literal["float32", "mixed_bfloat16"]
Scaling = Literal["none", "unit", "tf", "torch", "caffe"]
Predict = Callable[[NDArray[Any]], NDArray[np.float32]]
WEIGHTS_SUFFIXES = (".npy", ".npz", ".safetensors", ".h5")
AUTO = "auto"
# The model whose weights are a dependency of this package.
DEFAULT_MODEL = "efficientnet_lite0"
# Models of this package, by their names on the command line.
OURS = ("alexnet", *MOBILE_NETWORKS)
# Builders of keras.applications, listed here because its import takes seconds.
APPLICATIONS = (
    *("convnextbase", "convnextlarge", "convnextsmall", "convnexttiny", "convnextxlarge"),
    *("densenet121", "densenet169", "densenet201"),
    *("efficientnetb0", "efficientnetb1", "efficientnetb2", "efficientnetb3", "efficientnetb4"),
    *("efficientnetb5", "efficientnetb6", "efficientnetb7"),
    *("efficientnetv2b0", "efficientnetv2b1", "efficientnetv2b2", "efficientnetv2b3"),
    *("efficientnetv2l", "efficientnetv2m", "efficientnetv2s"),
    *("inceptionresnetv2", "inceptionv3", "mobilenet", "mobilenetv2"),
    *("nasnetlarge", "nasnetmobile"),
    *("resnet101", "resnet101v2", "resnet152", "resnet152v2", "resnet50", "resnet50v2"),
    *("vgg16", "vgg19", "xception"),
)


@dataclass(frozen=True)
class ModelOptions:
    """Image model of a command line, and how it sees pictures."""

    model: str = AUTO
    """efficientnet_lite0, whose weights are installed with this suite; efficientnet_lite1 to 4,
    torchvision_mobilenetv2, alexnet, the name of a keras.applications model (mobilenet, resnet50,
    ...), or a .keras or .onnx file. auto: alexnet where --weights or --variant seed are given, else
    efficientnet_lite0."""
    weights: Annotated[Path | None, arg(aliases=["-w"])] = None
    """File of weights; not for .keras and .onnx files, nor needed where they are installed."""
    variant: Literal["caffe", "seed"] = "caffe"
    """AlexNet as the Caffe model, or as the original script has it."""
    alpha: float | None = None
    """Width of a MobileNet; by default that of its weights."""
    size: int | None = None
    """Side of the pictures, for models that take several."""
    labels: Path | None = None
    """File of class names, one a line; ImageNet's where a model has 1,000 classes."""
    scaling: Scaling = "none"
    """Of the pixels given to a .keras or .onnx file: none, 0 to 255; unit, 0 to 1; tf, -1 to 1;
    torch or caffe, ImageNet's mean subtracted in their ways."""
    policy: Policy = "float32"
    """Arithmetic of the layers."""

    def __post_init__(self) -> None:
        name = self.model.lower()
        if name == AUTO:
            # As in the original, whose only model is AlexNet and whose flags need no --model.
            is_originals = self.weights is not None or self.variant == "seed"
            name = "alexnet" if is_originals else DEFAULT_MODEL
        if name in OURS:
            # The class is frozen, hence the call of `object`.
            object.__setattr__(self, "model", name)


@dataclass(frozen=True)
class ImageModel:
    """A classifier of frames.

    Args:
        name: name for people.
        fit: how frames are scaled and cut for the model.
        class_names: unique names, one for each class.
        predict: maps frames (batch_size, H, W, 3) to probabilities (batch_size, classes).
        settings: all settings that the probabilities depend on, as JSON.
        keras_model: model from frames to probabilities, if it is a Keras model; else None.
    """

    name: str
    fit: FrameFit
    class_names: list[str]
    predict: Predict
    settings: dict[str, Any]
    keras_model: Any = field(default=None, repr=False)


def check_options(options: ModelOptions) -> None:
    """Check that the model is known and its files exist, before anything heavy is imported.

    Raises:
        InputError: if a check fails.
        WeightsError: if weights that are needed are not installed, or others than the published.
    """
    path = Path(options.model)
    is_file = is_model_file(options.model)
    name = options.model.lower()
    if not is_file and name not in OURS and name not in APPLICATIONS:
        message = (
            f"--model must be {', '.join(OURS)}, a .keras or .onnx file, or one of "
            f"{', '.join(APPLICATIONS)}. Received {options.model!r}."
        )
        raise InputError(f"{message} {did_you_mean(name, (*OURS, *APPLICATIONS))}".strip())
    if options.alpha is not None and options.alpha <= 0:
        raise InputError(f"--alpha must be greater than 0. Received {options.alpha:g}.")
    if options.size is not None and options.size < 1:
        raise InputError(f"--size must be at least 1. Received {options.size}.")
    if is_file and not path.is_file():
        raise InputError(f"--model names a file that is not there: {path}.")
    if is_file and options.weights is not None:
        raise InputError(f"{path} holds its own weights; leave out --weights.")
    if is_file and options.policy != "float32":
        raise InputError(f"--policy is for models built here; {path} holds its own arithmetic.")
    if not is_file and options.scaling != "none":
        raise InputError(f"--scaling is for .keras and .onnx files; {options.model} has its own.")
    if not is_file and weights_file(options) is None:
        fetch = (
            "python -m weights fetch alexnet"
            if options.model == "alexnet"
            else ("see python -m weights list")
        )
        raise InputError(f"{options.model} needs a file of --weights. To get one: {fetch}.")
    for given in (options.weights, options.labels):
        if given is not None and not given.is_file():
            raise InputError(f"There is no file {given}.")
    suffixes = (*WEIGHTS_SUFFIXES, *(TORCH_SUFFIXES if options.model in MOBILE_NETWORKS else ()))
    if options.weights is not None and options.weights.suffix not in suffixes:
        raise InputError(
            f"--weights must end in {', '.join(suffixes)}. Received {options.weights}."
        )
    if options.labels is not None and not lines_of(options.labels):
        raise InputError(f"--labels must hold a name a line. {options.labels} holds none.")


def weights_file(options: ModelOptions) -> Path | None:
    """Find a model's file of weights: the one that is given, else the installed one, verified.

    Raises:
        WeightsError: if a package should hold it that is not installed, or holds another file.
    """
    entry = ENTRIES.get(options.model)
    if options.weights is None and entry is not None and entry.package is not None:
        return require_installed(entry)
    return options.weights


def is_model_file(model: str) -> bool:
    """Whether `--model` names a file, and not a network known here."""
    return Path(model).suffix in (".keras", ".onnx")


def model_files(options: ModelOptions) -> list[Path]:
    """List the files that a model is read from, without those of installed packages."""
    own = Path(options.model) if is_model_file(options.model) else None
    return [path for path in (own, options.weights, options.labels) if path is not None]


def model_settings(options: ModelOptions) -> dict[str, Any]:
    """Collect the settings that the probabilities depend on, with files by their SHA-256."""
    settings: dict[str, Any] = {"model": options.model, "policy": options.policy}
    if options.model == "alexnet":
        settings["variant"] = options.variant
    files = {"model_sha256": Path(options.model), "weights_sha256": weights_file(options)}
    # A width that is not given is that of the weights, which their SHA-256 stands for.
    settings |= {"alpha": options.alpha or 1.0, "size": options.size, "scaling": options.scaling}
    files |= {"labels_sha256": options.labels}
    for name, path in files.items():
        if path is not None and path.is_file():
            with path.open("rb") as file:
                settings[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return settings


def require_classes(model: ImageModel, top: int | None, columns: Columns) -> None:
    """Check that a model has as many classes as a row shows.

    Args:
        model: the model.
        top: number of classes in a row; None for five, or as many as there are.
        columns: columns of the CSV; the original's are for five classes.

    Raises:
        InputError: if it has fewer.
    """
    check_num_classes(len(model.class_names), model.name, top, columns)


def check_num_classes(num_classes: int, name: str, top: int | None, columns: Columns) -> None:
    """Refuse more classes a row than a model has.

    Args:
        num_classes: number of classes of the model.
        name: name of the model, for the message.
        top, columns: those of `require_classes`.

    Raises:
        InputError: if the model has too few classes.
    """
    if top is not None and top > num_classes:
        raise InputError(
            f"--top must be at most the {num_classes} classes of {name}. Received {top}."
        )
    if columns == "seed" and num_classes < SEED_TOP:
        raise InputError(
            f"--columns seed has {SEED_TOP} classes a row. {name} has {num_classes}; leave it out."
        )


def class_names(labels: Path | None, num_classes: int) -> list[str]:
    """Read or look up the class names, and make them unique.

    Raises:
        InputError: if the file has another number of lines, or there is none for these classes.
    """
    if labels is not None:
        names = lines_of(labels)
        if len(names) != num_classes:
            raise InputError(
                f"--labels must hold a line for each of {num_classes} classes. {labels} holds "
                f"{len(names)}."
            )
    elif num_classes == 1000:
        names = [known.name for known in imagenet_classes()]
    else:
        raise InputError(f"--labels is needed for a model of {num_classes} classes.")
    # A file of labels may repeat a name; the columns of a table must tell the classes apart.
    count = Counter(names)
    return [f"{name} [{i}]" if count[name] > 1 else name for i, name in enumerate(names)]


def inference_dtype(policy: str) -> str:
    """Dtype policy under which AlexNet is built for inference."""
    # Nothing is trained, so weights are kept in the type they are multiplied in, which halves the
    # memory that is read for them.
    return "bfloat16" if policy == "mixed_bfloat16" else policy


def lines_of(labels: Path) -> list[str]:
    """Read the class names of a file, without empty lines."""
    try:
        lines = labels.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"--labels must be a text file in UTF-8. {labels} is not.") from None
    return [line.strip() for line in lines if line.strip()]
