"""Networks whose features of frames the jobs on clips classify, by name, and checks of them."""

from __future__ import annotations

from pathlib import Path

from common.errors import InputError, did_you_mean
from experiments.models.resnet_weights import require_resnet
from experiments.models.zoo import MOBILE_NETWORKS, RESNETS
from weights.registry import find_entry, require_installed

RANDOM_WEIGHTS = "random"
KERAS_FILE = ".keras"
# Names on the command line -> names in the zoo.
FROZEN_NETWORKS: dict[str, str] = {
    "efficientnet-lite0": "efficientnet_lite0",
    "mobilenetv2": "torchvision_mobilenetv2",
    **{f"resnet{depth}": name for name, depth in RESNETS.items()},
}

# Blocks of the networks that can be fine-tuned.
NUM_BLOCKS = {"efficientnet-lite0": 16, "mobilenetv2": 17}


def require_network(network: str, weights: str | None) -> None:
    """Refuse a frozen network that is unknown or lacks its weights, without TensorFlow.

    Args:
        network: one of `FROZEN_NETWORKS`, or a .keras file.
        weights: file of its weights, or "random"; None for installed ones.

    Raises:
        InputError: if it is unknown, a file is missing, or a ResNet's file is another network's.
        WeightsError: if weights that are needed are not installed.
    """
    if network.endswith(KERAS_FILE):
        if not Path(network).is_file():
            raise InputError(f"--features names a file that is not there: {network}.")
        if weights is not None:
            raise InputError(f"{network} holds its own weights; leave out --weights.")
        return
    name = FROZEN_NETWORKS.get(network)
    if name is None:
        message = (
            f"--features must be {', '.join(FROZEN_NETWORKS)} or a .keras file. Received "
            f"{network!r}."
        )
        raise InputError(f"{message} {did_you_mean(network, FROZEN_NETWORKS)}".strip())
    if name in RESNETS:
        if weights is None:
            raise InputError(
                f"{network} needs a trained ResNet's weights: --weights FILE, such as "
                f"torchvision's, which python -m weights list names; --weights {RANDOM_WEIGHTS} is "
                "for trials only."
            )
        if weights != RANDOM_WEIGHTS:
            require_resnet(Path(weights), RESNETS[name])
    elif weights is None:
        require_installed(find_entry(name))
    elif name in MOBILE_NETWORKS and not Path(weights).is_file():
        raise InputError(f"--weights must be a file. There is no {weights}.")
