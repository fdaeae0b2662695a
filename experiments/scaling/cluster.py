"""Units on a cluster, event by event: a scheduler, machines that fail, a storage server."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.scaling.assumptions import Assumptions
from experiments.scaling.sharing import fair_rates, speeds

_NOTHING = -1
_DONE_FRAMES = 1e-6


@dataclass(frozen=True)
class Outcome:
    """What came of a simulation."""

    seconds: float
    """From the first unit dealt out to the last shard published."""
    frames_written: float
    """Those of lost and repeated units among them."""
    num_failures: int
    """Of machines."""
    num_repeated: int
    """Units that were begun a second time to end sooner."""


class Cluster:
    """Machines with a decoding process a core, each at one unit at a time.

    A unit's frames are decoded and written as they come, so a process is as fast as its core, its
    share of the machine's link, and its share of the storage let it be. The scheduler deals out
    one unit after the other. A machine that fails loses what it was at, which is dealt out again.
    A finished shard is published by the one command that runs it all, in turn.

    Args:
        num_machines: how many.
        given: rates.
        random: for failures.
    """

    def __init__(self, num_machines: int, given: Assumptions, random: np.random.Generator) -> None:
        self._given = given
        self._random = random
        cores = given.cores
        link = given.network_bytes_per_second / given.frame_bytes / cores
        speed = np.repeat(speeds(num_machines, given.slow_share, given.slow_factor), cores)
        self._limits = np.minimum(given.core_frames_per_second * speed, link)  # (slots,), frames/s
        self._left = np.zeros(len(self._limits))  # frames
        self._unit = np.full(len(self._limits), _NOTHING)
        self._up_at = np.zeros(num_machines)
        self._fails_at = self._time_to_failure(num_machines)
        self._now = 0.0
        self._written = 0.0
        self._failures = 0
        self._repeated: set[int] = set()

    def run(self, frames: NDArray[np.float64]) -> Outcome:
        """Work through units of so many frames, (units,), in this order."""
        waiting = deque(range(len(frames)))
        free_at, published, num_left = 0.0, 0.0, len(frames)
        while num_left:
            idle = self._idle_slots(waiting)
            if waiting and len(idle) and self._now >= free_at:
                self._begin(idle[0], waiting.popleft(), frames)
                free_at = self._now + self._given.dispatch_seconds
                continue
            if not waiting and self._given.speculate and len(idle):
                self._repeat_last(idle, frames)
            rates = self._rates()
            self._advance_to(
                self._next_event(rates, free_at if waiting and len(idle) else np.inf), rates
            )
            self._fail(waiting)
            num_ended = self._end_units()
            num_left -= num_ended
            if num_ended:
                published = max(published, self._now) + num_ended * self._given.publish_seconds
        return Outcome(published, self._written, self._failures, len(self._repeated))

    def _time_to_failure(self, size: int) -> NDArray[np.float64]:
        return self._random.exponential(3600 * self._given.mtbf_hours, size)

    def _idle_slots(self, waiting: deque[int]) -> NDArray[np.intp]:
        if not (waiting or self._given.speculate):
            return np.empty(0, np.intp)
        up = np.repeat(self._up_at <= self._now, self._given.cores)
        return np.flatnonzero((self._unit == _NOTHING) & up)

    def _begin(self, slot: np.intp, unit: int, frames: NDArray[np.float64]) -> None:
        self._unit[slot], self._left[slot] = unit, frames[unit]

    def _repeat_last(self, idle: NDArray[np.intp], frames: NDArray[np.float64]) -> None:
        """Begin the unit that would end last once more, on the fastest idle slot, if that helps."""
        busy = np.flatnonzero(self._unit != _NOTHING)
        if not len(busy):
            return
        last = busy[np.argmax(self._left[busy] / self._limits[busy])]
        best = idle[np.argmax(self._limits[idle])]
        unit = int(self._unit[last])
        sooner = frames[unit] / self._limits[best] < self._left[last] / self._limits[last]
        if sooner and unit not in self._repeated:
            self._repeated.add(unit)
            self._begin(best, unit, frames)

    def _rates(self) -> NDArray[np.float64]:
        """Frames a second of each slot now."""
        rates = np.where(self._unit == _NOTHING, 0.0, self._limits)
        capacity = self._given.storage_bytes_per_second / self._given.frame_bytes
        if rates.sum() > capacity:
            busy = rates > 0
            rates[busy] = fair_rates(rates[busy], capacity)
        return rates

    def _next_event(self, rates: NDArray[np.float64], dispatch_at: float) -> float:
        """When a unit ends, a machine fails or comes back, or the scheduler is free."""
        busy = rates > 0
        ends = self._now + (self._left[busy] / rates[busy]).min() if busy.any() else np.inf
        back = self._up_at[self._up_at > self._now]
        return min(ends, self._fails_at.min(), back.min(initial=np.inf), dispatch_at)

    def _advance_to(self, time: float, rates: NDArray[np.float64]) -> None:
        elapsed = time - self._now
        self._now = time
        self._left -= rates * elapsed
        self._written += float(rates.sum()) * elapsed

    def _fail(self, waiting: deque[int]) -> None:
        """Take machines that fail now out, and their units back."""
        for machine in np.flatnonzero(self._fails_at <= self._now):
            slots = np.arange(machine * self._given.cores, (machine + 1) * self._given.cores)
            lost = self._unit[slots]
            self._unit[slots] = _NOTHING
            waiting.extendleft(int(unit) for unit in lost if unit not in {_NOTHING, *self._unit})
            self._failures += 1
            self._up_at[machine] = self._now + self._given.repair_seconds
            self._fails_at[machine] = self._up_at[machine] + self._time_to_failure(1)[0]

    def _end_units(self) -> int:
        """Free those whose units are done, and those who repeat them; the number of units."""
        done = (self._unit != _NOTHING) & (self._left <= _DONE_FRAMES)
        units = np.unique(self._unit[done])
        self._unit[np.isin(self._unit, units)] = _NOTHING
        return len(units)
