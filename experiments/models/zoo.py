"""Models that other people's weights are converted for."""

from __future__ import annotations

from typing import Any, Literal

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
# Variant of an EfficientNet-Lite; None is torchvision's MobileNetV2.
MOBILE_NETWORKS: dict[str, int | None] = {
    **{f"efficientnet_lite{variant}": variant for variant in range(5)},
    "torchvision_mobilenetv2": None,
}
# Models of HHTseng/video-classification; those with a decoder have two files each.
WITH_DECODER = ("ucf101_crnn", "ucf101_resnet_crnn")
UCF101 = ("ucf101_conv3d", *WITH_DECODER)
TIMESFORMERS: dict[str, _Attention] = {
    "timesformer": "divided",
    "timesformer_joint": "joint",
    "timesformer_space": "space",
}
NAMES = (*MODELS, *MOBILE_NETWORKS, *RESNETS, *UCF101, *TIMESFORMERS)
