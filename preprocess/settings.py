"""How frames are made: the settings that shards of one directory share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from preprocess.errors import PreprocessError

Compression = Literal["none", "lz4", "zstd"]


@dataclass(frozen=True)
class FrameSettings:
    """What becomes of a video's frames on their way into a shard.

    Args:
        size: width and height of the stored frames, in pixels.
        stride: every how many frames one is kept: 0, stride, 2 * stride, ...
        max_frames: how many frames of a clip are kept at most; None keeps all.
        compression: of the stored bytes; it never changes a pixel.

    Raises:
        PreprocessError: if a setting is out of its range.
    """

    size: tuple[int, int] = (160, 120)
    stride: int = 1
    max_frames: int | None = None
    compression: Compression = "lz4"

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
        if self.compression not in get_args(Compression):
            known = ", ".join(get_args(Compression))
            raise PreprocessError(
                f"compression must be one of {known}. Received {self.compression!r}."
            )

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Shape of one stored frame: (height, width, 3)."""
        width, height = self.size
        return (height, width, 3)

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values; `from_json` makes them again."""
        return asdict(self) | {"size": list(self.size)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> FrameSettings:
        """Settings from what `to_json` gave."""
        return cls(**(values | {"size": tuple(values["size"])}))
