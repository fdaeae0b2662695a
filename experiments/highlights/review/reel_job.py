"""Rendering of a review's reel, in a thread that can be stopped.

Cuts that the user did not set are moved to a quiet moment or a change of shot; the others stay.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from common.errors import InputError, UserError
from common.files import write_atomically
from common.formatting import plural
from experiments.highlights.cut_lists.cut_lists import SUFFIXES, csv_text
from experiments.highlights.cut_lists.cuts import Media
from experiments.highlights.rendering.render import render_reel
from experiments.highlights.review.session import Shown
from experiments.highlights.scoring.kept_moments import KeptMoments, Moments
from experiments.highlights.selection.selection import ROUNDING, Segment, SelectionOptions
from experiments.highlights.selection.snapping import snap_cuts, snap_note
from experiments.media.recording import Chunk, recording_duration

_SNAPPING = 0.1  # fraction of the progress; the rest is rendering


class _StoppedError(Exception):
    """Signal that the user stopped the rendering."""


@dataclass
class ReelJob:
    """Job that renders one reel at a time.

    Args:
        chunks: the recording.
        kept: what is kept of its sound and shots.
        out: the reel; its cut list lies beside it, as .csv.
        options: options of the selection, whose limits cuts keep to when they are moved.
        snap: whether to move cuts that the user did not set.
        crossfade: seconds by which highlights overlap.
    """

    chunks: Sequence[Chunk]
    kept: KeptMoments
    out: Path
    options: SelectionOptions
    snap: bool = True
    crossfade: float = 0.0
    share: float = 0.0
    """Fraction of the work that is done."""
    result: str = ""
    """Sentence on the outcome of the last rendering."""
    failed: bool = False
    """Whether the last rendering failed."""
    _thread: threading.Thread | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def cut_list(self) -> Path:
        """Path of the file that lists the cuts."""
        return self.out.with_suffix(SUFFIXES["csv"])

    @property
    def running(self) -> bool:
        """Whether a reel is being rendered."""
        return self._thread is not None and self._thread.is_alive()

    def existing(self) -> list[Path]:
        """Files that a rendering would replace."""
        return [path for path in (self.out, self.cut_list) if path.exists()]

    def start(self, shown: Sequence[Shown], *, overwrite: bool) -> None:
        """Start rendering in a thread.

        Raises:
            InputError: if there is no segment, or a reel is being rendered already.
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
        """Ask the rendering to stop, without waiting for it."""
        self._stopping.set()

    def stop(self) -> None:
        """Stop the rendering, and wait until its temporary files are removed."""
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
        except Exception as error:  # a bug: the page names it, the terminal shows the traceback
            self.result, self.failed = f"{type(error).__name__}: {error}", True
            raise

    def _render(self, shown: list[Shown], overwrite: bool) -> str:
        segments, notices = self._snapped(shown)
        # Before the rendering, so that a list that cannot be written costs no minutes.
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
        number = plural(len(segments), "segment")
        made = f"{number}, {seconds:.1f} s, in {' and '.join(map(str, written))}."
        return " ".join([made, *notices])

    def _listed(self, segments: list[Segment], notices: list[str]) -> str | None:
        """Make the text of the cut list; if that fails, return None and add a notice."""
        try:
            return csv_text(segments, [Media.of(chunk) for chunk in self.chunks])
        except ValueError as error:
            notices.append(f"There is no cut list: {error}")
            return None

    def _snapped(self, shown: list[Shown]) -> tuple[list[Segment], list[str]]:
        """Move the cuts of segments. Returns the segments, and a note on how many moved."""
        before = [one.segment for one in shown]
        if not self.snap:
            return before, []
        free = [one.segment for one in shown if one.state not in BY_HAND]
        moments = self.kept.near(free, on_progress=lambda share: self._advance(_SNAPPING * share))
        after = snapped_between(shown, moments, recording_duration(self.chunks), self.options)
        return after, [snap_note(before, after, moments.shots)]

    def _advance(self, share: float) -> None:
        # Called with each step of the progress, also from within ffmpeg's run, which is then
        # killed.
        if self._stopping.is_set():
            raise _StoppedError
        self.share = share


BY_HAND = ("moved", "added")
"""States of segments whose edges the user set."""


def snapped_between(
    shown: Sequence[Shown], moments: Moments, duration: float, options: SelectionOptions
) -> list[Segment]:
    """Move cuts to good moments, except those that the user set.

    Args:
        shown: segments of the reel, sorted.
        moments: moments at which to cut.
        duration: length of the recording, in seconds.
        options: options of the selection, whose limits are kept.
    """
    # Neighbours between two segments that the user set are moved together, and may not move into
    # those.
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
    """Move the cuts of neighbours within [low, high], as if that were the whole recording."""
    if not group:
        return []
    quiet, shots = moments.later(-low)
    snapped = snap_cuts(
        [replace(one, start=one.start - low, end=one.end - low) for one in group],
        duration=high - low,
        quiet=quiet,
        shots=shots,
        min_length=options.min_length,
        max_length=options.max_length,
        # Where the length of the reel is limited, these segments must not become longer in all.
        max_duration=None if options.max_duration is None else sum(one.length for one in group),
    )
    result: list[Segment] = []
    for was, now in zip(group, snapped, strict=True):
        start = max(_settled(now.start + low, was.start), result[-1].end if result else low)
        result.append(replace(was, start=start, end=min(_settled(now.end + low, was.end), high)))
    return result


def _settled(time: float, before: float) -> float:
    """Return the earlier time if the new one differs from it only by rounding."""
    return before if abs(time - before) < ROUNDING else time
