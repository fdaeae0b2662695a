"""The score as a small strip of pictures: a bar and its number, for the reel's lower left."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

_GROUND = (16, 20, 26, 200)
_BAR = (0, 92, 148, 230)
_TEXT = (240, 244, 248, 255)
_MARK = (255, 190, 60, 255)


def strip_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the strip for a picture, in pixels."""
    return min(width, max(width // 4, 48)), min(height, max(height // 20, 14))


def write_strip(
    path: Path,
    times: Iterable[float],
    scores: tuple[ArrayLike, ArrayLike],
    size: tuple[int, int],
    threshold: float | None = None,
) -> None:
    """Raw RGBA pictures, one for each time, of the score at that time.

    Args:
        path: the file.
        times: in seconds of the recording.
        scores: times, ascending, and probabilities; between two the line is straight.
        size: width and height, in pixels.
        threshold: where the bar is marked, if anywhere.
    """
    shown = np.interp(list(times), np.asarray(scores[0], float), np.asarray(scores[1], float))
    with path.open("wb") as file:
        for score in shown:
            file.write(_picture(round(100 * float(np.clip(score, 0, 1))), size, threshold))


@lru_cache(maxsize=101)
def _picture(percent: int, size: tuple[int, int], threshold: float | None) -> bytes:
    import cv2

    width, height = size
    pixels = np.full((height, width, 4), _GROUND, np.uint8)
    cv2.rectangle(pixels, (0, 1), (round((width - 1) * percent / 100), height - 2), _BAR, -1)
    if threshold is not None:
        mark = round((width - 1) * threshold)
        cv2.line(pixels, (mark, 0), (mark, height - 1), _MARK, max(1, height // 16))
    scale = height / 32
    place = (round(6 * scale), round(height * 0.78))
    cv2.putText(
        *(pixels, f"{percent}%", place, cv2.FONT_HERSHEY_SIMPLEX, scale, _TEXT),
        thickness=max(1, round(2 * scale)),
        lineType=cv2.LINE_AA,
    )
    return pixels.tobytes()
