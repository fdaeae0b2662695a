"""What training recipes of jobs on views of clips have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from experiments.training.recipes import check_values
from preprocess.batches.views import CropChoice, FrameChoice, Inputs, Sampling, Start, Views
from preprocess.errors import PreprocessError
from preprocess.shards.settings import FrameSettings, Interpolation

if TYPE_CHECKING:
    from preprocess.batches.augment import Augmentation

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ClipRecipe:
    """Everything that is chosen besides the data, the split and the model."""

    name: str
    epochs: int
    batch_size: int
    learning_rate: float
    schedule: Literal["constant", "cosine", "plateau"]
    """plateau: a tenth after more than 15 epochs without a lower validation loss."""
    warmup_share: float
    """Share of all steps over which a cosine's learning rate rises from 0."""
    weight_decay: float
    clip_norm: float | None
    epsilon: float
    """Of Adam, added to the root of the second moment."""
    label_smoothing: float
    dropout: float
    frame_size: Size | None
    """Width and height of the stored frames; None for those of the clips' own pictures."""
    interpolation: Interpolation
    """How pictures are scaled to it; see `preprocess.video.transforms.FrameFit`."""
    grey: bool
    """Whether pictures are made grey before they are scaled."""
    crop_size: Size
    """Width and height of what the model sees of them."""
    inputs: Inputs
    """What is seen: frames, or the difference of each to the clip's mean frame."""
    num_frames: int
    """Of a view, at most."""
    stride: int
    """Every how many frames of a video one is stored."""
    sampling: Sampling
    start: Start
    """See `preprocess.batches.views.FrameChoice`, both."""
    largest_zoom: float
    mirror: bool
    short_sides: Size | None
    """See `preprocess.batches.views.CropChoice`, all three."""
    contrast: float
    brightness: float
    """By how much a training clip's light is changed at most; see `preprocess.batches.augment`."""
    validation: Literal["held out", "test"]
    """What validates: a part of the training clips held out, or, as published, the test clips."""
    selection: Literal["last", "best"]
    """Which weights are tested: the last ones, or the best on the validation part."""
    patience: int | None
    """Training stops after so many epochs without a better one; None never stops."""
    views: str
    """How often a clip is tested: places in time x crops."""

    def check(self) -> None:
        """Raise ValueError or PreprocessError for what would fail once frames are extracted."""
        check_values(self)
        if self.frame_size is not None:
            self.crops.require_fit(self.frame_size)
        elif self.short_sides is None:
            raise PreprocessError(
                "frame_size must be a width and a height unless short_sides scales the pictures. "
                "Received null for both; give one of them."
            )
        self.places  # noqa: B018 - is read

    def settings(self) -> FrameSettings:
        """Of the frames to extract: of clips of which only the start is ever seen, only that.

        The size must be known; `experiments.clips.subsets.with_frame_size` finds it out.
        """
        assert self.frame_size is not None
        seen = self.num_frames if self.start == "first" and self.places.temporal == 1 else None
        return FrameSettings(
            self.frame_size, self.stride, seen, interpolation=self.interpolation, grey=self.grey
        )

    def choice(self, *, varlen: bool = False) -> FrameChoice:
        """Which frames make a view."""
        return FrameChoice(self.num_frames, self.sampling, self.start, exact=not varlen)

    @property
    def crops(self) -> CropChoice:
        """Which part of a picture makes a view."""
        return CropChoice(self.crop_size, self.largest_zoom, self.mirror, self.short_sides)

    @property
    def relighting(self) -> Augmentation | None:
        """How the light of a training view is changed."""
        from preprocess.batches.augment import Augmentation

        if not (self.contrast or self.brightness):
            return None
        return Augmentation(contrast=self.contrast, brightness=self.brightness)

    @property
    def places(self) -> Views:
        """How often a clip is tested. Raises PreprocessError for what is no such number."""
        return Views.parse(self.views)
