"""Draw the classes of each frame into a copy of a video."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from experiments.clips.classification.results import Row
from experiments.media.annotation import FOLDER_RATE, annotate, fitted
from preprocess.video.decode import VideoReader
from preprocess.video.transforms import FrameFit

# Alpha of the panel, of 255: the picture shines through.
_OPACITY = 191
_REPEATS_PER_SECOND = 10


def draw_video(path: Path, rows: Iterable[Row], out: Path) -> None:
    """Write an H.264 copy of a video, with sound, that shows the classes of each frame.

    Frames between two rows show the classes of the row before.

    Args:
        path: the video, or a folder of its frames.
        rows: its rows in order, from frame 0. If they have no times (NaN), the video is decoded
            once more to find these.
        out: the .mp4 file, which appears when it is complete.

    Raises:
        RenderError: if the video cannot be read, or the copy cannot be written.
        DecodeError: if an image of a folder cannot be read.
        OSError: if there is no room for it.
    """
    # Only the first row is looked at before the copy begins: rows come from the disk one by one.
    rows = iter(rows)
    first = next(rows)
    shown = chain([first], rows)
    times = _frame_times(path, shown) if math.isnan(first.time_seconds) else _row_times(shown)
    annotate(path, lambda size: ClassPanel(times, first, size), out)


def _row_times(rows: Iterable[Row]) -> Iterator[tuple[float, Row]]:
    for row in rows:
        yield row.time_seconds, row


def _frame_times(path: Path, rows: Iterable[Row]) -> Iterator[tuple[float, Row]]:
    """Yield each row with the time at which its frame is shown, in seconds."""
    if path.is_dir():
        for row in rows:
            yield row.frame / FOLDER_RATE, row
        return
    # The smallest frames: only their times are wanted.
    with VideoReader(path, fit=FrameFit((1, 1))) as video:
        for row in rows:
            # Rows may be several frames apart; frames between them are decoded and skipped.
            while video.num_given <= row.frame:
                if not video.pass_over():
                    return
            yield video.time_seconds, row


class ClassPanel:
    """Panel that shows the classes of the current row and their probabilities as bars.

    Args:
        rows: rows, each with its time in the video, in seconds.
        first: the first row.
        size: width and height of the video's frames, in pixels.
    """

    def __init__(
        self, rows: Iterable[tuple[float, Row]], first: Row, size: tuple[int, int]
    ) -> None:
        self._rows, self._first = rows, first
        self._line = max(round(size[1] / 22), 14)
        self._num_lines = min(len(first.labels), max((size[1] - self._line) // self._line, 1))
        height = self._num_lines * self._line + self._line // 2
        self.size = (min(size[0], 18 * self._line), min(size[1], height))

    def images(self) -> Iterator[tuple[float, bytes]]:
        """Yield seconds since the first row, and panels as raw RGBA.

        The last panel is repeated without end, for a video that is longer than its rows.
        """
        start, seconds, image = None, 0.0, self.draw(self._first).tobytes()
        for time_seconds, row in self._rows:
            start = time_seconds if start is None else start
            seconds, image = time_seconds - start, self.draw(row).tobytes()
            yield seconds, image
        for number in count(1):
            yield seconds + number / _REPEATS_PER_SECOND, image

    def draw(self, row: Row) -> NDArray[np.uint8]:
        """Draw the panel of one row, RGBA (height, width, 4)."""
        width, height = self.size
        line = self._line
        image = Image.new("RGBA", (width, self._num_lines * line + line // 2), _colour(16, 20, 26))
        draw = ImageDraw.Draw(image)
        best = list(zip(row.labels, row.probabilities, strict=True))[: self._num_lines]
        for number, (label, probability) in enumerate(best):
            top = line // 4 + number * line
            bar = (0, top + 1, round(width * probability), top + line - 2)
            draw.rectangle(bar, fill=_colour(0, 92, 148) if number == 0 else _colour(58, 67, 77))
            caption = f"{probability:4.0%}  {label}"
            text, font = fitted(caption, round(line * 0.72), width - 2 * (line // 3))
            draw.text((line // 3, top), text, _colour(240, 244, 248), font)
        return np.asarray(image)[-height:]


def _colour(*rgb: int) -> Any:
    return (*rgb, _OPACITY)
