"""The models that other people's weights are converted for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from experiments.process import runtime
from weights.errors import WeightsError

if TYPE_CHECKING:
    import numpy as np

_Attention = Literal["divided", "joint", "space"]
# Models to convert for: a builder of keras.applications and its arguments; None is our AlexNet.
MODELS: dict[str, tuple[str, dict[str, Any]] | None] = {
    "alexnet": None,
    "mobilenet": ("MobileNet", {}),
    "mobilenet_0.25": ("MobileNet", {"alpha": 0.25}),
    "mobilenet_0.5": ("MobileNet", {"alpha": 0.5}),
    "mobilenet_0.75": ("MobileNet", {"alpha": 0.75}),
    "mobilenetv2": ("MobileNetV2", {}),
    "resnet50": ("ResNet50", {}),
    "resnet152": ("ResNet152", {}),
    "efficientnetb0": ("EfficientNetB0", {}),
    "convnexttiny": ("ConvNeXtTiny", {}),
    "vgg16": ("VGG16", {}),
    "inceptionv3": ("InceptionV3", {}),
}
RESNETS = {f"torchvision_resnet{depth}": depth for depth in (18, 34, 50, 101, 152)}
WITH_DECODER = ("ucf101_crnn", "ucf101_resnet_crnn")  # two files each
UCF101 = ("ucf101_conv3d", *WITH_DECODER)  # HHTseng/video-classification
TIMESFORMERS: dict[str, _Attention] = {
    "timesformer": "divided",
    "timesformer_joint": "joint",
    "timesformer_space": "space",
}
NAMES = (*MODELS, *RESNETS, *UCF101, *TIMESFORMERS)


def filled_model(
    name: str,
    arrays: dict[str, np.ndarray],
    *,
    clip_shape: tuple[int, int, int],
    num_classes: int | None = None,
) -> Any:
    """A model with weights.

    Args:
        name: of `NAMES`.
        arrays: by layer/variable.
        clip_shape: frames, height and width of a UCF101 model's clips.
        num_classes: of a TimeSformer whose head is not among the arrays.

    Raises:
        WeightsError: if the arrays do not fit it.
    """
    runtime.configure(runtime.choose_threads("auto"), seed=0)
    import keras

    from weights.assign import assign_arrays

    if name in TIMESFORMERS:
        return _timesformer(TIMESFORMERS[name], arrays, num_classes)
    if name in RESNETS:
        model = _resnet(RESNETS[name], arrays)
    elif name in UCF101:
        model = _ucf101(name, arrays, clip_shape)
    elif (builder := MODELS[name]) is None:
        from ttrnn.models.alexnet import build_alexnet

        model = build_alexnet()
    else:
        function, arguments = builder
        model = getattr(keras.applications, function)(weights=None, **arguments)
    assign_arrays(model, arrays)
    return model


def _resnet(depth: int, arrays: dict[str, np.ndarray]) -> Any:
    """A ResNet of as many classes as the arrays have."""
    from ttrnn.models.resnet import build_resnet

    head = arrays.get("fc/bias")
    return build_resnet(depth, None if head is None else len(head))


def _ucf101(name: str, arrays: dict[str, np.ndarray], clip_shape: tuple[int, int, int]) -> Any:
    """A UCF101 model of as many classes as the arrays have."""
    from ttrnn.models import build_conv3d, build_crnn, build_resnet_crnn

    last = "fc3/bias" if name == "ucf101_conv3d" else "decoder_fc2/bias"
    if last not in arrays:
        raise WeightsError(f"The number of classes is {last}'s. The file lacks it; is it whole?")
    num_classes = len(arrays[last])
    if name == "ucf101_resnet_crnn":
        return build_resnet_crnn(num_classes)
    num_frames, height, width = clip_shape
    if name == "ucf101_crnn":
        return build_crnn(num_classes, height=height, width=width)
    return build_conv3d(num_classes, num_frames=num_frames, height=height, width=width)


def _timesformer(
    attention: _Attention, arrays: dict[str, np.ndarray], num_classes: int | None
) -> Any:
    """A TimeSformer as large as the arrays; its number of heads is in none of them."""
    from ttrnn.models import build_timesformer
    from weights.assign import assign_arrays
    from weights.timesformer_fit import has_head
    from weights.timesformer_size import size_of

    size = size_of(arrays, attention=attention, num_classes=num_classes)
    model = build_timesformer(
        size.num_classes,
        num_frames=size.num_frames,
        image_size=size.image_size,
        patch_size=size.patch_size,
        dim=size.dim,
        depth=size.depth,
        heads=1,
        mlp_ratio=size.hidden / size.dim,
        attention=attention,
    )
    assign_arrays(model, arrays, ignore=[] if has_head(arrays) else ["head"])
    return model
