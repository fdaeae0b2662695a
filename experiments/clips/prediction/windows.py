"""The windows of a video: overlapping stretches of its frames, from its start to its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocess.video.decode import Frame, FrameReader

_USUAL_FPS = 25.0


@dataclass(frozen=True, eq=False)
class Window:
    """Consecutive frames.

    Args:
        frames: uint8 RGB (T, H, W, 3).
        start_seconds: when the first is shown.
        end_seconds: when the frame after the last is shown; of the video's last, when it ends.
    """

    frames: NDArray[np.uint8]
    start_seconds: float
    end_seconds: float


def sliding_windows(
    reader: FrameReader, frame_shape: tuple[int, int, int], *, window: int, hop: int
) -> Iterator[Window]:
    """Windows of a clip, while it is read; in memory is one at a time.

    They begin at frame 0, hop, 2 * hop, ... and the last ends with the clip. A clip shorter than
    a window gives one, of all its frames; one without frames gives none.

    Args:
        reader: of the clip, at its start.
        frame_shape: (H, W, 3), of its frames.
        window: frames of each.
        hop: frames from the start of one to that of the next.

    Raises:
        DecodeError: if a frame cannot be read.
    """
    recent: deque[tuple[Frame, float]] = deque(maxlen=window)
    num_frames, start = 0, 0
    while (frame := _next_frame(reader, frame_shape)) is not None:
        if num_frames == start + window:
            yield _joined(recent, end_seconds=reader.time_seconds)
            start += hop
        recent.append((frame, reader.time_seconds))
        num_frames += 1
    if recent:
        end_seconds = reader.time_seconds + 1 / (reader.info.fps or _USUAL_FPS)
        yield _joined(recent, end_seconds=end_seconds)


def _next_frame(reader: FrameReader, frame_shape: tuple[int, int, int]) -> Frame | None:
    frame = np.empty(frame_shape, np.uint8)
    return frame if reader.read_into(frame) else None


def _joined(recent: deque[tuple[Frame, float]], *, end_seconds: float) -> Window:
    return Window(np.stack([frame for frame, _ in recent]), recent[0][1], end_seconds)
