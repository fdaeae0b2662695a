"""A bar over the bytes of all videos, with the time left."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from experiments.media.videos import Video

_FORMAT = "{desc} {percentage:3.0f}% |{bar}| {remaining} left"


class PredictionProgress:
    """Videos done and the time left, on standard error where that is a terminal.

    Args:
        videos: all of them.
        num_steps: through how many steps each goes.
    """

    def __init__(self, videos: Sequence[Video], num_steps: int) -> None:
        self._sizes = [max(_num_bytes(video.path), 1) for video in videos]
        self._num_steps = num_steps
        self._number = 0
        self._bytes_before = 0
        self._bar = tqdm(
            total=sum(self._sizes), bar_format=_FORMAT, dynamic_ncols=True, disable=None
        )
        self._tell()

    def __enter__(self) -> PredictionProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def step(self, number: int) -> Callable[[float], None]:
        """Takes the share of a step, counted from 0, that is done of the video at hand."""

        def tell(share: float) -> None:
            self._reach((number + min(max(share, 0.0), 1.0)) / self._num_steps)

        return tell

    def finish(self) -> None:
        """The video at hand is done with."""
        self._reach(1.0)
        self._bytes_before += self._sizes[self._number]
        self._number += 1
        self._tell()

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        tqdm.write(text)

    def _reach(self, share: float) -> None:
        done = self._bytes_before + share * self._sizes[self._number]
        self._bar.update(max(done - self._bar.n, 0))

    def _tell(self) -> None:
        self._bar.set_description_str(f"{self._number}/{len(self._sizes)} videos")


def _num_bytes(path: Path) -> int:
    """Of a file, or of a folder's; 0 where that cannot be found out."""
    try:
        if path.is_dir():
            return sum(entry.stat().st_size for entry in os.scandir(path))
        return path.stat().st_size
    except OSError:
        return 0
