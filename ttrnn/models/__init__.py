"""Whole architectures, one a file."""

from ttrnn.models.alexnet import build_alexnet
from ttrnn.models.resnet import build_resnet
from ttrnn.models.video_rnn import build_video_rnn

__all__ = ["build_alexnet", "build_resnet", "build_video_rnn"]
