"""Simulate extraction and training on 1 to 1,000 machines: duration, cost and bottleneck.

    python -m experiments.scaling
    python -m experiments.scaling --network-gigabits 25 --storage-gigabytes-per-second 3.1

It starts from rates that were measured on one machine and from assumptions about a cluster, each of
which is a flag. docs/scaling.md explains the simulation, docs/log.md has its tables.
"""

from __future__ import annotations

import csv
import io
import math
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from tyro.conf import arg

from common.command_line import parse_arguments
from common.errors import InputError
from common.files import write_atomically
from common.formatting import count, duration, markdown_table, percent, plural
from experiments.runs.run import require_place
from preprocess.system.command import run_command

_MAY_BE_ZERO = {
    *("client_seconds_per_clip", "publish_seconds", "dispatch_seconds", "network_latency_seconds"),
    *("gru_step_seconds", "slow_share", "step_spread", "repair_seconds", "checkpoint_seconds"),
    *("dollars_per_core_hour", "dollars_per_gigabyte_month", "object_dollars_per_gigabyte_month"),
    "seed",
}


@dataclass(frozen=True)
class Assumptions:
    """Rates of a machine, of what machines share, and prices.

    "Measured" is followed by the page with the figure; 2 virtual cores are a machine. All else is
    assumed, with its source where there is one, and a flag away from another value.
    """

    cores: int = 2
    """Of a machine; decoding processes, too."""
    extraction_frames_per_second: float = 11147.0
    """Of a machine, 320x240 MPEG-1 to 160x120 in LZ4. Measured by `make demo`; on a machine with
    other work besides 6,165. Both: docs/log.md."""
    frame_bytes: float = 46400.0
    """Of a stored 160x120 frame. Measured: docs/log.md, UCF101's clips; with zstd 28,000."""
    gru_frames_per_second: float = 14132.0
    """Of training the TT-GRU, float32, batch 16, at most 450 frames. Measured: docs/log.md."""
    gru_step_seconds: float = 147e-6
    """Of it, a step of the time loop, forward and back, batch 16: 59 + 88 us. Measured:
    docs/log.md."""
    gru_weights: int = 203435
    """The layer's 200,608 (docs/tensor_train.md) and a softmax of 11 classes over 256 units."""
    conv3d_clips_per_second: float = 3.08
    """Of training conv3d on 28 frames of 342x256. Measured: docs/log.md."""
    conv3d_weights: int = 320117237
    """Read from docs/ucf101.md."""
    client_seconds_per_clip: float = 21e-6
    """Finding and planning a clip, by the one command that deals out work. Measured:
    docs/log.md, on a local disk."""
    publish_seconds: float = 0.005
    """For that command to give a finished shard its name, one after the other. Assumed: a sync and
    a renaming over the network."""
    dispatch_seconds: float = 0.001
    """For the scheduler to deal out a task. Dask's documentation: about a millisecond."""
    network_gigabits: float = 10.0
    """Of a machine's link. Assumed; 25 is common, too."""
    network_latency_seconds: float = 100e-6
    """Of a message of an all-reduce, gRPC included. Assumed."""
    storage_gigabytes_per_second: float = 1.25
    """Of what all machines read and write. Assumed: one file server on a link of 10 Gbit/s."""
    object_gigabytes_per_second: float = 100.0
    """The same of object storage, which then replaces the file server. Assumed; it has no limit
    that is published, only 3,500 writes and 5,500 reads a second and prefix (Amazon's S3)."""
    slow_share: float = 0.02
    """Of the machines, rounded, that are slow. Assumed."""
    slow_factor: float = 2.0
    """How many times slower they are. Assumed."""
    step_spread: float = 0.05
    """Standard deviation of the logarithm of a training step's duration on a machine. Assumed;
    bench_tt's spreads are 1 to 12 %."""
    mtbf_hours: float = 720.0
    """Between a machine's failures. Assumed: a month; spot machines a day."""
    repair_seconds: float = 600.0
    """Until a failed machine is replaced, or training goes on without it. Assumed."""
    checkpoint_seconds: float = 20.0
    """Between checkpoints of training: experiments/training/checkpoints.py."""
    largest_batch: int = 256
    """Clips a step that learning bears; 16 a machine up to there. Assumed."""
    dollars_per_core_hour: float = 0.04
    """Assumed: an on-demand virtual core of a large provider."""
    dollars_per_gigabyte_month: float = 0.08
    """Of the file server's disks. Assumed."""
    object_dollars_per_gigabyte_month: float = 0.023
    """Of object storage. Assumed: the list price of a large provider."""
    longest_first: bool = False
    """Deal out the units with most frames first; sizes are then known before decoding."""
    speculate: bool = False
    """Let a machine that has nothing left to do repeat the unit that would end last."""
    clips_per_unit: int = 16
    """At most, in a task and a shard: preprocess/extraction/plan.py."""
    seed: int = 0
    """Of lengths, durations and failures."""

    def with_object_storage(self) -> Assumptions:
        """Replace the file server by object storage.

        An object appears under its name once it is sent whole, so that nobody has to publish it.
        """
        return replace(
            self,
            storage_gigabytes_per_second=self.object_gigabytes_per_second,
            publish_seconds=0.0,
            dollars_per_gigabyte_month=self.object_dollars_per_gigabyte_month,
        )

    @property
    def network_bytes_per_second(self) -> float:
        """Bandwidth of a machine's link, in bytes per second."""
        return self.network_gigabits * 1e9 / 8

    @property
    def storage_bytes_per_second(self) -> float:
        """Bandwidth of the storage for all machines together, in bytes per second."""
        return self.storage_gigabytes_per_second * 1e9

    def check(self) -> None:
        """Check that all values are possible.

        Raises:
            InputError: if a rate or a price is below zero, or a size or a rate is zero.
        """
        for name, value in vars(self).items():
            # Neither switches nor paths.
            if type(value) not in (int, float):
                continue
            if value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
                rule = "at least 0" if name in _MAY_BE_ZERO else "more than 0"
                flag = f"--{name.replace('_', '-')}"
                raise InputError(f"{flag} must be {rule}. Received {value}.")
        if self.slow_share > 1 or self.slow_factor < 1:
            raise InputError(
                "--slow-share must be at most 1 and --slow-factor at least 1. Received "
                f"{self.slow_share} and {self.slow_factor}."
            )


@dataclass(frozen=True)
class Arguments(Assumptions):
    """Simulate extraction and training on 1 to 1,000 machines."""

    out: Annotated[Path, arg(metavar="DIR")] = Path("runs/scaling")
    """Folder for cells.csv, tables.md and a picture a job."""
    page: Annotated[Path | None, arg(metavar="FILE")] = None
    """A page whose tables are filled in, such as docs/log.md; its pictures go to images/."""


def _run(arguments: Arguments) -> int:
    arguments.check()
    require_place(arguments.out)
    page = arguments.page.read_text(encoding="utf-8") if arguments.page else None
    cells = all_cells(arguments)
    made = {**blocks(cells), "changes": changes_table(arguments)}
    text = "\n\n".join(f"## {name}\n\n{content}" for name, content in made.items())
    written = {
        arguments.out / "cells.csv": cells_csv(cells),
        arguments.out / "tables.md": f"{text}\n".encode(),
    }
    images = arguments.out
    if arguments.page and page is not None:
        written[arguments.page] = fill(page, made).encode()
        images = arguments.page.parent / "images"
    for job, curves in _curves_by_job(cells).items():
        written[images / f"scaling_{_mark(job).replace('-', '_')}.png"] = job_png(curves)
    for path, content in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        print(f"wrote {path}")
    return 0


# Data sets, and the lengths of their clips.

MAXLEN = 450
# Four fifths of the four folds of five that are not tested.
TRAINING_SHARE = 0.64


@dataclass(frozen=True)
class ClipSet:
    """Set of clips whose lengths have a log-normal distribution.

    Args:
        name: name in tables.
        num_clips: number of clips.
        mean_frames: mean length in frames, before the longest clips are cut.
        longest: largest length in frames.
        spread: standard deviation of the logarithm of a length.
    """

    name: str
    num_clips: int
    mean_frames: float
    longest: int
    spread: float

    @property
    def _middle(self) -> float:
        """Mean of the logarithm: the mean of a log-normal variable is exp(mu + sigma^2 / 2)."""
        return math.log(self.mean_frames) - self.spread**2 / 2

    def lengths(self, num_clips: int, random: np.random.Generator) -> NDArray[np.float64]:
        """Draw the frames of some clips, (num_clips,)."""
        drawn = random.lognormal(self._middle, self.spread, num_clips)
        return np.minimum(drawn, self.longest).round()

    def expected_frames(self, limit: float = math.inf) -> float:
        """Mean frames of a clip, as `lengths` draws them, of which at most `limit` count."""
        limit = min(limit, self.longest)
        if self.spread == 0:
            return min(self.mean_frames, limit)
        # E[min(X, c)] = E[X] P(Z < z - sigma) + c P(Z > z), z being c in standard deviations.
        z = (math.log(limit) - self._middle) / self.spread
        below = NormalDist().cdf
        return self.mean_frames * below(z - self.spread) + limit * (1 - below(z))


# UCF11: docs/log.md and its benchmark (experiments/bench_tt.py), whose gamma
# distribution has the spread of this log-normal one. UCF101: its authors' 7.21 s at 25 frames/s
# (Soomro, Zamir, Shah, 2012); the number of clips is preprocess/sources/catalog.py's.
UCF11 = ClipSet("UCF11, 1,600 clips", 1_600, 200, 900, 0.52)
UCF101 = ClipSet("UCF101, 13,320 clips", 13_320, 180, 1_776, 0.52)
TEN_MILLION = ClipSet("ten million clips", 10_000_000, 180, 1_776, 0.52)
CLIP_SETS = (UCF11, UCF101, TEN_MILLION)


# Sharing of bandwidth and machines by processes that work at the same time.


def fair_rates(limits: NDArray[np.float64], capacity: float) -> NDArray[np.float64]:
    """Share the capacity of a server equally, except for clients that cannot take as much.

    Args:
        limits: largest rate of each client, (n,).
        capacity: rate of the server.

    Returns:
        Rates min(limit, level), (n,), with the level at which they use up the capacity.
    """
    if limits.sum() <= capacity:
        return limits
    ordered = np.sort(limits)
    # Clients in order of their limits: the level is right for the first one whose limit it does not
    # exceed, when all before it take their limits.
    before = np.concatenate([[0.0], np.cumsum(ordered)[:-1]])
    levels = (capacity - before) / np.arange(len(ordered), 0, -1)
    return np.minimum(limits, levels[np.argmax(levels <= ordered)])


def speeds(num_machines: int, given: Assumptions) -> NDArray[np.float64]:
    """Relative speed of each machine, (num_machines,): 1, and less for the slow ones.

    Their number is the rounded share, and not drawn, so that the curves are not noisy.
    """
    found = np.ones(num_machines)
    found[: round(given.slow_share * num_machines)] /= given.slow_factor
    return found[::-1]


def ring_seconds(num_bytes: float, num_machines: int, given: Assumptions) -> float:
    """Duration of a ring all-reduce: each part goes round twice, less the last step."""
    part = num_bytes / num_machines / given.network_bytes_per_second
    return 2 * (num_machines - 1) * (part + given.network_latency_seconds)


# Extraction: units on a cluster, event by event, and the resource that limits it.

_NOTHING = -1
# Frames left of a unit below which it is done: rates and times are rounded.
_DONE_FRAMES = 1e-6
# Units that are simulated event by event: enough to show how the last ones end.
_EXACT_UNITS_A_SLOT = 4
_EXACT_UNITS = 1000


class Outcome(NamedTuple):
    """Outcome of a simulation of units.

    Args:
        seconds: time from the first unit dealt out to the last shard published.
        frames_written: number of frames written, those of lost and repeated units included.
        num_failures: number of failures of machines.
        num_repeated: number of units that were begun a second time to end sooner.
    """

    seconds: float
    frames_written: float
    num_failures: int
    num_repeated: int


class Estimate(NamedTuple):
    """Estimate of one job on some machines.

    Args:
        seconds: duration.
        saturated: name of the resource that limits the job.
        parts: seconds that each resource would take alone.
        num_bytes: bytes through the storage.
    """

    seconds: float
    saturated: str
    parts: dict[str, float]
    num_bytes: float


def simulate_units(
    frames: NDArray[np.float64],
    num_machines: int,
    given: Assumptions,
    random: np.random.Generator,
) -> Outcome:
    """Simulate machines with one decoding process a core, each of which works on a unit at a time.

    A unit's frames are decoded and written as they come, so that a process is limited by its core,
    its part of the machine's link and its fair share of the storage. One scheduler deals out the
    units, in order, one after the other; a machine that fails loses its units, which are dealt out
    again.

    Args:
        frames: frames of each unit, (units,).
        num_machines: number of machines.
        given: rates and assumptions.
        random: generator of the failures.
    """
    link = given.network_bytes_per_second / given.frame_bytes / given.cores
    limits = np.minimum(_core_rates(num_machines, given), link)  # (slots,), frames/s
    capacity = given.storage_bytes_per_second / given.frame_bytes
    # Frames left of each slot's unit.
    unit, left = np.full(len(limits), _NOTHING), np.zeros(len(limits))
    mtbf = 3600 * given.mtbf_hours
    up_at, fails_at = np.zeros(num_machines), random.exponential(mtbf, num_machines)
    waiting, num_left = deque(range(len(frames))), len(frames)
    now = scheduler_free_at = published = written = 0.0
    num_failures, repeated = 0, set()

    while num_left:
        # Nothing happens between two events, so that time jumps from each to the next.
        idle = np.empty(0, np.intp)
        if waiting or given.speculate:
            idle = np.flatnonzero((unit == _NOTHING) & np.repeat(up_at <= now, given.cores))
        if waiting and len(idle) and now >= scheduler_free_at:
            unit[idle[0]] = begun = waiting.popleft()
            left[idle[0]] = frames[begun]
            scheduler_free_at = now + given.dispatch_seconds
            continue
        busy = np.flatnonzero(unit != _NOTHING)
        if not waiting and len(idle) and len(busy):
            # Begin the unit that would end last again, on the fastest idle slot, if that helps.
            last = busy[np.argmax(left[busy] / limits[busy])]
            best = idle[np.argmax(limits[idle])]
            late = int(unit[last])
            sooner = frames[late] / limits[best] < left[last] / limits[last]
            if sooner and late not in repeated:
                repeated.add(late)
                unit[best], left[best] = late, frames[late]

        # The next event is a unit's end, a failure, a repair, or a free scheduler.
        busy, rates = np.flatnonzero(unit != _NOTHING), np.zeros(len(limits))
        rates[busy] = fair_rates(limits[busy], capacity)
        events = [fails_at.min(), up_at[up_at > now].min(initial=np.inf)]
        if len(busy):
            events.append(now + (left[busy] / rates[busy]).min())
        if waiting and len(idle):
            events.append(scheduler_free_at)
        elapsed, now = min(events) - now, min(events)
        left -= rates * elapsed
        written += float(rates.sum()) * elapsed

        for machine in np.flatnonzero(fails_at <= now):
            slots = slice(machine * given.cores, (machine + 1) * given.cores)
            lost, unit[slots] = unit[slots].tolist(), _NOTHING
            # A unit that another slot repeats is not lost. Lost ones go first: they would end last.
            waiting.extendleft(one for one in lost if one not in {_NOTHING, *unit})
            num_failures += 1
            up_at[machine] = now + given.repair_seconds
            fails_at[machine] = up_at[machine] + random.exponential(mtbf, 1)[0]

        # Slots whose units are done are free, and so are those that repeat them.
        done = np.unique(unit[(unit != _NOTHING) & (left <= _DONE_FRAMES)])
        unit[np.isin(unit, done)] = _NOTHING
        num_left -= len(done)
        if len(done):
            # A queue of one server: a shard waits until those before it are published.
            published = max(published, now) + len(done) * given.publish_seconds
    return Outcome(published, written, num_failures, len(repeated))


def extract_estimate(
    clips: ClipSet, num_machines: int, given: Assumptions, *, exact: bool = False
) -> Estimate:
    """Simulate the extraction of a set of clips.

    If there are many more units than processes, most of them pass in bulk, at the rate of the
    scarcest resource, and the rest event by event.

    Args:
        clips: the clips.
        num_machines: number of machines.
        given: rates and assumptions.
        exact: simulate each unit, however many there are.
    """
    random = np.random.default_rng(given.seed)
    num_units = math.ceil(clips.num_clips / unit_clips(clips, given))
    num_exact = _EXACT_UNITS + _EXACT_UNITS_A_SLOT * num_machines * given.cores
    num_simulated = num_units if exact else min(num_units, num_exact)
    units = unit_frames(clips, num_simulated, given, random)
    expected = clips.num_clips * clips.expected_frames()
    frames = expected if num_simulated < num_units else float(units.sum())
    num_bytes = frames * given.frame_bytes
    core_rates = _core_rates(num_machines, given)
    mtbf = 3600 * given.mtbf_hours
    availability = mtbf / (mtbf + given.repair_seconds)
    parts = {
        "cpu": frames / float(core_rates.sum() * availability),
        "network": num_bytes / (num_machines * given.network_bytes_per_second),
        "storage": num_bytes / given.storage_bytes_per_second,
        "scheduler": num_units * given.dispatch_seconds,
        "publishing": num_units * given.publish_seconds,
    }
    bulk_seconds = (1 - num_simulated / num_units) * max(parts.values())
    parts["client"] = clips.num_clips * given.client_seconds_per_clip
    parts["units"] = float(units.max() / core_rates.min())
    outcome = simulate_units(units, num_machines, given, random)
    # The client plans before anything begins; bulk and simulated units follow one another.
    seconds = parts["client"] + bulk_seconds + outcome.seconds
    frames = (1 - num_simulated / num_units) * frames + outcome.frames_written
    largest = max(parts, key=lambda name: parts[name])
    # Too few or unequal units cost more than any resource.
    saturated = "units" if seconds > 2 * parts[largest] else largest
    return Estimate(seconds, saturated, parts, frames * given.frame_bytes)


def unit_clips(clips: ClipSet, given: Assumptions) -> int:
    """Number of clips in a unit, as `preprocess.extraction.plan.split_clips` cuts them."""
    return min(max(clips.num_clips // 64, 1), given.clips_per_unit)


def unit_frames(
    clips: ClipSet, num_units: int, given: Assumptions, random: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the frames of each unit, (num_units,), in the order in which they are dealt out."""
    length = unit_clips(clips, given)
    num_clips = min(num_units * length, clips.num_clips)
    starts = np.arange(0, num_clips, length)
    frames = np.add.reduceat(clips.lengths(num_clips, random), starts)
    return np.sort(frames)[::-1] if given.longest_first else frames


def _core_rates(num_machines: int, given: Assumptions) -> NDArray[np.float64]:
    """Rate of each process by its core, in frames per second."""
    speed = np.repeat(speeds(num_machines, given), given.cores)
    return given.extraction_frames_per_second / given.cores * speed


# Training: an epoch on machines that sum their gradients after each step.

GRU, CONV3D = "TT-GRU", "conv3d"
_SAMPLED_STEPS = 200
_BYTES_A_WEIGHT = 4
_CONV3D_FRAMES = 28
# Bytes of a frame of 342x256, relative to one of 160x120, by pixels.
_CONV3D_FRAME_SHARE = 342 * 256 / (160 * 120)


def epoch_estimate(model: str, clips: ClipSet, num_machines: int, given: Assumptions) -> Estimate:
    """Simulate some steps, and extrapolate to an epoch.

    The next batch is read while one is computed; the sum waits for the slowest machine. The whole
    batch grows with the machines up to `largest_batch`; machines beyond a clip each are idle.
    A failure costs the repair and half of what lies between checkpoints, of all machines.

    Args:
        model: GRU or CONV3D, the smallest and the largest model that the suite trains.
        clips: the clips.
        num_machines: number of machines.
        given: rates and assumptions.
    """
    is_gru = model == GRU
    clips_a_machine = 16 if is_gru else 30
    batch = min(clips_a_machine * num_machines, max(given.largest_batch, clips_a_machine))
    # A machine needs at least one clip of the batch.
    working = min(num_machines, batch)
    num_steps = math.ceil(TRAINING_SHARE * clips.num_clips / batch)

    random = np.random.default_rng(given.seed)
    shape = _SAMPLED_STEPS, working, math.ceil(batch / working)
    lengths = clips.lengths(math.prod(shape), random).reshape(shape)
    if is_gru:
        seen = np.minimum(lengths, MAXLEN)
        # The loop over time is as long as the longest clip; all other work grows with all frames.
        loop = seen.max(axis=2) * given.gru_step_seconds
        computed = seen.sum(axis=2) * _frame_seconds(clips, clips_a_machine, given) + loop
        clip_bytes = clips.expected_frames(MAXLEN) * given.frame_bytes
    else:
        computed = np.full(shape[:2], shape[2] / given.conv3d_clips_per_second)
        clip_bytes = _CONV3D_FRAMES * _CONV3D_FRAME_SHARE * given.frame_bytes
    # Log-normal with mean 1: the spread makes the slowest machine slower, not the average one.
    noise = np.exp(given.step_spread * random.standard_normal(shape[:2]) - given.step_spread**2 / 2)
    computed = computed * noise / speeds(working, given)  # (steps, machines)
    slowest = computed.max(axis=1)

    num_weights = given.gru_weights if is_gru else given.conv3d_weights
    summing = ring_seconds(_BYTES_A_WEIGHT * num_weights, working, given)
    read = batch * clip_bytes
    # The link of the storage, or those of all machines together, whichever is slower.
    share = min(given.storage_bytes_per_second, working * given.network_bytes_per_second)
    loading = read / share
    step = float(np.maximum(slowest, loading).mean()) + summing
    parts = {
        "cpu": float(computed.mean()) * num_steps,
        "stragglers": float((slowest - computed.mean(axis=1)).mean()) * num_steps,
        "network": summing * num_steps,
        "storage": loading * num_steps,
    }
    largest = max(parts, key=lambda name: parts[name])
    if num_machines > working and largest != "storage":
        largest = "batch"
    lost = given.repair_seconds + given.checkpoint_seconds / 2
    failures = 1 + working * lost / (3600 * given.mtbf_hours)
    return Estimate(step * num_steps * failures, largest, parts, read * num_steps)


def _frame_seconds(clips: ClipSet, batch_size: int, given: Assumptions) -> float:
    """Seconds of a frame besides the time loop, fitted to the measured rate of one machine."""
    random = np.random.default_rng(given.seed)
    seen = np.minimum(clips.lengths(_SAMPLED_STEPS * batch_size, random), MAXLEN)
    seen = seen.reshape(_SAMPLED_STEPS, batch_size)
    loop = float(seen.max(axis=1).mean()) * given.gru_step_seconds
    return max(0.0, 1 / given.gru_frames_per_second - loop / float(seen.sum(axis=1).mean()))


# All jobs, on all sets, with both kinds of storage, on 1 to 1,000 machines.

MACHINES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
EXTRACTION = "extraction"
JOBS: dict[str, Callable[[ClipSet, int, Assumptions], Estimate]] = {
    EXTRACTION: extract_estimate,
    f"{GRU}, an epoch": partial(epoch_estimate, GRU),
    f"{CONV3D}, an epoch": partial(epoch_estimate, CONV3D),
}


@dataclass(frozen=True)
class Cell:
    """Result of one job on some machines."""

    job: str
    clips: str
    storage: str
    machines: int
    seconds: float
    efficiency: float
    """Speed relative to as many machines that were each as fast as one alone."""
    saturated: str
    gigabytes: float
    """Gigabytes through the storage."""
    dollars: float
    """Cost of the machines."""
    dollars_a_month: float
    """Monthly cost of the stored frames."""


def all_cells(given: Assumptions) -> list[Cell]:
    """Simulate all jobs, with a progress bar; takes some seconds."""
    storages = {"file server": given, "object storage": given.with_object_storage()}
    curves = [(job, clips, storage) for job in JOBS for clips in CLIP_SETS for storage in storages]
    cells = []
    for job, clips, storage in tqdm(curves, unit="curve", dynamic_ncols=True, disable=None):
        rates = storages[storage]
        kept_gigabytes = clips.num_clips * clips.expected_frames() * rates.frame_bytes / 1e9
        estimates = {machines: JOBS[job](clips, machines, rates) for machines in MACHINES}
        seconds_alone = estimates[MACHINES[0]].seconds
        for machines, estimate in estimates.items():
            hours = machines * rates.cores * estimate.seconds / 3600
            cells.append(
                Cell(
                    job=job,
                    clips=clips.name,
                    storage=storage,
                    machines=machines,
                    seconds=estimate.seconds,
                    efficiency=seconds_alone / (machines * estimate.seconds),
                    saturated=estimate.saturated,
                    gigabytes=estimate.num_bytes / 1e9,
                    dollars=hours * rates.dollars_per_core_hour,
                    dollars_a_month=kept_gigabytes * rates.dollars_per_gigabyte_month,
                )
            )
    return cells


def _remedies(
    given: Assumptions,
) -> list[tuple[str, str, ClipSet, int, Assumptions, dict[str, Any]]]:
    """Remedies where the resource that each relieves is the bottleneck.

    Returns:
        For each a job, what is changed, clips, number of machines, and what holds before and after.
    """
    objects = given.with_object_storage()
    boundless = replace(objects, storage_gigabytes_per_second=1000.0)
    fast_server = replace(given, storage_gigabytes_per_second=100.0)
    few, many = max(1, given.clips_per_unit // 4), 8 * given.clips_per_unit
    link_25 = {"network_gigabits": 25.0, "storage_gigabytes_per_second": 3.125}
    own_disks = {"storage_gigabytes_per_second": given.object_gigabytes_per_second}
    batches = {"largest_batch": 2048}
    _, gru, conv3d = JOBS
    return [
        (EXTRACTION, "zstd: 28,000 bytes a frame", UCF101, 10, given, {"frame_bytes": 28_000.0}),
        (EXTRACTION, "25 Gbit/s for server and machines", UCF101, 10, given, link_25),
        (EXTRACTION, "object storage", UCF101, 10, given, vars(objects)),
        (EXTRACTION, "longest units first", UCF101, 50, objects, {"longest_first": True}),
        (EXTRACTION, "late units are repeated", UCF101, 50, objects, {"speculate": True}),
        (EXTRACTION, "both", UCF101, 50, objects, {"longest_first": True, "speculate": True}),
        (EXTRACTION, f"units of {few} clips", UCF101, 50, objects, {"clips_per_unit": few}),
        (EXTRACTION, "a file server of 100 GB/s: each machine publishes its shards", TEN_MILLION,
         1000, fast_server, {"publish_seconds": 0.0}),
        (EXTRACTION, f"object storage of 1,000 GB/s: units of {many} clips", TEN_MILLION,
         1000, boundless, {"clips_per_unit": many}),
        (EXTRACTION, "object storage: machines that fail daily", TEN_MILLION,
         100, objects, {"mtbf_hours": 24.0}),
        (gru, f"{GRU}: frames on each machine's own disk", TEN_MILLION, 10, given, own_disks),
        (gru, f"{GRU}: batches of 2,048", TEN_MILLION, 100, objects, batches),
        (gru, f"{GRU}: no slow machine", TEN_MILLION, 100, objects, {"slow_share": 0.0}),
        (conv3d, f"{CONV3D}: 25 Gbit/s", TEN_MILLION, 100, objects, {"network_gigabits": 25.0}),
        (conv3d, f"{CONV3D}: batches of 2,048", TEN_MILLION, 100, objects, batches),
        (conv3d, f"{CONV3D}: a hundredth of the weights", TEN_MILLION, 100, objects,
         {"conv3d_weights": given.conv3d_weights // 100}),
    ]  # fmt: skip


# Tables of the cells as Markdown and CSV.

_COST_MACHINES = (1, 10, 100, 1000)
_DAY = 86_400
END = "<!-- end -->"


def _curves_by_job(cells: Sequence[Cell]) -> dict[str, list[list[Cell]]]:
    """Group cells, in the order of `all_cells`, by job, and then by set and storage."""
    curves: dict[str, list[list[Cell]]] = {}
    for (job, *_), curve in groupby(cells, lambda cell: (cell.job, cell.clips, cell.storage)):
        curves.setdefault(job, []).append(list(curve))
    return curves


def _mark(job: str) -> str:
    """Name of a job in marks and in names of files."""
    return job.split(",")[0].lower()


def blocks(cells: Sequence[Cell]) -> dict[str, str]:
    """Make the tables of the cells by the names of their marks: one for each job, and the costs."""
    by_job = _curves_by_job(cells)
    costs = [curve for curves in by_job.values() for curve in curves]
    return {**{_mark(job): _job_table(by_job[job]) for job in by_job}, "costs": _cost_table(costs)}


def fill(page: str, made: dict[str, str]) -> str:
    """Fill a page: each table goes between `<!-- scaling: NAME -->` and `<!-- end -->`.

    Raises:
        InputError: if the page lacks a mark.
    """
    for name, content in made.items():
        mark = f"<!-- scaling: {name} -->\n"
        before, found, rest = page.partition(mark)
        _, end, after = rest.partition(END)
        if not (found and end):
            raise InputError(f"The page must have the marks {mark.strip()} and {END}; add them.")
        page = f"{before}{mark}{content}\n{END}{after}"
    return page


def cells_csv(cells: Sequence[Cell]) -> bytes:
    """Format the cells as CSV, a row each, to four digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Cell))
    for cell in cells:
        values = astuple(cell)
        writer.writerow(float(f"{one:.4g}") if isinstance(one, float) else one for one in values)
    return text.getvalue().encode()


def _job_table(curves: Sequence[Sequence[Cell]]) -> str:
    """Table of seconds, bottleneck and efficiency, with a row for each number of machines."""
    header = ["machines", *(f"{first.clips}: {first.storage}" for first, *_ in curves)]
    body = []
    for row in zip(*curves, strict=True):
        places = [f"{_place(cell)}, {percent(cell.efficiency)}" for cell in row]
        body.append([count(row[0].machines), *places])
    return markdown_table(header, body)


def _place(result: Cell | Estimate) -> str:
    seconds = result.seconds
    time = f"{seconds / _DAY:.1f} days" if seconds > 2 * _DAY else duration(seconds)
    return f"{time}, {result.saturated}"


def _cost_table(curves: Sequence[Sequence[Cell]]) -> str:
    """Table of the dollars of each job and set, with object storage."""
    machines = [plural(number, "machine") for number in _COST_MACHINES]
    body = []
    for curve in curves:
        first, shown = curve[0], [cell for cell in curve if cell.machines in _COST_MACHINES]
        if first.storage == "object storage":
            dollars = [*(cell.dollars for cell in shown), first.dollars_a_month]
            body.append([first.job, first.clips, f"{count(first.gigabytes)} GB"])
            body[-1] += [f"${one:,.0f}" if one >= 10 else f"${one:,.2f}" for one in dollars]
    return markdown_table(["job", "clips", "moved", *machines, "a month for the frames"], body)


def changes_table(given: Assumptions) -> str:
    """Simulate each remedy; the table says how long its job takes before and after it."""
    body = []
    for job, what, clips, machines, before, new in _remedies(given):
        estimates = [JOBS[job](clips, machines, one) for one in (before, replace(before, **new))]
        body.append([what, clips.name, count(machines), *map(_place, estimates)])
    return markdown_table(["change", "clips", "machines", "before", "after"], body)


# Plots of seconds against machines, coloured by the bottleneck.

# Okabe and Ito's colours, each with a mark of its own.
_LOOKS = {
    "cpu": ("#009e73", "o"),
    "storage": ("#d55e00", "s"),
    "network": ("#0072b2", "^"),
    "scheduler": ("#cc79a7", "D"),
    "publishing": ("#e69f00", "v"),
    "client": ("#56b4e9", "P"),
    "units": ("#7a7a7a", "X"),
    "stragglers": ("#1f2933", "*"),
    "batch": ("#b8a800", "h"),
}


def job_png(curves: Sequence[Sequence[Cell]]) -> bytes:
    """Plot a job's curves: a column for each set of clips, a row for each storage; 1950 x 1050 px.

    The dotted line is perfect scaling; the numbers beside the marks are efficiencies.
    """
    from experiments.runs.plots import LIGHT, dress, new_figure, png_bytes

    figure = new_figure(13, 7, LIGHT)
    panels = figure.subplots(2, len(curves) // 2, sharex=True, sharey="col", squeeze=False)
    # The storages of a set follow each other.
    for axes, curve in zip(panels.T.flat, curves, strict=True):
        machines, seconds = zip(*((cell.machines, cell.seconds) for cell in curve), strict=True)
        axes.plot(machines, [seconds[0] / one for one in machines], ":", color=LIGHT.text)
        axes.plot(machines, seconds, color=LIGHT.grid, linewidth=2)
        for cell in curve:
            colour, mark = _LOOKS[cell.saturated]
            axes.plot([cell.machines], [cell.seconds], mark, color=colour, markersize=8)
            many = cell.efficiency > 0.1
            axes.annotate(
                f"{100 * cell.efficiency:.0f} %" if many else percent(cell.efficiency),
                (cell.machines, cell.seconds),
                textcoords="offset points",
                xytext=(0, 9),
                ha="center",
                fontsize=7,
                color=LIGHT.text,
            )
        axes.set(xscale="log", yscale="log")
        axes.grid(color=LIGHT.grid, linewidth=0.6)
        axes.margins(y=0.12)
        title = f"{curve[0].clips}: {curve[0].storage}"
        axes.set_title(title, fontsize=11, loc="left", fontweight="bold")
        dress(axes, LIGHT)
    for axes in panels[-1]:
        axes.set_xlabel("machines")
    for axes in panels[:, 0]:
        axes.set_ylabel("seconds")
    shown = {cell.saturated for curve in curves for cell in curve}
    # Lines without a point, for the legend alone.
    handles = [
        panels[0, 0].plot([], [], mark, color=colour, markersize=8, label=name)[0]
        for name, (colour, mark) in _LOOKS.items()
        if name in shown
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return png_bytes(figure)


def main(args: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.scaling", args=args)
    return run_command(
        lambda: _run(arguments),
        resume_hint=lambda: "Nothing is kept; the same command simulates anew.",
    )


# Guarded, because spawned processes import this module, too.
if __name__ == "__main__":
    sys.exit(main())
