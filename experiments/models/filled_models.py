"""Models in the size of other people's arrays, filled with them.

It imports TensorFlow, so the process must have set its thread pools before.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from experiments.models.zoo import MOBILE_NETWORKS, MODELS, RESNETS, TIMESFORMERS
from ttrnn import models
from weights.assign import assign_arrays
from weights.errors import WeightsError
from weights.timesformer import has_head, size_of


def filled_model(
    name: str,
    arrays: dict[str, np.ndarray],
    *,
    clip_shape: tuple[int, int, int],
    num_classes: int | None = None,
) -> Any:
    """Build a model in the size of the arrays, and load them as its weights.

    Args:
        name: name of the model, one of `NAMES`.
        arrays: arrays by layer/variable.
        clip_shape: frames, height and width of a UCF101 model's clips.
        num_classes: number of classes of a TimeSformer whose head is not among the arrays.

    Raises:
        WeightsError: if the arrays do not fit it.
    """
    ignored: list[str] = []
    if name in TIMESFORMERS:
        size = size_of(arrays, attention=TIMESFORMERS[name], num_classes=num_classes)
        model = models.build_timesformer(
            size.num_classes,
            num_frames=size.num_frames,
            image_size=size.image_size,
            patch_size=size.patch_size,
            dim=size.dim,
            depth=size.depth,
            # The number of heads is in no array's shape, and no weight depends on it.
            heads=1,
            mlp_ratio=size.hidden / size.dim,
            attention=TIMESFORMERS[name],
        )
        ignored = [] if has_head(arrays) else ["head"]
    elif name in RESNETS:
        head = arrays.get("fc/bias")
        model = models.build_resnet(RESNETS[name], None if head is None else len(head))
    elif name in MOBILE_NETWORKS:
        head = arrays.get("fc/bias")
        num_classes = None if head is None else len(head)
        variant = MOBILE_NETWORKS[name]
        if variant is None:
            model = models.build_mobilenet_v2(num_classes)
        else:
            model = models.build_efficientnet_lite(variant, num_classes)
    elif name == "ucf101_resnet_crnn":
        model = models.build_resnet_crnn(_ucf101_classes(arrays, "decoder_fc2/bias"))
    elif name == "ucf101_crnn":
        _, height, width = clip_shape
        classes = _ucf101_classes(arrays, "decoder_fc2/bias")
        model = models.build_crnn(classes, height=height, width=width)
    elif name == "ucf101_conv3d":
        num_frames, height, width = clip_shape
        classes = _ucf101_classes(arrays, "fc3/bias")
        model = models.build_conv3d(classes, num_frames=num_frames, height=height, width=width)
    elif (builder := MODELS[name]) is None:
        model = models.build_alexnet()
    else:
        function, arguments = builder
        model = getattr(keras.applications, function)(weights=None, **arguments)
    assign_arrays(model, arrays, ignore=ignored)
    return model


def _ucf101_classes(arrays: dict[str, np.ndarray], last: str) -> int:
    """Read the number of classes from the biases of the last layer."""
    if last not in arrays:
        raise WeightsError(f"The number of classes is {last}'s. The file lacks it; is it whole?")
    return len(arrays[last])
