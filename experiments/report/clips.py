"""The report's sections on single clips: worst mistakes with their frames, and clip lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from experiments import formatting, plots
from experiments.report.markup import Markup, data_uri, element, picture, section, table
from experiments.run_directory import Predictions

NUM_WORST, NUM_BEST = 6, 3
FRAMES_IN_STRIP = 8
STRIP_FRAME_HEIGHT = 120  # pixels


class Clip(Protocol):
    """One stored clip."""

    @property
    def frames(self) -> npt.NDArray[np.uint8]:
        """(T, H, W, 3) RGB."""


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
    """Which frames the model sees: every `stride`-th of the video, the first `maxlen` of those."""

    stride: int = 1
    maxlen: int | None = None
    stored_stride: int = 1  # every how many frames of the video one is in the shards

    @property
    def step(self) -> int:
        """Every how many stored frames one is seen."""
        return max(1, self.stride // self.stored_stride)

    def lengths(self, num_frames: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """(N,) frames after the stride and before the truncation."""
        return -(-np.asarray(num_frames, np.int64) // self.step)

    def seen(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Of stored frames (T, H, W, 3) those the model sees."""
        return frames[:: self.step][: self.maxlen]


def mistakes(predictions: Predictions, shards: Shards | None, sampling: Sampling) -> Markup:
    """The most confident wrong predictions, and a few confident right ones, with their frames."""
    by_confidence = np.argsort(-predictions.confidence, kind="stable")
    right = predictions.correct[by_confidence]
    wrong_clips, right_clips = by_confidence[~right][:NUM_WORST], by_confidence[right][:NUM_BEST]
    num_wrong = int(np.sum(~right))
    words = f"The {len(wrong_clips)} most confident of {num_wrong:,} wrong predictions."
    if not num_wrong:
        words = "None: every test clip was recognised."
    content: list[object] = [element("p", words), _strip_note(shards, sampling)]
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
    words += _truncation(num_frames, sampling.maxlen)
    light, dark = (
        plots.lengths_png(num_frames, maxlen=sampling.maxlen, theme=theme)
        for theme in (plots.LIGHT, plots.DARK)
    )
    image = picture(light, dark, alt="Histogram of clip lengths in frames")
    return section(title, element("p", words), _quantiles(num_frames), image)


def _strip_note(shards: Shards | None, sampling: Sampling) -> Markup:
    if shards is None:
        words = "Without frames: the shards were not at hand when this report was made. "
        words += "Rebuild it with python -m experiments.report RUN_DIR --shards SHARDS."
    else:
        words = f"{FRAMES_IN_STRIP} frames evenly spaced over what the model saw"
        words += f", at most {sampling.maxlen} frames." if sampling.maxlen else "."
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
    frames = sampling.seen(shards[shards.sources.index(source)].frames)  # (T, H, W, 3)
    if len(frames) == 0:
        return element("p", "This clip has no frames.", class_="soft")
    chosen = np.linspace(0, len(frames) - 1, min(FRAMES_IN_STRIP, len(frames))).round().astype(int)
    images = (
        element("img", src=thumbnail(frames[t]), alt=caption, title=caption)
        for t in chosen
        for caption in [f"frame {t * sampling.stride + 1}"]
    )
    return element("div", *images, class_="strip")


def thumbnail(frame: npt.NDArray[np.uint8], *, most_height: int = STRIP_FRAME_HEIGHT) -> str:
    """A frame (H, W, 3) as the data URI of a JPEG, scaled down to a height where it is more."""
    import cv2

    height, width = frame.shape[:2]
    if height > most_height:
        size = (max(1, round(width * most_height / height)), most_height)
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return data_uri(jpeg.tobytes(), "jpeg")


def _truncation(num_frames: npt.NDArray[np.int64], maxlen: int | None) -> str:
    if maxlen is None:
        return "None is truncated."
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
