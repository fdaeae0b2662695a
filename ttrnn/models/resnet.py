"""ResNet-18 to 152 in torchvision's form (v1.5): pixels in, class scores or features out."""

from __future__ import annotations

import keras

from ttrnn.models.torch_layers import TorchLayers

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}  # depth -> blocks of layer1 to layer4
BOTTLENECK_DEPTH = 50  # from this depth on a block has three convolutions instead of two
IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)  # of pixels from 0 to 1
IMAGENET_STD_RGB = (0.229, 0.224, 0.225)
_MOMENTUM = 0.9  # the part that is kept; torch's 0.1 is the part that is replaced
Convolutions = list[tuple[int, int, int]]  # filters, size and stride of each


def build_resnet(
    depth: int,
    num_classes: int | None = 1000,
    *,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    normalize: bool = False,
    zero_init_residual: bool = False,
    dtype: str | None = None,
    name: str | None = None,
) -> keras.Model:
    """Build a residual network with torchvision's arithmetic, so that its weights fit.

    A block is y = relu(F(x) + x), with F of 3 x 3, 3 x 3 convolutions or of 1 x 1, 3 x 3, 1 x 1,
    each batch-normalised; x goes through a strided 1 x 1 convolution where F changes its shape.
    The stride of a bottleneck is in its 3 x 3 convolution, not in the first as in the paper.

    Layer names are torchvision's with "_" for ".": layer1.0.downsample.0.weight is the kernel of
    layer1_0_downsample_0; `weights.resnet` has the whole rule. In training the moving variances
    take the batch's variance over n, where torch takes that over n - 1.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: number of classes; None for the pooled features alone.
        input_shape: (height, width, channels); None for a side that varies. Sides should be 32 or
            more, for layer4 is 32 times smaller.
        normalize: take pixels from 0 to 255, of any type, and normalise them in the model by
            ImageNet's mean and deviation. Otherwise pixels are normalised already.
        zero_init_residual: start the last gamma of each block at zero, so that the block starts as
            the identity, up to ReLU.
        dtype: policy of every layer, such as "mixed_bfloat16"; the scores are then float32.
        name: name of the model, or None for "resnet18" and the like.

    Returns:
        A model of RGB pixels (batch, height, width, 3) to logits (batch, num_classes), or to
        features (batch, 512), from depth 50 on (batch, 2048).

    Raises:
        ValueError: for an unknown depth, or `normalize` with other than 3 channels.

    Example:
        >>> model = build_resnet(18, None, normalize=True)
        >>> model(np.zeros((2, 224, 224, 3), "float32")).shape
        (2, 512)

    Reference: He, Zhang, Ren, Sun, CVPR 2016; torchvision.models.resnet.
    """
    if depth not in BLOCKS:
        raise ValueError(f"depth must be one of {', '.join(map(str, BLOCKS))}. Received {depth!r}.")
    layers = _Layers(dtype, last_gamma="zeros" if zero_init_residual else "ones")
    statistics = (IMAGENET_MEAN_RGB, IMAGENET_STD_RGB) if normalize else None
    pixels, x = layers.image_input(input_shape, statistics)
    x = layers.stem(x)  # (B, H/4, W/4, 64)
    for stage, num_blocks in enumerate(BLOCKS[depth]):
        for block in range(num_blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            convolutions = _convolutions(depth, 64 * 2**stage, stride)
            x = layers.residual(x, convolutions, f"layer{stage + 1}_{block}")
    x = keras.layers.GlobalAveragePooling2D(dtype=layers.stored_dtype, name="avgpool")(x)
    if num_classes is not None:
        x = layers.scores(x, num_classes, "fc")  # from (B, 512 or 2048)
    return keras.Model(pixels, x, name=name or f"resnet{depth}")


def _convolutions(depth: int, filters: int, stride: int) -> Convolutions:
    """Convolutions of one block; the stride of a bottleneck is in its 3 x 3 one (v1.5)."""
    if depth < BOTTLENECK_DEPTH:
        return [(filters, 3, stride), (filters, 3, 1)]
    return [(filters, 1, 1), (filters, 3, stride), (4 * filters, 1, 1)]


class _Layers(TorchLayers):
    """Layers of one network with a common dtype and initial scale.

    Args:
        dtype: policy of every layer.
        last_gamma: initializer of the last gamma of a block.
    """

    def __init__(self, dtype: str | None, *, last_gamma: str) -> None:
        super().__init__(dtype)
        self._last_gamma = last_gamma

    def stem(self, x):
        """Apply the first convolution and max-pooling, which leave a quarter of each side."""
        x = self.relu(
            self.norm(self.conv(x, 64, 7, 2, "conv1"), _MOMENTUM, "bn1"), "relu"
        )  # (B, H/2, ..)
        # torch pads the maximum with minus infinity. After ReLU zeros do the same, for every window
        # has a value of its own and none is below zero.
        x = self.pad(x, 1, "maxpool_pad")
        return keras.layers.MaxPooling2D(3, 2, dtype=self._dtype, name="maxpool")(x)

    def residual(self, x, convolutions: Convolutions, name: str):
        """Compute relu(F(x) + x), where a strided 1 x 1 convolution fits x to F's shape."""
        shortcut = x
        for number, (filters, size, stride) in enumerate(convolutions, 1):
            last = number == len(convolutions)
            x = self.conv(x, filters, size, stride, f"{name}_conv{number}")
            gamma = self._last_gamma if last else "ones"
            x = self.norm(x, _MOMENTUM, f"{name}_bn{number}", gamma=gamma)
            x = x if last else self.relu(x, f"{name}_relu{number}")
        filters, stride = convolutions[-1][0], max(stride for _, _, stride in convolutions)
        if stride > 1 or shortcut.shape[-1] != filters:
            shortcut = self.conv(shortcut, filters, 1, stride, f"{name}_downsample_0")
            shortcut = self.norm(shortcut, _MOMENTUM, f"{name}_downsample_1")
        x = keras.layers.Add(dtype=self._dtype, name=f"{name}_add")([x, shortcut])
        return self.relu(x, f"{name}_relu")
