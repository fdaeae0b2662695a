"""Description of a clip model's input, and how windows of a video are made into it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from preprocess.batches.cutting import cut, foreground
from preprocess.batches.views import CropChoice, FrameChoice, Inputs, Views
from preprocess.shards.settings import FrameSettings

# Most frames of a clip and pixels of a side. A damaged model.json must not ask for terabytes.
_MAX_COUNT = 10**6


@dataclass(frozen=True)
class ClipInputSpec:
    """Description of a clip model's input, and its classes.

    Args:
        class_names: names of the classes in label order.
        frames: settings by which frames of a video are made.
        choice: choice of the frames that the model sees.
        crops: choice of the part of each frame.
        usual_frames: median number of frames of the training clips, made by `frames`.
        inputs: the frames, or their foreground.
        several_labels: whether a clip may be of several classes, each with a probability of its
            own.
    """

    class_names: tuple[str, ...]
    frames: FrameSettings
    choice: FrameChoice
    crops: CropChoice
    usual_frames: int
    inputs: Inputs = "frames"
    several_labels: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = asdict(self)
        # Files of models of one class a clip stay as they have always been.
        if not self.several_labels:
            del values["several_labels"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ClipInputSpec:
        """Make the description from the values that `to_json` returned.

        Raises:
            ValueError, KeyError, TypeError, PreprocessError: for anything else.
        """
        frames, choice, crops = values["frames"], values["choice"], values["crops"]
        optional = [frames["max_frames"]] if frames["max_frames"] is not None else []
        for number in (
            *(*frames["size"], *crops["size"], frames["stride"], *optional),
            *(choice["num_frames"], values["usual_frames"]),
        ):
            # `isinstance` would let JSON's true pass as 1.
            if type(number) is not int or not 1 <= number <= _MAX_COUNT:
                raise InputError(
                    f"counts must be whole, from 1 to {_MAX_COUNT:,}. Received {number!r}."
                )
        input_spec = cls(
            tuple(map(str, values["class_names"])),
            FrameSettings.from_json(frames),
            FrameChoice(**choice),
            CropChoice(**crops),
            values["usual_frames"],
            values["inputs"],
            values.get("several_labels") is True,
        )
        input_spec.crops.require_fit(input_spec.frames.size)
        return input_spec


class ViewedModel(ABC):
    """A model that predicts windows of frames, on any runtime.

    Views are made of windows here only, so that all runtimes see the same.

    Args:
        input_spec: description of the model's input.
        views: crops and places in each window; their probabilities are averaged.
    """

    def __init__(self, input_spec: ClipInputSpec, views: Views) -> None:
        self.input_spec = input_spec
        self.class_names = input_spec.class_names
        self.frame_settings = input_spec.frames
        self.several_labels = input_spec.several_labels
        self._views = views

    @property
    def window(self) -> int:
        """Number of frames, as `frame_settings` makes them, that the model looks at together."""
        # A model that saw clips whole gets windows as long as a usual clip.
        choice = self.input_spec.choice
        return choice.num_frames if choice.sampling == "window" else self.input_spec.usual_frames

    def predict(
        self, windows: list[NDArray[np.uint8]], original_size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Predict windows of a video.

        Args:
            windows: frames of each window, uint8 (T, H, W, 3), as `frame_settings` make them.
            original_size: width and height of the video's own frames.

        Returns:
            Probabilities, float32 (len(windows), classes).
        """
        views = self.views(windows, original_size)
        found = self.probabilities(views)  # (windows * views, classes)
        return found.reshape(len(windows), -1, found.shape[-1]).mean(axis=1)

    def views(
        self, windows: list[NDArray[np.uint8]], original_size: tuple[int, int]
    ) -> list[NDArray[np.uint8]]:
        """Cut the views of windows, all views of a window in a row, each uint8 RGB (T, H, W, 3).

        Args:
            windows: as in `predict`.
            original_size: as in `predict`.
        """
        if self.input_spec.inputs == "foreground":
            # Before the choice of frames: the mean frame is that of the whole window.
            windows = [foreground(frames) for frames in windows]
        crops = self.input_spec.crops
        # Stored frames are stretched to one size. Where `short_sides` scales them, crops are
        # measured in the video's own shape.
        size = crops.size_to_cut(stored=self.input_spec.frames.size, original=original_size)
        views = []
        for frames in windows:
            for place, number in self._views:
                chosen = frames[
                    self.input_spec.choice.tested(len(frames), place, self._views.temporal)
                ]
                crop = crops.tested(size, number, self._views.spatial)
                views.append(cut(chosen, crop, crops.size))
        return views

    @abstractmethod
    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Predict views.

        Args:
            views: frames of each view, uint8 (T, H, W, 3).

        Returns:
            Probabilities, float32 (len(views), classes).
        """
