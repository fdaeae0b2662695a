"""Units of work, each done by a process of its own that may crash, stall or ask for too much.

Such an end costs one clip, and not the job.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from preprocess.errors import PreprocessError
from preprocess.extraction.worker import Begun, Ended, Unit, UnitResult, serve_units
from preprocess.sources.clips import Clip
from preprocess.workers.child_process import STALLED, ChildProcess, death_told
from preprocess.workers.process_pool import ProcessPool

_FALSE_STARTS = 3


@dataclass(frozen=True)
class _Death:
    """How a decoding process ended, and at which clip; None if it had not begun one."""

    clip: Clip | None
    cause: str


class Decoders:
    """Decoding processes, as many as units are worked on at the same time, used again and again.

    One that has nothing to do for a while goes away by itself.
    """

    def __init__(self) -> None:
        self._pool = ProcessPool(lambda _: ChildProcess(serve_units))

    def extract(self, unit: Unit) -> UnitResult:
        """Decode the clips of a unit into shards. Threads may call it at the same time.

        A clip at which the process dies is tried once more, in a fresh one, since memory may have
        been short or an earlier clip to blame; a clip at which it stalls is not.

        Raises:
            PreprocessError: if no decoding process can be started, or these are closed.
            WriteError: if the disk does not take the shards.
        """
        total, tried, false_starts = UnitResult(), set(), 0
        while unit.clips:
            unit, death = self._attempt(unit, total)
            if death is None:
                break
            clip, cause = death.clip, death.cause
            if clip is None:
                false_starts += 1
                if false_starts == _FALSE_STARTS:
                    raise PreprocessError(f"Decoding processes end as they start ({cause}).")
            elif cause == STALLED or clip.source in tried:
                total.add(
                    UnitResult(
                        num_clips=1, failures={clip.source: death_told(cause, unit.stall_seconds)}
                    )
                )
                unit = replace(unit, clips=tuple(other for other in unit.clips if other != clip))
            else:
                tried.add(clip.source)
        return total

    def close(self) -> None:
        """End all processes, those at work included."""
        self._pool.close()

    def _attempt(self, unit: Unit, total: UnitResult) -> tuple[Unit, _Death | None]:
        """Add to the total what comes of a unit; returns what is left of it and why."""
        with self._pool.process() as process:
            process.send(unit)
            begun = 0
            while True:
                try:
                    event = process.receive()
                except EOFError:
                    clip = unit.clips[begun - 1] if begun else None
                    return unit, _Death(clip, process.cause_of_death())
                match event:
                    case Ended():
                        return unit, None
                    case Begun():
                        begun += 1
                    case UnitResult():
                        total.add(event)
                        unit, begun = unit.without(event.num_clips), 0
                    case _:
                        raise event
