"""Conversion of decoded pictures of any shape to frames of a fixed shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from preprocess.errors import PreprocessError

Box = tuple[float, float, float, float]
ImageArray = NDArray[np.uint8]
Interpolation = Literal["linear", "area", "smooth", "pillow", "pillow-bicubic"]


class Fit(Protocol):
    """Conversion of a picture to a frame."""

    @property
    def takes_planes(self) -> bool:
        """True if `from_planes` gives the same frames, and sooner."""

    def __call__(self, image: ImageArray, frame: NDArray[Any]) -> None:
        """Fill a frame, RGB, from a picture (any height, any width, 3), BGR."""

    def from_planes(self, planes: Sequence[ImageArray], frame: NDArray[Any]) -> None:
        """Fill a frame, RGB, from red, green and blue planes (any height, any width)."""


@dataclass(frozen=True)
class FrameFit:
    """Crop, scaling and colour of frames.

    Args:
        size: width and height of the frames, in pixels.
        crop: "none" stretches the whole picture to the size; "aspect" keeps the largest part around
            the middle that has the shape of `size`.
        margin: pixels that are cut off on all four sides after scaling: the picture is scaled to
            a size larger by that much. Caffe scales to 256x256 and takes the middle 227x227.
        interpolation: "linear", OpenCV's default, uses four pixels, however many a new one covers.
            "area" is the mean of those covered, at twice the cost of decoding small H.264. "smooth"
            is nearly that, and fast: linear to a multiple of the size, then means. "pillow" and
            "pillow-bicubic" are Pillow's own resize, bilinear and bicubic: a new pixel is a
            weighted mean of all that it covers. torchvision's Resize of an image is the former.
        centred: first subtract the mean of all values from each picture. Frames are then float32
            instead of uint8.
        box: part of the picture to use, (x1, y1, x2, y2) in fractions of its width and height, to
            the nearest pixel; for Pillow's interpolations, fractions of a pixel are cut off. None
            for the whole.
        grey: make the picture grey before it is scaled, as Pillow's convert("L") does. The three
            channels of the frame are then equal.

    Raises:
        PreprocessError: unless 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1 in a box, or if frames
            are centred whose interpolation takes whole numbers only.
    """

    size: tuple[int, int]
    crop: Literal["none", "aspect"] = "none"
    margin: tuple[int, int, int, int] = (0, 0, 0, 0)
    interpolation: Interpolation = "linear"
    centred: bool = False
    box: Box | None = None
    grey: bool = False

    def __post_init__(self) -> None:
        if self.centred and (self.grey or self.interpolation in _PILLOW):
            raise PreprocessError(
                "Centred frames must be scaled in colour by linear, area or smooth. Received "
                f"{self.interpolation!r}{' and grey' if self.grey else ''}."
            )
        if self.box is None:
            return
        x1, y1, x2, y2 = self.box
        if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
            raise PreprocessError(
                "box must be (x1, y1, x2, y2) with 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1. "
                f"Received {self.box}; divide pixels by the picture's width and height."
            )

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Shape of a frame, (height, width, 3)."""
        return (self.size[1], self.size[0], 3)

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the frames."""
        return np.dtype(np.float32 if self.centred else np.uint8)

    @property
    def takes_planes(self) -> bool:
        """True if each colour is scaled by itself, and as fast as together with the others."""
        return self.interpolation == "linear" and not self.centred and not self.grey

    def __call__(self, image: ImageArray, frame: NDArray[Any]) -> None:
        """Fill a frame (height, width, 3), RGB, from a picture (any height, any width, 3), BGR."""
        # The colours change places last, for the resize leaves fewer pixels; straight into the
        # caller's memory.
        cv2.cvtColor(self._scaled(image), cv2.COLOR_BGR2RGB, dst=frame)

    def from_planes(self, planes: Sequence[ImageArray], frame: NDArray[Any]) -> None:
        """Fill a frame (height, width, 3), RGB, from red, green and blue planes of any size."""
        cv2.merge([self._scaled(plane) for plane in planes], dst=frame)

    def _scaled(self, image: ImageArray) -> NDArray[Any]:
        """Cut and scale a picture (any height, any width, 3), or one of its planes."""
        # The order matters: everything before the resize works on the original pixels, as the
        # reference implementations do.
        pixels: NDArray[Any] = image
        if self.box is not None:
            pixels = _cut_box(image, self.box, int if self.interpolation in _PILLOW else round)
        if self.grey:
            pixels = _grey(pixels)
        if self.centred:
            pixels = pixels.astype(np.float32)
            pixels -= pixels.mean(dtype=np.float64)  # one mean for all three colours
        if self.crop == "aspect":
            pixels = _cut_to_aspect(pixels, self.size)
        left, top, right, bottom = self.margin
        wanted = (self.size[0] + left + right, self.size[1] + top + bottom)
        if pixels.shape[1::-1] != wanted:
            pixels = _RESIZE[self.interpolation](pixels, wanted)
        return pixels[top : top + self.size[1], left : left + self.size[0]]


@dataclass(frozen=True)
class StackedFits:
    """Several frames of one picture, stacked into one frame of the same width.

    Args:
        fits: conversions of the parts, from top to bottom.
    """

    fits: tuple[FrameFit, ...]

    @property
    def takes_planes(self) -> bool:
        """True if all parts take planes."""
        return all(fit.takes_planes for fit in self.fits)

    def __call__(self, image: ImageArray, frame: NDArray[Any]) -> None:
        """Fill a frame (sum of heights, width, 3), RGB, from a picture, BGR."""
        for fit, part in self._parts(frame):
            fit(image, part)

    def from_planes(self, planes: Sequence[ImageArray], frame: NDArray[Any]) -> None:
        """Fill a frame (sum of heights, width, 3), RGB, from red, green and blue planes."""
        for fit, part in self._parts(frame):
            fit.from_planes(planes, part)

    def _parts(self, frame: NDArray[Any]) -> Iterator[tuple[FrameFit, NDArray[Any]]]:
        """Yield each conversion with its part of the frame."""
        top = 0
        for fit in self.fits:
            height = fit.size[1]
            yield fit, frame[top : top + height]
            top += height


def _cut_box(image: ImageArray, box: Box, to_whole: Callable[[float], int]) -> ImageArray:
    """Cut the part of a picture that lies in a box, at least one pixel."""
    height, width = image.shape[:2]
    left, top = min(to_whole(box[0] * width), width - 1), min(to_whole(box[1] * height), height - 1)
    right, bottom = max(to_whole(box[2] * width), left + 1), max(to_whole(box[3] * height), top + 1)
    return image[top:bottom, left:right]


def _cut_to_aspect(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Cut the largest part around the middle that has the aspect ratio of `size`."""
    height, width = pixels.shape[:2]
    kept_width = max(min(width, round(height * size[0] / size[1])), 1)
    kept_height = max(min(height, round(width * size[1] / size[0])), 1)
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    return pixels[top : top + kept_height, left : left + kept_width]


def _grey(image: ImageArray) -> ImageArray:
    """Convert a BGR picture to grey, with three equal channels."""
    # By Pillow, for OpenCV rounds some values otherwise than the reference implementations.
    grey = np.asarray(Image.fromarray(np.ascontiguousarray(image[..., ::-1])).convert("L"))
    return np.repeat(grey[..., None], 3, axis=2)


def _linear(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    return cv2.resize(pixels, size)


def _area(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _smooth(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Scale linearly to the next lower multiple of the size, then take means."""
    # OpenCV's INTER_AREA is fast for integer factors only.
    factor = min(pixels.shape[1] // size[0], pixels.shape[0] // size[1])
    if factor < 2:
        return _linear(pixels, size)
    return _area(_linear(pixels, (factor * size[0], factor * size[1])), size)


def pillow_resize(image: ImageArray, size: tuple[int, int], *, bicubic: bool = False) -> ImageArray:
    """Scale a picture, uint8 (H, W, 3), by Pillow to a width and height, with antialiasing.

    Each channel is scaled by itself, so that their order does not matter.
    """
    method = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, method))


_PILLOW = ("pillow", "pillow-bicubic")
_RESIZE: dict[str, Callable[[NDArray[Any], tuple[int, int]], NDArray[Any]]] = {
    "linear": _linear,
    "area": _area,
    "smooth": _smooth,
    "pillow": pillow_resize,
    "pillow-bicubic": partial(pillow_resize, bicubic=True),
}
