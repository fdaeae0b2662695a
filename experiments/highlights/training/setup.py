"""Weights of ImageNet, to begin a scorer's training from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import InputError
from experiments.highlights.scoring.scorer_network import SOUND_DEPTH
from experiments.models.resnet_weights import read_resnet
from weights.errors import WeightsError

if TYPE_CHECKING:
    import keras


def begin_from(model: keras.Model, file: Path, depth: int) -> str:
    """Give the ResNets of a scorer the weights of a ResNet that was trained on other pictures.

    The last layer is taken too where the file's tells highlights as the scorer's does: it is of
    two classes, and the scorer is one ResNet. eqy/autotosis's model_best.pth.tar is such a file.

    Args:
        model: from `build_scorer`.
        file: of its weights, as `read_resnet` takes it.
        depth: of the ResNet in the file.

    Returns:
        In words, which ResNets were given them.

    Raises:
        InputError: if the file cannot be read, or is that of another network.
    """
    from weights.assign import assign_arrays

    towers = [layer for layer in model.layers if hasattr(layer, "layers")]
    fitting = [tower for tower in towers if tower.name != "heard" or depth == SOUND_DEPTH]
    try:
        arrays = read_resnet(file, depth, last_layer=True)
        head = [arrays.pop(f"fc/{name}", np.empty(0)) for name in ("kernel", "bias")]
        for tower in fitting:
            assign_arrays(tower, arrays)
    except WeightsError as error:
        raise InputError(f"--weights {file} do not fit a ResNet-{depth}: {error}") from error
    given = " and ".join(tower.name for tower in fitting)
    last = model.get_layer("probabilities")
    if [array.shape for array in head] == [tuple(weight.shape) for weight in last.weights]:
        last.set_weights(head)
        given += f" and {last.name}"
    rest = ", ".join(tower.name for tower in towers if tower not in fitting)
    return f"{file}: weights of {given}" + (f"; {rest} starts from scratch" if rest else "")
