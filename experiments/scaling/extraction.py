"""Seconds of an extraction on so many machines, and what they wait for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.scaling.assumptions import Assumptions
from experiments.scaling.clips import ClipSet
from experiments.scaling.cluster import Cluster
from experiments.scaling.sharing import speeds

_EXACT_UNITS_A_SLOT = 4
_EXACT_UNITS = 1000


@dataclass(frozen=True)
class Estimate:
    """Of one job on so many machines."""

    seconds: float
    saturated: str
    """The resource without which it would be faster."""
    parts: dict[str, float]
    """Seconds that each resource alone would take."""
    num_bytes: float
    """Through the storage."""


def extract_estimate(
    clips: ClipSet, num_machines: int, given: Assumptions, *, exact: bool = False
) -> Estimate:
    """Simulate the extraction of a set.

    Where there are many more units than processes, most of them are passed through in bulk, at
    the rate of the scarcest resource, and the rest event by event.

    Args:
        clips: what is extracted.
        num_machines: on how many.
        given: rates.
        exact: simulate each unit, however many there are.
    """
    random = np.random.default_rng(given.seed)
    num_units = math.ceil(clips.num_clips / unit_clips(clips, given))
    num_exact = _EXACT_UNITS + _EXACT_UNITS_A_SLOT * num_machines * given.cores
    num_simulated = num_units if exact else min(num_units, num_exact)
    units = unit_frames(clips, num_simulated, given, random)
    total = clips.num_clips * clips.expected_frames if num_simulated < num_units else units.sum()
    parts = bounds(clips, num_machines, given, frames=float(total), num_units=num_units)
    parts["units"] = float(units.max() / _rates(num_machines, given).min())
    outcome = Cluster(num_machines, given, random).run(units)
    bulk = 1 - num_simulated / num_units
    steady = max(value for name, value in parts.items() if name not in ("client", "units"))
    seconds = parts["client"] + bulk * steady + outcome.seconds
    frames = bulk * float(total) + outcome.frames_written
    return Estimate(seconds, _saturated(parts, seconds), parts, frames * given.frame_bytes)


def unit_clips(clips: ClipSet, given: Assumptions) -> int:
    """Clips in a unit; as `preprocess.extraction.plan.split_units` has it."""
    return min(max(clips.num_clips // 64, 1), given.clips_per_unit)


def unit_frames(
    clips: ClipSet, num_units: int, given: Assumptions, random: np.random.Generator
) -> NDArray[np.float64]:
    """Frames of each unit, (num_units,), in the order in which they are dealt out."""
    length = unit_clips(clips, given)
    num_clips = min(num_units * length, clips.num_clips)
    starts = np.arange(0, num_clips, length)
    frames = np.add.reduceat(clips.lengths(num_clips, random), starts)
    return np.sort(frames)[::-1] if given.longest_first else frames


def bounds(
    clips: ClipSet, num_machines: int, given: Assumptions, *, frames: float, num_units: int
) -> dict[str, float]:
    """Seconds that each resource alone takes for the whole set."""
    num_bytes = frames * given.frame_bytes
    return {
        "cpu": frames / float(_rates(num_machines, given).sum() * given.availability),
        "network": num_bytes / (num_machines * given.network_bytes_per_second),
        "storage": num_bytes / given.storage_bytes_per_second,
        "scheduler": num_units * given.dispatch_seconds,
        "publishing": num_units * given.publish_seconds,
        "client": clips.num_clips * given.client_seconds_per_clip,
    }


def _rates(num_machines: int, given: Assumptions) -> NDArray[np.float64]:
    """Frames a second of each process, by its core."""
    speed = np.repeat(speeds(num_machines, given.slow_share, given.slow_factor), given.cores)
    return given.core_frames_per_second * speed


def _saturated(parts: dict[str, float], seconds: float) -> str:
    """The largest part; the units, where too few or unequal ones cost more than any part."""
    largest = max(parts, key=lambda name: parts[name])
    return "units" if seconds > 2 * parts[largest] else largest
