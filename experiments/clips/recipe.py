"""Common fields of the training recipes of jobs on views of clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from experiments.training.recipes import VideoRecipe
from preprocess.batches.views import CropChoice, FrameChoice, Inputs, Sampling, Start, Views
from preprocess.errors import PreprocessError
from preprocess.shards.settings import FrameSettings, Interpolation

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ClipRecipe(VideoRecipe):
    """Settings of a run besides the data, the split and the model."""

    schedule: Literal["constant", "cosine", "plateau"]
    """Schedule of the learning rate; plateau divides it by 10 after more than 15 epochs without a
    lower validation loss."""
    dropout: float
    frame_size: Size | None
    """Width and height of the stored frames; None for those of the clips' own pictures."""
    interpolation: Interpolation
    """Interpolation that scales frames; see `preprocess.video.transforms.FrameFit`."""
    grey: bool
    """Make frames grey before they are scaled."""
    crop_size: Size
    """Width and height of the part of a frame that the model sees."""
    inputs: Inputs
    """Input of the model: frames, or the difference of each to the clip's mean frame."""
    num_frames: int
    """Largest number of frames in a view."""
    stride: int
    """Step between the stored frames, counted in frames of the video."""
    sampling: Sampling
    start: Start
    """Start of a view; see `preprocess.batches.views.FrameChoice`, also for `sampling`."""
    largest_zoom: float
    mirror: bool
    short_sides: Size | None
    """Sides to which frames are scaled; see `preprocess.batches.views.CropChoice`, also for
    `largest_zoom` and `mirror`."""
    patience: int | None
    """Number of epochs without improvement after which training stops; None never stops."""
    views: str
    """Views of a clip in a test: places in time x crops, such as "10x3"."""

    def check(self) -> None:
        """Raise UserError for values that would fail only once frames are extracted."""
        super().check()
        if self.frame_size is not None:
            self.crops.require_fit(self.frame_size)
        # Frames of their own sizes only fit a crop after they are scaled.
        elif self.short_sides is None:
            raise PreprocessError(
                "frame_size must be a width and a height unless short_sides scales the pictures. "
                "Received null for both; give one of them."
            )
        self.places  # noqa: B018 - is read

    def settings(self) -> FrameSettings:
        """Settings of the extraction, only of a clip's start where views show nothing else.

        The frame size must be known; `experiments.clips.subsets.with_frame_size` finds it.
        """
        assert self.frame_size is not None
        # With several places in time, later frames are tested, too.
        seen = self.num_frames if self.start == "first" and self.places.temporal == 1 else None
        return FrameSettings(
            self.frame_size, self.stride, seen, interpolation=self.interpolation, grey=self.grey
        )

    def choice(self, *, varlen: bool = False) -> FrameChoice:
        """Choice of the frames of a view.

        Args:
            varlen: allow views with fewer than `num_frames` frames.
        """
        return FrameChoice(self.num_frames, self.sampling, self.start, exact=not varlen)

    @property
    def crops(self) -> CropChoice:
        """Choice of the part of a frame that a view shows."""
        return CropChoice(self.crop_size, self.largest_zoom, self.mirror, self.short_sides)

    @property
    def places(self) -> Views:
        """Views of a clip in a test. Raises PreprocessError if `views` cannot be parsed."""
        return Views.parse(self.views)
