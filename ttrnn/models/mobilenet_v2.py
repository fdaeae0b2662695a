"""MobileNetV2 in torchvision's form: pixels in, class scores or 1,280 features out."""

from __future__ import annotations

import keras

from ttrnn.models.mobile_layers import MobileLayers, Stage
from ttrnn.models.resnet import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB

_STAGES = [  # blocks, filters, size, stride, expansion
    Stage(1, 16, 3, 1, 1),
    Stage(2, 24, 3, 2, 6),
    Stage(3, 32, 3, 2, 6),
    Stage(4, 64, 3, 2, 6),
    Stage(3, 96, 3, 1, 6),
    Stage(3, 160, 3, 2, 6),
    Stage(1, 320, 3, 1, 6),
]


def build_mobilenet_v2(
    num_classes: int | None = 1000,
    *,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    normalize: bool = False,
    dtype: str | None = None,
    name: str = "mobilenet_v2",
) -> keras.Model:
    """Build MobileNetV2 with torchvision's arithmetic, so that its weights fit.

    A block expands its channels by a 1 x 1 convolution, filters each of them, and projects to few
    channels; its input is added where the shapes are equal. `keras.applications.MobileNetV2` pads
    and normalises otherwise: weights of one do not fit the other.

    Layers are called stem_conv, block_1_depthwise_conv, block_1_depthwise_bn, block_1_project_conv,
    block_2_expand_conv, head_conv, features, fc and so on: block_1 is torchvision's features.1.
    `weights.mobile_networks` fits the published file to them. In training the moving variances take
    the batch's variance over n, where torch takes that over n - 1.

    Args:
        num_classes: number of classes; None for the pooled features alone.
        input_shape: (height, width, channels); None for a side that varies.
        normalize: take pixels from 0 to 255, of any type, and normalise them in the model by
            ImageNet's mean and deviation. Otherwise pixels are normalised already.
        dtype: policy of every layer, such as "mixed_bfloat16"; the scores are then float32.
        name: name of the model.

    Returns:
        A model of RGB pixels (batch, height, width, 3) to logits (batch, num_classes), or to
        features (batch, 1280). The features of a model with classes are the output of its layer
        "features".

    Raises:
        ValueError: for `normalize` with other than 3 channels.

    Example:
        >>> model = build_mobilenet_v2(normalize=True)
        >>> assign_arrays(model, mobilenet_v2_arrays(read_state_dict("mobilenet_v2-b0353104.pth")))
        >>> model(np.zeros((2, 224, 224, 3), "float32")).shape
        (2, 1000)

    Reference: Sandler et al., CVPR 2018; torchvision.models.mobilenetv2.
    """
    layers = MobileLayers(dtype, symmetric=True, momentum=0.9, epsilon=1e-5)
    statistics = (IMAGENET_MEAN_RGB, IMAGENET_STD_RGB) if normalize else None
    pixels, x = layers.image_input(input_shape, statistics)
    x = layers.network(x, _STAGES, num_classes, first_block=1, dropout=0.2)
    return keras.Model(pixels, x, name=name)
