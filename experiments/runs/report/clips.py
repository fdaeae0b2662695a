"""The report's sections on single clips: worst mistakes with their frames, and clip lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from experiments.runs import formatting, plots
from experiments.runs.directory import Predictions
from experiments.runs.report.markup import (
    Markup,
    data_uri,
    element,
    picture,
    section,
    table,
    to_predictions,
)

if TYPE_CHECKING:
    from preprocess.batches.views import FrameChoice

NUM_WORST, NUM_BEST = 6, 3
FRAMES_IN_STRIP = 8
STRIP_FRAME_HEIGHT = 120  # pixels


class Clip(Protocol):
    """One stored clip."""

    def read(self, *, start: int = 0, max_frames: int | None = None) -> npt.NDArray[np.uint8]:
        """Stored frames from `start` on, (T, H, W, 3) RGB."""


class Shards(Protocol):
    """What the report asks of `preprocess.open_shards`."""

    @property
    def sources(self) -> Sequence[str]:
        """Path of each clip's video."""

    @property
    def num_frames(self) -> Any:
        """(N,) stored frames of each clip."""

    @property
    def stride(self) -> int:
        """Every how many frames of the videos one is stored."""

    def __getitem__(self, index: int, /) -> Clip: ...


@dataclass(frozen=True)
class Sampling:
    """Choice of the frames that the model sees.

    Args:
        stride: every how many frames of the video one is seen.
        maxlen: how many of those at most, from the first on; None for all.
        stored_stride: every how many frames of the video one is in the shards.
        choice: of the stored frames, where it is not the first `maxlen`.
        places: how often a clip is tested, each time with other frames of that choice.
    """

    stride: int = 1
    maxlen: int | None = None
    stored_stride: int = 1
    choice: FrameChoice | None = None
    places: int = 1

    @property
    def step(self) -> int:
        """Number of stored frames from one that is seen to the next."""
        return max(1, self.stride // self.stored_stride)

    def lengths(self, num_frames: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """(N,) frames after the stride and before the truncation."""
        return -(-np.asarray(num_frames, np.int64) // self.step)

    def spread(self, num_frames: int, most: int) -> npt.NDArray[np.int64]:
        """Positions of up to `most` stored frames, evenly over those the model sees."""
        seen = self._seen(num_frames)
        chosen = np.linspace(0, len(seen) - 1, min(most, len(seen))).round().astype(int)
        return seen[chosen]

    def _seen(self, num_frames: int) -> npt.NDArray[np.int64]:
        if self.choice is None or num_frames == 0:
            return np.arange(0, num_frames, self.step)[: self.maxlen]
        views = (self.choice.tested(num_frames, t, self.places) for t in range(self.places))
        return np.unique(np.concatenate(list(views)))

    def __str__(self) -> str:
        """In words, the frames of a clip."""
        if self.choice is None:
            return "all frames" if self.maxlen is None else f"at most {self.maxlen} frames"
        often = "" if self.places == 1 else f", {self.places} times"
        if self.choice.sampling != "window":
            return f"a frame of each of {self.choice.num_frames} equal parts{often}"
        where = "first" if self.choice.start == "first" and self.places == 1 else "consecutive"
        return f"at most {self.choice.num_frames} {where} frames{often}"


def mistakes(predictions: Predictions, shards: Shards | None, sampling: Sampling) -> Markup:
    """The most confident wrong predictions, and a few confident right ones, with their frames."""
    by_confidence = np.argsort(-predictions.confidence, kind="stable")
    right = predictions.correct[by_confidence]
    wrong_clips, right_clips = by_confidence[~right][:NUM_WORST], by_confidence[right][:NUM_BEST]
    num_wrong = int(np.sum(~right))
    words = f"The {len(wrong_clips)} most confident of {num_wrong:,} wrong predictions."
    if not num_wrong:
        words = "None: every test clip was recognised."
    note = strip_note(shards, sampling, num_frames=FRAMES_IN_STRIP)
    every = element("p", to_predictions("Every wrong prediction", verdict="wrong"), ".")
    content: list[object] = [element("p", words), note, *([every] if num_wrong else [])]
    content += [_clip(predictions, int(i), shards, sampling) for i in wrong_clips]
    if len(right_clips):
        content.append(element("h3", "Right, and most confident"))
        content += [_clip(predictions, int(i), shards, sampling) for i in right_clips]
    return section("Worst mistakes", *content)


def lengths(predictions: Predictions | None, shards: Shards | None, sampling: Sampling) -> Markup:
    """How long the clips are and what truncation at `maxlen` costs."""
    title = "Clip lengths"
    if shards is not None:
        stored, whose = shards.num_frames, "all"
    elif predictions is not None:
        stored, whose = predictions.num_frames, "the test"
    else:
        return section(title, element("p", "Not known: no clip was read."))
    if shards is None and sampling.stride > 1:  # the stride that was stored is not known
        sampling = Sampling()
        whose = "before the stride, the test"
    num_frames = sampling.lengths(stored)
    if num_frames.size == 0:
        return section(title, element("p", "There are no clips."))
    every = ""
    if sampling.stride > 1:
        every = f", counting every {formatting.ordinal(sampling.stride)} of the video"
    words = f"Frames in {whose} {num_frames.size:,} clips{every}. "
    maxlen = None if sampling.choice else sampling.maxlen
    words += _truncation(num_frames, maxlen) if maxlen else f"The model sees {sampling} of a clip."
    light, dark = (
        plots.lengths_png(num_frames, maxlen=maxlen, theme=theme)
        for theme in (plots.LIGHT, plots.DARK)
    )
    image = picture(light, dark, alt="Histogram of clip lengths in frames")
    return section(title, element("p", words), _quantiles(num_frames), image)


def strip_note(shards: Shards | None, sampling: Sampling, *, num_frames: int) -> Markup:
    """What the strips of a page show, or why it has none."""
    if shards is None:
        words = "Without frames: the shards were not at hand when this report was made. "
        words += "Rebuild it with python -m experiments.report RUN_DIR --shards SHARDS."
    else:
        words = f"{num_frames} frames evenly spaced over what the model saw: {sampling}."
    return element("p", words, class_="soft")


def _clip(predictions: Predictions, i: int, shards: Shards | None, sampling: Sampling) -> Markup:
    names = predictions.class_names
    predicted, label = names[predictions.predicted[i]], names[predictions.labels[i]]
    confidence = formatting.percent(predictions.confidence[i])
    if predictions.correct[i]:
        verdict = [element("span", label, class_="good"), f" ({confidence})"]
    else:
        true_share = formatting.percent(predictions.probabilities[i, predictions.labels[i]])
        verdict = [
            "predicted ",
            element("span", predicted, class_="bad"),
            f" ({confidence}), true ",
            element("span", label, class_="good"),
            f" ({true_share})",
        ]
    source = predictions.clips[i]
    group = f" · group {predictions.groups[i]}"
    where = element("p", element("code", source), group, class_="soft")
    strip = _strip(source, shards, sampling)
    return element("div", element("p", *verdict), where, strip, class_="clip")


def _strip(source: str, shards: Shards | None, sampling: Sampling) -> Markup:
    if shards is None:
        return Markup()
    if source not in shards.sources:
        return element("p", "This clip is not in the shards given.", class_="soft")
    index = shards.sources.index(source)
    chosen = sampling.spread(int(shards.num_frames[index]), FRAMES_IN_STRIP)
    if len(chosen) == 0:
        return element("p", "This clip has no frames.", class_="soft")
    images = (
        element("img", src=thumbnail(frame), alt=caption, title=caption)
        for t, frame in zip(chosen, frames_at(shards[index], chosen), strict=True)
        for caption in [f"frame {t * sampling.stored_stride + 1}"]
    )
    return element("div", *images, class_="strip")


def frames_at(clip: Clip, positions: npt.NDArray[np.int64]) -> list[npt.NDArray[np.uint8]]:
    """Some stored frames, each (H, W, 3) RGB."""
    return [clip.read(start=int(position), max_frames=1)[0] for position in positions]


def thumbnail(frame: npt.NDArray[np.uint8], *, most_height: int = STRIP_FRAME_HEIGHT) -> str:
    """A frame (H, W, 3) as the data URI of a JPEG, scaled down to a height where it is more."""
    return data_uri(jpeg(scaled_down(frame, most_height), quality=85), "jpeg")


def scaled_down(frame: npt.NDArray[np.uint8], most_height: int) -> npt.NDArray[np.uint8]:
    """A frame (H, W, 3) at a height of so many pixels where it has more."""
    height, width = frame.shape[:2]
    if height <= most_height:
        return frame
    size = (max(1, round(width * most_height / height)), most_height)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(frame: npt.NDArray[np.uint8], *, quality: int) -> bytes:
    """A frame (H, W, 3) RGB as the bytes of a JPEG; `quality` is 0 to 100."""
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _truncation(num_frames: npt.NDArray[np.int64], maxlen: int) -> str:
    cut = int(np.sum(num_frames > maxlen))
    kept = np.minimum(num_frames, maxlen).sum() / num_frames.sum()
    if not cut:
        return f"None is longer than maxlen {maxlen}: nothing is truncated."
    return (
        f"{cut:,} of them ({formatting.percent(cut / num_frames.size)}) are longer than maxlen "
        f"{maxlen} and lose their end; {formatting.percent(kept)} of all frames are kept."
    )


def _quantiles(num_frames: npt.NDArray[np.int64]) -> Markup:
    low, q1, median, q3, high = np.percentile(num_frames, (0, 25, 50, 75, 100))
    header = ("Clips", "Shortest", "25 %", "Median", "Mean", "75 %", "Longest", "Frames")
    values = (num_frames.size, low, q1, median, num_frames.mean(), q3, high, num_frames.sum())
    return table(header, [[formatting.count(float(value)) for value in values]])
