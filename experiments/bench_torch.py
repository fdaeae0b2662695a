"""PyTorch's side of the benchmarks: networks and loops that ours are measured beside.

The networks of HHTseng/video-classification are written anew from its layers and sizes. Names of
weights are the original's. Dropout is 0, as in its scripts.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from experiments.bench_classify import NUM_BATCHES
from experiments.bench_ucf101 import NUM_CLASSES, NUM_STEPS, SEED, Measured, batch
from experiments.benchmarks import Clips
from experiments.process import environment


def after(side, *sizes):
    """Length of a side after convolutions of stride 2 without padding."""
    for size in sizes:
        side = (side - size) // 2 + 1
    return side


class Conv3D(nn.Module):
    def __init__(self, num_frames, height, width, num_classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv3d(1, 32, 5, 2), nn.BatchNorm3d(32)
        self.conv2, self.bn2 = nn.Conv3d(32, 48, 3, 2), nn.BatchNorm3d(48)
        left = [after(side, 5, 3) for side in (num_frames, height, width)]
        self.fc1 = nn.Linear(48 * int(np.prod(left)), 256)
        self.fc2 = nn.Linear(256, 256)
        self.fc3 = nn.Linear(256, num_classes)

    def forward(self, clips):
        x = self.bn1(self.conv1(clips)).relu()
        x = self.bn2(self.conv2(x)).relu()
        # No softmax after the last layer: PyTorch's loss takes logits.
        return self.fc3(self.fc2(self.fc1(x.flatten(1)).relu()).relu())


class FrameEncoder(nn.Module):
    def __init__(self, height, width, momentum=0.01):
        super().__init__()
        channels = (3, 32, 64, 128, 256)
        for number, size in enumerate((5, 3, 3, 3), 1):
            conv = nn.Conv2d(channels[number - 1], channels[number], size, 2)
            norm = nn.BatchNorm2d(channels[number], momentum=momentum)
            self.add_module(f"conv{number}", nn.Sequential(conv, norm, nn.ReLU()))
        # Height and width that the four convolutions leave.
        left = [after(side, 5, 3, 3, 3) for side in (height, width)]
        self.fc1 = nn.Linear(256 * left[0] * left[1], 1024)
        self.fc2 = nn.Linear(1024, 768)
        self.fc3 = nn.Linear(768, 512)

    def forward(self, frames):
        x = frames
        for number in range(1, 5):
            x = self.get_submodule(f"conv{number}")(x)
        return self.fc3(self.fc2(self.fc1(x.flatten(1)).relu()).relu())


class Decoder(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.LSTM = nn.LSTM(512, 512, 3, batch_first=True)
        self.fc1 = nn.Linear(512, 256)
        self.fc2 = nn.Linear(256, num_classes)

    def forward(self, embeddings):
        """Classify embeddings of clips of one length, (batch, frames, 512)."""
        # (batch, frames, 512), of which the last step is classified.
        states, _ = self.LSTM(embeddings)
        return self.fc2(self.fc1(states[:, -1]).relu())


class Crnn(nn.Module):
    """Encoder and decoder together, for clips (batch, frames, 3, height, width)."""

    def __init__(self, height, width, num_classes):
        super().__init__()
        self.encoder, self.decoder = FrameEncoder(height, width), Decoder(num_classes)

    def forward(self, clips):
        # (batch, frames, ...) to (batch * frames, ...) and back: frames are encoded one by one.
        embeddings = self.encoder(clips.flatten(0, 1))
        return self.decoder(embeddings.reshape(*clips.shape[:2], -1))


class TorchSteps:
    """Training or inference in PyTorch, with the arguments of `KerasSteps` but the policy."""

    def __init__(
        self, model: str, shape: tuple[int, int, int], batch_size: int, training: bool
    ) -> None:
        torch.manual_seed(SEED)
        if model == "conv3d":
            self._net: Any = Conv3D(*shape, NUM_CLASSES)
        else:
            self._net = Crnn(*shape[1:], NUM_CLASSES)
        self._net.train(training)
        self._optimizer = torch.optim.Adam(self._net.parameters(), 1e-4) if training else None
        frames, labels = batch(shape, batch_size)
        clips = torch.from_numpy(frames).reshape(batch_size, *shape[:1], *frames.shape[1:])
        channels = 1 if model == "conv3d" else 3
        self._pixels = clips[..., :channels].permute(0, 1, 4, 2, 3).contiguous()  # (B, T, C, H, W)
        self._is_conv3d = model == "conv3d"
        self._labels = torch.from_numpy(labels).long()
        self._step()

    def measure(self) -> Measured:
        """Time some steps."""
        started = time.perf_counter()
        for _ in range(NUM_STEPS):
            self._step()
        rate = NUM_STEPS * len(self._labels) / (time.perf_counter() - started)
        return rate, environment.peak_rss_bytes(), 0.0

    def _step(self) -> None:
        # In the timed step, because our model also takes bytes.
        clips = (self._pixels.float() / 255 - 0.45) / 0.225
        if self._is_conv3d:
            clips = clips.transpose(1, 2)  # (B, C, T, H, W)
        if self._optimizer is None:
            with torch.inference_mode():
                self._net(clips).softmax(dim=1).numpy()
            return
        self._optimizer.zero_grad()
        torch.nn.functional.cross_entropy(self._net(clips), self._labels).backward()
        self._optimizer.step()


class TorchLoop:
    """AlexNet in PyTorch, in a plain loop: read a batch, then classify it.

    Args:
        batch_size: number of frames in a batch.
        paths: videos; empty for the model alone, on a batch in memory.
    """

    def __init__(self, batch_size: int, paths: list[Path]) -> None:
        self._model = build_torch_alexnet().eval()
        self._batch_size = batch_size
        self._paths = paths

    def frames_per_second(self) -> tuple[float, int]:
        """Measure frames per second, and the peak memory of the process in bytes."""
        started = time.perf_counter()
        num_frames = sum(map(self._classify, self._paths)) if self._paths else self._repeat()
        return num_frames / (time.perf_counter() - started), environment.peak_rss_bytes()

    def _repeat(self) -> int:
        pixels = np.zeros((self._batch_size, 3, 227, 227), np.float32)
        for _ in range(NUM_BATCHES):
            self._predict(pixels)
        return NUM_BATCHES * self._batch_size

    def _classify(self, path: Path) -> int:
        capture, waiting, num_frames = cv2.VideoCapture(str(path)), [], 0
        while True:
            found, image = capture.read()
            if found:
                # As Caffe's tools: 256x256, of which the middle 227x227 is seen, BGR less the
                # channel means.
                small = cv2.resize(image, (256, 256))[14:241, 14:241]
                waiting.append(small.astype(np.float32) - (104.0, 116.7, 122.7))
            if waiting and (len(waiting) == self._batch_size or not found):
                pixels = np.stack(waiting).astype(np.float32).transpose(0, 3, 1, 2)
                self._predict(np.ascontiguousarray(pixels))  # (B, 3, 227, 227)
                num_frames += len(waiting)
                waiting = []
            if not found:
                return num_frames

    def _predict(self, pixels: np.ndarray) -> Any:
        with torch.inference_mode():
            shares = self._model(torch.from_numpy(pixels)).softmax(dim=1)
            return torch.topk(shares, 5)


# Caffe's AlexNet in PyTorch, to which ours is compared.


def build_torch_alexnet(num_classes: int = 1000) -> Any:
    """Build AlexNet from BGR pixels less the mean, (B, 3, 227, 227), to logits (B, classes)."""

    def normalise_and_pool() -> list[Any]:
        # PyTorch divides alpha by the window's size, 5: TensorFlow's 2e-5.
        return [nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1), nn.MaxPool2d(3, 2)]

    def conv(*arguments: Any, **kwargs: Any) -> list[Any]:
        return [nn.Conv2d(*arguments, **kwargs), nn.ReLU()]

    return nn.Sequential(
        *conv(3, 96, 11, stride=4),
        *normalise_and_pool(),
        *conv(96, 256, 5, padding=2, groups=2),
        *normalise_and_pool(),
        *conv(256, 384, 3, padding=1),
        *conv(384, 384, 3, padding=1, groups=2),
        *conv(384, 256, 3, padding=1, groups=2),
        nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Linear(9216, 4096),
        nn.ReLU(),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Linear(4096, num_classes),
    )


class TorchClips(Clips):
    """A TimeSformer of the same size in PyTorch, from `transformers`.

    Args:
        file: .npy file with the views.
        batch: number of views in a batch.
        size: arguments of `transformers.TimesformerConfig`.
    """

    def __init__(self, file: Path, batch: int, size: dict[str, Any]) -> None:
        # Here, for the other benchmarks do without this package.
        from transformers import TimesformerConfig, TimesformerForVideoClassification

        torch.manual_seed(0)
        self._net = TimesformerForVideoClassification(TimesformerConfig(**size)).eval()
        super().__init__(file, batch)

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Predicted probabilities of views, shape (len(views), classes)."""
        pixels = torch.from_numpy(np.stack(views)).movedim(-1, -3)  # (B, T, 3, H, W)
        with torch.inference_mode():
            logits = self._net((pixels.float() / 255 - 0.45) / 0.225).logits
            return logits.softmax(dim=1).numpy()
