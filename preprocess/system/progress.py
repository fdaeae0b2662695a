"""How an extraction gets on: who is told, and a bar for a terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from tqdm import tqdm

_FORMAT = (
    "{percentage:3.0f}% |{bar}| {n}/{total} clips, {rate_noinv_fmt}{postfix}, {remaining} left"
)


class Progress(Protocol):
    """Told how an extraction gets on."""

    def start(self, num_clips: int, num_done: int) -> None:
        """The work begins: clips in all, and those that were there already."""

    def advance(self, num_clips: int, num_frames: int) -> None:
        """So many more clips and frames are done."""

    def say(self, text: str) -> None:
        """A line for the person who watches."""


class Silent:
    """Progress that nobody watches."""

    def start(self, num_clips: int, num_done: int) -> None:
        """Nothing."""

    def advance(self, num_clips: int, num_frames: int) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""


class TerminalProgress:
    """Clips done, clips/s, frames/s and the time left, on standard error."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._num_frames = 0
        self._started = time.monotonic()

    def start(self, num_clips: int, num_done: int) -> None:
        """Show the bar: clips in all, and those that were there already."""
        self._started = time.monotonic()
        self._bar = tqdm(
            total=num_clips, initial=num_done, unit=" clips", bar_format=_FORMAT, dynamic_ncols=True
        )

    def advance(self, num_clips: int, num_frames: int) -> None:
        """Move the bar on."""
        assert self._bar is not None
        self._num_frames += num_frames
        frames_per_second = self._num_frames / max(time.monotonic() - self._started, 1e-9)
        self._bar.set_postfix_str(f"{frames_per_second:.0f} frames/s", refresh=False)
        self._bar.update(num_clips)

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        tqdm.write(text)

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
