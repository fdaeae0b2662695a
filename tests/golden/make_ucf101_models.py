"""Make ucf101_models.npz: the networks of HHTseng/video-classification, in plain PyTorch.

    pip install -e ".[benchmark]" pillow
    git clone https://github.com/HHTseng/video-classification CLONE
    python tests/golden/make_ucf101_models.py CLONE

Two of the networks are those that `python -m experiments.bench_ucf101` measures. All are written
anew from the published layers, sizes and names of weights; only those are the original's.
Weights are not kept but made by the rule of weight_rule.py; frames by `clip`. Both are repeated
by the test. Dropout is 0, as in the original's scripts. Pixels are normalised by the numbers that
stand in the original's scripts, read from CLONE.

Arrays: of each state dict at the original's sizes `<network>_keys`, `<network>_shapes` (filled up
with -1) and `<network>_parameters`, the count of trainable ones. Of small networks with 5 classes:

- `conv3d_logits` (2, 5): clips of 10 frames of 64 x 80. After one forward pass in training
  `conv3d_train_logits`, and `conv3d_train_mean` and `_variance` of bn2. `conv3d_imagenet_logits`:
  the same clips with the normalisation of before 2019-05-30. `conv3d_normalization` (2, 2): mean
  and deviation now and then, of a grey pixel from 0 to 1.
- `crnn_logits` (3, 5): clips of 4, 7 and 1 frames of 64 x 80, each by itself, so without padding.
  In training, two clips of 10 frames: `crnn_train_logits`, `_mean` and `_variance` of conv4's norm
  where all frames are normalised together; `crnn_steps_mean` and `_variance` where the first frames
  of both clips are, then the second ones, and so on, as in the original.
- `resnet_crnn_logits` (3, 5): the same of ResNet-50 and 64 x 48; `resnet_crnn_train_logits` of all
  three clips together in training, the ResNet in evaluation, `_mean` and `_variance` of bn2.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from make_resnet import ResNet
from PIL import Image
from torch import nn
from weight_rule import value

from experiments.bench_torch import Conv3D, Decoder, FrameEncoder

SEED = 101
NUM_CLASSES = 5
NOW, BEFORE = "99ebf20", "ac8e12b~1"  # the newest commit; the last of ImageNet's normalisation
NORMALIZE = re.compile(r"transforms\.Normalize\(mean=(\[[0-9., ]+\]), std=(\[[0-9., ]+\])\)")


def published(script, commit=NOW):
    """Mean and deviation from a script of the original, for pixels from 0 to 1, (2, channels)."""
    show = ["git", "-C", sys.argv[1], "show", f"{commit}:{script}"]
    text = subprocess.run(show, check=True, capture_output=True, text=True).stdout
    ((mean, deviation),) = NORMALIZE.findall(text)
    return np.array([ast.literal_eval(mean), ast.literal_eval(deviation)])


def clip(number, num_frames, height, width):
    """RGB frames (num_frames, height, width, 3), uint8, of 8 x 8 blocks of colour and noise."""
    rng = np.random.default_rng([SEED, number])
    blocks = rng.integers(0, 200, (num_frames, height // 8, width // 8, 3), np.uint8)
    frames = blocks.repeat(8, axis=1).repeat(8, axis=2)
    return frames + rng.integers(0, 56, frames.shape, np.uint8)


def grey(frames, commit):
    """Normalised grey frames, (1, frames, height, width).

    Of three means and deviations torch takes the first where a picture has one channel.
    """
    mean, deviation = published("Conv3D/UCF101_3DCNN.py", commit)[:, 0]
    images = np.stack([np.array(Image.fromarray(frame).convert("L")) for frame in frames])
    return torch.from_numpy(((images / 255 - mean) / deviation).astype(np.float32))[None]


def colour(frames, script):
    """Normalised colour frames, (frames, 3, height, width)."""
    mean, deviation = published(script)
    pixels = ((frames / 255 - mean) / deviation).astype(np.float32)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


class ResNetEncoder(nn.Module):
    def __init__(self, depth, momentum=0.01):
        super().__init__()
        net = ResNet(depth)
        stages = (net.layer1, net.layer2, net.layer3, net.layer4)
        pool = nn.AdaptiveAvgPool2d(1)
        self.resnet = nn.Sequential(net.conv1, net.bn1, nn.ReLU(), net.maxpool, *stages, pool)
        self.fc1 = nn.Linear(net.fc.in_features, 1024)
        self.bn1 = nn.BatchNorm1d(1024, momentum=momentum)
        self.fc2 = nn.Linear(1024, 768)
        self.bn2 = nn.BatchNorm1d(768, momentum=momentum)
        self.fc3 = nn.Linear(768, 512)

    def forward(self, frames):
        x = self.bn1(self.fc1(self.resnet(frames).flatten(1))).relu()
        return self.fc3(self.bn2(self.fc2(x)).relu())


def filled(model, prefix=""):
    """Give a model in evaluation mode weights by `prefix` and key, so that no two are equal."""
    state = {key: value(prefix + key, tuple(t.shape)) for key, t in model.state_dict().items()}
    model.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()})
    return model.eval()


def layout(name, make):
    """Keys, shapes and count of weights at the original's sizes, without allocating them."""
    with torch.device("meta"):
        model = make()
    state = model.state_dict()
    shapes = [[*t.shape, *[-1] * (5 - t.ndim)] for t in state.values()]
    return {
        f"{name}_keys": np.array(list(state)),
        f"{name}_shapes": np.array(shapes, np.int32),
        f"{name}_parameters": sum(p.numel() for p in model.parameters()),
    }


def statistics(name, norm):
    return {
        f"{name}_mean": norm.running_mean.numpy().copy(),
        f"{name}_variance": norm.running_var.numpy().copy(),
    }


def conv3d():
    model = filled(Conv3D(10, 64, 80, NUM_CLASSES), "conv3d.")
    clips, before = (
        torch.stack([grey(clip(number, 10, 64, 80), commit) for number in (0, 1)])
        for commit in (NOW, BEFORE)
    )
    arrays = {"conv3d_logits": model(clips).numpy()}
    arrays["conv3d_imagenet_logits"] = model(before).numpy()
    numbers = [published("Conv3D/UCF101_3DCNN.py", commit)[:, 0] for commit in (NOW, BEFORE)]
    arrays["conv3d_normalization"] = np.array(numbers)
    arrays["conv3d_train_logits"] = model.train()(clips).numpy()
    return arrays | statistics("conv3d_train", model.bn2)


def crnn():
    decoder = filled(Decoder(NUM_CLASSES), "decoder.")
    encoder = filled(FrameEncoder(64, 80), "crnn.")
    script = "CRNN/UCF101_CRNN.py"
    clips = [
        colour(clip(number, length, 64, 80), script) for number, length in enumerate((4, 7, 1))
    ]
    arrays = {"crnn_logits": torch.cat([decoder(encoder(x)[None]) for x in clips]).numpy()}
    clips = torch.stack([colour(clip(number, 10, 64, 80), script) for number in (0, 1)])
    for frame in range(10):
        encoder.train()(clips[:, frame])
    arrays |= statistics("crnn_steps", encoder.conv4[1])
    encoder = filled(FrameEncoder(64, 80, momentum=1 - 0.99**10), "crnn.").train()
    logits = decoder(encoder(clips.flatten(0, 1)).reshape(2, 10, 512))
    return (
        arrays | {"crnn_train_logits": logits.numpy()} | statistics("crnn_train", encoder.conv4[1])
    )


def resnet_crnn():
    decoder = filled(Decoder(NUM_CLASSES), "decoder.")
    encoder = filled(ResNetEncoder(50, momentum=1 - 0.99**10), "resnet_crnn.")
    script = "ResNetCRNN/UCF101_ResNetCRNN.py"
    clips = [
        colour(clip(number, length, 64, 48), script) for number, length in enumerate((4, 7, 1))
    ]
    logits = torch.cat([decoder(encoder(x)[None]) for x in clips])
    encoder.train().resnet.eval()
    embeddings = encoder(torch.cat(clips)).split((4, 7, 1))
    train_logits = torch.cat([decoder(x[None]) for x in embeddings])
    arrays = {"resnet_crnn_logits": logits.numpy()}
    arrays["resnet_crnn_train_logits"] = train_logits.numpy()
    return arrays | statistics("resnet_crnn_train", encoder.bn2)


def main():
    arrays = {"probe": value("conv3d.conv1.weight", (32, 1, 5, 5, 5)).ravel()[:4]}
    arrays |= layout("conv3d", lambda: Conv3D(28, 256, 342, 101))
    arrays |= layout("crnn_encoder", lambda: FrameEncoder(256, 342))
    arrays |= layout("resnet_encoder", lambda: ResNetEncoder(152))
    arrays |= layout("decoder", lambda: Decoder(101))
    with torch.no_grad():
        arrays |= conv3d() | crnn() | resnet_crnn()
    np.savez_compressed(Path(__file__).with_name("ucf101_models.npz"), **arrays)


if __name__ == "__main__":
    main()
