"""Weights of ImageNet, to begin a scorer's training from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.highlights.scoring.scorer_network import SOUND_DEPTH
from weights.errors import WeightsError

if TYPE_CHECKING:
    import keras
    import numpy as np

KERAS_WEIGHTS = ".weights.h5"
IMAGENET_CLASSES = 1000


def begin_from(model: keras.Model, file: Path, depth: int) -> str:
    """Give the ResNets of a scorer the weights of a ResNet that was trained on other pictures.

    Args:
        model: from `build_scorer`.
        file: what `python -m weights convert` wrote (.weights.h5, .safetensors), or torchvision's
            own file (.pth, .safetensors). Its last layer is left out.
        depth: of the ResNet in the file.

    Returns:
        In words, which ResNets were given them.

    Raises:
        ValueError: if the file cannot be read, or is that of another network.
    """
    from weights.assign import assign_arrays

    towers = [layer for layer in model.layers if hasattr(layer, "layers")]
    fitting = [tower for tower in towers if tower.name != "heard" or depth == SOUND_DEPTH]
    try:
        arrays = _features(_arrays(file, depth))
        for tower in fitting:
            assign_arrays(tower, arrays)
    except WeightsError as error:
        raise ValueError(f"--weights {file} do not fit a ResNet-{depth}: {error}") from error
    given = " and ".join(tower.name for tower in fitting)
    rest = ", ".join(tower.name for tower in towers if tower not in fitting)
    return f"{file}: weights of {given}" + (f"; {rest} starts from scratch" if rest else "")


def _arrays(file: Path, depth: int) -> dict[str, np.ndarray]:
    """By layer/variable, whatever the file's own names are."""
    from weights.arrays import read_arrays
    from weights.resnet import resnet_arrays

    if file.name.endswith(KERAS_WEIGHTS):
        return _keras_arrays(file, depth)
    arrays = read_arrays(file)
    return arrays if any("/" in name for name in arrays) else resnet_arrays(arrays)


def _keras_arrays(file: Path, depth: int) -> dict[str, np.ndarray]:
    from ttrnn.models.resnet import build_resnet
    from weights.assign import model_arrays

    if not file.is_file():
        raise WeightsError("there is no such file.")
    model: Any = build_resnet(depth, IMAGENET_CLASSES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Keras only warns of what the file lacks
            model.load_weights(file)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        raise WeightsError(str(error).splitlines()[0]) from error
    return model_arrays(model)


def _features(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All but the last layer."""
    return {name: array for name, array in arrays.items() if not name.startswith("fc/")}
