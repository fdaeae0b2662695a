"""Clips to views: some of a clip's frames and a part of their picture, as a model sees them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from preprocess.errors import PreprocessError

Sampling = Literal["window", "segments", "rounded segments"]
Start = Literal["first", "random"]
Inputs = Literal["frames", "foreground"]
"""What of a clip is seen: its frames, or the difference of each to their mean."""
Words = NDArray[np.int64]
"""Whole numbers, such as positions of clips or frames, (N,)."""


class Crop(NamedTuple):
    """A part of a picture, in pixels, and whether left and right change places.

    Where `scaled_width` and `scaled_height` are not 0, the whole picture is scaled to these first,
    and the part is one of the scaled picture.
    """

    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False
    scaled_width: int = 0
    scaled_height: int = 0


@dataclass(frozen=True)
class Views:
    """How often a clip is tested, and where; `10x3` is ten places in time by three in space.

    Args:
        temporal: windows, evenly spread over the clip.
        spatial: crops: 1, the middle; 3, both ends of the longer way and the middle.

    Raises:
        PreprocessError: for another number.
    """

    temporal: int = 1
    spatial: int = 1

    def __post_init__(self) -> None:
        if self.temporal < 1 or self.spatial not in (1, 3):
            raise PreprocessError(
                "views must be TxS, T places in time, at least 1, by S crops, 1 or 3, such as "
                f"10x3. Received {self}."
            )

    @classmethod
    def parse(cls, text: str) -> Views:
        """From `10x3`.

        Raises:
            PreprocessError: for anything else.
        """
        temporal, _, spatial = text.partition("x")
        if not (temporal.isdecimal() and spatial.isdecimal()):
            raise PreprocessError(f"views must be TxS, such as 1x1 or 10x3. Received {text!r}.")
        return cls(int(temporal), int(spatial))

    def __str__(self) -> str:
        return f"{self.temporal}x{self.spatial}"

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(place in time, crop) of each view."""
        return ((t, s) for t in range(self.temporal) for s in range(self.spatial))


@dataclass(frozen=True)
class FrameChoice:
    """Which frames of a clip make a view. A step is one of the stored frames.

    Args:
        num_frames: of a view, at most.
        sampling: "window", consecutive frames; "segments", one of each of `num_frames` equal
            parts of the clip (Wang et al. 2016, Temporal Segment Networks); "rounded segments", one
            of each part from round(i (T - 1) / num_frames) to round((i + 1) (T - 1) / num_frames),
            both included, of T stored frames, so that neighbours share a frame (TimeSformer's
            reader of frames; a half is rounded to the even number).
        start: of windows, and of frames in their segments: "first" takes the first, in training
            and where a clip is tested once; "random" takes any in training, and tests the middle
            one. Where a clip is tested several times these are evenly spread.
        exact: whether every window has `num_frames`; shorter clips then begin again at their end.
            Otherwise a window of a short clip is short.

    Raises:
        PreprocessError: if a value is out of its range.
    """

    num_frames: int
    sampling: Sampling = "window"
    start: Start = "random"
    exact: bool = True

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise PreprocessError(f"num_frames must be at least 1. Received {self.num_frames}.")

    def length(self, num_stored: int) -> int:
        """Frames of a view of a clip with so many."""
        if self.exact or self.sampling != "window":
            return self.num_frames
        return min(num_stored, self.num_frames)

    def drawn(self, num_stored: int, rng: np.random.Generator) -> Words:
        """Positions of the frames of a training view, (length,)."""
        shares = rng.random(self.num_frames)
        if self.start == "first":
            shares = 0 * shares
        if self.sampling == "rounded segments":
            first, last = self._rounded(num_stored)
            return first + (shares * (last - first + 1)).astype(np.int64)
        return self._frames(num_stored, shares)

    def tested(self, num_stored: int, place: int, num_places: int) -> Words:
        """Positions of the frames of a test view, (length,).

        Args:
            num_stored: frames of the clip.
            place: which of the views, from 0.
            num_places: how many there are.
        """
        if self.sampling == "window" and num_places > 1:  # from the clip's start to its end
            share = place / (num_places - 1)
        else:
            share = (place + 0.5) / num_places
        if self.start == "first" and num_places == 1:
            share = 0.0
        if self.sampling == "rounded segments":
            first, last = self._rounded(num_stored)
            return first + (share * (last - first)).astype(np.int64)
        return self._frames(num_stored, np.full(self.num_frames, share))

    def _rounded(self, num_stored: int) -> tuple[Words, Words]:
        """First and last frame of each segment of "rounded segments", (num_frames,) each."""
        size = (num_stored - 1) / self.num_frames
        edges = np.round(size * np.arange(self.num_frames + 1)).astype(np.int64)
        return edges[:-1], edges[1:]

    def _frames(self, num_stored: int, shares: NDArray[np.float64]) -> Words:
        """Of numbers in [0, 1]: the first places a window, each places a frame in its segment."""
        if self.sampling == "window":
            room = max(num_stored - self.num_frames, 0)
            first = min(int(shares[0] * (room + 1)), room)
            frames = first + np.arange(self.length(num_stored))
            return frames % num_stored
        edges = np.arange(self.num_frames + 1) * num_stored // self.num_frames
        sizes = np.maximum(np.diff(edges), 1)
        inside = np.minimum((shares * sizes).astype(np.int64), sizes - 1)
        return np.minimum(edges[:-1] + inside, num_stored - 1)


@dataclass(frozen=True)
class CropChoice:
    """Which part of the picture makes a view.

    Args:
        size: width and height of a view, in pixels.
        largest_zoom: in training a part as much smaller than `size` as this, at most, is enlarged
            to it. 1.25 is a short side of 256 to 320 pixels for crops of 224 of 256.
        mirror: whether every second training view is mirrored.
        short_sides: how TimeSformer's reader scales whole pictures, their shape kept, before it
            cuts a square out: in training to a short side between these two, in tests to one of
            `size`. None cuts stored frames as they are.

    Raises:
        PreprocessError: if a value is out of its range.
    """

    size: tuple[int, int]
    largest_zoom: float = 1.0
    mirror: bool = False
    short_sides: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(self.size))
        if self.short_sides is not None:
            object.__setattr__(self, "short_sides", tuple(self.short_sides))
            self._check_short_sides(*self.short_sides)
        if len(self.size) != 2 or min(self.size) < 1 or self.largest_zoom < 1:
            raise PreprocessError(
                "size must be at least 1 pixel, and largest_zoom at least 1. Received "
                f"{'x'.join(map(str, self.size))} and {self.largest_zoom}."
            )

    def _check_short_sides(self, least: int, most: int) -> None:
        if self.size[0] != self.size[1] or not self.size[0] <= least <= most:
            raise PreprocessError(
                "short_sides must be two, the first no less than the side of the square crop, the "
                f"second no less than the first. Received {least} and {most} for crops of "
                f"{self.size[0]}x{self.size[1]}."
            )
        if self.largest_zoom != 1:
            raise PreprocessError(
                "short_sides scales pictures already: largest_zoom must be 1 then. Received "
                f"{self.largest_zoom}."
            )

    def require_fit(self, stored: tuple[int, int]) -> None:
        """Raise PreprocessError unless frames of a width and height are large enough."""
        if self.short_sides is not None:
            return  # frames are scaled
        if self.size[0] > stored[0] or self.size[1] > stored[1]:
            raise PreprocessError(
                f"a crop must fit in the stored frames, which are {stored[0]}x{stored[1]}. "
                f"Received {self.size[0]}x{self.size[1]}; store larger frames or crop less."
            )

    def size_to_cut(self, *, stored: tuple[int, int], original: tuple[int, int]) -> tuple[int, int]:
        """Return the width and height for which `drawn` and `tested` choose a clip's crops.

        Args:
            stored: width and height of the frames, to which clips of all sizes are stretched.
            original: width and height of the clip's own pictures. Scaled pictures get their shape
                back, as the original never stretches them.
        """
        return stored if self.short_sides is None else original

    def drawn(self, stored: tuple[int, int], rng: np.random.Generator) -> Crop:
        """Draw the crop of a training view, of frames of a width and height."""
        if self.short_sides is not None:
            return self._drawn_of_scaled(stored, self.short_sides, rng)
        zoom, mirrored = rng.uniform(1, self.largest_zoom), self.mirror and rng.random() < 0.5
        width, height = (max(1, round(side / zoom)) for side in self.size)
        left = int(rng.integers(stored[0] - width + 1))
        top = int(rng.integers(stored[1] - height + 1))
        return Crop(top, left, height, width, mirrored)

    def tested(self, stored: tuple[int, int], number: int, num_crops: int) -> Crop:
        """Return the crop of a number, from 0: along the way on which most is cut off."""
        width, height = self.size
        if self.short_sides is not None:
            return self._tested_of_scaled(stored, number if num_crops > 1 else 1)
        room = (stored[0] - width, stored[1] - height)
        share = 0.5 if num_crops == 1 else number / (num_crops - 1)
        if room[0] >= room[1]:
            return Crop(room[1] // 2, int(share * room[0]), height, width)
        return Crop(int(share * room[1]), room[0] // 2, height, width)

    def _drawn_of_scaled(
        self, stored: tuple[int, int], short_sides: tuple[int, int], rng: np.random.Generator
    ) -> Crop:
        """The original never takes the crop that ends with the last row or column, unless no more
        is there; nor does this."""
        side = self.size[0]
        scaled = _scaled_to(stored, round(rng.uniform(*short_sides)))
        left, top = (int(rng.integers(max(length - side, 1))) for length in scaled)
        mirrored = self.mirror and rng.random() < 0.5
        return Crop(top, left, side, side, mirrored, *scaled)

    def _tested_of_scaled(self, stored: tuple[int, int], number: int) -> Crop:
        """Left, middle or right part of a wide picture, upper, middle or lower of a high one."""
        side = self.size[0]
        width, height = scaled = _scaled_to(stored, side)
        left, top = (math.ceil((length - side) / 2) for length in scaled)
        if height > width:
            top = (0, top, height - side)[number]
        else:
            left = (0, left, width - side)[number]
        return Crop(top, left, side, side, False, *scaled)


def _scaled_to(stored: tuple[int, int], short: int) -> tuple[int, int]:
    """Width and height of a picture whose short side becomes `short`; the other is rounded down."""
    width, height = stored
    if width < height:
        return short, math.floor(height / width * short)
    return math.floor(width / height * short), short


def cut(frames: NDArray[np.uint8], crop: Crop, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A part of frames, uint8 (T, H, W, 3), as frames of a width and height."""
    if crop.scaled_width:
        frames = _scaled(frames, (crop.scaled_width, crop.scaled_height))
    part = frames[:, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    if crop.mirrored:
        part = part[:, :, ::-1]
    if (crop.width, crop.height) != size:
        import cv2

        part = np.stack([cv2.resize(np.ascontiguousarray(frame), size) for frame in part])
    return part


def _scaled(frames: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Whole frames, bilinear and not antialiased, as torch's interpolate scales floats.

    In floats, and rounded once: OpenCV's own arithmetic for whole numbers is a level off at times.
    """
    import cv2

    if frames.shape[2:0:-1] == size:
        return frames
    scaled = [cv2.resize(frame.astype(np.float32), size) for frame in frames]
    return np.rint(np.stack(scaled)).astype(np.uint8)


def foreground(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What moves: the absolute difference of each frame to the mean of all, uint8 (T, H, W, 3)."""
    mean = np.rint(frames.mean(axis=0, dtype=np.float32)).astype(np.int16)
    return np.abs(frames.astype(np.int16) - mean).astype(np.uint8)


class StoredClip(Protocol):
    """What is there of a clip's frames: pixels, or what a network made of them."""

    def read(self, *, start: int = 0, max_frames: int | None = None) -> NDArray[Any]:
        """So many rows from a frame on."""


def read_frames(clip: StoredClip, frames: Words) -> NDArray[Any]:
    """Some frames of a clip, in the order asked for; what lies between is read too."""
    first = int(frames.min())
    return clip.read(start=first, max_frames=int(frames.max()) + 1 - first)[frames - first]
