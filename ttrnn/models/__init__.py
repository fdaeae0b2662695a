"""Whole architectures, one a file."""

from ttrnn.models.video_rnn import build_video_rnn

__all__ = ["build_video_rnn"]
