"""Which moments and which places of the picture decided a class: occlusion, as a picture.

Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, cover parts of a
picture; here parts of the time are covered as well. It asks a model only to predict, so that it
holds for an ONNX file and for a network that was frozen as for one that was trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from experiments.runs.plots import LIGHT, dress, new_figure, png_bytes

PARTS = 12
_ROWS = 4  # cells from top to bottom; across there are as many as make them about square
_MAX_COLUMNS = 8
_WINDOWS_AT_ONCE = 4
_BYTES_AT_ONCE = 2**27  # of copies of a window, unless it is one alone
_HEIGHT = 120  # of a frame in the strip, in pixels
_BARS = 40  # height of the bars under a strip, in pixels
_GAP_PIXELS, _GREY = 2, 128  # between two frames, as in the other strips of a report
_DIMMEST = 0.2  # brightness of a place that decided nothing

Predict = Callable[[list[NDArray[np.uint8]]], NDArray[np.floating]]
"""Function of copies of a window, each uint8 RGB (T, H, W, 3), to probabilities (copies, classes).
"""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Explanation of a prediction: the moments and places that a class rests on.

    Args:
        class_name: the class.
        probability: its probability in the window.
        starts: start of each part of the window, in seconds, (P,).
        drops: what the probability loses while a part is covered, (P,); below 0 where it gains.
        places: what it loses while a cell of the picture is covered all the time, (rows, columns).
        frames: middle frame of each part, uint8 RGB (P, H, W, 3).
    """

    class_name: str
    probability: float
    starts: NDArray[np.float64]
    drops: NDArray[np.float64]
    places: NDArray[np.float64]
    frames: NDArray[np.uint8]

    def spotlight(self) -> NDArray[np.uint8]:
        """Frame of the part that decided most, bright where the picture decided, (H, W, 3) RGB."""
        frame = self.frames[self.drops.argmax()]
        light = np.full(frame.shape[:2], _DIMMEST)
        # Where nothing lost more than rounding does, nothing is lit.
        largest = max(self.places.max(), 1e-6)
        for (top, bottom, left, right), drop in zip(
            _cells(frame.shape[0], frame.shape[1], self.places.shape), self.places.flat, strict=True
        ):
            light[top:bottom, left:right] += (1 - _DIMMEST) * max(drop, 0) / largest
        return (frame * light[..., None]).round().astype(np.uint8)

    def strip(self) -> NDArray[np.uint8]:
        """Draw the spotlight, and right of it the parts over bars of their drops, (H, W, 3) RGB.

        The longest bar is that of the part that decided most; a gain has none.
        """
        bright = (0, 158, 115)
        largest = max(self.drops.max(), 1e-6)
        columns = [_with_bar(self.spotlight(), 0, bright)]
        columns += [
            _with_bar(frame, max(drop, 0) / largest, bright)
            for frame, drop in zip(self.frames, self.drops, strict=True)
        ]
        gap = np.full((len(columns[0]), _GAP_PIXELS, 3), _GREY, np.uint8)
        # A wider one behind the spotlight, which is no moment.
        gaps = [np.tile(gap, (1, 4, 1)), *[gap] * (len(columns) - 2)]
        rest = [part for pair in zip(gaps, columns[1:], strict=True) for part in pair]
        return np.concatenate([columns[0], *rest], axis=1)

    def png(self) -> bytes:
        """Draw the drops as bars over a strip of the frames, and the places in the spotlight."""
        parts, height, width, _ = self.frames.shape
        strip = np.hstack([_resized(frame) for frame in self.frames])
        figure = new_figure(max(strip.shape[1] / 100, 7), 6.4, LIGHT)
        halves: Any = figure.subfigures(2, 1, height_ratios=[3.4, 3])
        upper, lower = halves
        bars, frames = upper.subplots(2, 1, gridspec_kw={"height_ratios": [2, 1.2]})
        colours = [LIGHT.accent if drop >= 0 else LIGHT.validation for drop in self.drops]
        bars.bar(np.arange(parts) + 0.5, self.drops, width=0.9, color=colours)
        bars.set_xlim(0, parts)
        # Frame by frame, tenths of a second would be the same twice.
        digits = 1 if parts == 1 or np.diff(self.starts).min() >= 0.1 else 2
        bars.set_xticks(np.arange(parts), [f"{start:.{digits}f} s" for start in self.starts])
        bars.set_ylabel("probability lost")
        bars.set_title(
            f"{self.class_name} {self.probability:.2f}: what it loses while a part of its surest "
            "window is covered",
            loc="left",
        )
        dress(bars, LIGHT)
        frames.imshow(strip, aspect="auto")
        frames.axis("off")
        plain, lit = lower.subplots(1, 2)
        chosen = int(self.drops.argmax())
        plain.set_title(f"at {self.starts[chosen]:.{digits}f} s, where it loses most", loc="left")
        plain.imshow(self.frames[chosen])
        lit.set_title("what it loses while a place is covered all the time", loc="left")
        lit.imshow(self.spotlight())
        for (top, bottom, left, right), drop in zip(
            _cells(height, width, self.places.shape), self.places.flat, strict=True
        ):
            lit.text(
                (left + right - 1) / 2,
                (top + bottom - 1) / 2,
                f"{round(drop, 2) + 0.0:.2f}",  # never -0.00
                ha="center",
                va="center",
                size=8,
                color="white",
                bbox={"facecolor": "black", "alpha": 0.45, "pad": 1, "linewidth": 0},
            )
        for axes in (plain, lit):
            axes.axis("off")
        return png_bytes(figure)


def explain(
    predict: Predict,
    frames: NDArray[np.uint8],
    label: int,
    *,
    class_name: str,
    start_seconds: float,
    end_seconds: float,
    parts: int = PARTS,
) -> Explanation:
    """Cover one part of the time, then one place of the picture after another; see what is lost.

    A covered part of the time shows the window's mean frame, which has its scene and colours but no
    moment. A covered place shows the window's mean colour in all frames.

    Args:
        predict: the model.
        frames: the window, uint8 RGB (T, H, W, 3).
        label: index of the class that is explained.
        class_name: its name.
        start_seconds: start of the window.
        end_seconds: end of the window.
        parts: number of parts of the time; fewer if the window has fewer frames.
    """
    length, height, width, _ = frames.shape
    parts = min(parts, length)
    edges = np.linspace(0, length, parts + 1).round().astype(int)
    shape = _grid(height, width)

    def copies() -> Iterator[NDArray[np.uint8]]:
        yield frames
        mean = frames.mean(axis=0).round().astype(np.uint8)
        for start, stop in pairwise(edges):
            copy = frames.copy()
            copy[start:stop] = mean
            yield copy
        colour = frames.mean(axis=(0, 1, 2)).round().astype(np.uint8)
        for top, bottom, left, right in _cells(height, width, shape):
            copy = frames.copy()
            copy[:, top:bottom, left:right] = colour
            yield copy

    at_once = max(1, min(_WINDOWS_AT_ONCE, _BYTES_AT_ONCE // frames.nbytes))
    found, waiting = [], copies()
    while batch := list(islice(waiting, at_once)):
        found.append(np.asarray(predict(batch)[:, label], np.float64))
    whole, *covered = np.concatenate(found)
    drops = whole - np.array(covered)
    seconds = end_seconds - start_seconds
    return Explanation(
        class_name,
        float(whole),
        start_seconds + seconds * edges[:-1] / length,
        drops[:parts],
        drops[parts:].reshape(shape),
        frames[(edges[:-1] + edges[1:]) // 2],
    )


def _grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the cells of a picture, about square and never thinner than a pixel."""
    rows = min(_ROWS, height)
    return rows, min(max(round(rows * width / height), 1), _MAX_COLUMNS, width)


def _cells(height: int, width: int, shape: tuple[int, ...]) -> Iterator[tuple[int, int, int, int]]:
    """Top, bottom, left and right of each cell, row by row, as [start, stop) in pixels."""
    rows, columns = (
        np.linspace(0, side, number + 1).round().astype(int).tolist()
        for side, number in zip((height, width), shape, strict=True)
    )
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield top, bottom, left, right


def _resized(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale a frame to the strip's height."""
    size = (max(1, round(frame.shape[1] * _HEIGHT / frame.shape[0])), _HEIGHT)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _with_bar(
    frame: NDArray[np.uint8], share: float, colour: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Put a bar of a share of the whole height under a frame; it hangs from it."""
    image = _resized(frame)
    under = np.full((_BARS, image.shape[1], 3), _GREY, np.uint8)
    under[: round(_BARS * share)] = colour
    return np.concatenate([image, under])
