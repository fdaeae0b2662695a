"""Which moments of a video decided its class: occlusion through time, as a picture.

Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, cover parts of a
picture; here parts of the time are covered.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from experiments.clips.prediction.predict import VideoPrediction, WindowModel, video_windows
from experiments.runs.plots import LIGHT, dress, new_figure, png_bytes

PARTS = 12
_WINDOWS_AT_ONCE = 4
_HEIGHT = 120  # of a frame in the strip, in pixels


@dataclass(frozen=True, eq=False)
class Explanation:
    """Explanation of a prediction: the moments that the class of a video rests on.

    Args:
        class_name: the class: the most probable one of the whole video.
        probability: its probability in the window.
        starts: start of each part of the window, in seconds, (P,).
        drops: what the probability loses while a part is covered, (P,); below 0 where it gains.
        frames: middle frame of each part, uint8 RGB (P, H, W, 3).
    """

    class_name: str
    probability: float
    starts: NDArray[np.float64]
    drops: NDArray[np.float64]
    frames: NDArray[np.uint8]

    def png(self) -> bytes:
        """Draw the drops as bars over a strip of the frames."""
        parts, height, width, _ = self.frames.shape
        scale = _HEIGHT / height
        size = (round(width * scale), _HEIGHT)
        strip = np.hstack(
            [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in self.frames]
        )
        figure = new_figure(strip.shape[1] / 100, 3.4, LIGHT)
        bars, frames = figure.subplots(2, 1, gridspec_kw={"height_ratios": [2, 1.2]})
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
        return png_bytes(figure)


def explain_video(
    model: WindowModel, path: Path, prediction: VideoPrediction, *, hop: int, parts: int = PARTS
) -> Explanation:
    """Cover one part of the time after another, and see what the video's class loses.

    The window is the one with the highest probability of the class. A covered part shows the
    window's mean frame, which has its scene and colours but no moment.

    Args:
        model: the model that predicted the video.
        path: the video.
        prediction: its prediction, with windows that began `hop` frames apart.
        parts: number of parts; fewer if the window has fewer frames.
    """
    best = prediction.ranking[0]
    number = int(prediction.probabilities[:, best].argmax())
    with video_windows(model, path, hop=hop) as (windows, original_size):
        window = next(islice(windows, number, None))
    frames = window.frames
    parts = min(parts, len(frames))
    edges = np.linspace(0, len(frames), parts + 1).round().astype(int)
    mean = frames.mean(axis=0).round().astype(np.uint8)
    covered = []
    for start, stop in pairwise(edges):
        copy = frames.copy()
        copy[start:stop] = mean
        covered.append(copy)
    found = [
        model.predict(covered[first : first + _WINDOWS_AT_ONCE], original_size)[:, best]
        for first in range(0, parts, _WINDOWS_AT_ONCE)
    ]
    whole = float(prediction.probabilities[number, best])
    seconds = window.end_seconds - window.start_seconds
    return Explanation(
        prediction.class_names[best],
        whole,
        window.start_seconds + seconds * edges[:-1] / len(frames),
        whole - np.concatenate(found).astype(np.float64),
        frames[(edges[:-1] + edges[1:]) // 2],
    )
