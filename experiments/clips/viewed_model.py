"""What a model of clips saw in training, and how videos are made into that for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from preprocess.batches.views import CropChoice, FrameChoice, Inputs, Views, cut, foreground
from preprocess.shards.settings import FrameSettings

_MOST = 10**6  # frames of a clip, pixels of a side


@dataclass(frozen=True)
class Seen:
    """What a model saw of videos, and its classes.

    Args:
        class_names: in label order.
        frames: how a video's frames are made.
        choice: which of them it sees.
        crops: which part of them.
        usual_frames: that the clips have, as `frames` makes them: their median.
        inputs: the frames, or their foreground.
    """

    class_names: tuple[str, ...]
    frames: FrameSettings
    choice: FrameChoice
    crops: CropChoice
    usual_frames: int
    inputs: Inputs = "frames"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Seen:
        """From what `to_json` gave.

        Raises:
            ValueError, KeyError, TypeError, PreprocessError: for anything else.
        """
        frames, choice, crops = values["frames"], values["choice"], values["crops"]
        optional = [frames["max_frames"]] if frames["max_frames"] is not None else []
        for number in (
            *(*frames["size"], *crops["size"], frames["stride"], *optional),
            *(choice["num_frames"], values["usual_frames"]),
        ):
            if type(number) is not int or not 1 <= number <= _MOST:
                raise InputError(f"counts must be whole, from 1 to {_MOST:,}. Received {number!r}.")
        seen = cls(
            tuple(map(str, values["class_names"])),
            FrameSettings.from_json(frames),
            FrameChoice(**choice),
            CropChoice(**crops),
            values["usual_frames"],
            values["inputs"],
        )
        seen.crops.require_fit(seen.frames.size)
        return seen


class ViewedModel(ABC):
    """Says what windows of frames show. How views are made of them is here alone.

    Args:
        seen: what the model saw in training.
        views: crops and places in each window; their mean counts.
    """

    def __init__(self, seen: Seen, views: Views) -> None:
        self.seen = seen
        self.class_names = seen.class_names
        self.frame_settings = seen.frames
        self._views = views

    @property
    def window(self) -> int:
        """Frames of a video, as `frame_settings` makes them, that it looks at at once."""
        choice = self.seen.choice
        return choice.num_frames if choice.sampling == "window" else self.seen.usual_frames

    def predict(
        self, windows: list[NDArray[np.uint8]], original_size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Return probabilities of windows of a video, float32 (len(windows), classes).

        Args:
            windows: of each its frames, uint8 (T, H, W, 3), as `frame_settings` make them.
            original_size: width and height of the video's own pictures.
        """
        views = self.views(windows, original_size)
        found = self.probabilities(views)  # (windows * views, classes)
        return found.reshape(len(windows), -1, found.shape[-1]).mean(axis=1)

    def views(
        self, windows: list[NDArray[np.uint8]], original_size: tuple[int, int]
    ) -> list[NDArray[np.uint8]]:
        """Return what the model sees of windows, each uint8 RGB (T, H, W, 3); a window's together.

        Args:
            windows: as in `predict`.
            original_size: as in `predict`.
        """
        if self.seen.inputs == "foreground":
            windows = [foreground(frames) for frames in windows]
        crops = self.seen.crops
        size = crops.size_to_cut(stored=self.seen.frames.size, original=original_size)
        views = []
        for frames in windows:
            for place, number in self._views:
                chosen = frames[self.seen.choice.tested(len(frames), place, self._views.temporal)]
                crop = crops.tested(size, number, self._views.spatial)
                views.append(cut(chosen, crop, crops.size))
        return views

    @abstractmethod
    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Of views, each uint8 (T, H, W, 3); (len(views), classes)."""
