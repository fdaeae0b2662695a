"""Frozen networks, and the features that they compute of clips: once, for all runs."""

from __future__ import annotations

from pathlib import Path

import keras
from numpy.typing import ArrayLike

from common.errors import InputError
from experiments.models.keras_files import load_keras_model, read_resnet
from experiments.models.zoo import MOBILE_NETWORKS, RESNETS
from experiments.training.loop import compiled
from preprocess.batches.features import (
    FeatureSettings,
    FeatureStore,
    FeatureViews,
    compute_features,
)
from preprocess.batches.views import CropChoice, FrameChoice, Inputs
from preprocess.shards.reader import Shards
from preprocess.system.progress import TerminalProgress
from ttrnn.models.efficientnet_lite import build_efficientnet_lite
from ttrnn.models.mobilenet_v2 import build_mobilenet_v2
from ttrnn.models.resnet import build_resnet
from weights.arrays import arrays_digest
from weights.assign import assign_arrays, model_arrays
from weights.errors import WeightsError
from weights.mobile_networks import read_installed, read_mobile_network

FEATURES = Path("data/features")


def feature_views(
    network: keras.Model,
    name: str,
    shards: Shards,
    *,
    policy: str,
    crops: CropChoice,
    num_crops: int = 1,
    inputs: Inputs = "frames",
    choice: FrameChoice | None = None,
    test_clips: ArrayLike = (),
) -> FeatureViews:
    """Views of a frozen network's features, which are computed now where they are missing.

    Args:
        network: model from pixels, 0 to 255, (N, H, W, 3) to features (N, num_features).
        name: name of the network.
        shards: the clips. All of them get features of the middle crop.
        policy: dtype policy of the network's layers.
        crops: choice of the crops that the network sees.
        num_crops: number of crops of a test clip, 1 or 3.
        inputs: input of the network: frames, or their foreground.
        choice: choice of the frames that get features; None for all stored frames.
        test_clips: positions of the clips that are tested, for which the other crops are computed.

    Raises:
        PreprocessError: if a frame cannot be read, or the disk is full.
    """
    # The digest of all weights tells features of other weights apart.
    described = f"{name} {arrays_digest(model_arrays(network))} {policy}"
    num_features = network.output_shape[-1]

    def store(crop: int) -> FeatureStore:
        # Training and validation see the middle crop only, so that the others need no features of
        # their clips. The middle of three crops is the only one of one: it is stored once for both.
        is_middle = crop == num_crops // 2
        place = (0, 1) if is_middle else (crop, num_crops)
        settings = FeatureSettings(described, num_features, crops, *place, inputs, choice)
        clips = range(len(shards)) if is_middle else test_clips
        with TerminalProgress() as progress:
            return compute_features(
                FEATURES, shards, clips, settings, compiled(network), progress=progress
            )

    return FeatureViews(shards, [store(crop) for crop in range(num_crops)], num_features, choice)


def load_network(
    name: str, file: Path | None, *, input_shape: tuple[int, int, int], policy: str
) -> keras.Model:
    """Build a network of the zoo from pixels, 0 to 255, to features, with its weights.

    Args:
        name: name in the zoo of an EfficientNet-Lite, a MobileNetV2 or a ResNet, or a .keras file
            of such a model.
        file: file of its weights; None for installed ones, or of a ResNet for random ones.
        input_shape: shape of a frame, (H, W, 3).
        policy: dtype policy of its layers; a .keras file has its own.

    Raises:
        InputError, WeightsError, KerasFileError: if a file does not fit.
    """
    if name in RESNETS:
        return load_resnet(RESNETS[name], file, input_shape=input_shape, policy=policy)
    if name not in MOBILE_NETWORKS:
        return _network_in_file(Path(name), input_shape)
    variant = MOBILE_NETWORKS[name]
    if variant is None:
        model = build_mobilenet_v2(None, input_shape=input_shape, normalize=True, dtype=policy)
    else:
        model = build_efficientnet_lite(
            variant, None, input_shape=input_shape, normalize=True, dtype=policy
        )
    arrays = read_installed(name) if file is None else read_mobile_network(name, file)
    features = {key: array for key, array in arrays.items() if not key.startswith("fc/")}
    try:
        assign_arrays(model, features)
    except WeightsError as error:
        raise InputError(f"--weights {file} do not fit {name}: {error}") from error
    return model


def load_resnet(
    depth: int, file: Path | None, *, input_shape: tuple[int, int, int], policy: str
) -> keras.Model:
    """Build a ResNet from pixels, uint8 (N, H, W, 3), to features, (N, 512 or 2048).

    Args:
        depth: 18, 34, 50, 101 or 152.
        file: file of its weights, as `read_resnet` takes it; None for random weights.
        input_shape: shape of a frame, (H, W, 3).
        policy: dtype policy of its layers.

    Raises:
        InputError: if the file does not fit.
    """
    model = build_resnet(depth, None, input_shape=input_shape, normalize=True, dtype=policy)
    if file is None:
        return model
    try:
        assign_arrays(model, read_resnet(file, depth))
    except WeightsError as error:
        raise InputError(f"--weights {file} do not fit a ResNet-{depth}: {error}") from error
    return model


def _network_in_file(file: Path, input_shape: tuple[int, int, int]) -> keras.Model:
    """Read a network of pixels to features from a .keras file.

    Raises:
        InputError, KerasFileError: if it does not take such frames, or gives no features.
    """
    model = load_keras_model(file)
    takes, gives = model.input_shape, model.output_shape
    fits = isinstance(takes, tuple) and len(takes) == 4 and isinstance(gives, tuple)
    if (
        not fits
        or len(gives) != 2
        or any(
            side not in (None, wanted) for side, wanted in zip(takes[1:], input_shape, strict=True)
        )
    ):
        raise InputError(
            f"--features takes a model of frames {input_shape} to features (frames, features). "
            f"{file} is one of {takes} to {gives}; --size WIDTH HEIGHT sets the frames."
        )
    return model
