"""The reel of a review, rendered beside the page in a thread that can be stopped.

Cuts that no person set are moved to where they do not hurt; the others stay.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import InputError, UserError
from common.files import write_atomically
from experiments.highlights.cut_lists.cut_lists import SUFFIXES, Media, csv_text
from experiments.highlights.rendering.render import render_reel
from experiments.highlights.review.session import Shown
from experiments.highlights.selection.scores import Floats
from experiments.highlights.selection.segments import ROUNDING, Segment, SelectionOptions
from experiments.highlights.selection.shots import shots_near
from experiments.highlights.selection.snapping import (
    NOWHERE,
    Candidates,
    quiet_near,
    snap_cuts,
    snap_note,
)
from experiments.media.recording import Chunk, recording_duration

_SNAPPING = 0.1  # share of the work


class _StoppedError(Exception):
    """The person stopped the rendering."""


@dataclass
class ReelJob:
    """One rendering after the other, never two at once.

    Args:
        chunks: the recording.
        out: the reel; its cut list lies beside it, as .csv.
        options: what makes a highlight; cuts that are moved keep to them.
        snap: whether cuts that no person set are moved to quiet moments or changes of shot.
        crossfade: seconds by which highlights overlap.
    """

    chunks: Sequence[Chunk]
    out: Path
    options: SelectionOptions
    snap: bool = True
    crossfade: float = 0.0
    share: float = 0.0
    """Of the work that is done."""
    result: str = ""
    """What became of the last one, in words."""
    failed: bool = False
    """Whether it went wrong."""
    _thread: threading.Thread | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def cut_list(self) -> Path:
        """The file that lists the cuts."""
        return self.out.with_suffix(SUFFIXES["csv"])

    @property
    def running(self) -> bool:
        """Whether a reel is being rendered."""
        return self._thread is not None and self._thread.is_alive()

    def existing(self) -> list[Path]:
        """What a rendering would replace."""
        return [path for path in (self.out, self.cut_list) if path.exists()]

    def start(self, shown: Sequence[Shown], *, overwrite: bool) -> None:
        """Begin to render.

        Raises:
            InputError: if there is no segment, or one is being rendered.
        """
        if self.running:
            raise InputError("A reel is being rendered; wait for it, or stop it.")
        if not shown:
            raise InputError("A reel needs a segment. Lower the threshold, or add one.")
        self.share, self.result, self.failed = 0.0, "", False
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, args=(list(shown), overwrite))
        self._thread.start()

    def request_stop(self) -> None:
        """Stop as soon as may be."""
        self._stopping.set()

    def stop(self) -> None:
        """Stop, and wait until nothing half-made is left."""
        self.request_stop()
        if self._thread is not None:
            self._thread.join()

    def _run(self, shown: list[Shown], overwrite: bool) -> None:
        try:
            self.result = self._render(shown, overwrite)
        except _StoppedError:
            self.result = "The rendering was stopped."
        except (UserError, OSError) as error:
            self.result, self.failed = str(error), True
        except Exception as error:  # ours to mend: the page tells it, the terminal shows where
            self.result, self.failed = f"{type(error).__name__}: {error}", True
            raise

    def _render(self, shown: list[Shown], overwrite: bool) -> str:
        segments, notices = self._snapped(shown)
        listed = self._listed(segments, notices)
        render_reel(
            self.chunks,
            [(one.start, one.end) for one in segments],
            self.out,
            crossfade=self.crossfade,
            on_progress=lambda share: self._advance(_SNAPPING + (1 - _SNAPPING) * share),
            on_notice=notices.append,
            overwrite=overwrite,
        )
        written = [self.out]
        if listed is not None:
            write_atomically(self.cut_list, listed.encode())
            written.append(self.cut_list)
        seconds = sum(one.length for one in segments) - self.crossfade * (len(segments) - 1)
        number = f"{len(segments)} segment{'s' * (len(segments) != 1)}"
        made = f"{number}, {seconds:.1f} s, in {' and '.join(map(str, written))}."
        return " ".join([made, *notices])

    def _listed(self, segments: list[Segment], notices: list[str]) -> str | None:
        """The cut list; if there can be none, why."""
        try:
            return csv_text(segments, [Media.of(chunk) for chunk in self.chunks])
        except ValueError as error:
            notices.append(f"There is no cut list: {error}")
            return None

    def _snapped(self, shown: list[Shown]) -> tuple[list[Segment], list[str]]:
        """Their cuts moved, and in words how many."""
        before = [one.segment for one in shown]
        if not self.snap:
            return before, []
        quiet, shots = [NOWHERE], [np.zeros(0)]
        for number, one in enumerate(shown):
            self._advance(_SNAPPING * number / len(shown))
            if one.state not in BY_HAND:
                quiet.append(quiet_near(self.chunks, [one.segment]))
                shots.append(shots_near(self.chunks, [one.segment]))
        moments = Moments(
            Candidates(*(np.concatenate(parts) for parts in zip(*quiet, strict=True))),
            np.concatenate(shots),
        )
        after = snapped_between(shown, moments, recording_duration(self.chunks), self.options)
        return after, [snap_note(before, after, moments.shots)]

    def _advance(self, share: float) -> None:
        if self._stopping.is_set():
            raise _StoppedError
        self.share = share


BY_HAND = ("moved", "added")
"""States of segments whose edges a person set."""


class Moments(NamedTuple):
    """Where a cut may move to, in seconds of the recording.

    Args:
        quiet: quiet moments.
        shots: changes of shot, (S,).
    """

    quiet: Candidates
    shots: Floats

    def later(self, seconds: float) -> Moments:
        """The same by another clock."""
        return Moments(self.quiet._replace(times=self.quiet.times + seconds), self.shots + seconds)


def snapped_between(
    shown: Sequence[Shown], moments: Moments, duration: float, options: SelectionOptions
) -> list[Segment]:
    """Segments whose cuts moved to good moments, but for those that a person set.

    Args:
        shown: of the reel, sorted.
        moments: good to cut at.
        duration: of the recording, in seconds.
        options: their limits are kept to.
    """
    segments: list[Segment] = []
    group: list[Segment] = []
    low = 0.0
    for one in shown:
        if one.state not in BY_HAND:
            group.append(one.segment)
            continue
        segments += [*_snapped(group, low, one.segment.start, moments, options), one.segment]
        group, low = [], one.segment.end
    return segments + _snapped(group, low, duration, moments, options)


def _snapped(
    group: list[Segment], low: float, high: float, moments: Moments, options: SelectionOptions
) -> list[Segment]:
    """Neighbours that stay within [low, high], as if that were the whole recording."""
    if not group:
        return []
    quiet, shots = moments.later(-low)
    snapped = snap_cuts(
        [_later(one, -low) for one in group],
        duration=high - low,
        quiet=quiet,
        shots=shots,
        min_length=options.min_length,
        max_length=options.max_length,
        max_duration=None if options.max_duration is None else sum(one.length for one in group),
    )
    result: list[Segment] = []
    for was, now in zip(group, snapped, strict=True):
        start = max(_settled(now.start + low, was.start), result[-1].end if result else low)
        result.append(replace(was, start=start, end=min(_settled(now.end + low, was.end), high)))
    return result


def _later(one: Segment, seconds: float) -> Segment:
    return replace(one, start=one.start + seconds, end=one.end + seconds)


def _settled(time: float, before: float) -> float:
    """What differs by the last bit of a sum has not moved."""
    return before if abs(time - before) < ROUNDING else time
