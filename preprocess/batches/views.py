"""Views of clips: the frames of a clip and the part of each picture that a model is given."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from preprocess.errors import PreprocessError

Sampling = Literal["window", "segments", "rounded segments"]
Start = Literal["first", "random"]
Inputs = Literal["frames", "foreground"]
"""Input made of a clip: its frames, or the absolute difference of each to their mean."""
IntArray = NDArray[np.int64]
"""Integers, such as positions of clips or frames, (N,)."""


class Crop(NamedTuple):
    """Part of a picture, in pixels, mirrored or not.

    If `scaled_width` and `scaled_height` are not 0, the whole picture is first scaled to them, and
    the part is cut out of the scaled picture.
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
    """Test views of a clip; `10x3` is ten places in time by three crops.

    Args:
        temporal: number of windows, evenly spread over the clip.
        spatial: number of crops: 1, the middle; 3, also both ends of the longer side.

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
        """Parse a text such as `10x3`.

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
        """Iterate over the views as (place in time, crop), from 0."""
        return ((t, s) for t in range(self.temporal) for s in range(self.spatial))


@dataclass(frozen=True)
class FrameChoice:
    """Choice of the stored frames that make a view.

    Args:
        num_frames: largest number of frames of a view.
        sampling: "window", consecutive frames; "segments", one of each of `num_frames` equal
            parts of the clip (Wang et al. 2016, Temporal Segment Networks); "rounded segments", one
            of each part from round(i (T - 1) / num_frames) to round((i + 1) (T - 1) / num_frames),
            both included, of T stored frames, so that neighbours share a frame (TimeSformer's
            reader of frames; a half is rounded to the even number).
        start: place of a window in the clip and of a frame in its segment: "first", in training
            and where a clip is tested once; "random", any in training and the middle one in a
            single test. Several tests of a clip are evenly spread.
        exact: give every window `num_frames`, for which shorter clips are repeated from their
            start. Otherwise a window of a short clip is short.

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
        """Number of frames of a view of a clip with `num_stored` frames."""
        if self.exact or self.sampling != "window":
            return self.num_frames
        return min(num_stored, self.num_frames)

    def drawn(self, num_stored: int, rng: np.random.Generator) -> IntArray:
        """Draw the positions of the frames of a training view, (length,)."""
        # Drawn also where they are not used, so that later draws do not depend on `start`.
        shares = rng.random(self.num_frames)
        if self.start == "first":
            shares = 0 * shares
        if self.sampling == "rounded segments":
            first, last = self._rounded(num_stored)
            return first + (shares * (last - first + 1)).astype(np.int64)
        return self._frames(num_stored, shares)

    def tested(self, num_stored: int, place: int, num_places: int) -> IntArray:
        """Positions of the frames of a test view, (length,).

        Args:
            num_stored: frames of the clip.
            place: number of the view, from 0.
            num_places: number of views.
        """
        # Several windows span the clip from its start to its end; frames in segments, and a single
        # window, lie in the middle of equal parts.
        if self.sampling == "window" and num_places > 1:
            share = place / (num_places - 1)
        else:
            share = (place + 0.5) / num_places
        if self.start == "first" and num_places == 1:
            share = 0.0
        if self.sampling == "rounded segments":
            first, last = self._rounded(num_stored)
            return first + (share * (last - first)).astype(np.int64)
        return self._frames(num_stored, np.full(self.num_frames, share))

    def _rounded(self, num_stored: int) -> tuple[IntArray, IntArray]:
        """First and last frame of each segment of "rounded segments", (num_frames,) each."""
        size = (num_stored - 1) / self.num_frames
        # np.round rounds a half to the even number, as the original does.
        edges = np.round(size * np.arange(self.num_frames + 1)).astype(np.int64)
        return edges[:-1], edges[1:]

    def _frames(self, num_stored: int, shares: NDArray[np.float64]) -> IntArray:
        """Positions of frames from numbers in [0, 1].

        The first number places a window in the clip; of segments, each places a frame in its own.
        """
        if self.sampling == "window":
            room = max(num_stored - self.num_frames, 0)
            first = min(int(shares[0] * (room + 1)), room)
            frames = first + np.arange(self.length(num_stored))
            return frames % num_stored  # a short clip begins again
        edges = np.arange(self.num_frames + 1) * num_stored // self.num_frames
        sizes = np.maximum(np.diff(edges), 1)
        inside = np.minimum((shares * sizes).astype(np.int64), sizes - 1)
        return np.minimum(edges[:-1] + inside, num_stored - 1)


@dataclass(frozen=True)
class CropChoice:
    """Choice of the part of the picture that makes a view.

    Args:
        size: width and height of a view, in pixels.
        largest_zoom: in training a part that is up to this factor smaller than `size` is enlarged
            to it. 1.25 is a short side of 256 to 320 pixels for crops of 224 of 256.
        mirror: mirror a training view with probability 1/2.
        short_sides: scale whole pictures, with their aspect ratio, before a square is cut out, as
            TimeSformer's reader does: in training to a short side between these two, in tests to
            one of `size`. None cuts stored frames as they are.
        whole: nothing is cut off: the view is the whole stored frame, scaled to `size` whatever
            its shape.

    Raises:
        PreprocessError: if a value is out of its range.
    """

    size: tuple[int, int]
    largest_zoom: float = 1.0
    mirror: bool = False
    short_sides: tuple[int, int] | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        # Lists, as JSON gives them, become tuples: the settings are hashed and compared.
        object.__setattr__(self, "size", tuple(self.size))
        if self.short_sides is not None:
            object.__setattr__(self, "short_sides", tuple(self.short_sides))
            self._check_short_sides(*self.short_sides)
        if len(self.size) != 2 or min(self.size) < 1 or self.largest_zoom < 1:
            raise PreprocessError(
                "size must be at least 1 pixel, and largest_zoom at least 1. Received "
                f"{'x'.join(map(str, self.size))} and {self.largest_zoom}."
            )
        if self.whole and (self.short_sides is not None or self.largest_zoom != 1):
            raise PreprocessError(
                "whole frames are not cut: short_sides must be None then, and largest_zoom 1. "
                f"Received {self.short_sides} and {self.largest_zoom}."
            )

    def _check_short_sides(self, smallest: int, largest: int) -> None:
        if self.size[0] != self.size[1] or not self.size[0] <= smallest <= largest:
            raise PreprocessError(
                "short_sides must be two, the first no less than the side of the square crop, the "
                f"second no less than the first. Received {smallest} and {largest} for crops of "
                f"{self.size[0]}x{self.size[1]}."
            )
        if self.largest_zoom != 1:
            raise PreprocessError(
                "short_sides scales pictures already: largest_zoom must be 1 then. Received "
                f"{self.largest_zoom}."
            )

    def require_fit(self, stored: tuple[int, int]) -> None:
        """Raise PreprocessError unless frames of this width and height hold the crops."""
        if self.short_sides is not None or self.whole:
            return  # frames are scaled
        if self.size[0] > stored[0] or self.size[1] > stored[1]:
            raise PreprocessError(
                f"a crop must fit in the stored frames, which are {stored[0]}x{stored[1]}. "
                f"Received {self.size[0]}x{self.size[1]}; store larger frames or crop less."
            )

    def size_to_cut(self, *, stored: tuple[int, int], original: tuple[int, int]) -> tuple[int, int]:
        """Width and height of the pictures in which `drawn` and `tested` choose a clip's crops.

        Args:
            stored: width and height of the frames, to which clips of all sizes are stretched.
            original: width and height of the clip's own pictures. Scaled pictures get their aspect
                ratio back, for TimeSformer's reader never stretches them.
        """
        return stored if self.short_sides is None else original

    def drawn(self, stored: tuple[int, int], rng: np.random.Generator) -> Crop:
        """Draw the crop of a training view from frames of this width and height."""
        if self.short_sides is not None:
            return self._drawn_of_scaled(stored, self.short_sides, rng)
        zoom, mirrored = rng.uniform(1, self.largest_zoom), self.mirror and rng.random() < 0.5
        if self.whole:
            return Crop(0, 0, stored[1], stored[0], mirrored)
        width, height = (max(1, round(side / zoom)) for side in self.size)
        left = int(rng.integers(stored[0] - width + 1))
        top = int(rng.integers(stored[1] - height + 1))
        return Crop(top, left, height, width, mirrored)

    def tested(self, stored: tuple[int, int], number: int, num_crops: int) -> Crop:
        """Crop of a test view by its number, from 0, along the side of which most is cut off."""
        width, height = self.size
        if self.short_sides is not None:
            return self._tested_of_scaled(stored, number if num_crops > 1 else 1)
        if self.whole:
            return Crop(0, 0, stored[1], stored[0])
        room = (stored[0] - width, stored[1] - height)
        share = 0.5 if num_crops == 1 else number / (num_crops - 1)
        if room[0] >= room[1]:
            return Crop(room[1] // 2, int(share * room[0]), height, width)
        return Crop(int(share * room[1]), room[0] // 2, height, width)

    def _drawn_of_scaled(
        self, stored: tuple[int, int], short_sides: tuple[int, int], rng: np.random.Generator
    ) -> Crop:
        """Draw the crop of a training view from scaled frames."""
        side = self.size[0]
        scaled = _scaled_to(stored, round(rng.uniform(*short_sides)))
        # Without `+ 1`: the original never takes the crop that ends with the last row or column,
        # unless it is the only one.
        left, top = (int(rng.integers(max(length - side, 1))) for length in scaled)
        mirrored = self.mirror and rng.random() < 0.5
        return Crop(top, left, side, side, mirrored, *scaled)

    def _tested_of_scaled(self, stored: tuple[int, int], number: int) -> Crop:
        """Crop of scaled frames: left, middle or right; of tall ones top, middle or bottom."""
        side = self.size[0]
        width, height = scaled = _scaled_to(stored, side)
        left, top = (math.ceil((length - side) / 2) for length in scaled)
        if height > width:
            top = (0, top, height - side)[number]
        else:
            left = (0, left, width - side)[number]
        return Crop(top, left, side, side, False, *scaled)


def _scaled_to(stored: tuple[int, int], short: int) -> tuple[int, int]:
    """Width and height of a picture scaled to a short side; the other side is rounded down."""
    width, height = stored
    if width < height:
        return short, math.floor(height / width * short)
    return math.floor(width / height * short), short
