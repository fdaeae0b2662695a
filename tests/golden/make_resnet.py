"""Make resnet.npz: torchvision's ResNets, written anew in plain PyTorch, on random weights.

    pip install numpy torch
    python tests/golden/make_resnet.py

Written from He et al. 2016 (table 1, figure 5) and torchvision's list of names and shapes; the
stride of a bottleneck is in its 3 x 3 convolution. torchvision 0.28.0 gives the same logits, bit
for bit. Weights are not kept but made by the rule of weight_rule.py, which the test uses too: one
NumPy generator a key.

Arrays: `probe`, the rule's first four numbers for conv1.weight; for each depth `<depth>_keys` and
`<depth>_shapes` of the state dict (num_entries, 4), filled up with -1; for each depth and size of
`SIZES` `<depth>_<height>x<width>_logits` (2, 1000) and `_features` (2, 512 or 2048) of the pixels
that `pixels` makes; of depth 18 after one forward pass in training on 64 x 48 `train_logits`, and
`train_mean` and `train_variance` of layer4.1.bn2.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from weight_rule import value

SEED = 2015
BLOCKS = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3]}
BLOCKS[152] = [3, 8, 36, 3]
SIZES = {18: [(64, 48), (67, 45), (160, 33)], 50: [(64, 48), (51, 37)]}
WIDTHS = (64, 128, 256, 512)


def pixels(height, width):
    """Normalised pixels (2, height, width, 3)."""
    rng = np.random.default_rng([SEED, height, width])
    return rng.standard_normal((2, height, width, 3)).astype(np.float32)


class Block(nn.Module):
    """relu(F(x) + x), with F of two 3 x 3 convolutions, or 1 x 1, 3 x 3 and 1 x 1."""

    def __init__(self, inputs, width, stride, bottleneck):
        super().__init__()
        outputs = 4 * width if bottleneck else width
        self.conv1 = conv(inputs, width, 1, 1) if bottleneck else conv(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, stride if bottleneck else 1)
        self.bn2 = nn.BatchNorm2d(width)
        if bottleneck:
            self.conv3 = conv(width, outputs, 1, 1)
            self.bn3 = nn.BatchNorm2d(outputs)
        self.bottleneck = bottleneck
        self.downsample = None
        if stride > 1 or inputs != outputs:
            shortcut = conv(inputs, outputs, 1, stride)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            y = self.bn3(self.conv3(torch.relu(y)))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


def conv(inputs, outputs, size, stride):
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class ResNet(nn.Module):
    """Stem, four stages of blocks, mean over the picture, scores of 1,000 classes."""

    def __init__(self, depth):
        super().__init__()
        self.conv1 = conv(3, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        bottleneck = depth >= 50
        inputs = 64
        for number, (width, num_blocks) in enumerate(zip(WIDTHS, BLOCKS[depth], strict=True), 1):
            blocks = []
            for block in range(num_blocks):
                stride = 2 if number > 1 and block == 0 else 1
                blocks.append(Block(inputs, width, stride, bottleneck))
                inputs = 4 * width if bottleneck else width
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, 1000)

    def features(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(dim=(2, 3))

    def forward(self, x):
        return self.fc(self.features(x))


def filled(depth):
    """Build a network in evaluation mode with the weights of `value`."""
    model = ResNet(depth)
    state = {key: value(key, tuple(t.shape)) for key, t in model.state_dict().items()}
    model.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()})
    return model.eval()


def layout(depth):
    """Keys and shapes of a state dict, without allocating it."""
    with torch.device("meta"):
        state = ResNet(depth).state_dict()
    shapes = [[*t.shape, *[-1] * (4 - t.ndim)] for t in state.values()]
    return {f"{depth}_keys": np.array(list(state)), f"{depth}_shapes": np.array(shapes, np.int32)}


def main():
    arrays = {"probe": value("conv1.weight", (64, 3, 7, 7)).ravel()[:4]}
    for depth in BLOCKS:
        arrays |= layout(depth)
    for depth, sizes in SIZES.items():
        model = filled(depth)
        for height, width in sizes:
            x = torch.from_numpy(pixels(height, width)).permute(0, 3, 1, 2)
            with torch.no_grad():
                arrays[f"{depth}_{height}x{width}_logits"] = model(x).numpy()
                arrays[f"{depth}_{height}x{width}_features"] = model.features(x).numpy()
    model = filled(18).train()
    with torch.no_grad():
        x = torch.from_numpy(pixels(64, 48)).permute(0, 3, 1, 2)
        arrays["train_logits"] = model(x).numpy()
    norm = model.layer4[1].bn2
    arrays |= {"train_mean": norm.running_mean.numpy(), "train_variance": norm.running_var.numpy()}
    np.savez_compressed(Path(__file__).with_name("resnet.npz"), **arrays)


if __name__ == "__main__":
    main()
