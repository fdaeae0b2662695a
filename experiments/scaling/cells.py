"""All jobs, on all sets, with both kinds of storage, on 1 to 1,000 machines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tqdm import tqdm

from experiments.scaling.assumptions import Assumptions
from experiments.scaling.clips import CLIP_SETS, TEN_MILLION, UCF101, ClipSet
from experiments.scaling.extraction import Estimate, extract_estimate
from experiments.scaling.training import epoch_estimate, models

MACHINES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
EXTRACTION = "extraction"
Job = Callable[[ClipSet, int, Assumptions], Estimate]


@dataclass(frozen=True)
class Cell:
    """A job on so many machines."""

    job: str
    clips: str
    storage: str
    machines: int
    seconds: float
    efficiency: float
    """Against as many machines that each were as fast as one alone."""
    saturated: str
    gigabytes: float
    """Through the storage."""
    dollars: float
    """For the machines."""
    dollars_a_month: float
    """For the frames that are kept."""


@dataclass(frozen=True)
class Change:
    """Something done in another way, and what comes of it."""

    what: str
    clips: str
    machines: int
    before: Estimate
    after: Estimate


def jobs(given: Assumptions) -> dict[str, Job]:
    """By name: extraction, and an epoch of each model."""
    small, large = models(given)
    return {
        EXTRACTION: extract_estimate,
        f"{small.name}, an epoch": partial(epoch_estimate, small),
        f"{large.name}, an epoch": partial(epoch_estimate, large),
    }


def storages(given: Assumptions) -> dict[str, Assumptions]:
    """By name: one file server, and object storage in its place."""
    return {"file server": given, "object storage": given.with_object_storage()}


def all_cells(given: Assumptions) -> list[Cell]:
    """Simulate everything; some seconds, with a bar."""
    rows = [
        (name, job, clips, kind, rates)
        for name, job in jobs(given).items()
        for clips in CLIP_SETS
        for kind, rates in storages(given).items()
    ]
    bar = tqdm(rows, unit="curve", dynamic_ncols=True, disable=None)
    return [cell for row in bar for cell in _curve(*row)]


def _curve(name: str, job: Job, clips: ClipSet, storage: str, given: Assumptions) -> list[Cell]:
    """A job on 1 to 1,000 machines."""
    estimates = [job(clips, num_machines, given) for num_machines in MACHINES]
    kept_gigabytes = clips.num_clips * clips.expected_frames * given.frame_bytes / 1e9
    return [
        Cell(
            job=name,
            clips=clips.name,
            storage=storage,
            machines=machines,
            seconds=estimate.seconds,
            efficiency=estimates[0].seconds / (machines * estimate.seconds),
            saturated=estimate.saturated,
            gigabytes=estimate.num_bytes / 1e9,
            dollars=machines * given.cores * estimate.seconds / 3600 * given.dollars_per_core_hour,
            dollars_a_month=kept_gigabytes * given.dollars_per_gigabyte_month,
        )
        for machines, estimate in zip(MACHINES, estimates, strict=True)
    ]


def all_changes(given: Assumptions) -> list[Change]:
    """What each remedy is worth, where what it mends is in the way."""
    return [*_extraction_changes(given), *_training_changes(given)]


def _extraction_changes(given: Assumptions) -> list[Change]:
    objects = given.with_object_storage()
    boundless = replace(objects, storage_gigabytes_per_second=1000.0)
    fast_server = replace(given, storage_gigabytes_per_second=100.0)
    few, many = max(1, given.clips_per_unit // 4), 8 * given.clips_per_unit
    rows: list[tuple[ClipSet, int, str, Assumptions, dict[str, Any]]] = [
        (UCF101, 10, "zstd: 28,000 bytes a frame", given, {"frame_bytes": 28_000.0}),
        (UCF101, 10, "25 Gbit/s for server and machines", given, _LINK_25),
        (UCF101, 10, "object storage", given, _differing(given, objects)),
        (UCF101, 50, "longest units first", objects, {"longest_first": True}),
        (UCF101, 50, "late units are repeated", objects, {"speculate": True}),
        (UCF101, 50, "both", objects, {"longest_first": True, "speculate": True}),
        (UCF101, 50, f"units of {few} clips", objects, {"clips_per_unit": few}),
        (TEN_MILLION, 1000, "a file server of 100 GB/s: each machine publishes its shards",
         fast_server, {"publish_seconds": 0.0}),
        (TEN_MILLION, 1000, f"object storage of 1,000 GB/s: units of {many} clips", boundless,
         {"clips_per_unit": many}),
        (TEN_MILLION, 100, "object storage: machines that fail daily", objects,
         {"mtbf_hours": 24.0}),
    ]  # fmt: skip
    return [
        _change(what, clips, machines, extract_estimate, extract_estimate, rates, new)
        for clips, machines, what, rates, new in rows
    ]


def _training_changes(given: Assumptions) -> list[Change]:
    """Of ten million clips."""
    objects = given.with_object_storage()
    own_disks = {"storage_gigabytes_per_second": given.object_gigabytes_per_second}
    batches = {"largest_batch": 2048}
    rows: list[tuple[int, int, str, Assumptions, dict[str, Any]]] = [
        (0, 10, "frames on each machine's own disk", given, own_disks),
        (0, 100, "batches of 2,048", objects, batches),
        (0, 100, "no slow machine", objects, {"slow_share": 0.0}),
        (1, 100, "25 Gbit/s", objects, {"network_gigabits": 25.0}),
        (1, 100, "batches of 2,048", objects, batches),
        (1, 100, "a hundredth of the weights", objects,
         {"conv3d_weights": given.conv3d_weights // 100}),
    ]  # fmt: skip
    changes = []
    for which, machines, what, rates, new in rows:
        before, after = models(rates)[which], models(replace(rates, **new))[which]
        job, changed = partial(epoch_estimate, before), partial(epoch_estimate, after)
        named = f"{before.name}: {what}"
        changes.append(_change(named, TEN_MILLION, machines, job, changed, rates, new))
    return changes


def _change(
    what: str,
    clips: ClipSet,
    machines: int,
    job: Job,
    changed: Job,
    given: Assumptions,
    new: dict[str, Any],
) -> Change:
    before, after = job(clips, machines, given), changed(clips, machines, replace(given, **new))
    return Change(what, clips.name, machines, before, after)


_LINK_25 = {"network_gigabits": 25.0, "storage_gigabytes_per_second": 3.125}


def _differing(one: Assumptions, other: Assumptions) -> dict[str, Any]:
    return {name: value for name, value in vars(other).items() if vars(one)[name] != value}
