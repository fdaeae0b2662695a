"""Progress of classification: bars for folder and video in a terminal, or notes on a worker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from tqdm import tqdm

from preprocess.video.decode import VideoInfo

_FOLDER = "{desc} {percentage:3.0f}% |{bar}|{postfix}, {remaining} left"
_VIDEO = "{desc} {percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} frames"
_NAME_LENGTH = 30


class Progress(Protocol):
    """Receiver of the progress of classification."""

    def advance(self, path: Path, num_rows: int, stride: int, info: VideoInfo | None) -> None:
        """Count rows of a video that were written."""

    def finish(self, path: Path) -> None:
        """Count a video as finished."""

    def say(self, text: str) -> None:
        """Pass on a message for the user."""


class Notes:
    """Collector of row counts and messages, to be reported elsewhere or not at all."""

    def __init__(self) -> None:
        self.num_rows = 0
        self.messages: list[str] = []

    def advance(self, path: Path, num_rows: int, stride: int, info: VideoInfo | None) -> None:
        """Count rows of a video that were written."""
        self.num_rows += num_rows

    def finish(self, path: Path) -> None:
        """Count a video as finished."""

    def say(self, text: str) -> None:
        """Pass on a message for the user."""
        self.messages.append(text)


class FolderProgress:
    """Progress bars in a terminal, with finished videos, frames/s and the time left.

    The folder's bar counts bytes of files, which are known before a video is opened.

    Args:
        paths: paths of the videos.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._sizes = {path: path.stat().st_size if path.exists() else 0 for path in paths}
        self._left = dict(self._sizes)
        self._num_done = 0
        self._num_frames = 0
        self._started = time.monotonic()
        self._folder: tqdm | None = None
        self._video: tqdm | None = None
        self._current: Path | None = None

    def __enter__(self) -> FolderProgress:
        self._started = time.monotonic()
        total = max(sum(self._sizes.values()), 1)
        self._folder = tqdm(total=total, bar_format=_FOLDER, dynamic_ncols=True, disable=None)
        self._video = tqdm(total=1, bar_format=_VIDEO, dynamic_ncols=True, disable=None, position=1)
        self._tell()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bar in (self._video, self._folder):
            if bar is not None:
                bar.close()

    def advance(self, path: Path, num_rows: int, stride: int, info: VideoInfo | None) -> None:
        """Count rows of a video that were written."""
        assert self._folder is not None
        self._num_frames += num_rows
        claimed = info.claimed_frames if info else None
        if claimed:
            self._show_video(path, num_rows * stride, claimed)
            # In bytes, by the number of frames that the file claims. `finish` makes up for a wrong
            # claim.
            step = min(self._sizes[path] * num_rows * stride // claimed, self._left[path])
            self._left[path] -= step
            self._folder.update(step)
        self._tell()

    def finish(self, path: Path) -> None:
        """Count a video as finished."""
        if self._folder is not None:
            self._folder.update(self._left.pop(path, 0))
        self._left[path] = 0
        self._num_done += 1
        if path == self._current:
            self._current = None
        self._tell()

    def say(self, text: str) -> None:
        """Write a line above the bars."""
        tqdm.write(text)

    def _show_video(self, path: Path, num_frames: int, claimed: int) -> None:
        """Move the second bar, which shows one video until that is done."""
        assert self._video is not None
        # Videos are decoded side by side; the bar follows the first one until it is finished.
        if self._current is None:
            self._current = path
            name = path.name
            short = name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"
            self._video.set_description_str(short, refresh=False)
            self._video.reset(total=claimed)
        if path == self._current:
            self._video.update(min(num_frames, claimed - self._video.n))

    def _tell(self) -> None:
        if self._folder is None:
            return
        rate = self._num_frames / max(time.monotonic() - self._started, 1e-9)
        self._folder.set_description_str(
            f"{self._num_done}/{len(self._sizes)} videos", refresh=False
        )
        self._folder.set_postfix_str(f"{rate:,.0f} frames/s", refresh=True)
