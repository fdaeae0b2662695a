"""Progress of long jobs: the protocol, and a bar for a terminal."""

from __future__ import annotations

import time
from typing import Protocol

from tqdm import tqdm

_FORMAT = (
    "{percentage:3.0f}% |{bar}| {n}/{total} clips, {rate_noinv_fmt}{postfix}, {remaining} left"
)


class Progress(Protocol):
    """Receiver of the progress of a job."""

    def start(self, num_clips: int, num_done: int) -> None:
        """Begin, with the number of all clips and of those that were done before."""

    def advance(self, num_clips: int, num_frames: int) -> None:
        """Count further clips and frames as done."""

    def say(self, text: str) -> None:
        """Show a line of text."""


class Silent:
    """Progress that shows nothing."""

    def start(self, num_clips: int, num_done: int) -> None:
        """Do nothing."""

    def advance(self, num_clips: int, num_frames: int) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""


class TerminalProgress:
    """Progress bar on standard error: clips done, clips/s, frames/s and the time left."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._num_frames = 0
        self._started = time.monotonic()

    def start(self, num_clips: int, num_done: int) -> None:
        """Show the bar, with the number of all clips and of those that were done before."""
        self._started = time.monotonic()
        # `initial` keeps clips of an earlier run out of the rate and the time left.
        self._bar = tqdm(
            total=num_clips, initial=num_done, unit=" clips", bar_format=_FORMAT, dynamic_ncols=True
        )

    def advance(self, num_clips: int, num_frames: int) -> None:
        """Advance the bar."""
        assert self._bar is not None
        self._num_frames += num_frames
        # Its own rate: tqdm's smoothed one is that of clips, whose lengths differ.
        frames_per_second = self._num_frames / max(time.monotonic() - self._started, 1e-9)
        self._bar.set_postfix_str(f"{frames_per_second:.0f} frames/s", refresh=False)
        self._bar.update(num_clips)

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        tqdm.write(text)

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
