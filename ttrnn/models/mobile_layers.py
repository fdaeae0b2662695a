"""Layers of networks of inverted residual blocks: MobileNetV2 and EfficientNet-Lite."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from ttrnn.models.torch_layers import TorchLayers

NUM_FEATURES = 1280  # channels of the head, whatever the width of the network
STEM_FILTERS = 32


@dataclass(frozen=True)
class Stage:
    """Blocks in a row with the same filters.

    Args:
        num_blocks: number of blocks.
        filters: output channels of each.
        size: height and width of the depthwise filters.
        stride: stride of the first block; the others have 1.
        expansion: channels inside a block, as a multiple of its input's.
    """

    num_blocks: int
    filters: int
    size: int
    stride: int
    expansion: int


class MobileLayers(TorchLayers):
    """Layers of one network of inverted residual blocks, all with ReLU6 and without biases.

    Args:
        dtype: policy of every layer, such as "mixed_bfloat16".
        symmetric: pad as torch does; otherwise as TensorFlow's "same".
        momentum: part of the moving statistics that is kept.
        epsilon: added to each variance.
    """

    def __init__(
        self, dtype: str | None, *, symmetric: bool, momentum: float, epsilon: float
    ) -> None:
        super().__init__(dtype)
        self._symmetric = symmetric
        self._momentum = momentum
        self._epsilon = epsilon

    def network(
        self,
        pixels,
        stages: list[Stage],
        num_classes: int | None,
        *,
        first_block: int,
        dropout: float,
    ):
        """Apply the whole network to normalised pixels.

        Args:
            pixels: (B, H, W, 3).
            stages: blocks between stem and head.
            num_classes: number of classes; None for the pooled features alone.
            first_block: number of the first block, in its name.
            dropout: rate of the features that are dropped in training, before the last layer.

        Returns:
            Logits (B, num_classes), or features (B, 1280).
        """
        x = self._activated(pixels, STEM_FILTERS, 3, 2, "stem")  # (B, H/2, W/2, 32)
        number = first_block
        for stage in stages:
            for position in range(stage.num_blocks):
                stride = stage.stride if position == 0 else 1
                x = self._block(x, stage, stride, f"block_{number}")
                number += 1
        x = self._activated(x, NUM_FEATURES, 1, 1, "head")  # (B, H/32, W/32, 1280)
        # From here on in the type of the weights, for the features are sums over all places.
        x = keras.layers.GlobalAveragePooling2D(dtype=self.stored_dtype, name="features")(x)
        if num_classes is None:
            return x
        x = keras.layers.Dropout(dropout, dtype=self.stored_dtype, name="dropout")(x)
        return self.scores(x, num_classes, "fc")

    def _block(self, x, stage: Stage, stride: int, name: str):
        """Expand by 1 x 1, filter each channel, project by 1 x 1; add the input where it fits."""
        shortcut, channels = x, x.shape[-1]
        if stage.expansion > 1:
            x = self._activated(x, stage.expansion * channels, 1, 1, f"{name}_expand")
        x = self._activated(x, None, stage.size, stride, f"{name}_depthwise")
        # No activation follows: ReLU6 would lose what few channels hold.
        x = self._normalised(x, stage.filters, 1, 1, f"{name}_project")
        if stride > 1 or channels != stage.filters:
            return x
        return keras.layers.Add(dtype=self._dtype, name=f"{name}_add")([x, shortcut])

    def _activated(self, x, filters: int | None, size: int, stride: int, name: str):
        """Apply a convolution, batch normalisation and ReLU6."""
        x = self._normalised(x, filters, size, stride, name)
        return keras.layers.ReLU(6.0, dtype=self._dtype, name=f"{name}_relu6")(x)

    def _normalised(self, x, filters: int | None, size: int, stride: int, name: str):
        """Apply a convolution and batch normalisation."""
        x = self.conv(x, filters, size, stride, f"{name}_conv", symmetric=self._symmetric)
        return self.norm(x, self._momentum, f"{name}_bn", epsilon=self._epsilon)
