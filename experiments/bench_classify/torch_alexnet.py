"""Caffe's AlexNet in PyTorch, the peer that ours is measured against."""

from __future__ import annotations

from typing import Any


def build_torch_alexnet(num_classes: int = 1000) -> Any:
    """BGR pixels less the mean (B, 3, 227, 227) to logits (B, num_classes)."""
    from torch import nn

    def normalise_and_pool() -> list[Any]:
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
        *(nn.Linear(9216, 4096), nn.ReLU()),
        *(nn.Linear(4096, 4096), nn.ReLU()),
        nn.Linear(4096, num_classes),
    )
