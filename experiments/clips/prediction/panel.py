"""Panel of an annotated video: the current classes, and curves over the whole video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from experiments.clips.prediction.predict import VideoPrediction
from experiments.media.annotation import fitted

Colour = tuple[int, int, int]
_NUM_BARS, _NUM_CURVES = 3, 3
# Images per second. Only the cursor moves between the changes from window to window.
_RATE = 10
_GROUND, _TEXT, _CURSOR = (16, 20, 26, 220), (240, 244, 248, 255), (255, 255, 255, 255)
_GRID = (90, 98, 108, 255)
# After the palette of Okabe and Ito, whose colours colour-blind people tell apart; by the rank of a
# class in the whole video. All classes without a curve share the last one.
_COLOURS: tuple[Colour, ...] = ((86, 180, 233), (230, 159, 0), (47, 199, 155))
_OTHER: Colour = (150, 158, 168)
# Brightness of a bar relative to its colour, so that text on it can be read.
_BAR_SHARE = 0.55
# Fractional bits of OpenCV's coordinates, so that curves are smooth.
_SUBPIXELS = 4


@dataclass(frozen=True)
class Layout:
    """Sizes of a panel's parts, from top to bottom, in pixels; 0 for a part without room.

    Args:
        width: width of the panel.
        line: height of a line of text, with the space around it.
        title: height of the title, the class of the moment.
        bars: number of bars, a line each.
        heading: height of the heading of the curves.
        curves: height of the curves.
    """

    width: int
    line: int
    title: int
    bars: int
    heading: int
    curves: int

    @property
    def height(self) -> int:
        """Height of the whole panel, in pixels."""
        return self.title + self.bars * self.line + self.heading + self.curves


def layout_for(size: tuple[int, int], num_classes: int) -> Layout:
    """Lay out a panel for a frame of a width and height, half as high at most if legible."""
    line = max(round(min(size) / 27), 12)
    width = min(size[0], 22 * line)
    # The title is given room first, then the curves, then as many bars as fit.
    room = max(size[1] // 2, min(size[1], line))
    title = min(round(1.4 * line), room)
    curves = min(round(2.5 * line), room - title)
    # Less than 6 pixels would show nothing but the grid.
    curves = curves if curves >= 6 else 0
    room -= title + curves
    bars = min(_NUM_BARS, num_classes, room // line)
    heading = line if curves and room - bars * line >= line else 0
    return Layout(width, line, title, bars, heading, curves)


class Panel:
    """Draws the panel of one video, which is laid over its lower left.

    It shows the rolling mean. A window is shown at the moments that are nearest to its middle.

    Args:
        prediction: prediction of the video.
        size: width and height of its frames, in pixels.
    """

    def __init__(self, prediction: VideoPrediction, size: tuple[int, int]) -> None:
        self._prediction = prediction
        self._layout = layout_for(size, len(prediction.class_names))
        middles = (prediction.start_seconds + prediction.end_seconds) / 2
        self._middles = middles
        # Times at which the panel changes from one window to the next, (W - 1,).
        self._changes = (middles[1:] + middles[:-1]) / 2
        self._curved = prediction.ranking[:_NUM_CURVES]
        self._curves = self._draw_curves()
        # Times only go forward, so that a window is drawn once and copied for each image.
        self._base = lru_cache(maxsize=2)(self._draw_window)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        return self._layout.width, self._layout.height

    def image(self, seconds: float) -> bytes:
        """Draw the panel at a time of the video as raw RGBA; the first frame is shown at 0."""
        pixels = self._base(int(np.searchsorted(self._changes, seconds, side="right"))).copy()
        if self._layout.curves:
            x = int(self._across(seconds))
            top = self._layout.height - self._layout.curves
            thick = max(1, self._layout.line // 12)
            cv2.line(pixels, (x, top), (x, self._layout.height - 1), _CURSOR, thick)
        return pixels.tobytes()

    def images(self) -> Iterator[tuple[float, bytes]]:
        """Yield times in seconds and panels as raw RGBA, ten per second, without end."""
        for number in count():
            yield number / _RATE, self.image(number / _RATE)

    def _across(self, seconds: Any) -> Any:
        """Horizontal position of a time on the panel, in pixels from its left."""
        share = np.clip(seconds / max(self._prediction.duration_seconds, 1e-9), 0, 1)
        return share * (self._layout.width - 1)

    def _colour(self, index: int) -> Colour:
        return _COLOURS[self._curved.index(index)] if index in self._curved else _OTHER

    def _draw_curves(self) -> NDArray[np.uint8]:
        """Draw the part that stays the same, (heading + curves, width, 4)."""
        layout, prediction = self._layout, self._prediction
        pixels = np.full((layout.heading + layout.curves, layout.width, 4), _GROUND, np.uint8)
        if not layout.curves:
            return pixels
        top, bottom = layout.heading + 1, len(pixels) - 2
        for height in (top, (top + bottom) // 2, bottom):
            cv2.line(pixels, (0, height), (layout.width - 1, height), _GRID, 1)
        across = self._across(np.concatenate([[0], self._middles, [prediction.duration_seconds]]))
        # The best class last, on top of the others.
        for index in reversed(self._curved):
            curve = prediction.rolling[:, index]
            # The first and the last value are drawn on to the ends of the video.
            down = bottom - np.pad(curve, 1, mode="edge") * (bottom - top)
            points = np.stack([across, down], axis=1) * 2**_SUBPIXELS
            cv2.polylines(
                pixels,
                [points.round().astype(np.int32)],
                isClosed=False,
                color=(*self._colour(index), 255),
                thickness=max(1, round(layout.line / 8)),
                lineType=cv2.LINE_AA,
                shift=_SUBPIXELS,
            )
        return pixels

    def _draw_window(self, number: int) -> NDArray[np.uint8]:
        """Draw all but the cursor for one window, (height, width, 4)."""
        layout, names = self._layout, self._prediction.class_names
        shares = self._prediction.rolling[number]
        best = np.argsort(-shares, kind="stable")[: max(layout.bars, 1)]
        pixels = np.full((layout.height, layout.width, 4), _GROUND, np.uint8)
        pixels[layout.height - len(self._curves) :] = self._curves
        for place, index in enumerate(best[: layout.bars]):
            top = layout.title + place * layout.line
            colour = [round(_BAR_SHARE * value) for value in self._colour(index)]
            width = round(layout.width * shares[index])
            pixels[top + 1 : top + layout.line - 1, :width] = (*colour, 255)
        image = Image.fromarray(pixels)
        draw = ImageDraw.Draw(image)
        self._write(draw, 0, layout.title, _line(names[best[0]], shares[best[0]]))
        for place, index in enumerate(best[: layout.bars]):
            top = layout.title + place * layout.line
            self._write(draw, top, layout.line, _line(names[index], shares[index]))
        if layout.heading:
            index = self._curved[0]
            caption = f"whole video: {_line(names[index], self._prediction.mean[index])}"
            top = layout.title + layout.bars * layout.line
            self._write(draw, top, layout.heading, caption, (*self._colour(index), 255))
        return np.asarray(image)

    def _write(
        self, draw: Any, top: int, height: int, text: str, colour: tuple[int, ...] = _TEXT
    ) -> None:
        """Draw a text in the middle of a line."""
        margin = self._layout.line // 3
        text, font = fitted(text, max(round(0.72 * height), 7), self._layout.width - 2 * margin)
        draw.text((margin, top + height / 2), text, colour, font, anchor="lm")


def _line(name: str, share: float) -> str:
    return f"{share:.0%} {name}"
