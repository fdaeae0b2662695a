"""EfficientNet-Lite0 to 4: pixels in, class scores or 1,280 features out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import keras

from ttrnn.models.mobile_layers import MobileLayers, Stage


@dataclass(frozen=True)
class Scaling:
    """Size of one EfficientNet-Lite, relative to Lite0.

    Args:
        width: multiple of the filters.
        depth: multiple of the blocks of a stage.
        side: height and width of the pictures it was trained on.
        dropout: rate of dropout before the last layer.
    """

    width: float
    depth: float
    side: int
    dropout: float


SCALINGS = {
    0: Scaling(1.0, 1.0, 224, 0.2),
    1: Scaling(1.0, 1.1, 240, 0.2),
    2: Scaling(1.1, 1.2, 260, 0.3),
    3: Scaling(1.2, 1.4, 280, 0.3),
    4: Scaling(1.4, 1.8, 300, 0.3),
}
_STAGES = (  # blocks, filters, size, stride, expansion
    Stage(1, 16, 3, 1, 1),
    Stage(2, 24, 3, 2, 6),
    Stage(2, 40, 5, 2, 6),
    Stage(3, 80, 3, 2, 6),
    Stage(3, 112, 5, 1, 6),
    Stage(4, 192, 5, 2, 6),
    Stage(1, 320, 3, 1, 6),
)
_DIVISOR = 8  # of every number of filters
# (pixel - 127) / 128, for pixels from 0 to 1.
_MEAN_RGB = (127 / 255,) * 3
_STD_RGB = (128 / 255,) * 3


def build_efficientnet_lite(
    variant: int = 0,
    num_classes: int | None = 1000,
    *,
    input_shape: tuple[int | None, int | None, int] | None = None,
    normalize: bool = False,
    dtype: str | None = None,
    name: str | None = None,
) -> keras.Model:
    """Build an EfficientNet-Lite with TensorFlow's arithmetic, so that its weights fit.

    A block expands its channels by a 1 x 1 convolution, filters each of them, and projects to few
    channels; its input is added where the shapes are equal. Lite differs from EfficientNet: ReLU6
    in place of swish, no squeeze-and-excitation, and stem and head are not scaled. Stochastic
    depth, which the originals were trained with, is left out.

    Layers are called stem_conv, block_0_expand_conv, block_0_expand_bn, block_0_depthwise_conv,
    block_0_project_conv, head_conv, features, fc and so on; `weights.mobile_networks` fits the
    published files to them.

    Args:
        variant: 0 to 4, by size.
        num_classes: number of classes; None for the pooled features alone.
        input_shape: (height, width, channels); None for a side that varies, or in place of all
            three for the variant's own square, 224 to 300.
        normalize: take pixels from 0 to 255, of any type, and normalise them in the model:
            (pixel - 127) / 128. Otherwise pixels are normalised already.
        dtype: policy of every layer, such as "mixed_bfloat16"; the scores are then float32.
        name: name of the model, or None for "efficientnet_lite0" and the like.

    Returns:
        A model of RGB pixels (batch, height, width, 3) to logits (batch, num_classes), or to
        features (batch, 1280). The features of a model with classes are the output of its layer
        "features".

    Raises:
        ValueError: for an unknown variant, or `normalize` with other than 3 channels.

    Example:
        >>> model = build_efficientnet_lite(normalize=True)
        >>> assign_arrays(model, read_published("efficientnet_lite0"))
        >>> model(np.zeros((2, 224, 224, 3), "float32")).shape
        (2, 1000)

    Reference: Tan, Le, ICML 2019; tensorflow/tpu, models/official/efficientnet/lite.
    """
    if variant not in SCALINGS:
        known = ", ".join(map(str, SCALINGS))
        raise ValueError(f"variant must be one of {known}. Received {variant!r}.")
    scaling = SCALINGS[variant]
    layers = MobileLayers(dtype, symmetric=False, momentum=0.99, epsilon=1e-3)
    statistics = (_MEAN_RGB, _STD_RGB) if normalize else None
    pixels, x = layers.image_input(input_shape or (scaling.side, scaling.side, 3), statistics)
    x = layers.network(x, _stages(scaling), num_classes, first_block=0, dropout=scaling.dropout)
    return keras.Model(pixels, x, name=name or f"efficientnet_lite{variant}")


def _stages(scaling: Scaling) -> list[Stage]:
    """Scale the stages of Lite0."""
    last = len(_STAGES) - 1
    return [
        replace(
            stage,
            filters=_scaled_filters(stage.filters, scaling.width),
            # Lite keeps the single blocks of the first and the last stage.
            num_blocks=stage.num_blocks
            if position in (0, last)
            else math.ceil(scaling.depth * stage.num_blocks),
        )
        for position, stage in enumerate(_STAGES)
    ]


def _scaled_filters(filters: int, width: float) -> int:
    """Scale a number of filters, to a multiple of 8 that is at least nine tenths of it."""
    wanted = filters * width
    rounded = max(_DIVISOR, int(wanted + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return rounded if rounded >= 0.9 * wanted else rounded + _DIVISOR
