"""How frames are made: the settings that shards of one directory share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, get_args

from preprocess.errors import PreprocessError

if TYPE_CHECKING:
    from preprocess.sources.clips import Clip
    from preprocess.video.decode import FrameReader

Compression = Literal["none", "lz4", "zstd"]
Interpolation = Literal["linear", "pillow"]


class StoredSettings(Protocol):
    """What a directory of shards has to know of its frames; `FrameSettings` is the usual kind."""

    keeps_times: ClassVar[bool]
    """Whether the shards say when each frame is shown."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames, in pixels."""

    @property
    def stride(self) -> int:
        """Every how many frames of a video one is kept."""

    @property
    def max_frames(self) -> int | None:
        """How many frames of a clip are kept at most."""

    @property
    def compression(self) -> Compression:
        """Of the stored bytes."""

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(height, width, 3)."""

    def open(self, clip: Clip, *, threads: int) -> FrameReader:
        """A reader of the clip's frames. Raises DecodeError for what it cannot open."""

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Settings from what `to_json` gave."""


@dataclass(frozen=True)
class FrameSettings:
    """What becomes of a video's frames on their way into a shard.

    Args:
        size: width and height of the stored frames, in pixels.
        stride: every how many frames one is kept: 0, stride, 2 * stride, ...
        max_frames: how many frames of a clip are kept at most; None keeps all.
        compression: of the stored bytes; it never changes a pixel.
        interpolation: how pictures are scaled; see `preprocess.video.transforms.FrameFit`.
        grey: make pictures grey before they are scaled; the three channels are then equal.

    Raises:
        PreprocessError: if a setting is out of its range.
    """

    keeps_times: ClassVar[bool] = False

    size: tuple[int, int] = (160, 120)
    stride: int = 1
    max_frames: int | None = None
    compression: Compression = "lz4"
    interpolation: Interpolation = "linear"
    grey: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(self.size))
        if len(self.size) != 2 or min(self.size) < 1:
            raise PreprocessError(
                "size must be a width and a height of at least 1 pixel, such as 160x120. "
                f"Received {'x'.join(map(str, self.size))}."
            )
        for name in ("stride", "max_frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise PreprocessError(f"{name} must be at least 1. Received {value}.")
        for name, kind in (("compression", Compression), ("interpolation", Interpolation)):
            if getattr(self, name) not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise PreprocessError(
                    f"{name} must be one of {known}. Received {getattr(self, name)!r}."
                )

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Shape of one stored frame: (height, width, 3)."""
        width, height = self.size
        return (height, width, 3)

    def open(self, clip: Clip, *, threads: int) -> FrameReader:
        """A reader of the clip's frames, whether a video or a folder of pictures holds them.

        Args:
            clip: a video file, decoded by so many `threads`, a folder of its frames, or a stretch
                of either.

        Raises:
            DecodeError: if it cannot be opened.
        """
        from preprocess.sources.listed_clips import ListedClip
        from preprocess.video.decode import VideoReader
        from preprocess.video.frame_reader import FrameFolderReader, open_stretch
        from preprocess.video.transforms import FrameFit

        reader: Callable[..., FrameReader]
        if isinstance(clip, ListedClip) and clip.stretch is not None:
            reader = partial(open_stretch, stretch=clip.stretch, threads=threads)
        elif clip.path.is_dir():
            reader = FrameFolderReader
        else:
            reader = partial(VideoReader, threads=threads)
        fit = FrameFit(self.size, interpolation=self.interpolation, grey=self.grey)
        return reader(clip.path, fit=fit, stride=self.stride, max_frames=self.max_frames)

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values; `from_json` makes them again.

        Those that came later are left out where they are as they always were: shards made before
        and after are the same.
        """
        values = asdict(self) | {"size": list(self.size)}
        later = {"interpolation": "linear", "grey": False}
        return {
            name: value
            for name, value in values.items()
            if name not in later or value != later[name]
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> FrameSettings:
        """Settings from what `to_json` gave."""
        return cls(**(values | {"size": tuple(values["size"])}))
