"""Settings of the frames, common to all shards of a directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, get_args

from preprocess.errors import PreprocessError
from preprocess.sources.listed_clips import ListedClip

if TYPE_CHECKING:
    from preprocess.sources.clips import Clip
    from preprocess.video.decode import FrameReader

Compression = Literal["none", "lz4", "zstd"]
Interpolation = Literal["linear", "pillow"]
LARGEST_SIDE = 2**15 - 1
"""Longest side of a frame in pixels, which is also OpenCV's limit where it warps pictures."""


class StoredSettings(Protocol):
    """Settings that a directory of shards needs of its frames, such as `FrameSettings`.

    A protocol, so that other jobs can store other frames (stacked pictures, for example) in the
    same shards.
    """

    keeps_times: ClassVar[bool]
    """True if the shards store the time of each frame."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames, in pixels."""

    @property
    def stride(self) -> int:
        """Step between the frames that are kept."""

    @property
    def max_frames(self) -> int | None:
        """Largest number of frames kept of a clip; None for all."""

    @property
    def compression(self) -> Compression:
        """Compression of the stored bytes."""

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Shape of one stored frame: (height, width, 3)."""

    def open(self, clip: Clip, *, threads: int) -> FrameReader:
        """Open a reader of the clip's frames; DecodeError if it cannot be opened."""

    def to_json(self) -> dict[str, Any]:
        """Convert the settings to values for JSON."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Create settings from the values of `to_json`."""


@dataclass(frozen=True)
class FrameSettings:
    """Size, selection and compression of the frames of a video in a shard.

    Args:
        size: width and height of the stored frames, in pixels.
        stride: keep the frames 0, stride, 2 * stride, ...
        max_frames: keep at most this many frames of a clip; None keeps all.
        compression: "none", "lz4" or "zstd", none of which changes a pixel.
        interpolation: interpolation of scaling; see `preprocess.video.transforms.FrameFit`.
        grey: make pictures grey before they are scaled; the three channels are then equal.

    Raises:
        PreprocessError: if a setting is out of its range.

    Example:
        >>> FrameSettings((160, 120), stride=2).frame_shape
        (120, 160, 3)
    """

    keeps_times: ClassVar[bool] = False

    size: tuple[int, int] = (160, 120)
    stride: int = 1
    max_frames: int | None = None
    compression: Compression = "lz4"
    interpolation: Interpolation = "linear"
    grey: bool = False

    def __post_init__(self) -> None:
        # A list, as JSON gives it, becomes a tuple, so that settings can be compared and hashed.
        object.__setattr__(self, "size", tuple(self.size))
        sides = [side for side in self.size if _is_whole(side) and 1 <= side <= LARGEST_SIDE]
        if len(self.size) != 2 or len(sides) != 2:
            raise PreprocessError(
                f"size must be a width and a height of 1 to {LARGEST_SIDE} pixels, as in 160x120. "
                f"Received {'x'.join(map(str, self.size))}."
            )
        for name in ("stride", "max_frames"):
            value = getattr(self, name)
            if value is not None and not (_is_whole(value) and value >= 1):
                raise PreprocessError(
                    f"{name} must be a whole number of at least 1. Received {value}."
                )
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
        """Open a reader of the clip's frames, from a video or a folder of pictures.

        Args:
            clip: a video file, a folder of its frames, or a part of either.
            threads: number of decoding threads, for a video.

        Raises:
            DecodeError: if it cannot be opened.
        """
        # Imported here, for command lines import the settings and must not wait for OpenCV.
        from preprocess.video import decode, frame_reader, transforms

        reader: Callable[..., FrameReader]
        if isinstance(clip, ListedClip) and clip.stretch is not None:
            reader = partial(frame_reader.open_stretch, stretch=clip.stretch, threads=threads)
        elif clip.path.is_dir():
            reader = frame_reader.FrameFolderReader
        else:
            reader = partial(decode.VideoReader, threads=threads)
        fit = transforms.FrameFit(self.size, interpolation=self.interpolation, grey=self.grey)
        return reader(clip.path, fit=fit, stride=self.stride, max_frames=self.max_frames)

    def to_json(self) -> dict[str, Any]:
        """Convert the settings to values for JSON, which `from_json` reads."""
        values = asdict(self) | {"size": list(self.size)}
        # Settings that were added later are left out at the value that was fixed before: shards of
        # an earlier version then have the same settings, and need not be made again.
        later = {"interpolation": "linear", "grey": False}
        return {
            name: value
            for name, value in values.items()
            if name not in later or value != later[name]
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> FrameSettings:
        """Create settings from the values of `to_json`."""
        return cls(**(values | {"size": tuple(values["size"])}))


def _is_whole(value: Any) -> bool:
    """Return True for a whole number; JSON's true, which is an int to Python, is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)
