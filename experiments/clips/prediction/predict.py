"""Predict one video with a model of clips, or an exported one: windows and their summaries."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from common.errors import InputError
from common.extras import import_extra
from experiments.clips.viewed_model import ClipInputSpec, ViewedModel
from experiments.models.onnx_files import About, OnnxSession
from experiments.runs.directory import joined_labels
from preprocess.batches.views import Views
from preprocess.errors import DecodeError
from preprocess.shards.settings import FrameSettings
from preprocess.sources.clips import Clip
from preprocess.video.decode import Frame, FrameReader, is_cut_short
from preprocess.video.video_decoder import USUAL_FPS

if TYPE_CHECKING:
    import pandas

# Windows that the model sees in one batch; so many are in memory.
_WINDOWS_AT_ONCE = 4
_DECODER_THREADS = 2
LABELS = "labels"
"""Column of all classes above a threshold."""


class WindowModel(Protocol):
    """Model that predicts windows of frames, such as `experiments.clips.model.ClipModel`."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""

    @property
    def frame_settings(self) -> FrameSettings:
        """Settings of the frames that the model was trained on."""

    @property
    def window(self) -> int:
        """Number of frames that the model looks at at once."""

    def predict(
        self, windows: list[NDArray[np.uint8]], original_size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Predict windows of a video; probabilities (len(windows), classes).

        Args:
            windows: frames of each window, uint8 RGB (T, H, W, 3).
            original_size: width and height of the video's own frames.
        """


@dataclass(frozen=True, eq=False)
class VideoPrediction:
    """Probabilities of a video's windows, W of them, and the summaries of them.

    Args:
        class_names: names of the C classes.
        start_seconds: start of each window, (W,).
        end_seconds: end of each window, (W,); the last one ends with the video.
        probabilities: probabilities of each window, float32 (W, C).
        rolling_windows: number of windows in the rolling mean.
        complaint: damage of a file that could be read all the same; else empty.
        is_cut_short: whether a part of the video is missing.
        threshold: of a model of clips with several classes each, the least probability of a class
            that is named; None where each clip has one class.
    """

    class_names: tuple[str, ...]
    start_seconds: NDArray[np.float64]
    end_seconds: NDArray[np.float64]
    probabilities: NDArray[np.float32]
    rolling_windows: int
    complaint: str = ""
    is_cut_short: bool = False
    threshold: float | None = None

    @property
    def num_windows(self) -> int:
        """Number of windows, W."""
        return len(self.probabilities)

    @property
    def duration_seconds(self) -> float:
        """Duration of the video, in seconds."""
        return float(self.end_seconds[-1])

    @cached_property
    def rolling(self) -> NDArray[np.float64]:
        """Rolling mean over each window and those before it, (W, C); see `rolling_mean`."""
        return rolling_mean(self.probabilities, self.rolling_windows)

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """Mean probabilities over all windows, (C,)."""
        return self.probabilities.mean(axis=0, dtype=np.float64)

    @property
    def ranking(self) -> list[int]:
        """Class indices by descending mean; among equals in label order."""
        return [int(index) for index in np.argsort(-self.mean, kind="stable")]

    @property
    def votes(self) -> NDArray[np.int64]:
        """Number of windows in which each class is the most probable, (C,)."""
        return np.bincount(self.probabilities.argmax(axis=1), minlength=len(self.class_names))

    @property
    def vote(self) -> int:
        """Class that is most probable in most windows; among equals that with the higher mean."""
        votes = self.votes
        return max(self.ranking, key=lambda index: votes[index])

    def above_threshold(self, probabilities: NDArray[np.floating]) -> str:
        """Names of all classes at least as probable as the threshold, in one text."""
        assert self.threshold is not None
        return joined_labels(self.class_names, np.flatnonzero(probabilities >= self.threshold))

    def to_arrow(self) -> pa.Table:
        """Return a table with a row a window: its time, its classes, and all probabilities.

        The columns are those of the CSV that `python -m experiments.predict` writes.
        """
        names = np.array(self.class_names, object)
        several = {}
        if self.threshold is not None:
            several[LABELS] = [self.above_threshold(row) for row in self.probabilities]
        return pa.table(
            {
                "start_seconds": self.start_seconds,
                "end_seconds": self.end_seconds,
                "label": names[self.probabilities.argmax(axis=1)],
                "confidence": self.probabilities.max(axis=1),
                "rolling_label": names[self.rolling.argmax(axis=1)],
                **several,
                **{
                    f"p_{name}": column
                    for name, column in zip(names, self.probabilities.T, strict=True)
                },
            }
        )

    def to_pandas(self) -> pandas.DataFrame:
        """Return `to_arrow()` as a data frame of pandas.

        Raises:
            MissingExtraError: if pandas is not installed.
        """
        # Arrow imports it by itself, with an error that names no remedy.
        import_extra("pandas")
        return self.to_arrow().to_pandas()


def rolling_mean(values: NDArray[np.floating], num_rows: int) -> NDArray[np.float64]:
    """Mean of each row of (W, C) and those before it, `num_rows` in all; the first have fewer.

    Later rows do not change it, as if the video were watched while it is recorded.
    """
    # A mean over rows [start, stop) is the difference of two running sums.
    sums = np.cumsum(values, axis=0, dtype=np.float64)
    sums = np.concatenate([np.zeros_like(sums[:1]), sums])  # (W + 1, C)
    stops = np.arange(1, len(sums))
    starts = np.maximum(stops - num_rows, 0)
    means = (sums[stops] - sums[starts]) / (stops - starts)[:, None]
    # The difference of two sums may be a rounding error below 0.
    return np.maximum(means, 0)


@dataclass(frozen=True, eq=False)
class Window:
    """Consecutive frames of a video, with their time range.

    Args:
        frames: uint8 RGB (T, H, W, 3).
        start_seconds: time of the first frame.
        end_seconds: time of the frame after the last one, or the end of the video.
    """

    frames: NDArray[np.uint8]
    start_seconds: float
    end_seconds: float


def sliding_windows(
    reader: FrameReader, frame_shape: tuple[int, int, int], *, window: int, hop: int
) -> Iterator[Window]:
    """Yield the windows of a clip while it is read, with one of them in memory at a time.

    They begin at frame 0, hop, 2 * hop, ... and the last ends with the clip. A clip shorter than
    a window gives one window of all its frames; a clip without frames gives none.

    Args:
        reader: reader of the clip, at its start.
        frame_shape: shape of its frames, (H, W, 3).
        window: number of frames in a window.
        hop: number of frames from the start of a window to that of the next.

    Raises:
        DecodeError: if a frame cannot be read.
    """
    # The last `window` frames; older ones fall out by themselves.
    recent: deque[tuple[Frame, float]] = deque(maxlen=window)
    num_frames, start = 0, 0
    while (frame := _next_frame(reader, frame_shape)) is not None:
        # A window is complete only once the next frame is there, whose time is the window's end.
        if num_frames == start + window:
            yield _joined(recent, end_seconds=reader.time_seconds)
            start += hop
        recent.append((frame, reader.time_seconds))
        num_frames += 1
    if recent:
        end_seconds = reader.time_seconds + 1 / (reader.info.fps or USUAL_FPS)
        # The last window is moved back to end with the clip, so that no frame is left out.
        yield _joined(recent, end_seconds=end_seconds)


def _next_frame(reader: FrameReader, frame_shape: tuple[int, int, int]) -> Frame | None:
    frame = np.empty(frame_shape, np.uint8)
    return frame if reader.read_into(frame) else None


def _joined(recent: deque[tuple[Frame, float]], *, end_seconds: float) -> Window:
    return Window(np.stack([frame for frame, _ in recent]), recent[0][1], end_seconds)


def predict_video(
    model: WindowModel,
    path: Path,
    *,
    hop: int | None = None,
    rolling: int = 5,
    threshold: float | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> VideoPrediction:
    """Predict a video with a model, decoding it once.

    Frames are made by the settings of the frames that the model was trained on.

    Args:
        model: the model.
        path: a video file, or a folder of frame000001.jpg and so on.
        hop: frames, of those the model sees, from one window to the next; None for half a window.
        rolling: number of windows in the rolling mean.
        threshold: that of `VideoPrediction`.
        on_progress: called with the finished fraction of the video, if its file states a length.

    Raises:
        DecodeError: if the video cannot be read.
    """
    times, found = [], []
    settings = _settings(model)
    with settings.open(_clip(path), threads=_DECODER_THREADS) as reader:
        original_size = (reader.info.width, reader.info.height)
        windows = sliding_windows(
            reader, settings.frame_shape, window=model.window, hop=hop or usual_hop(model)
        )
        while batch := list(islice(windows, _WINDOWS_AT_ONCE)):
            found.append(model.predict([window.frames for window in batch], original_size))
            times += [(window.start_seconds, window.end_seconds) for window in batch]
            on_progress(reader.num_decoded / (reader.info.claimed_frames or np.inf))
        if not found:
            raise DecodeError("no frame could be decoded")
        missing = _what_is_missing(path, reader)
        starts, ends = np.array(times).T
        return VideoPrediction(
            tuple(model.class_names),
            starts,
            ends,
            np.concatenate(found),
            rolling,
            complaint=missing or reader.complaint,
            is_cut_short=bool(missing),
            threshold=threshold,
        )


@contextmanager
def video_windows(
    model: WindowModel, path: Path, *, hop: int
) -> Iterator[tuple[Iterator[Window], tuple[int, int]]]:
    """Open a video; yields its windows, and width and height of its own frames.

    Raises:
        DecodeError: if the video cannot be read.
    """
    settings = _settings(model)
    with settings.open(_clip(path), threads=_DECODER_THREADS) as reader:
        windows = sliding_windows(reader, settings.frame_shape, window=model.window, hop=hop)
        yield windows, (reader.info.width, reader.info.height)


def _settings(model: WindowModel) -> FrameSettings:
    # A limit on the training clips does not hold for a whole video.
    return replace(model.frame_settings, max_frames=None)


def _clip(path: Path) -> Clip:
    return Clip(path, source=path.name, class_name="", group="")


def usual_hop(model: WindowModel) -> int:
    """Default hop of a model: half a window, in frames."""
    return max(model.window // 2, 1)


def _what_is_missing(path: Path, reader: FrameReader) -> str:
    """Describe that a file ended before its stated length; an empty text if it did not."""
    claimed = reader.info.claimed_frames
    if claimed is None or not path.is_file():
        return ""
    with path.open("rb") as file:
        head = file.read(12)
    if is_cut_short(head, claimed, reader.num_decoded, complained=False):
        return f"ended early: {reader.num_decoded} of {claimed} frames decoded"
    return ""


class OnnxClipModel(ViewedModel):
    """Model that predicts windows of frames by ONNX Runtime; otherwise like `ClipModel`.

    Args:
        path: file that `python -m experiments.export` wrote from a model of clips.
        views: crops and places in each window; their probabilities are averaged.
        num_threads: number of threads for a batch; 0 for one a core.

    Raises:
        InputError: if it is no such file.
    """

    def __init__(self, path: Path, *, views: Views = Views(), num_threads: int = 0) -> None:  # noqa: B008 - frozen
        if not path.is_file():
            raise InputError(f"There is no file {path}.")
        self._run = OnnxSession(path, num_threads)
        super().__init__(_read_input_spec(path, self._run), views)

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Predict views.

        Args:
            views: frames of each view, uint8 (T, H, W, 3).

        Returns:
            Probabilities, float32 (len(views), classes).
        """
        found = np.empty((len(views), len(self.class_names)), np.float32)
        lengths = np.array([len(view) for view in views])
        # The exported graph takes (B, T, H, W, 3), clips of one length in a batch.
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            found[rows] = self._run(np.stack([views[row] for row in rows]))
        return found


def _read_input_spec(path: Path, run: OnnxSession) -> ClipInputSpec:
    try:
        about = About.from_metadata(run.metadata)
        if about.kind != "clips":
            raise InputError(f"it is a model of {about.kind}")
        return ClipInputSpec.from_json(about.model)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"A model of clips is needed that python -m experiments.export wrote. {path} is none: "
            f"{error}."
        ) from error
