"""What a model has to offer for videos to be gone through with it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from preprocess.shards.settings import FrameSettings


class WindowModel(Protocol):
    """Says what windows of frames show; `experiments.clips.model.ClipModel` is the usual one."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the probabilities."""

    @property
    def frame_settings(self) -> FrameSettings:
        """How the frames are made that it was trained on."""

    @property
    def window(self) -> int:
        """Frames that it looks at at once."""

    def predict(
        self, windows: list[NDArray[np.uint8]], original_size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Return probabilities (len(windows), classes) of windows of a video.

        Args:
            windows: of each its frames, uint8 RGB (T, H, W, 3).
            original_size: width and height of the video's own pictures.
        """
