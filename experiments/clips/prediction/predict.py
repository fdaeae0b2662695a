"""One video through a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from experiments.clips.prediction.model import WindowModel
from experiments.clips.prediction.video_prediction import VideoPrediction
from experiments.clips.prediction.windows import sliding_windows
from preprocess.errors import DecodeError
from preprocess.sources.clips import Clip
from preprocess.video.decode import FrameReader
from preprocess.video.truncation import is_cut_short

_WINDOWS_AT_ONCE = 4
_DECODER_THREADS = 2


def predict_video(
    model: WindowModel,
    path: Path,
    *,
    hop: int | None = None,
    rolling: int = 5,
    on_progress: Callable[[float], None] = lambda share: None,
) -> VideoPrediction:
    """What a model says of a video, which is decoded once.

    Its frames are made in the way in which those were that the model was trained on.

    Args:
        model: which one.
        path: a video file, or a folder of frame000001.jpg and on.
        hop: frames, of those the model sees, from one window to the next; None for half a window.
        rolling: windows in the rolling mean.
        on_progress: is given the share of the video that is done, where its file tells.

    Raises:
        DecodeError: if it cannot be read.
    """
    settings = replace(model.frame_settings, max_frames=None)
    times, found = [], []
    clip = Clip(path, source=path.name, class_name="", group="")
    with settings.open(clip, threads=_DECODER_THREADS) as reader:
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
            *(tuple(model.class_names), starts, ends, np.concatenate(found), rolling),
            complaint=missing or reader.complaint,
            is_cut_short=bool(missing),
        )


def usual_hop(model: WindowModel) -> int:
    """Half a window, in frames."""
    return max(model.window // 2, 1)


def _what_is_missing(path: Path, reader: FrameReader) -> str:
    """Of a file that was read to its end; empty where nothing can be said."""
    claimed = reader.info.claimed_frames
    if claimed is None or not path.is_file():
        return ""
    with path.open("rb") as file:
        head = file.read(12)
    if is_cut_short(head, claimed, reader.num_decoded, complained=False):
        return f"ended early: {reader.num_decoded} of {claimed} frames decoded"
    return ""
